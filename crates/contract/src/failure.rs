//! Why something failed, told by what can be done about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit;

/// What a caller can do about a failure. In JSON it has the name of the condition's reason that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// Mend the request.
    InvalidSpec,
    /// Name something that exists.
    ImageNotFound,
    /// Make the secret that is named.
    SecretNotFound,
    /// Give credentials that may read.
    PullUnauthorized,
    /// Give credentials that may write.
    PushUnauthorized,
    /// Try again, or mend the network or the registry.
    RegistryUnavailable,
    /// Find out why the registry does not want the content.
    TargetRefused,
    /// Mend the image.
    InvalidImage,
    /// Look at the source again: someone pushed meanwhile.
    SourceChanged,
    /// Report it: a result, read back, was not the source's tree.
    VerifyFailed,
    /// Raise a limit, if the image is trusted.
    LimitExceeded,
    /// Mend the local disk.
    #[serde(rename = "ScratchFailed")]
    LocalFile,
    /// It was asked to end.
    #[serde(rename = "WorkerLost")]
    Cancelled,
    /// Report it: a fault of this program.
    #[serde(rename = "WorkerFailed")]
    Internal,
}

/// Which side an operation was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The source's.
    Read,
    /// The destination's.
    Write,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::InvalidSpec,
        Self::ImageNotFound,
        Self::PullUnauthorized,
        Self::SecretNotFound,
        Self::PushUnauthorized,
        Self::RegistryUnavailable,
        Self::TargetRefused,
        Self::InvalidImage,
        Self::SourceChanged,
        Self::VerifyFailed,
        Self::LimitExceeded,
        Self::LocalFile,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The exit code of the command and of the worker.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::VerifyFailed => exit::CHECK_FAILED,
            Self::InvalidSpec => exit::USAGE,
            Self::ImageNotFound => 3,
            Self::PullUnauthorized | Self::PushUnauthorized | Self::SecretNotFound => 4,
            Self::RegistryUnavailable | Self::TargetRefused => 5,
            Self::InvalidImage => 6,
            Self::SourceChanged => 7,
            Self::LimitExceeded => 8,
            Self::LocalFile => 9,
            Self::Internal => exit::INTERNAL,
            Self::Cancelled => exit::INTERRUPTED,
        }
    }

    /// The failure that a process ended with; `None` of a code that the table does not have, or that is no
    /// failure.
    #[must_use]
    pub fn of_exit_code(code: u8) -> Option<Self> {
        match code {
            exit::TERMINATED => Some(Self::Cancelled),
            // What a registry refuses has no code of its own, and what may pass is the better guess.
            code => Self::ALL.into_iter().find(|kind| kind.exit_code() == code),
        }
    }

    /// Whether another attempt of a worker may fare better, where nothing more is known. A worker is tried
    /// anew elsewhere when its disk or it itself failed; a person at a command line gains nothing by that.
    #[must_use]
    pub fn is_retried(self) -> bool {
        matches!(
            self,
            Self::RegistryUnavailable
                | Self::SecretNotFound
                | Self::LocalFile
                | Self::Cancelled
                | Self::Internal
        )
    }
}

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What can be done.
    pub reason: FailureKind,
    /// What happened, where, and what to do.
    pub message: String,
    /// Whether another attempt may fare better; a worker may know better than [`FailureKind::is_retried`]
    /// does.
    pub retryable: bool,
    /// Digest of the source, where it was resolved: the next attempt reads the same image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Digest of a result that stays though the tag wasn't moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Failure {
    /// A failure that is retried if its kind is.
    #[must_use]
    pub fn new(reason: FailureKind, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retryable: reason.is_retried(),
            source_digest: None,
            digest: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_ends_with_a_code_of_the_table() {
        for kind in FailureKind::ALL {
            let code = kind.exit_code();
            assert_ne!(code, 0, "{kind:?}");
            assert!(exit::meaning(code).is_some(), "{kind:?}");
            assert_eq!(FailureKind::of_exit_code(code).map(FailureKind::exit_code), Some(code));
        }
    }
}
