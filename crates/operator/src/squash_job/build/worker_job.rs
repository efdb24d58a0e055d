//! The `batch/v1` Job of one attempt: one pod, once.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use unbloat_api::{ImageSquashJob, ImageSquashJobSpec, labels};
use unbloat_contract::worker::{CONTRACT_VERSION, Task, WorkerSpec};
use unbloat_oci::Reference;

use super::{config_fingerprint, credentials, job_name, owner_reference, pod, request};
use crate::config::Config;
use crate::squash_job::decide::Attempt;
use crate::squash_job::world::owner_of_job;

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
        // A sidecar would keep the pod from its end, and a worker talks to registries and to nobody in a
        // mesh.
        ("sidecar.istio.io/inject".to_owned(), "false".to_owned()),
        ("linkerd.io/inject".to_owned(), "disabled".to_owned()),
    ]
    .into();
    let labels = worker_labels(job, attempt.number);
    let mut pod_labels = labels.clone();
    // Newer releases of Istio read the label.
    pod_labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let fingerprint = (labels::WORKER_CONFIG.to_owned(), config_fingerprint(config));
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(job_name(job, attempt.number)),
            namespace: job.namespace(),
            labels: Some(labels.clone()),
            annotations: Some([fingerprint].into()),
            owner_references: Some(vec![owner_reference(job)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            // An attempt is one pod: what comes after a failure is the operator's decision, with its own
            // backoff.
            backoff_limit: Some(0),
            // The same deadline as the operator's, for the time when there is none.
            active_deadline_seconds: Some(attempt.remaining_seconds.max(1)),
            // No second pod beside one that still ends.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
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

/// Whether a Job that is there is what would be made: then it does not matter who made it. What the API
/// server, the Job controller and admission add is no difference; what the worker runs, reads, writes and may
/// is.
pub(crate) fn is_same(found: &Job, wanted: &Job) -> bool {
    owner_of_job(found).is_some()
        && owner_of_job(found) == owner_of_job(wanted)
        && content(found) == content(wanted)
}

/// What counts of a Job.
fn content(job: &Job) -> Option<serde_json::Value> {
    let template = &job.spec.as_ref()?.template;
    let spec = template.spec.as_ref()?;
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    let container = spec.containers.first()?;
    let volumes: Vec<_> = spec
        .volumes
        .iter()
        .flatten()
        .map(|volume| {
            let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
            let host = volume.host_path.is_some() || volume.projected.is_some() || volume.csi.is_some();
            // Whose token it is counts; when it expires and who may read it does not.
            let audiences: Vec<_> = volume
                .projected
                .iter()
                .flat_map(|projected| projected.sources.iter().flatten())
                .map(|source| source.service_account_token.as_ref().map(|token| token.audience.clone()))
                .collect();
            (volume.name.clone(), secret, host, audiences)
        })
        .collect();
    let strangers = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
    serde_json::to_value((
        annotations.get(labels::WORKER_SPEC)?,
        (&container.image, &container.command, &container.args, &container.security_context),
        (
            &spec.service_account_name,
            spec.automount_service_account_token,
            spec.host_network,
            &spec.node_name,
        ),
        (volumes, strangers),
    ))
    .ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;
    use crate::config::CloudName;
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
        let amount =
            |of: &Option<BTreeMap<String, Quantity>>, what: &str| of.as_ref().unwrap()[what].0.clone();
        assert_eq!(amount(&resources.requests, "cpu"), "100m");
        assert_eq!(amount(&resources.limits, "cpu"), "2");
        assert_eq!(amount(&resources.requests, "memory"), "256Mi");
        // A quota on storage counts the scratch volume.
        for of in [&resources.requests, &resources.limits] {
            assert_eq!(amount(of, "ephemeral-storage"), "10Gi");
        }
        assert!(pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()));
    }

    fn with_identity(identity: &serde_json::Value) -> Job {
        let mut spec = moving();
        spec["worker"] = json!({"cloudIdentity": identity});
        let job = job_with(&spec);
        let mut config = config();
        config.overrides.cloud_identities = vec![CloudName::Aws, CloudName::Azure, CloudName::Gcp];
        let attempt = Attempt {
            number: 1,
            plan: plan(&job.spec, &config).unwrap(),
            source_digest: None,
            remaining_seconds: 90,
        };
        worker_job(&job, &attempt, &config, &[]).unwrap()
    }

    #[test]
    fn a_worker_is_its_service_account_in_the_cloud_that_was_asked_for_and_nowhere_else() {
        let role = "arn:aws:iam::123456789012:role/squash";
        let token = "/var/run/secrets/unbloat.dev/cloud-identity/token";
        for (identity, audience, variables) in [
            (
                json!({"aws": {"roleARN": role}}),
                Some("sts.amazonaws.com"),
                vec![
                    ("UNBLOAT_CLOUD_IDENTITY", "aws"),
                    ("AWS_ROLE_ARN", role),
                    ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ],
            ),
            (
                json!({"azure": {"clientID": "client", "tenantID": "tenant"}}),
                Some("api://AzureADTokenExchange"),
                vec![
                    ("UNBLOAT_CLOUD_IDENTITY", "azure"),
                    ("AZURE_CLIENT_ID", "client"),
                    ("AZURE_TENANT_ID", "tenant"),
                    ("AZURE_FEDERATED_TOKEN_FILE", token),
                ],
            ),
            (json!({"gcp": {}}), None, vec![("UNBLOAT_CLOUD_IDENTITY", "gcp")]),
        ] {
            let mut job = with_identity(&identity);
            let pod = pod_of(&mut job);
            assert_eq!(pod.automount_service_account_token, Some(false), "no token for the API");
            let projected: Vec<_> =
                pod.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref()).collect();
            let audiences: Vec<_> = projected
                .iter()
                .flat_map(|volume| volume.sources.iter().flatten())
                .map(|source| source.service_account_token.as_ref().unwrap().audience.as_deref())
                .collect();
            assert_eq!(audiences, audience.map(Some).into_iter().collect::<Vec<_>>());
            let container = &pod.containers[0];
            let mounted = container.volume_mounts.iter().flatten();
            let mounted = mounted.filter(|place| token.starts_with(&place.mount_path)).count();
            assert_eq!(mounted, projected.len());
            for (name, value) in variables {
                let found = container.env.iter().flatten().find(|variable| variable.name == name).unwrap();
                assert_eq!(found.value.as_deref(), Some(value), "{name}");
            }
        }
        // Nobody who did not ask is anybody there.
        let mut plain = build(&moving());
        assert!(pod_of(&mut plain).volumes.iter().flatten().all(|volume| volume.projected.is_none()));
        let names = pod_of(&mut plain).containers[0].env.clone().unwrap();
        assert!(names.iter().all(|variable| !variable.name.contains("IDENTITY")));
    }

    #[test]
    fn a_job_made_in_advance_with_a_token_for_somebody_else_is_not_ours() {
        let ours = with_identity(&json!({"aws": {"roleARN": "arn:aws:iam::123456789012:role/squash"}}));
        assert!(is_same(&ours, &ours));
        for audience in [None, Some("https://kubernetes.default.svc".to_owned())] {
            let mut foreign = ours.clone();
            let volumes = pod_of(&mut foreign).volumes.as_mut().unwrap();
            let projected = volumes.iter_mut().find_map(|volume| volume.projected.as_mut()).unwrap();
            let token = projected.sources.as_mut().unwrap()[0].service_account_token.as_mut().unwrap();
            token.audience = audience;
            assert!(!is_same(&foreign, &ours));
        }
    }

    #[test]
    fn a_job_that_was_made_in_advance_is_ours_only_with_the_same_content() {
        let ours = build(&moving());
        assert!(is_same(&ours, &ours));
        // Defaults and mutations that change nothing of what is run.
        let mut defaulted = ours.clone();
        let spec = defaulted.spec.as_mut().unwrap();
        spec.suspend = Some(false);
        let pod = spec.template.spec.as_mut().unwrap();
        pod.dns_policy = Some("ClusterFirst".to_owned());
        pod.containers[0].resources = None;
        assert!(is_same(&defaulted, &ours));

        type Change = fn(&mut Job);
        let changes: [(&str, Change); 6] = [
            ("another request", |job| {
                let template = job.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
                template.annotations.as_mut().unwrap().insert(labels::WORKER_SPEC.into(), "{}".into());
            }),
            ("another image", |job| pod_of(job).containers[0].image = Some("evil.example/x".into())),
            ("a command", |job| pod_of(job).containers[0].command = Some(vec!["sh".into()])),
            ("a second container", |job| {
                let second = pod_of(job).containers[0].clone();
                pod_of(job).containers.push(second);
            }),
            ("another volume", |job| {
                pod_of(job).volumes.as_mut().unwrap().pop();
            }),
            ("another owner", |job| {
                job.metadata.owner_references.as_mut().unwrap()[0].uid = "uid-2".into();
            }),
        ];
        for (name, change) in changes {
            let mut foreign = ours.clone();
            change(&mut foreign);
            assert!(!is_same(&foreign, &ours), "{name}");
        }
    }

    fn pod_of(job: &mut Job) -> &mut k8s_openapi::api::core::v1::PodSpec {
        job.spec.as_mut().unwrap().template.spec.as_mut().unwrap()
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
