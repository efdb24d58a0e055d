//! Why a document was not accepted.

use crate::media_type::Refusal;

/// A manifest, index or config that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON, or not of the shape that the specification gives.
    #[error("the {what} is not valid: {reason}")]
    Invalid {
        /// Kind of document, for example `manifest`.
        what: &'static str,
        /// What is wrong, with line and column where the JSON itself is.
        reason: String,
    },
    /// Larger than the bound.
    #[error("the {what} has {size} bytes; at most {limit} are read")]
    TooLarge {
        /// Kind of document.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// Well understood, and not supported.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl DocumentError {
    /// Never: the same bytes give the same error.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }

    pub(crate) fn invalid(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Invalid { what, reason: reason.to_string() }
    }
}
