//! Why a way of sending a blob ended.

use crate::error::{Error, ErrorKind};

/// What can be done after it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The registry does not take this way: another may do.
    Refused(Error),
    /// What it took is gone: the same way may do, from the beginning.
    Lost(Error),
    /// No way would do.
    Final(Error),
}

/// A failed request by what it means for an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The session is not known (any more).
    Gone,
    /// The request was too large.
    TooLarge,
    /// The server is elsewhere in the blob.
    Offset,
    /// It may pass.
    Passing,
    /// The server does not do this.
    Refusal,
    /// Nothing about ways.
    Other,
}

/// What an error of a request within an upload means.
pub(crate) fn cause(error: &Error) -> Cause {
    match error.kind() {
        ErrorKind::NotFound { .. } | ErrorKind::Status { status: 410, .. } => Cause::Gone,
        ErrorKind::Status { status: 413, .. } => Cause::TooLarge,
        ErrorKind::Status { status: 416, .. } => Cause::Offset,
        ErrorKind::Status { status: 501 | 505, .. } => Cause::Refusal,
        _ if error.is_retryable() => Cause::Passing,
        ErrorKind::Status { .. } => Cause::Refusal,
        _ => Cause::Other,
    }
}

/// Whether a request was refused because it came too soon. Then nothing of it was taken, and its session is
/// as it was: a limit counted by address would refuse the first request of every new one.
pub(crate) fn is_too_soon(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::RateLimited { .. })
}
