//! One task in a pod: a typed spec file in; progress, a termination message and an exit code out.
//!
//! What happens here: the spec and the mounted credentials are read, the source is pinned to a digest, one
//! task runs, its end is written down. What does not: merging (the `squash` crate), deciding whether to try
//! again (the operator).
//!
//! Invariants:
//! - every end leaves a termination message, unless the kernel ends the process;
//! - SIGTERM ends it within a second, and what was not published by then is not published;
//! - no secret reaches an argument, a log line or the termination message;
//! - it needs no Kubernetes token, no root, no capability, and writes to its scratch volume alone.
//!
//! # Where to look
//! What is read at the start: `spec`, `credentials`; the source and its digest: `source`; the tasks: `run`,
//! `analysis`; what is left at the end, and the exit code: `termination`, `failure`; progress and metrics:
//! `endpoint`.
//!
//! # Example
//! ```
//! use clap::Parser;
//! use unbloat_contract::SquashRequest;
//! use unbloat_contract::worker::{CONTRACT_VERSION, Task, Termination, TERMINATION_LIMIT, WorkerSpec};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (spec_path, termination) = (folder.path().join("spec.json"), folder.path().join("termination"));
//! let request = SquashRequest::new("oci:/nowhere:v1", "oci:/nowhere:flat");
//! let task = Task::Squash(Box::new(request));
//! let version = CONTRACT_VERSION;
//! let spec = WorkerSpec { version, task, plain_http_hosts: Vec::new(), credentials: Vec::new() };
//! std::fs::write(&spec_path, serde_json::to_vec(&spec)?)?;
//! let args = unbloat_worker::args::Args::parse_from([
//!     "unbloat-worker".as_ref(),
//!     "--spec".as_ref(),
//!     spec_path.as_os_str(),
//!     "--termination".as_ref(),
//!     termination.as_os_str(),
//!     "--address=127.0.0.1:0".as_ref(),
//! ]);
//! unbloat_worker::run(args).await?;
//!
//! // However it ended, it says so where Kubernetes looks.
//! let message = std::fs::read(&termination)?;
//! assert!(message.len() <= TERMINATION_LIMIT);
//! let _: Termination = serde_json::from_slice(&message)?;
//! # Ok(())
//! # }
//! ```

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
