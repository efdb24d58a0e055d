//! `/progress`, `/metrics` and `/healthz`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use unbloat_contract::worker::CONTRACT_VERSION;
use unbloat_contract::{ProgressReport, Snapshot};
use unbloat_endpoint::Answer;
use unbloat_registry::Troubles;
use unbloat_squash::Progress;
use unbloat_text::{bounded, sanitize};

/// Bytes of what is told of a trouble.
const MOST_OF_A_TROUBLE: usize = 512;

/// What the endpoint shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) progress: Arc<Progress>,
    pub(crate) source_digest: Arc<OnceLock<String>>,
    pub(crate) start: Instant,
    /// What is being tried again.
    pub(crate) troubles: Troubles,
    /// The greatest percentage that was shown: another platform, or reading back, must not look like going
    /// backwards.
    pub(crate) percent: Arc<AtomicU8>,
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
        let percent = snapshot.percent();
        ProgressReport {
            version: CONTRACT_VERSION,
            source_digest: self.source_digest.get().cloned(),
            percent: self.percent.fetch_max(percent, Ordering::Relaxed).max(percent),
            elapsed_seconds: self.start.elapsed().as_secs(),
            trouble: self.troubles.longest().map(|words| bounded(&sanitize(&words), MOST_OF_A_TROUBLE)),
            snapshot,
        }
    }
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
    use unbloat_contract::Stage;

    use super::*;

    #[test]
    fn progress_is_what_the_operator_reads() {
        let shown = Shown {
            progress: Arc::default(),
            source_digest: Arc::default(),
            start: Instant::now(),
            troubles: Troubles::default(),
            percent: Arc::default(),
        };
        let report: ProgressReport = serde_json::from_str(&shown.answer("/progress").body).unwrap();
        assert_eq!((report.version, report.snapshot.stage), (CONTRACT_VERSION, Stage::Resolving));
        assert!(shown.answer("/metrics").body.contains("unbloat_worker_layers 0\n"));
        assert_eq!(shown.answer("/").status, 404);
    }
}
