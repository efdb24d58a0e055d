//! The caches, and which ImageSquashJob a change is about.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::WriterDropped;
use kube::{Resource, ResourceExt};
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, labels};

use super::departed::Departed;
use crate::runtime::cache::{Cache, Watch};
use crate::runtime::calls::Calls;
use crate::runtime::reconciler::Queue;
use crate::runtime::tolerant::Tolerant;

/// The three caches, and what was left by pods that are gone.
pub(super) struct Caches {
    pub(super) squash_jobs: Cache<ImageSquashJob>,
    pub(super) worker_jobs: Cache<Job>,
    pub(super) pods: Cache<Pod>,
    pub(super) departed: Departed,
}

impl Caches {
    /// Starts watching.
    pub(super) fn start(
        calls: &Calls,
        class: &str,
        namespace: Option<&str>,
        queue: &Queue<ImageSquashJob>,
    ) -> Self {
        let workers = Some(format!("{}={}", labels::NAME, labels::WORKER_NAME));
        let own = queue.clone();
        let squash_jobs = Cache::start(
            calls.watched(namespace),
            Watch {
                labels: Some(labels::of_class(class)),
                prune: prune_squash_job,
                changed: move |job: &Tolerant<ImageSquashJob>| {
                    // The receiver ends only with the process.
                    let _ = own.send(ObjectRef::from_obj(job));
                },
                deleted: |_: &ImageSquashJob| {},
            },
        );
        let worker_jobs = Cache::start(
            calls.watched(namespace),
            Watch { labels: workers.clone(), prune: prune_job, changed: about(queue), deleted: |_: &Job| {} },
        );
        let departed = Departed::default();
        let keeper = departed.clone();
        let pods = Cache::start(
            calls.watched(namespace),
            Watch {
                labels: workers,
                prune: prune_pod,
                changed: about(queue),
                deleted: move |pod: &Pod| keeper.keep(pod),
            },
        );
        Self { squash_jobs, worker_jobs, pods, departed }
    }

    /// Waits for the first list of each.
    pub(super) async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        self.squash_jobs.store.wait_until_ready().await?;
        self.worker_jobs.store.wait_until_ready().await?;
        self.pods.store.wait_until_ready().await
    }

    /// Ends the watches.
    pub(super) fn stop(&self) {
        for task in [&self.squash_jobs.task, &self.worker_jobs.task, &self.pods.task] {
            task.abort();
        }
    }
}

/// Queues the job that a worker's Job or pod says it is for: a hint only, which wakes that job and proves
/// nothing.
fn about<K: Resource + Clone>(queue: &Queue<ImageSquashJob>) -> impl Fn(&Tolerant<K>) + Send + 'static {
    let queue = queue.clone();
    move |object| {
        if let (Some(name), Some(namespace)) = (object.labels().get(labels::SQUASH_JOB), object.namespace()) {
            let _ = queue.send(ObjectRef::new(name).within(&namespace));
        }
    }
}

/// What is read of an ImageSquashJob beside its spec and status: no labels, which are its writer's to fill.
/// Nor the patterns of one that starts nothing as it is; should that change, the watch brings them again.
fn prune_squash_job(job: &mut ImageSquashJob) {
    job.metadata.labels = None;
    job.metadata.finalizers = None;
    job.metadata.owner_references = None;
    if job.spec.suspend || job.status.as_ref().is_some_and(ImageSquashJobStatus::is_finished) {
        drop_patterns(job);
    }
}

/// Up to 64 KiB of a spec, and nothing that is decided depends on them.
pub(crate) fn drop_patterns(job: &mut ImageSquashJob) {
    job.spec.remove = Vec::new();
    job.spec.truncate = Vec::new();
}

/// Labels that say what a child is for; the others are their writer's to fill.
fn prune_labels(metadata: &mut ObjectMeta) {
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|name, _| name == labels::SQUASH_JOB);
    }
    metadata.finalizers = None;
}

/// What is read of a Job: metadata and conditions.
fn prune_job(job: &mut Job) {
    prune_labels(&mut job.metadata);
    job.spec = None;
    if let Some(status) = &mut job.status {
        status.uncounted_terminated_pods = None;
    }
}

/// What is read of a pod: labels, owner, node, conditions, container states.
fn prune_pod(pod: &mut Pod) {
    prune_labels(&mut pod.metadata);
    if let Some(status) = &mut pod.status {
        status.init_container_statuses = None;
        status.ephemeral_container_statuses = None;
    }
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = PodSpec { node_name, ..PodSpec::default() };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::squash_job::fixtures::job_with;

    #[test]
    fn patterns_are_kept_of_jobs_that_may_start_and_of_no_other() {
        let cached = |suspend: bool, state: &str| {
            let mut job =
                job_with(&json!({"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"},
                "suspend": suspend, "remove": ["/a"], "truncate": ["/b"]}));
            job.status = serde_json::from_value(json!({"conditions": [{"type": "Succeeded", "status": state,
                "reason": "Any", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
            .unwrap();
            prune_squash_job(&mut job);
            (job.spec.remove.len(), job.spec.truncate.len())
        };
        assert_eq!(cached(false, "Unknown"), (1, 1));
        for (suspend, state) in [(true, "Unknown"), (false, "True"), (false, "False")] {
            assert_eq!(cached(suspend, state), (0, 0), "{suspend}, {state}");
        }
    }
}
