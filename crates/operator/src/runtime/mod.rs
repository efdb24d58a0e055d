//! What every controller of the operator stands on, whatever kind of object it is about.
//!
//! What happens here: calls to the API server under the lease and a time limit ([`calls`]), caches that one
//! unreadable object can't stop ([`cache`]), reconciles that a panic ends alone ([`reconciler`]), the lease,
//! health and the process' own metrics. What does not: nothing here knows an ImageSquashJob, nor what its
//! status means.
//!
//! Invariants: nothing is written without a valid lease; no object in the cluster, however it looks, ends a
//! watch or a loop.

pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod distribution;
pub(crate) mod health;
pub(crate) mod lease;
pub(crate) mod metrics;
pub(crate) mod reconciler;
pub(crate) mod tolerant;
pub(crate) mod written;
