//! Why a task failed, as the termination message has it.

use unbloat_contract::{Failure, FailureKind};
use unbloat_squash::{Error, kind_of_registry};

/// A failure of a registry.
pub(crate) fn of_registry(error: &unbloat_registry::Error) -> Failure {
    of(kind_of_registry(error), error.is_retryable(), error.to_string())
}

/// A failure of the engine.
pub(crate) fn of_engine(error: &Error) -> Failure {
    of(error.kind(), error.is_retryable(), error.to_string())
}

/// What can't be helped by a retry is not retried, whatever the rule of its kind is.
fn of(kind: FailureKind, is_retryable: bool, message: String) -> Failure {
    let is_final = kind == FailureKind::RegistryUnavailable && !is_retryable;
    let failure = Failure::new(kind, message);
    Failure { retryable: failure.retryable && !is_final, ..failure }
}

#[cfg(test)]
mod tests {
    use unbloat_squash::OutputError;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_reason_and_exit_code() {
        for (error, reason, exit_code, retryable) in [
            (Error::Request("x".into()), FailureKind::InvalidSpec, 2, false),
            (Error::Unsupported("x".into()), FailureKind::InvalidImage, 6, false),
            (Error::Verification("x".into()), FailureKind::VerifyFailed, 1, false),
            (Error::Output(OutputError::Stopped), FailureKind::Internal, 70, true),
            (Error::Internal("x".into()), FailureKind::Internal, 70, true),
            (Error::Cancelled, FailureKind::Cancelled, 130, true),
        ] {
            let failure = of_engine(&error);
            let exit_code_is = failure.reason.exit_code();
            assert_eq!((failure.reason, exit_code_is, failure.retryable), (reason, exit_code, retryable));
        }
    }
}
