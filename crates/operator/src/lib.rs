//! The operator: turns custom resources into workers' Jobs, follows them, and reports.
//!
//! What happens here: each resource has a folder, and all of them go the same way, `observe -> decide ->
//! build -> apply -> report`: [`squash_job`] runs squashes, [`detector`] finds what is bloated and has it
//! squashed as policies say. What they stand on is in [`runtime`]. What does not happen here: merging layers
//! (the worker does it); and no clock, no network, no client below a folder's edges.
//!
//! Invariants:
//! - decisions are pure functions of what was observed, the configuration and the time;
//! - at most one worker runs for a job, and never more than the limits allow, also across restarts and
//!   changes of leader;
//! - nothing is written when nothing changed, and a kind's status is written by its reconcile alone;
//! - nothing that a tenant may write is taken for what the operator wrote;
//! - secrets are read in the operator's own namespace alone, for inspecting images; workers mount theirs.
//!
//! # Where to look
//! Why a job has its reason: `squash_job::decide` (with `draft`, which writes it, and `follow`, for a worker
//! that runs), `squash_job::outcome` (what a worker's end means) and `squash_job::testimony` (what of it is
//! believed); a spec that asks for too much is refused in `squash_job::plan`, a job that cannot be read in
//! `squash_job::reconcile`. The reasons themselves, with what to do, and which one a worker's failure is, are
//! in `unbloat_api::reason`. Which waiting jobs may start: `squash_job::places`, asked by way of
//! `squash_job::context`, which holds what is reserved. When an operator leads: `runtime::lease`. What is
//! made of pods and policies: `detector::round`; what it does in the cluster, writing reports included:
//! `detector::apply`. What the operator may do there: `xtask/src/rbac.rs`, written out by
//! `cargo xtask generate`.
//!
//! # Example
//! ```
//! use clap::Parser;
//! use unbloat_operator::Args;
//!
//! let args = Args::try_parse_from(["unbloat-operator", "--namespace=team", "--instance=a", "--lease-namespace=team"])?;
//! assert_eq!(args.namespace.as_deref(), Some("team"), "one namespace, so that no cluster role is needed");
//! assert!(!args.no_leader_election);
//! # Ok::<(), clap::Error>(())
//! ```

mod args;
mod config;
mod detector;
mod log;
mod process;
mod runtime;
mod shared;
mod squash_job;

pub use args::Args;
pub use log::log_filter;
pub use process::run;
