//! Reading everything that a decision depends on.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus};

use super::context::Context;
use super::world::{Observed, WorkerJob, WorkerPod, owner_of_job, owner_of_pod};
use crate::runtime::calls::CallError;
use crate::runtime::tolerant::Tolerant;

/// The Job controller makes a pod within a moment; a Job that has none for longer is asked why.
const POD_SECONDS: i64 = 4;
/// Events of one Job that are looked at: the newest words are as good as any.
const MOST_EVENTS: u32 = 4;

/// Observes one job.
pub(super) async fn observe<'a>(
    context: &Context,
    job: &'a ImageSquashJob,
    now: Timestamp,
) -> Result<Observed<'a>, CallError> {
    let namespace = job.namespace().unwrap_or_default();
    let found = worker_job(context, job, &namespace).await?;
    if let Some((object, _)) = &found {
        context.own(object.uid(), &namespace);
    }
    let worker = found.map(|(object, attempt)| WorkerJob::of(&object, attempt));
    let finished = job.status.as_ref().is_some_and(ImageSquashJobStatus::is_finished);
    let pods = pods_of(context, job, &namespace, worker.as_ref());
    let (ours, others): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| {
        worker.as_ref().is_some_and(|worker| owner_of_pod(pod) == Some(worker.uid.as_str()))
    });
    // The Job controller made the first of them; one that claims the same owner came later.
    let pod = ours
        .iter()
        .min_by_key(|pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any()))
        .map(|pod| WorkerPod::of(pod))
        .or_else(|| worker.as_ref().and_then(|worker| context.departed.of(&worker.uid)));
    let current = job.status.as_ref().and_then(|status| status.worker.as_ref()).map(|worker| worker.attempt);
    // A pod of an attempt that was given up is a stray, though its Job may still be there.
    let given_up = worker.as_ref().is_some_and(|worker| Some(worker.attempt) != current) || is_over(job);
    let stray_pods = others
        .iter()
        .chain(ours.iter().filter(|_| given_up))
        .map(|pod| WorkerPod::of(pod))
        .filter(|pod| !pod.has_ended() && !pod.is_lost(now))
        .map(|pod| pod.name)
        .collect();
    let runs = pod.as_ref().is_some_and(|pod| pod.running && !finished);
    let progress = match pod.as_ref().and_then(|pod| pod.address.as_deref()) {
        Some(address) if runs => context.progress.ask(address).await,
        _ => None,
    };
    let idle_seconds = worker
        .as_ref()
        .filter(|_| runs)
        .map(|worker| context.idle.seconds(&worker.uid, progress.as_ref(), now));
    let pod_refused = match &worker {
        Some(worker) if pod.is_none() && worker.end.is_none() && !finished => {
            pod_refused(context, &namespace, worker, now).await
        }
        _ => None,
    };
    let place = context.place(job, now);
    Ok(Observed {
        job,
        worker,
        pod,
        pod_refused,
        stray_pods,
        progress,
        idle_seconds,
        resolution: None,
        place,
    })
}

/// Whether the last attempt is counted already.
fn is_over(job: &ImageSquashJob) -> bool {
    let Some(status) = &job.status else { return false };
    let (Some(failure), Some(worker)) = (&status.last_failure, &status.worker) else { return false };
    failure.attempt >= worker.attempt
}

/// The Job of the attempt that the status knows, with its number: the one with the uid that the API server
/// gave when it was made. A Job of that name and another uid is somebody else's.
async fn worker_job(
    context: &Context,
    job: &ImageSquashJob,
    namespace: &str,
) -> Result<Option<(Arc<Job>, i32)>, CallError> {
    let Some(status) = &job.status else { return Ok(None) };
    let Some(worker) = &status.worker else { return Ok(None) };
    let known = |object: &Job| match &worker.uid {
        Some(uid) => object.metadata.uid.as_ref() == Some(uid),
        // Written by a release that did not keep the uid.
        None => owner_of_job(object) == job.metadata.uid.as_deref(),
    };
    let key = ObjectRef::<Tolerant<Job>>::new(&worker.job).within(namespace);
    let cached = context.worker_jobs.get(&key).and_then(|object| object.readable().cloned());
    if let Some(object) = cached.filter(|object| known(object)) {
        return Ok(Some((object, worker.attempt)));
    }
    if status.is_finished() || is_over(job) {
        return Ok(None);
    }
    // Missing in the cache is not missing: it may have been made a moment ago.
    let api = context.calls.api::<Job>(namespace);
    let found = context.calls.read("get Job", api.get_opt(&worker.job)).await?;
    Ok(found.filter(known).map(|object| (Arc::new(object), worker.attempt)))
}

/// Pods of this job's workers, of the current attempt and of earlier ones: by the chain of controllers, in
/// its namespace.
fn pods_of(
    context: &Context,
    job: &ImageSquashJob,
    namespace: &str,
    worker: Option<&WorkerJob>,
) -> Vec<Arc<Pod>> {
    let is_ours = |pod: &Pod| {
        let Some(owner) = owner_of_pod(pod) else { return false };
        worker.is_some_and(|worker| worker.uid == owner) || context.is_job_of(owner, namespace, job)
    };
    context
        .pods
        .state()
        .iter()
        .filter_map(|pod| pod.readable())
        .filter(|pod| pod.namespace().as_deref() == Some(namespace) && is_ours(pod))
        .cloned()
        .collect()
}

/// The API server's words to the Job controller, where it makes no pod of a Job. What can't be asked for
/// isn't known.
async fn pod_refused(
    context: &Context,
    namespace: &str,
    worker: &WorkerJob,
    now: Timestamp,
) -> Option<String> {
    let since = worker.created.map_or(0, |created| now.as_second() - created.as_second());
    if since < POD_SECONDS {
        return None;
    }
    let fields = format!("involvedObject.uid={},reason=FailedCreate", worker.uid);
    let of_job = ListParams::default().fields(&fields).limit(MOST_EVENTS);
    let api = context.calls.api::<Tolerant<Event>>(namespace);
    let events = context.calls.read("list events", api.list(&of_job)).await.ok()?;
    events.items.iter().rev().find_map(|event| event.readable()?.message.clone())
}
