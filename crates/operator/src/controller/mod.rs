//! The controller: caches, queue and reconcile; the only part with a client.
//!
//! Expected flow: three reflectors keep ImageSquashJobs, worker Jobs and worker pods, and send the ImageSquashJob that each
//! change is about into one queue; [`reconcile`](reconcile::reconcile) takes them, a bounded number at once.
//!
//! Guarantees: no reconcile before all three caches are synced, so that a restarted operator doesn't take a running worker
//! for a missing one; none without a valid lease; a panic in one ends that turn alone.
//!
//! Caveats: caches lag behind our own writes. What was written last is remembered in [`memory::Memory`] and wins over an
//! older version from the cache.

mod apply;
mod context;
mod departed;
mod memory;
mod observe;
mod progress;
mod reconcile;
mod resolve;
mod run;
mod watch;

pub use context::{Context, Settings};
pub use resolve::Resolver;
pub use run::run;
