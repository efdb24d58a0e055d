//! One registry: its name, its address, and what was learned of it.

use std::sync::atomic::{AtomicBool, Ordering};

use unbloat_oci::Reference;
use url::Url;

use crate::auth::token::{Authentication, Registry};
use crate::upload::way::UploadFacts;

/// One registry: its name, its address, and what was learned of it.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    https: AtomicBool,
    pub(crate) authentication: Authentication,
    /// How it takes blobs.
    pub(crate) uploads: UploadFacts,
}

impl Host {
    pub(crate) fn new(reference: &Reference, plain_http: bool) -> Self {
        Self {
            name: reference.registry().to_owned(),
            https: AtomicBool::new(!(plain_http || reference.is_loopback())),
            authentication: Authentication::default(),
            uploads: UploadFacts::of(reference.registry()),
        }
    }

    /// As in references.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https.load(Ordering::Relaxed)
    }

    pub(crate) fn use_https(&self) {
        self.https.store(true, Ordering::Relaxed);
    }

    /// What authentication has to know of it.
    pub(crate) fn registry(&self) -> Registry<'_> {
        Registry { name: &self.name, https: self.is_https() }
    }

    /// `SCHEME://HOST/`
    pub(crate) fn base(&self) -> Url {
        let scheme = if self.is_https() { "https" } else { "http" };
        let host = if self.name == "docker.io" { "registry-1.docker.io" } else { &self.name };
        Url::parse(&format!("{scheme}://{host}/")).expect("a reference's host makes a URL")
    }

    /// Whether credentials for this registry may go to that URL.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base().origin()
    }
}
