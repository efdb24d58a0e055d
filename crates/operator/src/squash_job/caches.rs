//! The caches, and which ImageSquashJob a change is about.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::WriterDropped;
use kube::{Resource, ResourceExt};
use unbloat_api::{ImageSquashJob, labels};

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
fn prune_squash_job(job: &mut ImageSquashJob) {
    job.metadata.labels = None;
    job.metadata.finalizers = None;
    job.metadata.owner_references = None;
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
