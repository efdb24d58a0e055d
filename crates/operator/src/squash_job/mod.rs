//! ImageSquashJob: one squash of one image, carried out by a worker's `batch/v1` Job for each attempt.
//!
//! Expected flow: [`caches`] keep ImageSquashJobs, worker Jobs and worker pods, and queue the ImageSquashJob
//! that each change is about; [`reconcile`] takes them: [`observe`] -> [`decide`] -> [`build`] -> [`apply`]
//! -> report.
//!
//! Guarantees: no reconcile before all three caches are synced, so that a restarted operator doesn't take a
//! running worker for a missing one; none without a valid lease.
//!
//! Where to look: why a job has its reason, [`decide`], [`outcome`], [`plan`] (a spec that is refused) and
//! [`reconcile`] (one that can't be read); who may start, [`places`]; what a
//! worker's pod looks like, [`build`]; what is believed of what workers and tenants write, [`world`] and
//! [`testimony`].

mod apply;
mod backoff;
pub(crate) mod build;
mod caches;
mod context;
mod controller;
mod decide;
mod departed;
mod figures;
mod idle;
pub(crate) mod metrics;
mod observe;
mod outcome;
mod places;
pub(crate) mod plan;
mod progress;
mod reconcile;
mod resolve;
mod testimony;
mod units;
mod world;

#[cfg(test)]
pub(crate) mod fixtures;

pub(crate) use caches::drop_patterns;
pub(crate) use controller::run;
