//! The worker's pod: restricted, without a token, on the nodes that the plan says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, EphemeralVolumeSource, LocalObjectReference,
    ObjectFieldSelector, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecurityContext, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use unbloat_api::labels::WORKER_SPEC;
use unbloat_api::squash_job::Scratch;
use unbloat_contract::worker::{CredentialMount, PORT, SCRATCH_PATH, SPEC_PATH, TERMINATION_PATH};
use unbloat_policy::quantity;

use super::{credentials, identity};
use crate::config::{Worker, WorkerNetwork, WorkerRequests};
use crate::squash_job::plan::WorkerSettings;

/// Name of the only container.
pub(crate) const CONTAINER: &str = "worker";
/// Folder of certificate authorities.
const CA_PATH: &str = "/etc/unbloat/ca";
/// A worker ends within a second; the rest is for a node that is busy.
const GRACE_SECONDS: i64 = 10;

/// The pod's spec.
pub(crate) fn pod_spec(
    settings: &WorkerSettings,
    worker: &Worker,
    service_account: &str,
    mounts: &[CredentialMount],
) -> PodSpec {
    let WorkerSettings {
        node_selector,
        tolerations,
        priority_class_name,
        cpu: _,
        memory: _,
        scratch,
        cloud_identity,
    } = settings;
    let (mut volumes, mut places) = credentials::volumes(mounts);
    for (volume, place) in [
        Some(spec_volume()),
        Some(scratch_volume(scratch)),
        ca_volume(worker),
        identity::volume(cloud_identity),
    ]
    .into_iter()
    .flatten()
    {
        volumes.push(volume);
        places.push(place);
    }
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: Some(service_account.to_owned()),
        image_pull_secrets: image_pull_secrets(worker),
        node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
        tolerations: (!tolerations.is_empty()).then(|| tolerations.clone()),
        priority_class_name: priority_class_name.clone(),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            // Left out, the platform gives the pod a user of the namespace's own range, as OpenShift does.
            run_as_user: worker.run_as_user,
            run_as_group: worker.run_as_user,
            fs_group: worker.run_as_user,
            fs_group_change_policy: worker.run_as_user.map(|_| "OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(settings, worker, places)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// Secrets for the worker's own image. Kubelet takes the service account's only where a pod names none.
fn image_pull_secrets(worker: &Worker) -> Option<Vec<LocalObjectReference>> {
    let secrets = worker.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    (!worker.image_pull_secrets.is_empty()).then(|| secrets.collect())
}

fn container(settings: &WorkerSettings, worker: &Worker, places: Vec<VolumeMount>) -> Container {
    let (requests, limits) = amounts(settings, worker);
    let mut environment = vec![
        variable("RUST_LOG", &worker.log),
        // Libraries that look for a home or a temporary folder find the only place that can be written.
        variable("HOME", SCRATCH_PATH),
        variable("TMPDIR", SCRATCH_PATH),
    ];
    let WorkerNetwork { refuse, allow_hosts } = &worker.network;
    for (name, words) in [("UNBLOAT_REFUSED_NETWORKS", refuse), ("UNBLOAT_ALLOWED_HOSTS", allow_hosts)] {
        if !words.is_empty() {
            environment.push(variable(name, &words.join(",")));
        }
    }
    environment.extend(worker.env.iter().map(|(name, value)| variable(name, value)));
    if worker.ca_config_map.is_some() {
        environment.push(variable("UNBLOAT_CA_DIR", CA_PATH));
    }
    environment.extend(identity::environment(&settings.cloud_identity));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(worker.image.clone()),
        image_pull_policy: Some(worker.image_pull_policy.clone()),
        args: Some(vec!["--spec".to_owned(), SPEC_PATH.to_owned()]),
        env: Some(environment),
        ports: Some(vec![ContainerPort {
            name: Some("metrics".to_owned()),
            container_port: i32::from(PORT),
            ..ContainerPort::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: Some(requests),
            limits: Some(limits),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        termination_message_path: Some(TERMINATION_PATH.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(places),
        ..Container::default()
    }
}

/// Requests and limits. Processor and memory are asked for as the platform says, at most as much as the
/// limit: a cluster of two cores has room for a worker that may use both. Scratch in an emptyDir is the
/// node's disk, so that it is asked for, limited and counted by quotas as a whole.
fn amounts(
    settings: &WorkerSettings,
    worker: &Worker,
) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let least = |asked: &Quantity, limit: &Quantity| {
        let smaller = match (quantity::thousandths(asked), quantity::thousandths(limit)) {
            (Some(asked), Some(limit)) => asked < limit,
            _ => false,
        };
        if smaller { asked.clone() } else { limit.clone() }
    };
    let WorkerRequests { cpu, memory } = &worker.requests;
    let mut requests: BTreeMap<_, _> = [
        ("cpu".to_owned(), least(cpu, &settings.cpu)),
        ("memory".to_owned(), least(memory, &settings.memory)),
    ]
    .into();
    let mut limits: BTreeMap<_, _> =
        [("cpu".to_owned(), settings.cpu.clone()), ("memory".to_owned(), settings.memory.clone())].into();
    let disk = settings.scratch.empty_dir.as_ref().and_then(|empty_dir| empty_dir.size_limit.clone());
    if let Some(disk) = disk {
        requests.insert("ephemeral-storage".to_owned(), disk.clone());
        limits.insert("ephemeral-storage".to_owned(), disk);
    }
    (requests, limits)
}

pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// The pod's own annotation as a file: a worker needs neither a ConfigMap nor an argument that everybody can
/// list.
fn spec_volume() -> (Volume, VolumeMount) {
    let (folder, file) = SPEC_PATH.rsplit_once('/').unwrap_or(("/", SPEC_PATH));
    let item = DownwardAPIVolumeFile {
        path: file.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{WORKER_SPEC}']"),
            api_version: None,
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let volume = Volume {
        name: "spec".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![item]),
            default_mode: Some(0o444),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    };
    (volume, mount("spec", folder, true))
}

fn scratch_volume(scratch: &Scratch) -> (Volume, VolumeMount) {
    let Scratch { empty_dir, ephemeral, persistent_volume_claim } = scratch;
    let mut volume = Volume { name: "scratch".to_owned(), ..Volume::default() };
    if let Some(claim) = persistent_volume_claim {
        volume.persistent_volume_claim =
            Some(PersistentVolumeClaimVolumeSource { claim_name: claim.claim_name.clone(), read_only: None });
    } else if let Some(ephemeral) = ephemeral {
        let requests = [("storage".to_owned(), ephemeral.size.clone())].into();
        volume.ephemeral = Some(EphemeralVolumeSource {
            volume_claim_template: Some(PersistentVolumeClaimTemplate {
                metadata: None,
                spec: PersistentVolumeClaimSpec {
                    access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                    storage_class_name: ephemeral.storage_class_name.clone(),
                    resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
                    ..PersistentVolumeClaimSpec::default()
                },
            }),
        });
    } else {
        let size_limit = empty_dir.as_ref().and_then(|empty_dir| empty_dir.size_limit.clone());
        volume.empty_dir =
            Some(EmptyDirVolumeSource { medium: None, size_limit, ..EmptyDirVolumeSource::default() });
    }
    (volume, mount("scratch", SCRATCH_PATH, false))
}

fn ca_volume(worker: &Worker) -> Option<(Volume, VolumeMount)> {
    let source = ConfigMapVolumeSource {
        name: worker.ca_config_map.clone()?,
        optional: Some(true),
        ..ConfigMapVolumeSource::default()
    };
    let volume = Volume { name: "ca".to_owned(), config_map: Some(source), ..Volume::default() };
    Some((volume, mount("ca", CA_PATH, true)))
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}
