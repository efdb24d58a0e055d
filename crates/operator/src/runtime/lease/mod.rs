//! Who of several operators works: a `coordination.k8s.io` Lease, held by one at a time.
//!
//! Expected flow: every replica runs an [`Elector`]; the one whose write of the lease succeeds is the leader
//! and renews it. A write carries the resource version that was read, so that of two candidates one gets a
//! conflict.
//!
//! Guarantees: a leader stops believing in itself before another can take over, whatever the network does.
//! Its lease is counted from *before* the request that renewed it was sent, others count from when they *saw*
//! the last change, which is later; and [`Leadership::is_valid`] is asked at each use, not remembered.
//!
//! Assumptions: the monotonic clocks of two nodes run at the same speed to within [`SAFETY`]. Wall clocks may
//! differ at will: the times in the lease are for people.
//!
//! A leader that loses the lease ends its process: no reconcile that is half way can be trusted to stop
//! otherwise.

mod elector;
mod view;

pub(crate) use elector::{Elector, Leadership};
use view::{Claim, Sighting, decide};

use std::time::Duration;

/// Times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// How long a lease is good for after its last change was seen.
    pub(crate) duration: Duration,
    /// How often the leader renews and the others look.
    pub(crate) period: Duration,
    /// Limit of one request to the API server.
    pub(crate) request: Duration,
}

impl Default for Times {
    /// The numbers of Kubernetes' own components, with a request limit that leaves room for two tries before
    /// the end.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            period: Duration::from_secs(2),
            request: Duration::from_secs(4),
        }
    }
}

/// A leader ends this much before its lease does: room for clocks that run at different speeds and for a
/// write that was sent in the last moment.
pub(crate) const SAFETY: Duration = Duration::from_secs(3);
