//! The caches, and which ImageSquashJob a change is about.

use std::fmt::Debug;
use std::hash::Hash;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use unbloat_api::{ImageSquashJob, labels};

use super::departed::Departed;

type Queue = UnboundedSender<ObjectRef<ImageSquashJob>>;

/// The three caches and the tasks that fill them.
pub(super) struct Caches {
    pub(super) squash_jobs: Store<ImageSquashJob>,
    pub(super) jobs: Store<Job>,
    pub(super) pods: Store<Pod>,
    pub(super) departed: Departed,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

/// Starts watching.
pub(super) fn start(client: &Client, namespace: Option<&str>, queue: &Queue) -> Caches {
    let ours = watcher::Config::default().labels(&format!("{}={}", labels::NAME, labels::WORKER_NAME));
    let (squash_jobs, own) = cache(
        api::<ImageSquashJob>(client, namespace),
        watcher::Config::default(),
        queue,
        prune_squash_job,
        |job| Some(ObjectRef::from_obj(job)),
        |_| {},
    );
    let (jobs, of_jobs) =
        cache(api::<Job>(client, namespace), ours.clone(), queue, prune_job, owner::<Job>, |_| {});
    let departed = Departed::default();
    let keeper = departed.clone();
    let (pods, of_pods) =
        cache(api::<Pod>(client, namespace), ours, queue, prune_pod, owner::<Pod>, move |pod| {
            keeper.keep(pod);
        });
    Caches { squash_jobs, jobs, pods, departed, tasks: vec![own, of_jobs, of_pods] }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn cache<K>(
    api: Api<K>,
    config: watcher::Config,
    queue: &Queue,
    prune: fn(&mut K),
    about: fn(&K) -> Option<ObjectRef<ImageSquashJob>>,
    deleted: impl Fn(&K) + Send + 'static,
) -> (Store<K>, JoinHandle<()>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    let (store, writer) = reflector::store();
    let queue = queue.clone();
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
    let events = watcher(api, config).default_backoff().modify(prune).inspect(move |event| {
        if let Ok(Event::Delete(object)) = event {
            deleted(object);
        }
    });
    let stream = events.reflect(writer).touched_objects();
    let task = tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(object) => {
                    if let Some(job) = about(&object) {
                        let _ = queue.send(job);
                    }
                }
                Err(error) => tracing::warn!(kind, %error, "the watch is broken; starting over"),
            }
        }
    });
    (store, task)
}

/// The job that a worker's Job or pod is for, by its label: a pod's owner is the Job, not the ImageSquashJob.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<ImageSquashJob>> {
    let name = object.labels().get(labels::SQUASH_JOB)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn prune_squash_job(job: &mut ImageSquashJob) {
    job.metadata.managed_fields = None;
}

/// What is read of a Job: metadata and conditions.
fn prune_job(job: &mut Job) {
    job.metadata.managed_fields = None;
    job.spec = None;
    if let Some(status) = &mut job.status {
        status.uncounted_terminated_pods = None;
    }
}

/// What is read of a pod: labels, node, conditions, container states.
fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = k8s_openapi::api::core::v1::PodSpec { node_name, ..Default::default() };
    }
}
