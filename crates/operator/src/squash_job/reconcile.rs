//! One reconcile of one job: observe, decide, apply, report.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use unbloat_api::condition::{self, SUCCEEDED, State, Statement};
use unbloat_api::squash_job::Failure;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};
use unbloat_text::sanitize;

use super::apply::Created;
use super::build;
use super::context::Context;
use super::decide::{Action, Report, decide};
use super::metrics::{EndLabels, JobMetrics, ReasonLabel};
use super::observe::observe;
use super::places::holds_up_others;
use super::world::Observed;
use crate::runtime::cache::full_name;
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

/// Gives back what was reserved when the reconcile is over, also by a panic: what the job holds then is in
/// its status.
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
    let observed = observe(context, job, now).await?;
    match decide(&observed, &context.config, now) {
        Action::Resolve(plan, report) => {
            // Said before anything is fetched: an operator that doesn't survive it leaves this source to its
            // worker.
            let Some(job) = write_status(context, job, &report.status).await? else {
                return Ok(Requeue::await_change());
            };
            let resolution = Some(context.resolver.resolve(&job.spec, &plan).await);
            let observed = Observed { job: &job, resolution, ..observed };
            let action = decide(&observed, &context.config, Timestamp::now());
            carry_out(context, &job, action).await
        }
        action => carry_out(context, job, action).await,
    }
}

async fn carry_out(
    context: &Context,
    job: &Arc<ImageSquashJob>,
    action: Action,
) -> Result<Requeue, ReconcileError> {
    let report = match action {
        Action::None(report) => report,
        // Decided with a resolution, it isn't asked for again; if it were, the next reconcile would start
        // over.
        Action::Resolve(_, report) => {
            return Ok(report.next.map_or_else(Requeue::await_change, Requeue::requeue));
        }
        Action::Start(start) => match context.create_worker(job, &start.attempt).await? {
            Created::There(uid) => start.started.made(uid),
            Created::Taken => start.taken,
            Created::Refused(words) => start.refused.saying(&words),
        },
        Action::Stop { job: name, uid, then } => {
            context.stop_worker(job, &name, uid).await?;
            then
        }
        Action::Expire => {
            context.expire(job).await?;
            return Ok(Requeue::await_change());
        }
    };
    let Report { status, next } = report;
    let unchanged =
        job.status.as_ref().map_or(status == ImageSquashJobStatus::default(), |old| *old == status);
    if !unchanged
        && job.metadata.deletion_timestamp.is_none()
        && write_status(context, job, &status).await?.is_none()
    {
        return Ok(Requeue::await_change());
    }
    Ok(next.map_or_else(Requeue::await_change, Requeue::requeue))
}

/// Writes the status and the event, and wakes who waited for the place. `None` if the job is gone, and its
/// children with it.
async fn write_status(
    context: &Context,
    job: &Arc<ImageSquashJob>,
    status: &ImageSquashJobStatus,
) -> Result<Option<Arc<ImageSquashJob>>, ReconcileError> {
    let write = |status| async move {
        context.calls.write_status::<ImageSquashJob>("ImageSquashJob", &job.metadata, status).await
    };
    let written = match write(status).await {
        Ok(written) => written,
        Err(error) if error.is_gone() => return Ok(None),
        // A status that isn't taken is this job's trouble: what it comes to is said without the figures.
        Err(error) if error.is_refusal() => {
            tracing::error!(object = full_name(&**job), %error, "a status was refused; it is written without figures");
            write(&without_figures(status)).await?
        }
        Err(error) => return Err(error.into()),
    };
    let freed = holds_up_others(job) && !holds_up_others(&written);
    let written = Arc::new(written);
    context.written.wrote(Arc::clone(&written));
    count(&context.metrics, job, status);
    log(job, status);
    if let Some(event) = build::event(job, status, &context.instance, Timestamp::now()) {
        context.calls.write_event(&event).await;
    }
    if freed || status.is_finished() {
        context.settle(&job.uid().unwrap_or_default());
        context.wake_waiting();
    }
    Ok(Some(written))
}

/// What a status has to say, without anything that came from outside.
fn without_figures(status: &ImageSquashJobStatus) -> ImageSquashJobStatus {
    ImageSquashJobStatus {
        source: None,
        target: None,
        warnings: Vec::new(),
        progress: None,
        layers: None,
        size: None,
        reclaimed: None,
        reclaimed_bytes: None,
        duration_seconds: None,
        ..status.clone()
    }
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
        metrics.squashed(new);
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
