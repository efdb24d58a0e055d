//! How long a server is waited for; every number with its reason.

use std::time::Duration;

/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer, from the last byte of the request on. Committing a blob makes a server read
    /// it again: minutes for many gigabytes.
    pub answer: Duration,
    /// For the next bytes of a body, in both directions. A body that keeps moving has no other limit.
    pub stall: Duration,
    /// For a blob to appear whose commit ended in a failure that may have been a success.
    pub commit: Duration,
    /// For a credential helper or provider plugin. kubelet gives its plugins a minute, so that one may try a
    /// request again.
    pub helper: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(300),
            stall: Duration::from_secs(60),
            commit: Duration::from_secs(240),
            helper: Duration::from_secs(60),
        }
    }
}
