//! A job's spec, checked against what no schema can say: references, and the platform's limits on overrides.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use unbloat_api::Reason;
use unbloat_api::squash_job::{CloudIdentity, ImageSquashJobSpec, Scratch};
use unbloat_oci::Reference;
use unbloat_policy::quantity::{self, thousandths};

use crate::config::{CloudName, Config, MEMORY_FLOOR, Overrides};

/// What a valid job comes to. Only [`plan`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The image that is read, as the job names it.
    pub(crate) source: Reference,
    /// The reference that is written.
    pub(crate) target: Reference,
    /// What the worker's pod gets.
    pub(crate) worker: WorkerSettings,
}

/// What the worker's pod gets: the configuration with the job's overrides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkerSettings {
    /// Labels of the node.
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    pub(crate) tolerations: Vec<Toleration>,
    /// Priority class.
    pub(crate) priority_class_name: Option<String>,
    /// Processors, request and limit.
    pub(crate) cpu: Quantity,
    /// Memory, request and limit.
    pub(crate) memory: Quantity,
    /// The scratch volume.
    pub(crate) scratch: Scratch,
    /// Who the job's service account is in a cloud.
    pub(crate) cloud_identity: Option<CloudIdentity>,
}

/// Why a job can't be done, whatever happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A final reason.
    pub(crate) reason: Reason,
    /// The field, what is wrong, and what would be right.
    pub(crate) message: String,
}

/// Checks a spec.
///
/// # Errors
/// [`Refusal`] with the field's path.
pub(crate) fn plan(spec: &ImageSquashJobSpec, config: &Config) -> Result<Plan, Refusal> {
    let (source, target) = references(spec)?;
    if let Some(image) = spec.base.as_ref().and_then(|base| base.image.as_deref()) {
        reference("spec.base.image", image)?;
    }
    Ok(Plan { source, target, worker: worker(spec, config)? })
}

/// The image that is read, and the reference that is written.
///
/// # Errors
/// [`Refusal`] with the field's path.
pub(crate) fn references(spec: &ImageSquashJobSpec) -> Result<(Reference, Reference), Refusal> {
    let source = reference("spec.source.image", &spec.source.image)?;
    let target = match &spec.target.image {
        Some(image) => reference("spec.target.image", image)?,
        None => source
            .with_tag(source.tag().unwrap_or("latest"))
            .map_err(|error| invalid("spec.source.image", &error.to_string()))?,
    };
    Ok((source, target))
}

fn reference(field: &str, text: &str) -> Result<Reference, Refusal> {
    text.parse::<Reference>().map_err(|error| invalid(field, &error.to_string()))
}

fn invalid(field: &str, message: &str) -> Refusal {
    Refusal { reason: Reason::InvalidReference, message: format!("{field}: {message}") }
}

