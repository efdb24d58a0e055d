//! Finding what is bloated: observe -> decide -> apply -> report, for images, policies and their reports.
//!
//! What happens here: [`feeds`] keep small records of pods, owners, namespaces, policies, reports and
//! policies' jobs; [`round`] turns them into what is to be done, with the pure decision of `unbloat-policy`;
//! [`apply`] does it; [`inspect`] reads manifests at a pace, [`analysis`] has layers read, [`rollouts`]
//! points workloads at results, [`originals`] deletes what nothing refers to any more. What does not:
//! merging, and anything about one squash (`squash_job` follows those).
//!
//! Invariants: what must survive a restart is in reports, statuses and names; a registry is asked once for a
//! digest, and at most at the configured rate; nothing is written when nothing changed; secrets are read in
//! the operator's own namespace alone.

mod analysis;
mod apply;
mod credentials;
mod feeds;
mod inspect;
pub(crate) mod metrics;
mod originals;
mod pace;
mod rollouts;
mod round;
mod state;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use self::analysis::Analyzers;
use self::apply::Applier;
use self::inspect::Inspectors;
use self::metrics::DetectorMetrics;
use self::originals::Originals;
use self::rollouts::Rollouts;
use self::state::Shared as SharedState;
use crate::shared::Shared;

/// Changes that come within this time are one round: a Deployment's rollout is dozens of them.
const SETTLE: Duration = Duration::from_millis(300);
/// The longest that nothing is looked at.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs until the process is asked to stop.
pub(crate) async fn run(shared: Shared) {
    if !shared.config.detection.enabled || shared.namespace.is_some() {
        tracing::info!("detection is off: policies are of the cluster, and this operator is not");
        shared.stop.cancelled().await;
        return;
    }
    let state = Arc::new(SharedState::default());
    let feeds = feeds::start(&shared, &state);
    let metrics = DetectorMetrics::new(&shared.registry);
    let inspectors = Inspectors::new(&shared.config, Arc::clone(&state), metrics.clone());
    let analyzers = Analyzers::new(&shared, Arc::clone(&state), metrics.clone());
    let rollouts = Rollouts::new(&shared, Arc::clone(&state), inspectors.clone(), metrics.clone());
    let originals = Originals::new(&shared, Arc::clone(&state), inspectors.clone(), metrics.clone());
    let applier = Applier::new(&shared, Arc::clone(&state), inspectors, analyzers, rollouts, originals);
    let mut wake = Instant::now();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = state.changed() => sleep(SETTLE).await,
            () = sleep_until(wake) => {}
        }
        if !state.is_synced() {
            wake = Instant::now() + LONGEST;
            continue;
        }
        let now = Timestamp::now();
        let work = state.with(|state| round::round(state, &shared.config, now));
        metrics.show(&work.figures);
        let next = work.next;
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = applier.apply(work) => {}
        }
        let until = next.map_or(LONGEST, |next| {
            let seconds = next.as_second().saturating_sub(Timestamp::now().as_second()).max(0);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST)
        });
        wake = Instant::now() + until.max(Duration::from_secs(1));
    }
    for feed in feeds {
        feed.abort();
    }
}
