//! What a client may do and how long it waits; every number with its reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::keyring::Keyring;
use crate::http::guard::Guard;
use crate::settings::Registries;

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
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How blobs are sent.
    pub upload: UploadPolicy,
    /// Folder for uploads that a server takes in one piece only; the system's temporary folder when absent.
    pub scratch: Option<PathBuf>,
    /// Most bytes in that folder at once, all uploads together.
    pub scratch_limit: u64,
}

/// Backoff between attempts: `base * 2^n`, at most `cap`, a random half of it taken off.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts, the first one included. A blob that made progress starts counting anew.
    pub attempts: u32,
    /// First wait.
    pub base: Duration,
    /// Longest wait that is our own choice.
    pub cap: Duration,
    /// Longest `Retry-After` that is honoured; a server that asks for more gets an error instead of a silent hour.
    pub longest_retry_after: Duration,
}

/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer, from the last byte of the request on. Committing a blob makes a server read it again:
    /// minutes for many gigabytes.
    pub answer: Duration,
    /// For the next bytes of a body, in both directions. A body that keeps moving has no other limit.
    pub stall: Duration,
    /// For a blob to appear whose commit ended in a failure that may have been a success.
    pub commit: Duration,
    /// For a credential helper.
    pub helper: Duration,
}

/// How blobs are sent to a registry.
#[derive(Clone, Copy, Debug)]
pub struct UploadPolicy {
    /// Bytes in a chunk; two of them are held for an upload: one that is sent and kept until it is acknowledged, one that
    /// fills. Below 5 MiB registries on object stores refuse chunks.
    pub chunk_bytes: usize,
    /// Which way of sending.
    pub mode: UploadMode,
}

/// How a blob that is larger than a chunk is sent. What fits into one goes in one request wherever that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadMode {
    /// Chunks; where the server refuses them, one streaming request, and where it refuses that too, one piece.
    #[default]
    Auto,
    /// Chunks (`PATCH` with `Content-Range`), and nothing else.
    Chunked,
    /// One streaming `PATCH` without `Content-Range`, and nothing else. No chunk is sent again: after a failure the blob is
    /// made again.
    Stream,
    /// One `PUT` with the whole blob, and nothing else. A blob whose digest is not known before its end is in scratch space
    /// meanwhile.
    Whole,
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
            timeouts: Timeouts::default(),
            upload: UploadPolicy::default(),
            scratch: None,
            scratch_limit: u64::MAX,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(20),
            longest_retry_after: Duration::from_secs(300),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(300),
            stall: Duration::from_secs(60),
            commit: Duration::from_secs(240),
            helper: Duration::from_secs(30),
        }
    }
}

impl Default for UploadPolicy {
    fn default() -> Self {
        Self { chunk_bytes: 8 << 20, mode: UploadMode::Auto }
    }
}

impl Retry {
    /// How long to wait when a server asked for this: no less, and a little more, so that clients do not come back at once.
    pub(crate) fn spread(&self, asked: Duration) -> Duration {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), asked);
        asked + (asked / 8).min(Duration::from_secs(2)).mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Wait before attempt `attempt` (1 is the first retry).
    pub(crate) fn wait(&self, attempt: u32) -> Duration {
        let full = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.cap);
        // The hasher's keys are random for each call: enough for spreading clients, and no dependency.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt);
        let half = full / 2;
        half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_exceed_it() {
        let retry = Retry::default();
        for attempt in 1..40 {
            let wait = retry.wait(attempt);
            assert!(wait <= retry.cap);
            let full = retry.base.saturating_mul(1 << (attempt - 1).min(16)).min(retry.cap);
            assert!(wait >= full / 2, "attempt {attempt} waits {wait:?}");
        }
    }
}