fn worker(spec: &ImageSquashJobSpec, config: &Config) -> Result<WorkerSettings, Refusal> {
    let defaults = &config.worker;
    let limits = &config.overrides;
    let asked = spec.worker.clone().unwrap_or_default();
    let resources = asked.resources.unwrap_or_default();

    if asked.node_selector.is_some() && !limits.node_selector {
        return Err(refused("nodeSelector", "jobs may not choose nodes on this cluster"));
    }
    if asked.tolerations.is_some() && !limits.tolerations {
        return Err(refused("tolerations", "jobs may not tolerate taints on this cluster"));
    }
    if let Some(class) = &asked.priority_class_name
        && !limits.priority_classes.contains(class)
    {
        let allowed = match limits.priority_classes.join(", ") {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        return Err(refused("priorityClassName", &format!("{class} is not allowed; allowed: {allowed}")));
    }
    at_most("resources.cpu", resources.cpu.as_ref(), &limits.max_cpu)?;
    at_most("resources.memory", resources.memory.as_ref(), &limits.max_memory)?;
    at_least("resources.memory", resources.memory.as_ref(), MEMORY_FLOOR)?;
    if let Some(scratch) = &asked.scratch {
        allowed_scratch(scratch, limits)?;
    }
    if let Some(identity) = &asked.cloud_identity {
        allowed_identity(identity, limits)?;
    }
    Ok(WorkerSettings {
        node_selector: asked.node_selector.unwrap_or_else(|| defaults.node_selector.clone()),
        tolerations: asked.tolerations.unwrap_or_else(|| defaults.tolerations.clone()),
        priority_class_name: asked.priority_class_name.or_else(|| defaults.priority_class_name.clone()),
        cpu: resources.cpu.unwrap_or_else(|| defaults.cpu.clone()),
        memory: resources.memory.unwrap_or_else(|| defaults.memory.clone()),
        scratch: asked.scratch.unwrap_or_else(|| defaults.scratch.clone()),
        cloud_identity: asked.cloud_identity,
    })
}

fn allowed_identity(identity: &CloudIdentity, limits: &Overrides) -> Result<(), Refusal> {
    let CloudIdentity { aws, azure, gcp } = identity;
    for (is_asked, field, cloud) in [
        (aws.is_some(), "cloudIdentity.aws", CloudName::Aws),
        (azure.is_some(), "cloudIdentity.azure", CloudName::Azure),
        (gcp.is_some(), "cloudIdentity.gcp", CloudName::Gcp),
    ] {
        if is_asked && !limits.cloud_identities.contains(&cloud) {
            return Err(refused(
                field,
                "jobs may not use their service account's identity there on this cluster",
            ));
        }
    }
    Ok(())
}

fn allowed_scratch(scratch: &Scratch, limits: &Overrides) -> Result<(), Refusal> {
    let Scratch { empty_dir, ephemeral, persistent_volume_claim } = scratch;
    if let Some(empty_dir) = empty_dir {
        if empty_dir.size_limit.is_none() {
            return Err(refused(
                "scratch.emptyDir.sizeLimit",
                "it is required, so that a node's disk is safe",
            ));
        }
        at_most("scratch.emptyDir.sizeLimit", empty_dir.size_limit.as_ref(), &limits.max_scratch)?;
    }
    if let Some(ephemeral) = ephemeral {
        at_most("scratch.ephemeral.size", Some(&ephemeral.size), &limits.max_scratch)?;
    }
    if persistent_volume_claim.is_some() && !limits.scratch_claims {
        return Err(refused("scratch.persistentVolumeClaim", "jobs may not use claims on this cluster"));
    }
    Ok(())
}

fn at_most(field: &str, asked: Option<&Quantity>, limit: &Quantity) -> Result<(), Refusal> {
    let Some(asked) = asked else { return Ok(()) };
    match (thousandths(asked), thousandths(limit)) {
        (Some(value), Some(limit_value)) if value > 0 && value <= limit_value => Ok(()),
        (Some(value), Some(_)) if value > 0 => {
            Err(refused(field, &format!("{} is more than the limit {}", asked.0, limit.0)))
        }
        _ => Err(refused(field, &format!("{:?} is not a positive quantity", asked.0))),
    }
}

fn at_least(field: &str, asked: Option<&Quantity>, floor: u64) -> Result<(), Refusal> {
    let too_small = asked.and_then(quantity::bytes).is_some_and(|bytes| bytes < floor);
    match asked {
        Some(asked) if too_small => {
            let message = format!("{} is too little: a worker needs at least {} Mi", asked.0, floor >> 20);
            Err(refused(field, &message))
        }
        _ => Ok(()),
    }
}

fn refused(field: &str, message: &str) -> Refusal {
    Refusal { reason: Reason::OverrideNotAllowed, message: format!("spec.worker.{field}: {message}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(worker: &Value) -> Result<Plan, Refusal> {
        let spec: ImageSquashJobSpec = serde_json::from_value(json!({
            "source": {"image": "reg.example:5000/team/app:v1"},
            "target": {"image": "reg.example:5000/team/app:flat"},
            "worker": worker,
        }))
        .unwrap();
        let mut config = Config::default();
        config.overrides.priority_classes = vec!["squash".to_owned()];
        plan(&spec, &config)
    }

    #[test]
    fn what_a_job_leaves_out_comes_from_the_configuration() {
        let plan = check(&json!({"resources": {"memory": "1Gi"}})).unwrap();
        assert_eq!(plan.worker.memory.0, "1Gi");
        assert_eq!(plan.worker.cpu.0, "2");
        assert_eq!(plan.target.to_string(), "reg.example:5000/team/app:flat");
    }

    #[test]
    fn an_override_past_a_limit_is_refused_with_its_field_and_the_limit() {
        for (worker, field, words) in [
            (json!({"resources": {"cpu": "9"}}), "resources.cpu", "limit 8"),
            (json!({"resources": {"memory": "9Gi"}}), "resources.memory", "limit 8Gi"),
            (json!({"resources": {"memory": "0"}}), "resources.memory", "positive"),
            (json!({"resources": {"memory": "64Mi"}}), "resources.memory", "at least 128 Mi"),
            (json!({"nodeSelector": {"a": "b"}}), "nodeSelector", "may not choose"),
            (json!({"tolerations": [{"operator": "Exists"}]}), "tolerations", "may not tolerate"),
            (json!({"priorityClassName": "system-node-critical"}), "priorityClassName", "allowed: squash"),
            (json!({"scratch": {"emptyDir": {}}}), "scratch.emptyDir.sizeLimit", "required"),
            (json!({"cloudIdentity": {"gcp": {}}}), "cloudIdentity.gcp", "may not use"),
            (
                json!({"cloudIdentity": {"azure": {"clientID": "a", "tenantID": "b"}}}),
                "cloudIdentity.azure",
                "may not use",
            ),
            (json!({"scratch": {"ephemeral": {"size": "2Ti"}}}), "scratch.ephemeral.size", "limit 1Ti"),
        ] {
            let refusal = check(&worker).unwrap_err();
            assert_eq!(refusal.reason, Reason::OverrideNotAllowed);
            assert!(
                refusal.message.contains(field) && refusal.message.contains(words),
                "{}",
                refusal.message
            );
        }
        check(&json!({"priorityClassName": "squash", "scratch": {"emptyDir": {"sizeLimit": "1Gi"}}}))
            .unwrap();
    }

    #[test]
    fn moving_the_tag_writes_the_sources_tag() {
        for (source, target) in
            [("reg.example/a:v1", "reg.example/a:v1"), ("reg.example/a", "reg.example/a:latest")]
        {
            let spec: ImageSquashJobSpec =
                serde_json::from_value(json!({"source": {"image": source}, "target": {"moveTag": true}}))
                    .unwrap();
            assert_eq!(plan(&spec, &Config::default()).unwrap().target.to_string(), target);
        }
    }

    #[test]
    fn a_reference_that_is_none_is_refused_with_the_field_and_the_position() {
        let spec: ImageSquashJobSpec = serde_json::from_value(
            json!({"source": {"image": "reg.example/Upper:v1"}, "target": {"image": "reg.example/a:b"}}),
        )
        .unwrap();
        let refusal = plan(&spec, &Config::default()).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidReference);
        assert!(refusal.message.starts_with("spec.source.image: ") && refusal.message.contains("at byte"));
    }
}
