//! Reading everything that a decision depends on.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use unbloat_api::{ImageSquashJob, labels};

use super::build::job_name;
use super::context::Context;
use super::world::{Observed, WorkerJob, WorkerPod, attempt_of};
use crate::runtime::calls::CallError;
use crate::runtime::tolerant::Tolerant;

/// Observes one job.
pub(super) async fn observe<'a>(
    context: &Context,
    job: &'a ImageSquashJob,
    now: Timestamp,
) -> Result<Observed<'a>, CallError> {
    let uid = job.uid().unwrap_or_default();
    let worker = worker_job(context, job, &uid).await?;
    let finished = job.status.as_ref().is_some_and(unbloat_api::ImageSquashJobStatus::is_finished);
    let pods = pods_of(context, &uid);
    let attempt = worker.as_ref().map(|worker| worker.attempt);
    let (mut ours, others): (Vec<_>, Vec<_>) =
        pods.into_iter().partition(|pod| attempt_of(pod) == attempt && attempt.is_some());
    ours.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    let pod = ours
        .last()
        .map(|pod| WorkerPod::of(pod))
        .or_else(|| attempt.and_then(|attempt| context.departed.of(&uid, attempt)));
    let current = job.status.as_ref().and_then(|status| status.worker.as_ref()).map(|worker| worker.attempt);
    // A pod of an attempt that was given up is a stray, though its Job may still be there.
    let given_up =
        current != attempt && attempt.is_some_and(|attempt| current.is_none_or(|current| attempt <= current));
    let stray_pods = others
        .iter()
        .chain(ours.iter().filter(|_| given_up))
        .map(|pod| WorkerPod::of(pod))
        .filter(|pod| !pod.has_ended())
        .map(|pod| pod.name)
        .collect();
    let progress = match &pod {
        Some(WorkerPod { running: true, address: Some(address), .. }) if !finished => {
            context.progress.ask(address).await
        }
        _ => None,
    };
    let place = context.place(job, now);
    Ok(Observed { job, worker, pod, stray_pods, progress, resolution: None, place })
}

/// The Job of the attempt after the last known one, else that of the last known one.
async fn worker_job(
    context: &Context,
    job: &ImageSquashJob,
    uid: &str,
) -> Result<Option<WorkerJob>, CallError> {
    let namespace = job.namespace().unwrap_or_default();
    let status = job.status.as_ref();
    let attempts = status.map_or(0, |status| status.attempts);
    let cached = |attempt: i32| {
        let key = ObjectRef::<Tolerant<Job>>::new(&job_name(job, attempt)).within(&namespace);
        context.worker_jobs.get(&key).and_then(|job| WorkerJob::of(job.readable()?, uid))
    };
    if let Some(next) = cached(attempts + 1) {
        return Ok(Some(next));
    }
    let Some(worker) = status.and_then(|status| status.worker.as_ref()) else { return Ok(None) };
    if let Some(current) = cached(worker.attempt) {
        return Ok(Some(current));
    }
    let done = status.is_some_and(|status| {
        status.is_finished()
            || status.last_failure.as_ref().is_some_and(|failure| failure.attempt >= worker.attempt)
    });
    if done {
        return Ok(None);
    }
    // Missing in the cache is not missing: it may have been made a moment ago.
    let api = context.calls.api::<Job>(&namespace);
    let found = context.calls.read("get Job", api.get_opt(&worker.job)).await?;
    Ok(found.and_then(|job| WorkerJob::of(&job, uid)))
}

fn pods_of(context: &Context, uid: &str) -> Vec<Arc<Pod>> {
    let mut pods: Vec<_> = context.pods.state().iter().filter_map(|pod| pod.readable().cloned()).collect();
    pods.retain(|pod| pod.labels().get(labels::SQUASH_JOB_UID).is_some_and(|owner| owner == uid));
    pods
}
