//! What can go wrong, and the exit code that says so.

use unbloat_api::Reason;

/// A command that didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The flags make no job.
    #[error("{0}")]
    Usage(String),
    /// There is no kubeconfig, or it can't be used.
    #[error("cannot reach a cluster: {0}; check the kubeconfig and its context")]
    Config(String),
    /// The API server refused, or wasn't there.
    #[error("{what}")]
    Kube {
        /// What was tried.
        what: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
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
        move |source| Self::Kube { what, source: Box::new(source) }
    }

    /// Whether the same command can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Kube { source, .. } => !matches!(&**source, kube::Error::Api(status) if status.code < 500),
            Error::Failed { reason, .. } => Reason::parse(reason).is_some_and(Reason::is_retryable),
            _ => false,
        }
    }

    /// The exit code: that of the same squash done here, where the job failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Config(_) | Error::Output(_) => 9,
            Error::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => match status.code {
                    404 => 3,
                    401 | 403 => 4,
                    400 | 409 | 422 => 2,
                    _ => 5,
                },
                _ => 5,
            },
            Error::Gone(_) => 3,
            Error::Failed { reason, .. } => Reason::parse(reason).map_or(70, of_reason),
        }
    }
}

fn of_reason(reason: Reason) -> u8 {
    match reason {
        Reason::VerifyFailed => 1,
        Reason::InvalidReference | Reason::InvalidSpec | Reason::OverrideNotAllowed => 2,
        Reason::ImageNotFound => 3,
        Reason::SecretNotFound | Reason::PullUnauthorized | Reason::PushUnauthorized => 4,
        Reason::RegistryUnavailable | Reason::TargetRefused => 5,
        Reason::InvalidImage => 6,
        Reason::SourceChanged => 7,
        Reason::LimitExceeded | Reason::WorkerOOMKilled | Reason::DeadlineExceeded => 8,
        Reason::ScratchFailed => 9,
        _ => 70,
    }
}

#[cfg(test)]
mod tests {
    use unbloat_api::reason::Kind;

    use super::*;

    #[test]
    fn a_failed_job_ends_the_command_as_the_same_failure_here_would() {
        let code = |reason: &str| {
            Error::Failed { name: "j".into(), reason: reason.into(), message: String::new() }.exit_code()
        };
        assert_eq!((code("VerifyFailed"), code("PullUnauthorized"), code("SourceChanged")), (1, 4, 7));
        assert_eq!(code("ANewerReason"), 70);
        for reason in Reason::ALL.iter().filter(|reason| matches!(reason.kind(), Kind::Final | Kind::Retried))
        {
            assert_ne!(of_reason(*reason), 0, "{reason}");
        }
    }
}
