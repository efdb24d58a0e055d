//! Metrics of the process and its controllers. Names mirror controller-runtime's with our prefix; no label
//! holds the name of an image, a pod or an object.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeMetrics {
    /// Reconciles by result: `success`, `error`, `panic`.
    pub(crate) reconciles: Family<ResultLabel, Counter>,
    /// Seconds that a reconcile took.
    pub(crate) reconcile_seconds: Histogram,
    /// Reconciles that run now.
    pub(crate) active: Gauge,
    /// Writes to the API server by verb and kind.
    pub(crate) api_writes: Family<WriteLabels, Counter>,
    /// 1 on the replica that leads.
    pub(crate) leader: Gauge,
    /// Bytes of memory that the process has in use.
    pub(crate) resident: Gauge,
}

/// Result of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    /// `success`, `error` or `panic`.
    pub(crate) result: &'static str,
}

/// A write to the API server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WriteLabels {
    /// `create`, `delete` or `patch`.
    pub(crate) verb: &'static str,
    /// Kind of the object.
    pub(crate) kind: &'static str,
}

/// A histogram of seconds: `length` buckets, each twice as wide as the one before.
pub(crate) fn seconds(first: f64, length: u16) -> Histogram {
    Histogram::new(exponential_buckets(first, 2.0, length))
}

impl RuntimeMetrics {
    /// Makes and registers them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            // 1 ms to 16 s.
            reconcile_seconds: seconds(0.001, 15),
            active: Gauge::default(),
            api_writes: Family::default(),
            leader: Gauge::default(),
            resident: Gauge::default(),
        };
        let Self { reconciles, reconcile_seconds, active, api_writes, leader, resident } = metrics.clone();
        let ours = registry.sub_registry_with_prefix("unbloat");
        ours.register("controller_reconcile", "Reconciles by result", reconciles);
        ours.register_with_unit(
            "controller_reconcile_time",
            "Time of a reconcile",
            Unit::Seconds,
            reconcile_seconds,
        );
        ours.register("controller_active_workers", "Reconciles that run now", active);
        ours.register("api_writes", "Writes to the API server", api_writes);
        ours.register("leader", "1 on the replica that leads", leader);
        registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, resident);
        metrics
    }

    /// Makes one of each family, as an empty one isn't exported.
    #[cfg(test)]
    pub(crate) fn touch(&self) {
        drop(self.reconciles.get_or_create(&ResultLabel { result: "" }));
        drop(self.api_writes.get_or_create(&WriteLabels { verb: "", kind: "" }));
    }

    /// Reads the process' own memory; 0 where the system doesn't tell.
    pub(crate) fn sample_memory(&self) {
        /// `/proc/self/statm` counts in pages; Linux on x86-64 and on most of arm64 has 4 KiB ones.
        const PAGE: i64 = 4096;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: i64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        self.resident.set(pages * PAGE);
    }
}
