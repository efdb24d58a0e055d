//! Since when a worker's figures have not changed.
//!
//! Kept in memory: an operator that starts begins to count anew, so that its own absence is never taken for a
//! worker's.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use unbloat_contract::ProgressReport;

/// What was last seen of each worker, by its Job's uid.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<HashMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    figures: u64,
    since: Timestamp,
}

impl Idle {
    /// Seconds since this worker's figures changed. A worker that doesn't answer changes nothing.
    pub(super) fn seconds(&self, worker: &str, report: Option<&ProgressReport>, now: Timestamp) -> i64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = report.map(figures);
        let last = seen
            .entry(worker.to_owned())
            .or_insert_with(|| Seen { figures: figures.unwrap_or_default(), since: now });
        if figures.is_some_and(|figures| figures != last.figures) {
            *last = Seen { figures: figures.unwrap_or_default(), since: now };
        }
        now.as_second() - last.since.as_second()
    }

    /// Forgets workers that are gone.
    pub(super) fn sweep(&self, workers: &HashSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| workers.contains(uid));
    }
}

/// All but the time, which always changes, and what is being tried again, which is no progress.
fn figures(report: &ProgressReport) -> u64 {
    let ProgressReport { version: _, source_digest, percent, elapsed_seconds: _, trouble: _, snapshot } =
        report;
    let mut hasher = DefaultHasher::new();
    (source_digest, percent, format!("{snapshot:?}")).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbloat_contract::Snapshot;

    #[test]
    fn only_figures_that_change_are_progress() {
        let idle = Idle::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let report = |bytes_read, elapsed_seconds| ProgressReport {
            elapsed_seconds,
            snapshot: Snapshot { bytes_read, ..Snapshot::default() },
            ..ProgressReport::default()
        };
        assert_eq!(idle.seconds("w", Some(&report(5, 1)), at(0)), 0);
        assert_eq!(idle.seconds("w", Some(&report(5, 2)), at(100)), 100);
        assert_eq!(idle.seconds("w", None, at(150)), 150);
        assert_eq!(idle.seconds("w", Some(&report(6, 160)), at(160)), 0);
        assert_eq!(idle.seconds("other", None, at(160)), 0);
        idle.sweep(&HashSet::new());
        assert_eq!(idle.seconds("w", None, at(500)), 0);
    }
}
