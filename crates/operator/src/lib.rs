//! The operator: `observe -> decide -> build -> apply -> report`.
//!
//! What happens here: ImageSquashJobs are turned into worker Jobs, followed, and reported on. What does not: merging layers
//! (the worker does it) and anything that needs the clock, the network or a client below [`controller`] and [`lease`].
//!
//! Invariants:
//! - decisions are pure functions of what was observed, the configuration and the time;
//! - at most one worker runs for a job, and never more than the limits allow, also across restarts and changes of leader;
//! - nothing is written when nothing changed, and the status is written in one place;
//! - a secret is never read: workers mount them.

pub mod args;
pub mod backoff;
pub mod build;
pub mod config;
pub mod controller;
pub mod decide;
pub mod health;
pub mod human;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod outcome;
pub mod plan;
pub mod quantity;
pub mod queue;
pub mod report;
pub mod run;

#[cfg(test)]
mod fixtures;
