//! One reconcile of one job: observe, decide, apply, report.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use unbloat_api::condition::{self, SUCCEEDED, State, Statement, sanitize};
use unbloat_api::squash_job::Failure;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};

use super::apply::Created;
use super::build;
use super::context::Context;
use super::decide::{Action, Report, decide};
use super::metrics::{EndLabels, JobMetrics, ReasonLabel};
use super::observe::observe;
use super::places::holds_place;
use crate::runtime::reconciler::ReconcileError;
use crate::runtime::tolerant::{Tolerant, Unreadable};

/// A reconcile that doesn't end the limits when it fails.
pub(super) async fn reconcile(
    cached: Arc<Tolerant<ImageSquashJob>>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let job = match (&cached.0, context.written.newest(&cached)) {
        (Ok(_), Some(job)) => job,
        (Err(unreadable), _) => return refuse_unreadable(unreadable, &context).await,
        (Ok(_), None) => return Ok(Requeue::await_change()),
    };
    let uid = job.uid().unwrap_or_default();
    let _settled = Settled { context: &context, uid: &uid };
    reconcile_readable(&job, &context).await
}

/// Gives back what was reserved when the reconcile is over, also by a panic: what the job holds then is in its status.
struct Settled<'a> {
    context: &'a Context,
    uid: &'a str,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.context.settle(self.uid);
    }
}

/// Ends a job that can't be read, alone: what is wrong is said once in its status.
async fn refuse_unreadable(unreadable: &Unreadable, context: &Context) -> Result<Requeue, ReconcileError> {
    let Unreadable { metadata, conditions, words } = unreadable;
    let message = format!("the job cannot be read: {}", sanitize(words));
    let said = condition::find(conditions, SUCCEEDED)
        .is_some_and(|said| said.reason == Reason::InvalidSpec.as_str() && said.message == message);
    if !said {
        let mut status = ImageSquashJobStatus::default();
        Statement::new(SUCCEEDED, State::False, Reason::InvalidSpec)
            .saying(&message)
            .about(metadata.generation)
            .set(&mut status.conditions, Timestamp::now());
        status.observed_generation = metadata.generation;
        context.calls.write_status::<Tolerant<ImageSquashJob>>("ImageSquashJob", metadata, &status).await?;
    }
    Ok(Requeue::await_change())
}

async fn reconcile_readable(job: &Arc<ImageSquashJob>, context: &Context) -> Result<Requeue, ReconcileError> {
    let now = Timestamp::now();
    let mut observed = observe(context, job, now).await?;
    let mut action = decide(&observed, &context.config, now);
    if let Action::Resolve(plan) = &action {
        observed.resolution = Some(context.resolver.resolve(&job.spec, plan).await);
        action = decide(&observed, &context.config, Timestamp::now());
    }
    let report = match action {
        Action::None(report) => report,
        // Decided with a resolution, it isn't asked for again; if it were, the next reconcile would start over.
        Action::Resolve(_) => return Ok(Requeue::requeue(super::decide::POLL)),
        Action::Start(start) => match context.create_worker(job, &start.attempt).await? {
            Created::There => start.started,
            Created::Refused(words) => start.refused.saying(&words),
        },
        Action::Stop { job: name, then } => {
            context.stop_worker(job, &name).await?;
            then
        }
        Action::Expire => {
            context.expire(job).await?;
            return Ok(Requeue::await_change());
        }
    };
    write(context, job, report).await
}

/// Writes the status and the event, if there is something to write, and wakes who waited for the place.
async fn write(
    context: &Context,
    job: &ImageSquashJob,
    Report { status, next }: Report,
) -> Result<Requeue, ReconcileError> {
    let unchanged =
        job.status.as_ref().map_or(status == ImageSquashJobStatus::default(), |old| *old == status);
    if !unchanged && job.metadata.deletion_timestamp.is_none() {
        let written =
            context.calls.write_status::<ImageSquashJob>("ImageSquashJob", &job.metadata, &status).await;
        let written = match written {
            Ok(written) => written,
            // Deleted meanwhile: its children go with it.
            Err(error) if error.is_gone() => return Ok(Requeue::await_change()),
            Err(error) => return Err(error.into()),
        };
        let freed = holds_place(job) && !holds_place(&written);
        context.written.wrote(written);
        count(&context.metrics, job, &status);
        log(job, &status);
        if let Some(event) = build::event(job, &status, &context.instance, Timestamp::now()) {
            context.calls.write_event(&event).await;
        }
        if freed || status.is_finished() {
            context.settle(&job.uid().unwrap_or_default());
            context.wake_waiting();
        }
    }
    Ok(next.map_or_else(Requeue::await_change, Requeue::requeue))
}

fn count(metrics: &JobMetrics, job: &ImageSquashJob, new: &ImageSquashJobStatus) {
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
