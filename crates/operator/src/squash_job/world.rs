//! What was observed of one job, cut down to what decisions need: views of its Job and pod.
//!
//! Pure extraction from API objects; reading them from caches and endpoints is the controller's part.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use unbloat_api::{ImageSquashJob, Reason, labels};

use super::build::CONTAINER;

/// A pod that is deleted ends within its grace period; a node that has been silent for this long after it is
/// gone.
const LOST_SECONDS: i64 = 60;
use unbloat_contract::worker::Termination;
use unbloat_contract::{ProgressReport, SquashResult};

/// Everything a decision about one job depends on, beside the time and the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Observed<'a> {
    /// The job, with the newest status that is known.
    pub(crate) job: &'a ImageSquashJob,
    /// The `batch/v1` Job of the current attempt.
    pub(crate) worker: Option<WorkerJob>,
    /// Its pod.
    pub(crate) pod: Option<WorkerPod>,
    /// Why the API server makes no pod of it, in its words, where it was asked.
    pub(crate) pod_refused: Option<String>,
    /// Pods of other attempts that have not ended: nothing is started beside them.
    pub(crate) stray_pods: Vec<String>,
    /// What the worker's endpoint said.
    pub(crate) progress: Option<ProgressReport>,
    /// Seconds since the worker's figures changed, as far as this process has watched them.
    pub(crate) idle_seconds: Option<i64>,
    /// What came of reading the source's manifest, where that was tried in this turn.
    pub(crate) resolution: Option<Resolution>,
    /// Whether the limits let the job start now.
    pub(crate) place: Place,
}

/// Whether the limits let a job start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A place is reserved for it.
    Granted,
    /// Others come first.
    Waiting,
}

/// What came of reading the source's manifest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resolution {
    /// It has a digest, and layers to merge.
    Pinned(SourceFacts),
    /// Nothing is to be merged or removed.
    Flat(SourceFacts),
    /// The operator can't read it, whyever; the worker, which has credentials and the way, says what is wrong
    /// with it.
    LeftToWorker,
}

/// What a manifest says about an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceFacts {
    /// Digest of the manifest or index.
    pub(crate) digest: String,
    /// Layers, all platforms together.
    pub(crate) layers: i64,
    /// Stored bytes of the layers.
    pub(crate) compressed_bytes: i64,
}

/// A worker's `batch/v1` Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerJob {
    /// Its name.
    pub(crate) name: String,
    /// Its uid.
    pub(crate) uid: String,
    /// The attempt it is for.
    pub(crate) attempt: i32,
    /// When it was made.
    pub(crate) created: Option<Timestamp>,
    /// Fingerprint of the configuration that it was made with.
    pub(crate) config: Option<String>,
    /// How it ended, where it did.
    pub(crate) end: Option<JobEnd>,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
}

/// How a `batch/v1` Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// Condition `Complete`.
    Complete,
    /// Condition `Failed`.
    Failed {
        /// The Job controller's reason, such as `DeadlineExceeded`.
        reason: String,
        /// The Job controller's words.
        message: String,
    },
}

/// A worker's pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkerPod {
    /// Its name.
    pub(crate) name: String,
    /// The node it is on.
    pub(crate) node: Option<String>,
    /// Its address.
    pub(crate) address: Option<String>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub(crate) phase: String,
    /// Since when the scheduler found no node, and its words.
    pub(crate) unschedulable: Option<(Option<Timestamp>, String)>,
    /// Why the container doesn't start, where that is no ordinary wait: reason and message.
    pub(crate) stuck: Option<(String, String)>,
    /// Whether the container runs.
    pub(crate) running: bool,
    /// How the container ended.
    pub(crate) terminated: Option<Terminated>,
    /// Why the cluster took the pod away: eviction, preemption, taints.
    pub(crate) disruption: Option<String>,
    /// Whether this is the last that was seen of a pod that was deleted.
    pub(crate) gone: bool,
    /// Until when it should have ended, where it is being deleted.
    pub(crate) deleting: Option<Timestamp>,
    /// Since when the worker has ended and something that was injected beside it runs on.
    pub(crate) kept_by_sidecar_since: Option<Timestamp>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Terminated {
    /// Exit code.
    pub(crate) exit_code: i32,
    /// The runtime's reason, such as `OOMKilled`.
    pub(crate) reason: Option<String>,
    /// What the worker left.
    pub(crate) termination: Option<Termination>,
    /// The raw message, where it is no [`Termination`].
    pub(crate) message: Option<String>,
}

