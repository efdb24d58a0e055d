//! Reading layers: a worker in the operator's own namespace, once a digest, a few at once.
//!
//! The Job is named from the image: a restarted operator finds it again. What it leaves is bounded by
//! Kubernetes to 4 KiB, is believed only of a pod that our Job controls, and is clamped before it is kept.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PostParams};
use tokio::sync::Semaphore;
use unbloat_api::image_report::{MOST_CAUSES, MOST_PATHS, ReportedCause, ReportedPath};
use unbloat_api::labels;
use unbloat_contract::analysis::{AnalysisFigures, PlatformAnalysis};
use unbloat_contract::worker::{
    CONTRACT_VERSION, CREDENTIALS_PATH, CredentialMount, CredentialUsage, Outcome, SCRATCH_PATH, Task,
    Termination, WorkerSpec, is_readable,
};
use unbloat_contract::{AnalyzeRequest, Limits};
use unbloat_policy::facts::AnalysisFacts;
use unbloat_policy::image::ImageKey;
use unbloat_policy::quantity;
use unbloat_text::{bounded, sanitize};

use super::metrics::DetectorMetrics;
use super::state::Shared as SharedState;
use crate::config::Config;
use crate::runtime::calls::{CallError, Calls};
use crate::shared::Shared;
use crate::squash_job::build::pod::pod_spec;
use crate::squash_job::plan::WorkerSettings;

/// Name label of analysing Jobs and pods: they are none of the squashes'.
const NAME: &str = "unbloat-analyzer";
/// How often a worker is looked after.
const POLL: Duration = Duration::from_secs(3);
/// The longest that an analysis may take.
const DEADLINE_SECONDS: i64 = 3600;
/// Finished Jobs that nobody collected go by themselves.
const TTL_SECONDS: i32 = 600;
/// Largest number that a report holds.
const MOST: u64 = 9_007_199_254_740_991;

/// What came of an analysis.
#[derive(Clone, Debug)]
pub(super) enum Analyzed {
    /// It was read.
    Read(AnalysisFacts),
    /// It couldn't be; the worker's words.
    Failed(String),
}

/// Has layers read beside the rounds.
#[derive(Clone)]
pub(super) struct Analyzers {
    calls: Calls,
    config: Arc<Config>,
    namespace: String,
    state: Arc<SharedState>,
    places: Arc<Semaphore>,
    metrics: DetectorMetrics,
}

impl Analyzers {
    pub(super) fn new(shared: &Shared, state: Arc<SharedState>, metrics: DetectorMetrics) -> Self {
        Self {
            calls: shared.calls.clone(),
            config: Arc::clone(&shared.config),
            namespace: shared.own_namespace.clone(),
            state,
            places: Arc::new(Semaphore::new(shared.config.detection.max_concurrent_analyses)),
            metrics,
        }
    }

