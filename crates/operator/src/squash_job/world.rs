//! What was observed of one job, cut down to what decisions need: views of its Job and pod.
//!
//! Pure extraction from API objects; reading them from caches and endpoints is the controller's part.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use unbloat_api::{ImageSquashJob, Reason, labels};
use unbloat_contract::worker::Termination;
use unbloat_contract::{ProgressReport, SquashResult};

/// Everything a decision about one job depends on, beside the time and the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Observed<'a> {
    /// The job, with the newest status that is known.
    pub(crate) job: &'a ImageSquashJob,
    /// The `batch/v1` Job of the current attempt, or of the one after it when it was made just before a restart.
    pub(crate) worker: Option<WorkerJob>,
    /// Its pod.
    pub(crate) pod: Option<WorkerPod>,
    /// Pods of other attempts that have not ended: nothing is started beside them.
    pub(crate) stray_pods: Vec<String>,
    /// What the worker's endpoint said.
    pub(crate) progress: Option<ProgressReport>,
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
    /// The operator may not read it; the worker, which has credentials, will.
    LeftToWorker,
    /// It can't be read.
    Failed {
        /// Why.
        reason: Reason,
        /// The registry's words.
        message: String,
    },
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
    /// The attempt it is for.
    pub(crate) attempt: i32,
    /// Digest of the source that it reads, where the operator pinned it.
    pub(crate) source_digest: Option<String>,
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
    /// The view of a Job, if it belongs to `owner`: a Job of the same name and another owner is not ours.
    pub(crate) fn of(job: &Job, owner: &str) -> Option<Self> {
        let owned = job.owner_references().iter().any(|reference| reference.uid == owner);
        let attempt = job.labels().get(labels::ATTEMPT)?.parse().ok()?;
        owned.then(|| Self {
            name: job.name_any(),
            attempt,
            source_digest: job.annotations().get(labels::SOURCE_DIGEST).cloned(),
            end: job_end(job),
            deleting: job.metadata.deletion_timestamp.is_some(),
        })
    }
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
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
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
            stuck: container.as_ref().and_then(stuck),
            running: container
                .as_ref()
                .is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some())),
            terminated: container.as_ref().and_then(terminated),
            disruption,
            gone: false,
        }
    }

    /// Whether nothing of it runs any more. Its only container ends a moment before its phase says so.
    pub(crate) fn has_ended(&self) -> bool {
        self.gone || self.terminated.is_some() || matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// Attempt number of a worker's pod.
pub(crate) fn attempt_of(pod: &Pod) -> Option<i32> {
    pod.labels().get(labels::ATTEMPT)?.parse().ok()
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
