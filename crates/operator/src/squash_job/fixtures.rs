//! Short ways to jobs and configurations, for tests.

use serde_json::{Value, json};
use unbloat_api::ImageSquashJob;
use unbloat_contract::worker::{CONTRACT_VERSION, Outcome, Termination};
use unbloat_contract::{Figures, SquashResult};

use crate::config::Config;

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.worker.image = "reg.example/worker:1".to_owned();
    config.resolve_registries = vec!["a.example".to_owned()];
    config
}

pub(crate) fn job() -> ImageSquashJob {
    job_with(&json!({"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"}}))
}

pub(crate) fn job_with(spec: &Value) -> ImageSquashJob {
    serde_json::from_value(json!({
        "apiVersion": "unbloat.dev/v1alpha1",
        "kind": "ImageSquashJob",
        "metadata": {"name": "job", "namespace": "team", "uid": "uid-1", "generation": 3,
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }))
    .expect("a valid job")
}

/// Digest of the image that [`job`] reads.
pub(crate) const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";
/// Digest of what becomes of it.
pub(crate) const RESULT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// What a worker leaves that has carried out [`job`].
pub(crate) fn squashed(warnings: Vec<String>) -> Termination {
    let figures = Figures {
        source_digest: DIGEST.into(),
        digest: RESULT.into(),
        layers_before: 272,
        layers_after: 2,
        compressed_bytes_before: 221_000_000,
        compressed_bytes_after: 3_100_000,
        ..Figures::default()
    };
    let result = SquashResult {
        figures,
        reference: format!("a.example/b:d@{RESULT}"),
        reclaimed_bytes: 217_900_000,
        duration_seconds: 11.2,
        warnings,
        ..SquashResult::default()
    };
    Termination { version: CONTRACT_VERSION, outcome: Outcome::Squashed(result) }
}
