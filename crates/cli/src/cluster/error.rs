//! What can go wrong, and the exit code that says so.

use unbloat_api::Reason;
use unbloat_contract::{FailureKind, exit};

/// A command that didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The flags make no job.
    #[error("{0}")]
    Usage(String),
    /// There is no kubeconfig, or it can't be used.
    #[error("cannot reach a cluster: {0}; check the kubeconfig and its context")]
    Config(String),
    /// The API server refused, or wasn't there.
    #[error("{what}: {}", words(error))]
    Kube {
        /// What was tried.
        what: String,
        /// The client's error. Not a source: its own text repeats itself, as a structure and then in words.
        error: Box<kube::Error>,
    },
    /// There is no such object.
    #[error("{0}")]
    Unknown(String),
    /// The job is gone.
    #[error("the ImageSquashJob {0} is gone: it was deleted before its end")]
    Gone(String),
    /// The job failed.
    #[error("the ImageSquashJob {name} failed: {reason}: {message}")]
    Failed {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
        /// The message.
        message: String,
    },
    /// Standard output or error is closed.
    #[error("cannot print: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn kube(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| Self::Kube { what, error: Box::new(error) }
    }

    /// The exit code: that of the same squash done here, where the job failed.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => exit::USAGE,
            Error::Config(_) | Error::Output(_) => 9,
            Error::Kube { error, .. } => match &**error {
                kube::Error::Api(status) => match status.code {
                    404 => 3,
                    401 | 403 => 4,
                    400 | 409 | 422 => 2,
                    _ => 5,
                },
                _ => 5,
            },
            Error::Gone(_) | Error::Unknown(_) => 3,
            Error::Failed { reason, .. } => {
                Reason::parse(reason).and_then(Reason::failure).map_or(exit::INTERNAL, FailureKind::exit_code)
            }
        }
    }
}

/// The server's own words; of another error, it and its causes.
fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use unbloat_api::reason::Kind;

    use super::*;

    #[test]
    fn a_refusal_is_told_once_and_in_the_servers_words() {
        let status = kube::core::Status::failure("no such job", "NotFound").with_code(404);
        let error = Error::kube("cannot read it")(kube::Error::Api(Box::new(status)));
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("cannot read it: no such job", 3));
        assert!(std::error::Error::source(&error).is_none());
    }

    #[test]
    fn a_failed_job_ends_the_command_as_the_same_failure_here_would() {
        let code = |reason: &str| {
            Error::Failed { name: "j".into(), reason: reason.into(), message: String::new() }.exit_code()
        };
        assert_eq!((code("VerifyFailed"), code("PullUnauthorized"), code("SourceChanged")), (1, 4, 7));
        assert_eq!(code("ANewerReason"), 70);
        for reason in Reason::ALL.iter().filter(|reason| matches!(reason.kind(), Kind::Final | Kind::Retried))
        {
            assert_ne!(code(reason.as_str()), 0, "{reason}");
        }
    }
}
