//! The operator: turns custom resources into workers' Jobs, follows them, and reports.
//!
//! What happens here: each resource has a folder, and all of them go the same way, `observe -> decide -> build -> apply ->
//! report`: [`squash_job`] runs squashes. What they stand on is in [`runtime`]. What does not happen here: merging layers (the
//! worker does it); and no clock, no network, no client below a folder's edges.
//!
//! Invariants:
//! - decisions are pure functions of what was observed, the configuration and the time;
//! - at most one worker runs for a job, and never more than the limits allow, also across restarts and changes of leader;
//! - nothing is written when nothing changed, and the status is written in one place;
//! - nothing that a tenant may write is taken for what the operator wrote;
//! - a secret is never read: workers mount them.

mod args;
mod config;
mod process;
mod quantity;
mod runtime;
mod squash_job;

pub use args::Args;
pub use process::run;
