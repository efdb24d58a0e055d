//! What a client is made with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::keyring::Keyring;
use crate::http::attempts::Retry;
use crate::http::guard::Guard;
use crate::http::timeouts::Timeouts;
use crate::http::troubles::Troubles;
use crate::settings::Registries;
use crate::upload_policy::UploadPolicy;

/// Settings of a [`crate::Client`].
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Credentials.
    pub keyring: Keyring,
    /// How each registry is reached.
    pub registries: Registries,
    /// Further certificate authorities for every host, PEM files.
    pub ca_files: Vec<PathBuf>,
    /// Addresses that must not be connected to; all may be when absent.
    pub guard: Option<Arc<Guard>>,
    /// Accept any certificate.
    pub insecure_skip_tls_verify: bool,
    /// Fetch foreign layers from the URLs of their descriptors.
    pub allow_foreign: bool,
    /// Retries of one request or one blob.
    pub retry: Retry,
    /// Where it is told what is being tried again.
    pub troubles: Troubles,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How blobs are sent.
    pub upload: UploadPolicy,
    /// Tell the tags that there are where one is asked for that is not: one more question, for people.
    pub tell_tags: bool,
    /// Folder for uploads that a server takes in one piece only; the system's temporary folder when absent.
    pub scratch: Option<PathBuf>,
    /// Most bytes in that folder at once, all uploads together.
    pub scratch_limit: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keyring: Keyring::default(),
            registries: Registries::default(),
            ca_files: Vec::new(),
            guard: None,
            insecure_skip_tls_verify: false,
            allow_foreign: false,
            retry: Retry::default(),
            troubles: Troubles::default(),
            timeouts: Timeouts::default(),
            upload: UploadPolicy::default(),
            tell_tags: false,
            scratch: None,
            scratch_limit: u64::MAX,
        }
    }
}
