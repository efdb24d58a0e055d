//! The commands of `unbloat` that speak to a cluster: `run`, `get`, `watch`, `logs`, `cancel`.
//!
//! What happens here: flags become an ImageSquashJob, its status becomes a progress bar, its end becomes an exit code. What
//! does not: parsing of the options that every command has; they come in as [`Shared`].
//!
//! Invariant: nothing is read but ImageSquashJobs and, where the user may, the worker's pod.

mod args;
mod commands;
mod connect;
mod error;
mod follow;
mod job;
mod table;

pub(crate) use args::{ClusterCommand, Shared};
pub(crate) use commands::run;
pub(crate) use error::Error;
