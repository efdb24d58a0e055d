//! `/livez`, `/readyz` and `/metrics`.
//!
//! Live: the process' own loop ticks. Ready: caches are synced, or it stands by; a standby that were not
//! ready would hold up a rolling update for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use unbloat_endpoint::Answer;

/// The loop ticks every few seconds; one that has been silent for this long hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// What probes ask about.
#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    tick: AtomicU64,
    ready: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self { start: Instant::now(), tick: AtomicU64::new(0), ready: AtomicBool::new(false) }
    }
}

impl Health {
    /// The loop is alive.
    pub(crate) fn tick(&self) {
        self.tick.store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Standing by, or synced.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn is_live(&self) -> bool {
        let silent = self.start.elapsed().as_secs().saturating_sub(self.tick.load(Ordering::Relaxed));
        silent < SILENCE.as_secs()
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Answers a GET request.
pub(crate) fn answer(path: &str, health: &Health, registry: &RwLock<Registry>) -> Answer {
    match path {
        "/livez" => Answer::probe(health.is_live()),
        "/readyz" => Answer::probe(health.is_ready()),
        "/metrics" => {
            let mut text = String::new();
            let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
            match prometheus_client::encoding::text::encode(&mut text, &registry) {
                Ok(()) => Answer::ok("application/openmetrics-text; version=1.0.0; charset=utf-8", text),
                Err(error) => Answer { status: 500, content_type: "text/plain", body: error.to_string() },
            }
        }
        _ => Answer::not_found("try /livez, /readyz or /metrics"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::RuntimeMetrics;

    #[test]
    fn probes_follow_the_state_and_unknown_paths_are_told_what_there_is() {
        let health = Health::default();
        let registry = RwLock::new(Registry::default());
        let get = |path: &str| answer(path, &health, &registry);
        assert_eq!(get("/livez").status, 200);
        assert_eq!(get("/readyz").status, 503);
        health.set_ready(true);
        assert_eq!(get("/readyz").status, 200);
        assert_eq!(get("/metrics").status, 200);
        assert_eq!(get("/").status, 404);
    }

    #[test]
    fn the_process_tells_its_memory() {
        let mut registry = Registry::default();
        RuntimeMetrics::new(&mut registry).sample_memory();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
