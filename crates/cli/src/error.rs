//! Errors of the command itself.

/// A check that was asked for says no. What it found is printed already.
#[derive(Debug, thiserror::Error)]
#[error("the check failed")]
pub(crate) struct CheckFailed;

/// A panic, of which the lines above tell.
#[derive(Debug, thiserror::Error)]
#[error("internal error; please report it with the lines above")]
pub(crate) struct Internal;

/// An argument that parses but makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);
