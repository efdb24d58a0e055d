//! The `batch/v1` Job of one attempt: one pod, once.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use unbloat_api::{ImageSquashJob, ImageSquashJobSpec, labels};
use unbloat_contract::worker::{CONTRACT_VERSION, Task, WorkerSpec};
use unbloat_oci::Reference;

use super::{credentials, job_name, owner_reference, pod, request};
use crate::config::Config;
use crate::squash_job::decide::Attempt;

/// The hosts that the job says speak plain HTTP.
fn plain_http_hosts(spec: &ImageSquashJobSpec) -> Vec<String> {
    let source = Some(&spec.source.image).filter(|_| spec.source.plain_http);
    let target = spec.target.image.as_ref().filter(|_| spec.target.plain_http);
    let host = |image: &String| Some(image.parse::<Reference>().ok()?.registry().to_owned());
    source.into_iter().chain(target).filter_map(host).collect()
}

/// Builds it. `service_account_secrets` are the image pull secrets of the job's service account.
///
/// # Errors
/// When the request can't be written as JSON, which a path that is not UTF-8 would cause.
pub(crate) fn worker_job(
    job: &ImageSquashJob,
    attempt: &Attempt,
    config: &Config,
    service_account_secrets: &[String],
) -> Result<Job, serde_json::Error> {
    let mounts = credentials::mounts(&job.spec, service_account_secrets);
    let spec = WorkerSpec {
        version: CONTRACT_VERSION,
        task: Task::Squash(Box::new(request::request(&job.spec, attempt))),
        plain_http_hosts: plain_http_hosts(&job.spec),
        credentials: mounts.clone(),
    };
    let annotations: BTreeMap<_, _> = [
        (labels::WORKER_SPEC.to_owned(), serde_json::to_string(&spec)?),
        // A node that is drained to save money would make the squash start over.
        ("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), "false".to_owned()),
    ]
    .into();
    let labels = worker_labels(job, attempt.number);
    let digest =
        attempt.source_digest.iter().map(|digest| (labels::SOURCE_DIGEST.to_owned(), digest.clone()));
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(job_name(job, attempt.number)),
            namespace: job.namespace(),
            labels: Some(labels.clone()),
            annotations: Some(digest.collect()),
            owner_references: Some(vec![owner_reference(job)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            // An attempt is one pod: what comes after a failure is the operator's decision, with its own backoff.
            backoff_limit: Some(0),
            // The same deadline as the operator's, for the time when there is none.
            active_deadline_seconds: Some(attempt.remaining_seconds.max(1)),
            // No second pod beside one that still ends.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod::pod_spec(
                    &attempt.plan.worker,
                    &config.worker,
                    &job.spec.service_account_name,
                    &mounts,
                )),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

fn worker_labels(job: &ImageSquashJob, attempt: i32) -> BTreeMap<String, String> {
    [
        (labels::NAME, labels::WORKER_NAME.to_owned()),
        (labels::MANAGED_BY, labels::MANAGER.to_owned()),
        (labels::SQUASH_JOB, job.name_any()),
        (labels::SQUASH_JOB_UID, job.uid().unwrap_or_default()),
        (labels::ATTEMPT, attempt.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::squash_job::build::pod::CONTAINER;
    use crate::squash_job::fixtures::{config, job_with};
    use crate::squash_job::plan::plan;

    const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

    fn build(spec: &serde_json::Value) -> Job {
        let job = job_with(spec);
        let attempt = Attempt {
            number: 2,
            plan: plan(&job.spec, &config()).unwrap(),
            source_digest: Some(DIGEST.to_owned()),
            remaining_seconds: 90,
        };
        worker_job(&job, &attempt, &config(), &["account".to_owned()]).unwrap()
    }

    fn moving() -> serde_json::Value {
        json!({"source": {"image": "a.example/b:c"}, "target": {"moveTag": true}, "remove": ["/var/log/btmp"]})
    }

    fn spec_of(job: &Job) -> WorkerSpec {
        let template = &job.spec.as_ref().unwrap().template;
        serde_json::from_str(
            &template.metadata.as_ref().unwrap().annotations.as_ref().unwrap()[labels::WORKER_SPEC],
        )
        .unwrap()
    }

    #[test]
    fn the_request_reads_the_pinned_digest_and_writes_the_tag() {
        let spec = spec_of(&build(&moving()));
        let Task::Squash(request) = &spec.task else { panic!("not a squash") };
        assert_eq!(request.source, format!("a.example/b:c@{DIGEST}"));
        assert_eq!(request.destination, "a.example/b:c");
        assert_eq!(request.remove, ["/var/log/btmp"]);
        assert_eq!(request.limits.memory_bytes, 256 << 20);
        assert_eq!(request.limits.jobs, 2);
        assert_eq!(spec.credentials.len(), 1);
    }

    #[test]
    fn the_pod_is_restricted_and_has_no_token() {
        let job = build(&moving());
        let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        let context = pod.security_context.as_ref().unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        let container = pod.containers.iter().find(|container| container.name == CONTAINER).unwrap();
        let context = container.security_context.as_ref().unwrap();
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.capabilities.as_ref().unwrap().drop.as_deref(), Some(&["ALL".to_owned()][..]));
        let resources = container.resources.as_ref().unwrap();
        assert_eq!(resources.requests, resources.limits);
        assert!(pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()));
    }

    #[test]
    fn the_job_is_owned_runs_once_and_has_the_deadline() {
        let job = build(&moving());
        let owner = &job.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.controller), ("ImageSquashJob", Some(true)));
        let spec = job.spec.as_ref().unwrap();
        assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(90)));
        assert_eq!(job.labels()[labels::ATTEMPT], "2");
    }

    #[test]
    fn each_kind_of_scratch_becomes_its_volume() {
        for (scratch, expected) in [
            (json!({"emptyDir": {"sizeLimit": "1Gi"}}), "/emptyDir/sizeLimit"),
            (
                json!({"ephemeral": {"size": "5Gi", "storageClassName": "fast"}}),
                "/ephemeral/volumeClaimTemplate/spec/resources/requests/storage",
            ),
            (json!({"persistentVolumeClaim": {"claimName": "stripe"}}), "/persistentVolumeClaim/claimName"),
        ] {
            let mut spec = moving();
            spec["worker"] = json!({"scratch": scratch});
            let job = build(&spec);
            let volumes = job.spec.unwrap().template.spec.unwrap().volumes.unwrap();
            let volume = volumes.iter().find(|volume| volume.name == "scratch").unwrap();
            let volume = serde_json::to_value(volume).unwrap();
            assert!(volume.pointer(expected).is_some(), "{volume}");
            assert_eq!(volume.as_object().unwrap().len(), 2, "{volume}");
        }
    }
}