    /// Reads an image's layers when there is a place, and asks for a round when it is done.
    pub(super) fn read(&self, key: ImageKey) {
        if !self.state.with(|state| state.analyzing.insert(key.clone())) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let Ok(_place) = this.places.clone().acquire_owned().await else { return };
            let analyzed = match this.analyze(&key).await {
                Ok(analyzed) => analyzed,
                Err(error) => Analyzed::Failed(error.words()),
            };
            this.metrics.analyzed(if matches!(analyzed, Analyzed::Read(_)) { "success" } else { "failure" });
            this.state.change(|state| {
                state.analyses.insert(key.clone(), analyzed);
                state.analyzing.remove(&key);
            });
        });
    }

    async fn analyze(&self, key: &ImageKey) -> Result<Analyzed, CallError> {
        let api: Api<Job> = self.calls.api(&self.namespace);
        let job = match self.job(key) {
            Ok(job) => job,
            Err(error) => return Ok(Analyzed::Failed(error.to_string())),
        };
        let name = job_name(key);
        let parameters = PostParams::default();
        let call = api.create(&parameters, &job);
        let job = match self.calls.write("create Job", ("create", "Job"), call).await {
            Ok(job) => job,
            // It was made before a restart.
            Err(error) if error.is_conflict() => self.calls.read("get Job", api.get(&name)).await?,
            Err(error) => return Err(error),
        };
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let pods: Api<Pod> = self.calls.api(&self.namespace);
        let of_job = ListParams::default()
            .labels(&format!("{}={NAME},{}={}", labels::NAME, labels::IMAGE, key.id()))
            .limit(4);
        let mut waited = Duration::ZERO;
        let most = Duration::from_secs(u64::try_from(DEADLINE_SECONDS).unwrap_or(3600) + 60);
        let analyzed = loop {
            tokio::time::sleep(POLL).await;
            waited += POLL;
            match self.calls.read("list pods", pods.list(&of_job)).await {
                Ok(found) => {
                    let ours = found.items.iter().find(|pod| is_controlled_by(pod, &uid));
                    if let Some(message) = ours.and_then(termination) {
                        break understand(&message, key);
                    }
                }
                Err(error) => tracing::warn!(%error, "an analysis can't be looked after"),
            }
            if waited > most {
                break Analyzed::Failed("it took too long".to_owned());
            }
        };
        self.calls.delete::<Job>("Job", &self.namespace, &name, Some(uid)).await?;
        Ok(analyzed)
    }

    fn job(&self, key: &ImageKey) -> Result<Job, serde_json::Error> {
        let worker = &self.config.worker;
        let settings = WorkerSettings {
            node_selector: worker.node_selector.clone(),
            tolerations: worker.tolerations.clone(),
            priority_class_name: worker.priority_class_name.clone(),
            cpu: worker.cpu.clone(),
            memory: worker.memory.clone(),
            scratch: worker.scratch.clone(),
            cloud_identity: None,
        };
        let secrets = self.state.with(|state| state.secrets.names_for(key.host()));
        let mounts: Vec<CredentialMount> = secrets
            .into_iter()
            .enumerate()
            .map(|(number, secret)| CredentialMount {
                secret,
                path: format!("{CREDENTIALS_PATH}/{number}"),
                usage: CredentialUsage::Pull,
                required: false,
            })
            .collect();
        let memory = quantity::bytes(&worker.memory).unwrap_or_default();
        let cores = quantity::thousandths(&worker.cpu).unwrap_or_default().div_euclid(1000).max(1);
        let spec = WorkerSpec {
            version: CONTRACT_VERSION,
            task: Task::Analyze(Box::new(AnalyzeRequest {
                image: key.reference(),
                platform: None,
                top: Some(MOST_PATHS),
                detailed: false,
                allow_foreign: false,
                limits: Limits {
                    memory_bytes: (memory / 2).max(16 << 20),
                    jobs: usize::try_from(cores).unwrap_or(1),
                    scratch: Some(SCRATCH_PATH.into()),
                    ..Limits::default()
                },
            })),
            plain_http_hosts: self.config.plain_http_hosts().map(str::to_owned).collect(),
            credentials: mounts.clone(),
        };
        let labels: std::collections::BTreeMap<String, String> = [
            (labels::NAME, NAME.to_owned()),
            (labels::MANAGED_BY, labels::MANAGER.to_owned()),
            (labels::IMAGE, key.id()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let annotations = [(labels::WORKER_SPEC.to_owned(), serde_json::to_string(&spec)?)].into();
        Ok(Job {
            metadata: ObjectMeta {
                name: Some(job_name(key)),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                parallelism: Some(1),
                completions: Some(1),
                backoff_limit: Some(0),
                active_deadline_seconds: Some(DEADLINE_SECONDS),
                ttl_seconds_after_finished: Some(TTL_SECONDS),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels),
                        annotations: Some(annotations),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod_spec(&settings, worker, "default", &mounts)),
                },
                ..JobSpec::default()
            }),
            status: None,
        })
    }
}

fn job_name(key: &ImageKey) -> String {
    format!("unbloat-analyze-{}", &key.id()[..24])
}

fn is_controlled_by(pod: &Pod, uid: &str) -> bool {
    pod.metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && owner.kind == "Job" && owner.uid == uid)
}

/// The message of the worker's container, once it has ended.
fn termination(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let ended = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref())
        .next();
    match (ended, status.phase.as_deref()) {
        (Some(ended), _) => Some(ended.message.clone().unwrap_or_default()),
        (None, Some("Failed")) => Some(String::new()),
        _ => None,
    }
}

fn understand(message: &str, key: &ImageKey) -> Analyzed {
    let failed = |words: &str| Analyzed::Failed(bounded(&sanitize(words), 240));
    match serde_json::from_str::<Termination>(message) {
        Ok(Termination { version, outcome: Outcome::Analyzed(figures) }) if is_readable(version) => {
            if figures.source_digest == key.digest {
                Analyzed::Read(facts(&figures))
            } else {
                failed("the worker read another image than it was told to")
            }
        }
        Ok(Termination { outcome: Outcome::Failed(failure), .. }) => failed(&failure.message),
        _ => failed("the worker ended without a word that is understood"),
    }
}