impl WorkerJob {
    /// The view of a Job that is known to be an attempt's.
    pub(crate) fn of(job: &Job, attempt: i32) -> Self {
        Self {
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
            attempt,
            created: job.creation_timestamp().map(|time| time.0),
            config: job.annotations().get(labels::WORKER_CONFIG).cloned(),
            end: job_end(job),
            deleting: job.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// The controller of an object, if it is of this kind: `(name, uid)`. A label says what its writer likes; an
/// object has one controller, and the uid of an object that exists is nobody's to choose.
pub(crate) fn controller<'a>(object: &'a impl Resource, kind: &str) -> Option<(&'a str, &'a str)> {
    let references = object.meta().owner_references.as_deref()?;
    let owner = references.iter().find(|owner| owner.controller == Some(true) && owner.kind == kind)?;
    Some((&owner.name, &owner.uid))
}

/// Uid of the ImageSquashJob that a Job is for.
pub(crate) fn owner_of_job(job: &Job) -> Option<&str> {
    controller(job, "ImageSquashJob").map(|(_, uid)| uid)
}

/// Uid of the Job that a pod is of.
pub(crate) fn owner_of_pod(pod: &Pod) -> Option<&str> {
    controller(pod, "Job").map(|(_, uid)| uid)
}

fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().filter(|condition| condition.status == "True").find_map(|condition| {
        match condition.type_.as_str() {
            "Complete" => Some(JobEnd::Complete),
            "Failed" => Some(JobEnd::Failed {
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            }),
            _ => None,
        }
    })
}

impl WorkerPod {
    /// The view of a pod.
    pub(crate) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        // What counts is the worker's container, whatever was injected beside it.
        let containers = status.container_statuses.unwrap_or_default();
        let container = containers.iter().find(|container| container.name == CONTAINER);
        let unschedulable = conditions
            .iter()
            .find(|c| {
                c.type_ == "PodScheduled"
                    && c.status == "False"
                    && c.reason.as_deref() == Some("Unschedulable")
            })
            .map(|c| {
                let since = c.last_transition_time.as_ref().map(|time| time.0);
                (since, c.message.clone().unwrap_or_default())
            });
        let disruption = conditions
            .iter()
            .find(|c| c.type_ == "DisruptionTarget" && c.status == "True")
            .map(|c| {
                format!("{}: {}", c.reason.clone().unwrap_or_default(), c.message.clone().unwrap_or_default())
            })
            .or_else(|| match status.reason.as_deref() {
                Some(
                    reason @ ("Evicted" | "Preempting" | "Terminated" | "NodeShutdown" | "NodeAffinity"),
                ) => Some(format!("{reason}: {}", status.message.clone().unwrap_or_default())),
                _ => None,
            });
        Self {
            name: pod.name_any(),
            node: spec.and_then(|spec| spec.node_name.clone()),
            address: status.pod_ip.filter(|ip| !ip.is_empty()),
            phase: status.phase.unwrap_or_default(),
            unschedulable,
            stuck: container.and_then(stuck),
            running: container.is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some())),
            terminated: container.and_then(terminated),
            disruption,
            gone: false,
            deleting: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            kept_by_sidecar_since: container.and_then(|worker| kept_since(worker, &containers)),
        }
    }

    /// Whether it should have ended long ago and nobody says that it has: its node is gone. A second worker
    /// beside it does no harm: both write the same bytes under the same digest, and a tag moves only from
    /// what was read.
    pub(crate) fn is_lost(&self, now: Timestamp) -> bool {
        !self.has_ended()
            && self.deleting.is_some_and(|until| now.as_second() - until.as_second() >= LOST_SECONDS)
    }

    /// Whether nothing of it runs any more. Its only container ends a moment before its phase says so.
    pub(crate) fn has_ended(&self) -> bool {
        self.gone || self.terminated.is_some() || matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// Since when the worker has ended while another container runs.
fn kept_since(worker: &ContainerStatus, containers: &[ContainerStatus]) -> Option<Timestamp> {
    let end = worker.state.as_ref()?.terminated.as_ref()?;
    let runs = |container: &ContainerStatus| container.state.as_ref().is_some_and(|s| s.running.is_some());
    let kept = containers.iter().any(|container| container.name != worker.name && runs(container));
    kept.then(|| end.finished_at.as_ref().map(|time| time.0))?
}

fn stuck(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    (!matches!(reason.as_str(), "ContainerCreating" | "PodInitializing"))
        .then(|| (reason, waiting.message.clone().unwrap_or_default()))
}

fn terminated(container: &ContainerStatus) -> Option<Terminated> {
    let state = container.state.as_ref()?.terminated.as_ref()?;
    let termination =
        state.message.as_deref().and_then(|text| serde_json::from_str::<Termination>(text).ok());
    Some(Terminated {
        exit_code: state.exit_code,
        reason: state.reason.clone(),
        message: if termination.is_some() { None } else { state.message.clone() },
        termination,
    })
}

/// An ended attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// The result is in the registry.
    Squashed(SquashResult),
    /// There was nothing to do.
    AlreadyFlat(SquashResult),
    /// It failed.
    Failed(AttemptFailure),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptFailure {
    /// The reason for the condition.
    pub(crate) reason: Reason,
    /// What happened.
    pub(crate) message: String,
    /// Whether another attempt may fare better.
    pub(crate) retryable: bool,
    /// Exit code, where the worker came so far.
    pub(crate) exit_code: Option<i32>,
    /// Digest of the source, where the worker resolved it.
    pub(crate) source_digest: Option<String>,
    /// Digest of a result that stays though no tag was moved.
    pub(crate) digest: Option<String>,
}

impl AttemptFailure {
    /// A failure that is retried if its reason says so.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retryable: reason.is_retryable(),
            exit_code: None,
            source_digest: None,
            digest: None,
        }
    }
}
