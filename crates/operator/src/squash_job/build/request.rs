//! The squash request that a worker gets.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use unbloat_api::ImageSquashJobSpec;
use unbloat_api::squash_job::Base;
use unbloat_contract::worker::SCRATCH_PATH;
use unbloat_contract::{Condition, Limits, Shape, SquashRequest};
use unbloat_oci::{Digest, Reference};
use unbloat_policy::quantity;

use crate::squash_job::decide::Attempt;
use crate::squash_job::plan::{Plan, WorkerSettings};

/// The engine's buffers get half of the worker's memory: the other half is for path bookkeeping (150 bytes a
/// path) and the process itself.
const BUFFER_SHARE: u64 = 2;
/// Fewer bytes than this and the codec windows alone would not fit.
const LEAST_BUFFERS: u64 = 16 << 20;

/// Builds it.
pub(super) fn request(spec: &ImageSquashJobSpec, attempt: &Attempt) -> SquashRequest {
    let Plan { source, target, worker } = &attempt.plan;
    SquashRequest {
        source: pinned(source, attempt.source_digest.as_deref()).to_string(),
        destination: target.to_string(),
        limits: limits(worker),
        // Whoever waits for the target finds the image there, also when there was nothing to merge.
        copy_flat: (source.name(), source.tag()) != (target.name(), target.tag()),
        ..asked(spec)
    }
}

/// What the spec alone says, without the places that the plan knows.
pub(crate) fn asked(spec: &ImageSquashJobSpec) -> SquashRequest {
    let ImageSquashJobSpec {
        source: _,
        target: _,
        service_account_name: _,
        remove,
        truncate,
        strict,
        base,
        shape,
        condition,
        platforms,
        compression,
        level,
        format,
        verify,
        suspend: _,
        backoff_limit: _,
        active_deadline_seconds: _,
        ttl_seconds_after_finished: _,
        worker: _,
    } = spec;
    SquashRequest {
        source: String::new(),
        destination: String::new(),
        remove: remove.clone(),
        truncate: truncate.clone(),
        strict: *strict,
        base: base.as_ref().and_then(kept_layers),
        shape: shape.as_ref().map(shaped).unwrap_or_default(),
        condition: condition.as_ref().map(worth_it).unwrap_or_default(),
        force: false,
        copy_flat: false,
        platforms: platforms.clone(),
        compression: *compression,
        level: *level,
        format: *format,
        verify: *verify,
        dry_run: false,
        follow_symlinked_parents: false,
        allow_foreign: false,
        limits: Limits::default(),
    }
}

/// The reference with tag and digest: the digest is what is read, the tag is what must still point at it.
fn pinned(source: &Reference, digest: Option<&str>) -> Reference {
    match digest.and_then(|digest| digest.parse::<Digest>().ok()) {
        Some(digest) => source.with_digest(digest),
        None => source.clone(),
    }
}

fn kept_layers(base: &Base) -> Option<unbloat_contract::Base> {
    match (base.layers, &base.image) {
        (Some(layers), _) => usize::try_from(layers).ok().map(unbloat_contract::Base::Layers),
        (None, Some(image)) => Some(unbloat_contract::Base::Image(image.clone())),
        (None, None) => None,
    }
}

fn worth_it(condition: &unbloat_api::squash_job::Condition) -> Condition {
    let unbloat_api::squash_job::Condition { min_layers, min_wasted_bytes } = condition;
    Condition {
        min_layers: min_layers.and_then(|least| u32::try_from(least).ok()),
        min_wasted_bytes: min_wasted_bytes.and_then(|least| u64::try_from(least).ok()),
    }
}

/// What the schema's rules refuse arrives at the worker as it is written, and is refused there.
fn shaped(shape: &unbloat_api::squash_job::Shape) -> Shape {
    let unbloat_api::squash_job::Shape { max_layers, max_waste_bytes, max_layer_size } = shape;
    let flat = Shape::default();
    let size = max_layer_size.as_deref().map(|size| quantity::bytes(&Quantity(size.to_owned())).unwrap_or(0));
    Shape {
        max_layers: u32::try_from(*max_layers).unwrap_or(0).max(1),
        max_waste_bytes: u64::try_from(*max_waste_bytes).unwrap_or(0),
        max_layer_size: size.unwrap_or(flat.max_layer_size),
    }
}

fn limits(worker: &WorkerSettings) -> Limits {
    let memory = quantity::bytes(&worker.memory).unwrap_or_default();
    let cores = quantity::thousandths(&worker.cpu).unwrap_or_default().div_euclid(1000).max(1);
    Limits {
        memory_bytes: (memory / BUFFER_SHARE).max(LEAST_BUFFERS),
        jobs: usize::try_from(cores).unwrap_or(1),
        scratch: Some(PathBuf::from(SCRATCH_PATH)),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::squash_job::fixtures::job_with;

    #[test]
    fn a_condition_arrives_at_the_worker() {
        let spec = json!({"source": {"image": "a"}, "target": {"moveTag": true},
            "condition": {"minLayers": 25, "minWastedBytes": 1024}});
        let condition = asked(&job_with(&spec).spec).condition;
        assert_eq!(condition, Condition { min_layers: Some(25), min_wasted_bytes: Some(1024) });
    }

    #[test]
    fn a_shape_arrives_at_the_worker_as_it_is_written() {
        let of = |shape: &serde_json::Value| {
            asked(
                &job_with(&json!({"source": {"image": "a"}, "target": {"image": "b"}, "shape": shape})).spec,
            )
            .shape
        };
        assert_eq!(of(&json!(null)), Shape::default());
        assert_eq!(of(&json!({"maxLayers": 1})), Shape::default());
        for shape in [
            json!({"maxLayers": 16}),
            json!({"maxWasteBytes": 5}),
            json!({"maxLayerSize": "1Gi"}),
            json!({"maxLayerSize": "x"}),
        ] {
            assert!(of(&shape).not_carried_out().is_some(), "{shape}");
        }
    }
}