/// Figures of the platform that wastes most, within what a report holds.
fn facts(figures: &AnalysisFigures) -> AnalysisFacts {
    let Some(worst) = figures.platforms.iter().max_by_key(|platform| platform.wasted_bytes) else {
        return AnalysisFacts::default();
    };
    let PlatformAnalysis { compressed_bytes, unpacked_bytes, wasted_bytes, causes, paths, .. } = worst;
    let number = |value: u64| i64::try_from(value.min(MOST)).unwrap_or(i64::MAX);
    let wasted = (*wasted_bytes).min(*unpacked_bytes);
    let part = |of: u64| {
        let whole = u128::from((*unpacked_bytes).max(1));
        u64::try_from(u128::from(of) * u128::from(wasted) / whole).unwrap_or(0)
    };
    AnalysisFacts {
        wasted_bytes: number(wasted),
        wasted_percent: i32::try_from(part(100)).unwrap_or(0).min(100),
        // As compressible as the rest is: an estimate.
        reclaimable_bytes: number(part(*compressed_bytes)),
        causes: causes
            .iter()
            .take(MOST_CAUSES)
            .map(|cause| ReportedCause {
                cause: bounded(&sanitize(&cause.cause), 48),
                paths: number(cause.paths),
                wasted_bytes: number(cause.wasted_bytes),
            })
            .collect(),
        paths: paths
            .iter()
            .filter_map(|path| {
                Some(ReportedPath {
                    path: bounded(&sanitize(path.path.as_deref()?), 128),
                    copies: i32::try_from(path.copies.min(1_000_000)).unwrap_or(0),
                    wasted_bytes: number(path.wasted_bytes),
                })
            })
            .take(MOST_PATHS)
            .collect(),
        secret_paths: i32::try_from(paths.iter().filter(|path| path.path.is_none()).count())
            .ok()
            .filter(|count| *count > 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

    fn key() -> ImageKey {
        ImageKey { repository: "a.example/b".into(), digest: DIGEST.into() }
    }

    fn message(digest: &str, platform: &Value) -> String {
        json!({"version": CONTRACT_VERSION,
            "outcome": {"analyzed": {"sourceDigest": digest, "platforms": [platform]}}})
        .to_string()
    }

    #[test]
    fn what_a_worker_found_is_kept_without_the_paths_of_secrets() {
        let platform = json!({
            "platform": "linux/amd64", "compressedBytes": 500, "unpackedBytes": 1000, "wastedBytes": 600,
            "causes": [{"cause": "growingFile", "paths": 1, "wastedBytes": 600}],
            "paths": [
                {"path": "/var/log/\u{1b}[31mbtmp", "copies": 9, "wastedBytes": 500, "cause": "growingFile"},
                {"copies": 1, "wastedBytes": 100, "cause": "deletedSecret"},
            ],
        });
        let Analyzed::Read(facts) = understand(&message(DIGEST, &platform), &key()) else {
            panic!("not read")
        };
        assert_eq!((facts.wasted_bytes, facts.wasted_percent, facts.reclaimable_bytes), (600, 60, 300));
        assert_eq!((facts.paths.len(), facts.secret_paths), (1, Some(1)));
        assert!(!facts.paths[0].path.contains('\u{1b}'), "{}", facts.paths[0].path);
        assert_eq!(facts.causes[0].cause, "growingFile");
    }

    #[test]
    fn what_a_worker_says_is_clamped_and_of_another_image_not_believed() {
        let platform = json!({"compressedBytes": u64::MAX, "unpackedBytes": 10, "wastedBytes": u64::MAX,
            "causes": vec![json!({"cause": "x".repeat(500), "paths": u64::MAX, "wastedBytes": u64::MAX}); 50]});
        let Analyzed::Read(facts) = understand(&message(DIGEST, &platform), &key()) else {
            panic!("not read")
        };
        assert_eq!((facts.wasted_bytes, facts.wasted_percent), (10, 100));
        assert_eq!((facts.causes.len(), facts.causes[0].paths), (MOST_CAUSES, 9_007_199_254_740_991));
        for text in [message("sha256:00", &json!({})), "{".to_owned(), String::new()] {
            assert!(matches!(understand(&text, &key()), Analyzed::Failed(_)), "{text}");
        }
    }

    #[test]
    fn a_pod_that_only_looks_like_a_worker_is_not_believed() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "ours", "controller": true}]}}))
        .unwrap();
        assert!(is_controlled_by(&pod, "ours") && !is_controlled_by(&pod, "other"));
        assert!(!is_controlled_by(&Pod::default(), "ours"));
    }
}
