//! One turn of one job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use unbloat_api::squash_job::Failure;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};

use super::apply::{ApplyError, Created};
use super::context::Context;
use super::observe::observe;
use crate::build;
use crate::decide::{Action, Decision, decide, refused, started};
use crate::metrics::{EndLabels, Metrics, ReasonLabel, ResultLabel};
use crate::queue::holds_place;

/// One reconcile: a turn that ends neither the controller when it panics nor the limits when it fails.
pub(super) async fn reconcile(
    cached: Arc<ImageSquashJob>,
    context: Arc<Context>,
) -> Result<Requeue, ApplyError> {
    let uid = cached.uid().unwrap_or_default();
    let result = guarded(&context.metrics, turn(&cached, &context)).await;
    context.settle(&uid);
    result
}

/// When to try again after an error. Attempts and their backoff are in the status; this is for the API server.
pub(super) fn after_error(job: &ImageSquashJob, error: &ApplyError) -> Requeue {
    let wait = match error {
        error if error.is_conflict() => Duration::from_millis(200),
        ApplyError::Panic(_) => Duration::from_secs(60),
        error if !error.is_retryable() => Duration::from_secs(300),
        _ => Duration::from_secs(5),
    };
    if !error.is_conflict() {
        tracing::warn!(namespace = job.namespace(), job = job.name_any(), %error, "the turn starts over");
    }
    Requeue::requeue(wait)
}

async fn guarded<T>(
    metrics: &Metrics,
    turn: impl Future<Output = Result<T, ApplyError>>,
) -> Result<T, ApplyError> {
    let start = Instant::now();
    metrics.active.inc();
    let result = AssertUnwindSafe(turn).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(ApplyError::Panic(words.unwrap_or_else(|| "no message".to_owned())))
    });
    metrics.active.dec();
    metrics.reconcile_seconds.observe(start.elapsed().as_secs_f64());
    let label = match &result {
        Ok(_) => "success",
        Err(ApplyError::Panic(_)) => "panic",
        Err(_) => "error",
    };
    metrics.reconciles.get_or_create(&ResultLabel { result: label }).inc();
    result
}

/// observe -> decide -> apply -> report.
async fn turn(cached: &Arc<ImageSquashJob>, context: &Context) -> Result<Requeue, ApplyError> {
    let job = context.memory().newest(cached);
    let now = Timestamp::now();
    let mut observed = observe(context, &job, now).await?;
    let mut decision = decide(&observed, &context.config, now);
    if let Action::Resolve(plan) = &decision.action {
        observed.resolution = Some(context.resolver.resolve(&job.spec, plan).await);
        decision = decide(&observed, &context.config, Timestamp::now());
    }
    let now = Timestamp::now();
    let decision = match &decision.action {
        Action::None | Action::Resolve(_) => decision,
        Action::Start(start) => match context.create_worker(&job, start).await? {
            Created::There => started(&job, decision.status.clone(), start, now),
            Created::Refused(words) => refused(&job, decision.status.clone(), &words, &context.config, now),
        },
        Action::Stop { job: name } => {
            context.stop_worker(&job, name).await?;
            decision
        }
        Action::Expire => {
            context.expire(&job).await?;
            return Ok(Requeue::await_change());
        }
    };
    report(context, &job, decision, now).await
}

/// Writes the status and the event, if there is something to write, and wakes who waited for the place.
async fn report(
    context: &Context,
    job: &ImageSquashJob,
    decision: Decision,
    now: Timestamp,
) -> Result<Requeue, ApplyError> {
    let Decision { status, action: _, next } = decision;
    let unchanged =
        job.status.as_ref().map_or(status == ImageSquashJobStatus::default(), |old| *old == status);
    if !unchanged && job.metadata.deletion_timestamp.is_none() {
        let written = match context.write_status(job, &status).await {
            Ok(written) => written,
            // Deleted meanwhile: its children go with it.
            Err(error) if error.is_gone() => return Ok(Requeue::await_change()),
            Err(error) => return Err(error),
        };
        let freed = holds_place(job) && !holds_place(&written);
        context.memory().wrote(written);
        count(&context.metrics, job, &status);
        log(job, &status);
        if let Some(event) = build::event(job, &status, &context.settings.instance, now) {
            context.write_event(&event).await;
        }
        if freed || status.is_finished() {
            context.settle(&job.uid().unwrap_or_default());
            context.wake_waiting();
        }
    }
    Ok(next.map_or_else(Requeue::await_change, Requeue::requeue))
}

fn count(metrics: &Metrics, job: &ImageSquashJob, new: &ImageSquashJobStatus) {
    let old = job.status.clone().unwrap_or_default();
    if new.failures > old.failures
        && let Some(Failure { reason, .. }) = &new.last_failure
        && let Some(reason) = Reason::parse(reason)
    {
        metrics.failed_attempts.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
    if old.attempts == 0
        && new.attempts > 0
        && let (Some(created), Some(start)) = (job.creation_timestamp(), &new.start_time)
    {
        metrics.queue_seconds.observe((start.0.as_second() - created.0.as_second()).max(0) as f64);
    }
    let Some(condition) = new.succeeded().filter(|_| new.is_finished() && !old.is_finished()) else { return };
    let result = if condition.status == "True" { "succeeded" } else { "failed" };
    if let Some(reason) = Reason::parse(&condition.reason) {
        metrics.finished.get_or_create(&EndLabels { result, reason: reason.as_str() }).inc();
    }
    if condition.status == "True" {
        metrics
            .reclaimed_bytes
            .inc_by(new.reclaimed_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0));
        if let Some(seconds) = new.duration_seconds {
            metrics.squash_seconds.observe(seconds as f64);
        }
    }
}

fn log(job: &ImageSquashJob, new: &ImageSquashJobStatus) {
    let before = job.status.as_ref().and_then(|status| status.succeeded()).map(|condition| &condition.reason);
    let Some(condition) = new.succeeded().filter(|condition| Some(&condition.reason) != before) else {
        return;
    };
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    tracing::info!(%namespace, job = %name, reason = %condition.reason, message = %condition.message, "state");
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_turn_alone_and_is_counted() {
        let metrics = Metrics::new(&mut Registry::default());
        let result = guarded::<()>(&metrics, async { panic!("boom {}", 1) }).await;
        assert!(matches!(&result, Err(ApplyError::Panic(words)) if words == "boom 1"), "{result:?}");
        assert_eq!(metrics.reconciles.get_or_create(&ResultLabel { result: "panic" }).get(), 1);
        assert_eq!(metrics.active.get(), 0);
        guarded(&metrics, async { Ok(()) }).await.unwrap();
        assert_eq!(metrics.reconciles.get_or_create(&ResultLabel { result: "success" }).get(), 1);
    }
}
