//! Short ways to jobs and configurations, for tests.

use serde_json::{Value, json};
use unbloat_api::ImageSquashJob;

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
