//! One task in a pod: a typed spec file in; progress, a termination message and an exit code out.
//!
//! What happens here: the spec and the mounted credentials are read, the source is pinned to a digest, one task runs, its
//! end is written down. What does not: merging (the `squash` crate), deciding whether to try again (the operator).
//!
//! Invariants:
//! - every end leaves a termination message, unless the kernel ends the process;
//! - SIGTERM ends it within a second, and what was not published by then is not published;
//! - no secret reaches an argument, a log line or the termination message;
//! - it needs no Kubernetes token, no root, no capability, and writes to its scratch volume alone.

mod analysis;
pub mod args;
mod credentials;
mod endpoint;
mod failure;
mod run;
mod source;
mod spec;
mod termination;

pub use run::run;
