//! What can go wrong on the proving ground, said so that a failed test needs no second run to be understood.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything here that can fail, fails with this.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the cluster, or something asked of it, failed.
///
/// `Debug` prints the same text as `Display`: a test that returns this error shows its logs line by line.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Commands that Debian's packages give are not on this machine.
    #[error("not installed: {missing}; run: apt-get install -y --no-install-recommends {packages}")]
    NotInstalled {
        /// The commands that were looked for in vain, separated by commas.
        missing: String,
        /// The packages that give all of them.
        packages: &'static str,
    },
    /// A file, socket or process could not be handled.
    #[error("cannot {doing}: {source}")]
    Io {
        /// The verb and its object.
        doing: String,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A command ended with another code than 0.
    #[error("`{command}` ended with {status}:\n{output}")]
    Command {
        /// Program and arguments.
        command: String,
        /// Exit code or signal.
        status: String,
        /// Both of its outputs.
        output: String,
    },
    /// A part of the cluster ended by itself, or was never there.
    #[error("{component} {what}; the end of {}:\n{tail}", log.display())]
    Component {
        /// `kubelet`, `etcd`, …
        component: String,
        /// What was seen of it.
        what: String,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// What a test waited for did not come.
    #[error("waited {}s in vain for {what}; last seen: {last}\n{diagnosis}", after.as_secs())]
    Timeout {
        /// What should have come true.
        what: String,
        /// For how long it was waited.
        after: Duration,
        /// The state, or the error, of the last look.
        last: String,
        /// Statuses, events and logs that bear on it.
        diagnosis: String,
    },
    /// The API server's answer, or none.
    #[error("{doing}: {source}")]
    Kube {
        /// What was asked of the API server.
        doing: String,
        /// The client's own words.
        source: Box<kube::Error>,
    },
    /// Something that the caller has to put right.
    #[error("{0}")]
    Misuse(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Wraps an I/O error with what was tried: `.map_err(Error::io("read the journal"))`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Wraps an API error with what was asked.
    pub fn kube(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kube { doing, source: Box::new(source) }
    }

    /// Whether the same call may do better a little later: the API server was away or busy, not unwilling.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Kube { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code == 409 || status.code == 429 || status.code >= 500,
                kube::Error::HyperError(_) | kube::Error::Service(_) => true,
                _ => false,
            },
            _ => false,
        }
    }
}
