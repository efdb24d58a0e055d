//! Metrics of the operator. Names mirror controller-runtime's with our prefix; no label holds the name of an image, a pod
//! or an object.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Reconciles by result: `success`, `error`, `panic`.
    pub reconciles: Family<ResultLabel, Counter>,
    /// Seconds that a reconcile took.
    pub reconcile_seconds: Histogram,
    /// Reconciles that run now.
    pub active: Gauge,
    /// Writes to the API server by verb and kind.
    pub api_writes: Family<WriteLabels, Counter>,
    /// ImageSquashJobs by state: `queued`, `running`, `retrying`, `suspended`, `succeeded`, `failed`.
    pub jobs: Family<StateLabel, Gauge>,
    /// Jobs that ended, by result and reason.
    pub finished: Family<EndLabels, Counter>,
    /// Attempts that failed, by reason.
    pub failed_attempts: Family<ReasonLabel, Counter>,
    /// Compressed bytes that squashes saved; a squash that made an image larger adds nothing.
    pub reclaimed_bytes: Counter,
    /// Seconds from a successful squash's start to its end, as its worker measured it.
    pub squash_seconds: Histogram,
    /// Seconds from a job's creation to its first attempt.
    pub queue_seconds: Histogram,
    /// 1 on the replica that leads.
    pub leader: Gauge,
    /// Bytes of memory that the process has in use.
    pub resident: Gauge,
}

/// Result of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabel {
    /// `success`, `error` or `panic`.
    pub result: &'static str,
}

/// A write to the API server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct WriteLabels {
    /// `create`, `delete` or `patch`.
    pub verb: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
}

/// State of a job.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabel {
    /// The state.
    pub state: &'static str,
}

/// End of a job.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndLabels {
    /// `succeeded` or `failed`.
    pub result: &'static str,
    /// Reason of the condition.
    pub reason: &'static str,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabel {
    /// Reason of the failure.
    pub reason: &'static str,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        // 1 ms to 16 s for reconciles, 1 s to 18 h for squashes and queues.
        let seconds = |start: f64, length: u16| Histogram::new(exponential_buckets(start, 2.0, length));
        let metrics = Self {
            reconciles: Family::default(),
            reconcile_seconds: seconds(0.001, 15),
            active: Gauge::default(),
            api_writes: Family::default(),
            jobs: Family::default(),
            finished: Family::default(),
            failed_attempts: Family::default(),
            reclaimed_bytes: Counter::default(),
            squash_seconds: seconds(1.0, 17),
            queue_seconds: seconds(1.0, 17),
            leader: Gauge::default(),
            resident: Gauge::default(),
        };
        let Metrics {
            reconciles,
            reconcile_seconds,
            active,
            api_writes,
            jobs,
            finished,
            failed_attempts,
            reclaimed_bytes,
            squash_seconds,
            queue_seconds,
            leader,
            resident,
        } = metrics.clone();
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
        ours.register("jobs", "ImageSquashJobs by state", jobs);
        ours.register("jobs_finished", "ImageSquashJobs that ended", finished);
        ours.register("attempts_failed", "Attempts that failed", failed_attempts);
        ours.register_with_unit(
            "reclaimed",
            "Compressed bytes that squashes saved",
            Unit::Bytes,
            reclaimed_bytes,
        );
        ours.register_with_unit(
            "squash_duration",
            "Time of a successful squash",
            Unit::Seconds,
            squash_seconds,
        );
        ours.register_with_unit(
            "queue_wait",
            "Time from creation to the first attempt",
            Unit::Seconds,
            queue_seconds,
        );
        ours.register("leader", "1 on the replica that leads", leader);
        registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, resident);
        metrics
    }

    /// Reads the process' own memory; 0 where the system doesn't tell.
    pub fn sample_memory(&self) {
        /// `/proc/self/statm` counts in pages; Linux on x86-64 and on most of arm64 has 4 KiB ones.
        const PAGE: i64 = 4096;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: i64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        self.resident.set(pages * PAGE);
    }
}
