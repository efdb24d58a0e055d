//! `/progress`, `/metrics` and `/healthz`.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use unbloat_api::worker::{CONTRACT_VERSION, ProgressReport};
use unbloat_endpoint::Answer;
use unbloat_squash::{Progress, Snapshot, Stage};

/// What the endpoint shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) progress: Arc<Progress>,
    pub(crate) source_digest: Arc<OnceLock<String>>,
    pub(crate) start: Instant,
}

impl Shown {
    pub(crate) fn answer(&self, path: &str) -> Answer {
        match path {
            "/progress" => match serde_json::to_string(&self.report()) {
                Ok(text) => Answer::ok("application/json", text),
                Err(error) => Answer { status: 500, content_type: "text/plain", body: error.to_string() },
            },
            "/metrics" => {
                Answer::ok("text/plain; version=0.0.4; charset=utf-8", metrics(&self.progress.snapshot()))
            }
            "/healthz" => Answer::probe(true),
            _ => Answer::not_found("try /progress, /metrics or /healthz"),
        }
    }

    fn report(&self) -> ProgressReport {
        let snapshot = self.progress.snapshot();
        let stage = match snapshot.stage {
            Stage::Resolving => "resolving",
            Stage::Merging => "merging",
            Stage::Analyzing => "analyzing",
            Stage::CopyingBase => "copyingBase",
            Stage::Verifying => "verifying",
            Stage::Publishing => "publishing",
            Stage::Finished => "done",
        };
        ProgressReport {
            version: CONTRACT_VERSION,
            stage: stage.to_owned(),
            source_digest: self.source_digest.get().cloned(),
            percent: percent(&snapshot),
            bytes_read: snapshot.bytes_read,
            bytes_total: snapshot.bytes_total,
            bytes_written: snapshot.bytes_written,
            layers_done: snapshot.layers_done,
            layers_total: snapshot.layers_total,
            elapsed_seconds: self.start.elapsed().as_secs(),
        }
    }
}

/// Reading is what takes the time; the last tenth is for what comes after it.
fn percent(snapshot: &Snapshot) -> u8 {
    if snapshot.stage == Stage::Finished {
        return 100;
    }
    let read =
        (snapshot.bytes_read.min(snapshot.bytes_total) * 90).checked_div(snapshot.bytes_total).unwrap_or(0);
    u8::try_from(read).unwrap_or(90)
}

fn metrics(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for (name, help, value) in [
        ("read_bytes", "Compressed bytes read from the source", snapshot.bytes_read),
        ("source_bytes", "Compressed bytes that the source has", snapshot.bytes_total),
        ("unpacked_bytes", "Bytes that layers unpacked to", snapshot.bytes_unpacked),
        ("written_bytes", "Compressed bytes of the result", snapshot.bytes_written),
        ("layers_done", "Layers that are completely read", snapshot.layers_done),
        ("layers", "Layers that the source has", snapshot.layers_total),
    ] {
        // Writing to a string can't fail.
        let _ = write!(text, "# HELP unbloat_worker_{name} {help}\n# TYPE unbloat_worker_{name} gauge\n");
        let _ = writeln!(text, "unbloat_worker_{name} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_follows_the_bytes_and_is_complete_only_at_the_end() {
        let at = |bytes_read, bytes_total, stage| {
            percent(&Snapshot { bytes_read, bytes_total, stage, ..Snapshot::default() })
        };
        assert_eq!(at(0, 0, Stage::Resolving), 0);
        assert_eq!(at(50, 100, Stage::Merging), 45);
        assert_eq!(at(200, 100, Stage::Verifying), 90);
        assert_eq!(at(100, 100, Stage::Finished), 100);
    }

    #[test]
    fn progress_is_what_the_operator_reads() {
        let shown = Shown { progress: Arc::default(), source_digest: Arc::default(), start: Instant::now() };
        let report: ProgressReport = serde_json::from_str(&shown.answer("/progress").body).unwrap();
        assert_eq!((report.version, report.stage.as_str()), (CONTRACT_VERSION, "resolving"));
        assert!(shown.answer("/metrics").body.contains("unbloat_worker_layers 0\n"));
        assert_eq!(shown.answer("/").status, 404);
    }
}
