//! Why a squash failed, in the words of the ImageSquashJob's conditions.

use unbloat_api::Reason;
use unbloat_api::worker::Failed;
use unbloat_registry::{Category, ErrorKind as RegistryErrorKind};
use unbloat_squash::{Error, ErrorKind};

/// A failure with its reason and exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    pub(crate) exit_code: u8,
}

impl Failure {
    /// A failure that is retried if its reason says so.
    pub(crate) fn new(reason: Reason, exit_code: u8, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retryable: reason.is_retryable(), exit_code }
    }

    /// As the termination message has it.
    pub(crate) fn into_failed(self, source_digest: Option<String>) -> Failed {
        let Failure { reason, message, retryable, exit_code: _ } = self;
        Failed { reason, message, retryable, source_digest, digest: None }
    }
}

impl From<unbloat_registry::Error> for Failure {
    fn from(error: unbloat_registry::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Registry(error) => of_registry(error),
            Error::Layer { source: Some(error), limit: false, .. } => of_registry(error),
            Error::Verification(_) => Reason::VerifyFailed,
            other => of_kind(other.kind()),
        };
        let exit_code = if reason == Reason::VerifyFailed { 1 } else { error.exit_code() };
        // What can't be helped by a retry is not retried, whatever its reason's rule is.
        let final_at_the_registry = reason == Reason::RegistryUnavailable && !error.is_retryable();
        let retryable = reason.is_retryable() && !final_at_the_registry;
        Self { reason, message: error.to_string(), retryable, exit_code }
    }
}

fn of_kind(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::Usage => Reason::InvalidSpec,
        ErrorKind::NotFound => Reason::ImageNotFound,
        ErrorKind::Unauthorized => Reason::PullUnauthorized,
        ErrorKind::Network => Reason::RegistryUnavailable,
        ErrorKind::InvalidImage => Reason::InvalidImage,
        ErrorKind::SourceChanged => Reason::SourceChanged,
        ErrorKind::LimitExceeded => Reason::LimitExceeded,
        ErrorKind::Io => Reason::ScratchFailed,
        ErrorKind::Cancelled => Reason::WorkerLost,
        _ => Reason::WorkerFailed,
    }
}

/// A registry's error says which operation failed, which tells source from target where both are on one host.
fn of_registry(error: &unbloat_registry::Error) -> Reason {
    let writes = ["uploading", "mounting", "writing", "publishing", "copying"];
    let is_write = writes.iter().any(|word| error.operation().starts_with(word));
    match (error.category(), is_write) {
        (Category::Unauthorized, true) => Reason::PushUnauthorized,
        (Category::Unauthorized, false) => Reason::PullUnauthorized,
        // Its store shows late what it took: that passes.
        (Category::NotFound, true) if error.is_retryable() => Reason::RegistryUnavailable,
        (Category::NotFound, true) => Reason::TargetRefused,
        (Category::NotFound, false) => Reason::ImageNotFound,
        (Category::Registry, true) => match error.kind() {
            RegistryErrorKind::Status { status, .. }
                if (400..500).contains(status) && !error.is_retryable() =>
            {
                Reason::TargetRefused
            }
            _ => Reason::RegistryUnavailable,
        },
        (Category::Registry, false) => Reason::RegistryUnavailable,
        (Category::Image, _) => Reason::InvalidImage,
        (Category::SourceChanged, _) => Reason::SourceChanged,
        (Category::Limit, _) => Reason::LimitExceeded,
        (Category::Io, _) => Reason::ScratchFailed,
        (Category::Usage, _) => Reason::InvalidSpec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_reason_and_exit_code() {
        for (error, reason, exit_code, retryable) in [
            (Error::Request("x".into()), Reason::InvalidSpec, 2, false),
            (Error::Unsupported("x".into()), Reason::InvalidImage, 6, false),
            (Error::Verification("x".into()), Reason::VerifyFailed, 1, false),
            (Error::Output("x".into()), Reason::WorkerFailed, 70, true),
            (Error::Internal("x".into()), Reason::WorkerFailed, 70, true),
            (Error::Cancelled, Reason::WorkerLost, 130, true),
        ] {
            let failure = Failure::from(error);
            assert_eq!(
                (failure.reason, failure.exit_code, failure.retryable),
                (reason, exit_code, retryable)
            );
        }
    }
}
