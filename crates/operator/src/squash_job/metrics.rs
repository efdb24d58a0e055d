//! Metrics of ImageSquashJobs. Only the leader has them: a standby would show zeros that mean nothing.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use unbloat_api::ImageSquashJobStatus;
use unbloat_api::squash_job::ImageFigures;

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
    /// Bytes that squashes gave back: compressed ones that a node no longer pulls (`pull`), and unpacked ones
    /// that its disk no longer holds (`unpacked`). A squash that made an image larger adds nothing.
    pub(crate) reclaimed_bytes: Family<KindLabel, Counter>,
    /// Compressed bytes of the sources that were read and the results that were written.
    pub(crate) registry_bytes: Family<DirectionLabel, Counter>,
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

/// What bytes are.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct KindLabel {
    /// `pull` or `unpacked`.
    pub(crate) kind: &'static str,
}

/// Which way bytes go.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DirectionLabel {
    /// `read` or `written`.
    pub(crate) direction: &'static str,
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
            reclaimed_bytes: Family::default(),
            registry_bytes: Family::default(),
            // 1 s to 18 h.
            squash_seconds: seconds(1.0, 17),
            queue_seconds: seconds(1.0, 17),
        };
        let Self {
            jobs,
            finished,
            failed_attempts,
            reclaimed_bytes,
            registry_bytes,
            squash_seconds,
            queue_seconds,
        } = metrics.clone();
        let ours = registry.sub_registry_with_prefix("unbloat");
        ours.register("jobs", "ImageSquashJobs by state", jobs);
        ours.register("jobs_finished", "ImageSquashJobs that ended", finished);
        ours.register("attempts_failed", "Attempts that failed", failed_attempts);
        ours.register_with_unit("reclaimed", "Bytes that squashes gave back", Unit::Bytes, reclaimed_bytes);
        ours.register_with_unit(
            "registry",
            "Compressed bytes of sources read and results written",
            Unit::Bytes,
            registry_bytes,
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

    /// Makes one of each family, as an empty one isn't exported.
    #[cfg(test)]
    pub(crate) fn touch(&self) {
        drop(self.jobs.get_or_create(&StateLabel { state: "" }));
        drop(self.finished.get_or_create(&EndLabels { result: "", reason: "" }));
        drop(self.failed_attempts.get_or_create(&ReasonLabel { reason: "" }));
        self.squashed(&ImageSquashJobStatus::default());
    }

    /// Counts what a job that ended well gave back and moved.
    pub(crate) fn squashed(&self, status: &ImageSquashJobStatus) {
        let count = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let of = |figures: &Option<ImageFigures>, what: fn(&ImageFigures) -> Option<i64>| {
            figures.as_ref().and_then(what)
        };
        let unpacked = |figures| of(figures, |figures| figures.unpacked_bytes);
        let saved = unpacked(&status.source).zip(unpacked(&status.target));
        for (kind, bytes) in
            [("pull", status.reclaimed_bytes), ("unpacked", saved.map(|(before, after)| before - after))]
        {
            self.reclaimed_bytes.get_or_create(&KindLabel { kind }).inc_by(count(bytes));
        }
        // What was flat already moved nothing.
        let moved = status.progress.as_ref().filter(|_| {
            status.source.as_ref().map(|source| &source.digest)
                != status.target.as_ref().map(|target| &target.digest)
        });
        for (direction, bytes) in [
            ("read", moved.map(|progress| progress.bytes_read)),
            ("written", moved.map(|progress| progress.bytes_written)),
        ] {
            self.registry_bytes.get_or_create(&DirectionLabel { direction }).inc_by(count(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_squash_counts_what_it_gave_back_and_moved() {
        let mut registry = Registry::default();
        let metrics = JobMetrics::new(&mut registry);
        let status = |digest: &str| {
            serde_json::from_value(serde_json::json!({
                "reclaimedBytes": 7,
                "source": {"digest": "a", "unpackedBytes": 50},
                "target": {"digest": digest, "unpackedBytes": 20},
                "progress": {"percent": 100, "summary": "100%", "bytesRead": 10, "bytesTotal": 10, "bytesWritten": 3},
            }))
            .unwrap()
        };
        metrics.squashed(&status("b"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"unbloat_reclaimed_bytes_total{kind="pull"} 7"#,
            r#"unbloat_reclaimed_bytes_total{kind="unpacked"} 30"#,
            r#"unbloat_registry_bytes_total{direction="read"} 10"#,
            r#"unbloat_registry_bytes_total{direction="written"} 3"#,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        metrics.squashed(&status("a"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"unbloat_registry_bytes_total{direction="read"} 10"#), "{text}");
    }
}
