//! The commands of `unbloat` that speak to a cluster: `run`, `get`, `watch`, `logs`, `cancel` for
//! ImageSquashJobs, `report`, `policies`, `approve`, `policy test` for what the cluster finds by itself.
//!
//! What happens here: flags become an ImageSquashJob, its status becomes a progress bar, its end becomes an
//! exit code. What does not: parsing of the options that every command has; they come in as [`Shared`].
//!
//! Invariant: nothing is written but an ImageSquashJob that the user names; `policy test` writes nothing.

mod commands;
mod connect;
mod error;
mod follow;
mod job;
mod policies;
mod policy_test;
mod reports;
mod table;

pub(crate) use commands::run;
pub(crate) use error::Error;

use crate::settings::ProgressStyle;

/// What the command's shared options say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// Print one JSON object instead of text.
    pub(crate) json: bool,
    /// How progress is shown, on standard error.
    pub(crate) progress: ProgressStyle,
}
