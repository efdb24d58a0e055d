//! Metrics of ImageSquashJobs. Only the leader has them: a standby would show zeros that mean nothing.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::runtime::metrics::seconds;

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct JobMetrics {
    /// ImageSquashJobs by state: `queued`, `running`, `retrying`, `suspended`, `succeeded`, `failed`.
    pub(crate) jobs: Family<StateLabel, Gauge>,
    /// Jobs that ended, by result and reason.
    pub(crate) finished: Family<EndLabels, Counter>,
    /// Attempts that failed, by reason.
    pub(crate) failed_attempts: Family<ReasonLabel, Counter>,
    /// Compressed bytes that squashes saved; a squash that made an image larger adds nothing.
    pub(crate) reclaimed_bytes: Counter,
    /// Seconds from a successful squash's start to its end, as its worker measured it.
    pub(crate) squash_seconds: Histogram,
    /// Seconds from a job's creation to its first attempt.
    pub(crate) queue_seconds: Histogram,
}

/// State of a job.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StateLabel {
    /// The state.
    pub(crate) state: &'static str,
}

/// End of a job.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct EndLabels {
    /// `succeeded` or `failed`.
    pub(crate) result: &'static str,
    /// Reason of the condition.
    pub(crate) reason: &'static str,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    /// Reason of the failure.
    pub(crate) reason: &'static str,
}

impl JobMetrics {
    /// Makes and registers them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            jobs: Family::default(),
            finished: Family::default(),
            failed_attempts: Family::default(),
            reclaimed_bytes: Counter::default(),
            // 1 s to 18 h.
            squash_seconds: seconds(1.0, 17),
            queue_seconds: seconds(1.0, 17),
        };
        let Self { jobs, finished, failed_attempts, reclaimed_bytes, squash_seconds, queue_seconds } =
            metrics.clone();
        let ours = registry.sub_registry_with_prefix("unbloat");
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
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_products_prefix_and_their_units() {
        let mut registry = Registry::default();
        JobMetrics::new(&mut registry).reclaimed_bytes.inc_by(7);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("unbloat_reclaimed_bytes_total 7"), "{text}");
    }
}
