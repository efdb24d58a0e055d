//! What to do about one job now: the next status and at most one action, from what was observed.
//!
//! A pure function of its arguments, the time among them. Everything that must survive a restart is in the
//! status or in the names of children, so that a decision is the same in a process that has just started.
//!
//! The way of a job: `Queued` -> (place granted) -> source resolved -> worker started -> `Running` -> ended.
//! An attempt that fails gives its place back and waits `Retrying`. Ends that were reached count before
//! everything that would stop the job: a result that is in the registry is never reported as suspended or
//! late.

mod draft;
mod follow;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use unbloat_api::condition::{self, SUCCEEDED};
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};
use unbloat_text::{bounded, sanitize};

use self::draft::Draft;
use super::outcome;
use super::plan::Plan;
use super::testimony;
use super::world::{AttemptFailure, Observed, WorkerJob, WorkerPod};
use crate::config::Config;

/// How often a running worker is asked how far it is, and a stopping one whether it has gone.
pub(crate) const POLL: Duration = Duration::from_secs(2);
/// Jobs that wait for a place are woken when one becomes free; this is for a wake-up that was lost.
pub(crate) const QUEUE_POLL: Duration = Duration::from_secs(30);
/// A pod whose volume is still being made is unschedulable for a moment, which is no news.
const SCHEDULING_SECONDS: i64 = 5;
/// Progress is written when it passes a multiple of this: four writes for a job, whatever its length.
const PROGRESS_STEP: i32 = 20;
/// A sidecar that runs on after the worker keeps the pod from its end; the worker's log stays readable for
/// this long.
const SIDECAR_SECONDS: i64 = 30;

/// What is written when all is done, and when to look again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The status that the job has then.
    pub(crate) status: ImageSquashJobStatus,
    /// When to look again, if nothing changes before.
    pub(crate) next: Option<Duration>,
}

/// At most one thing is done in a reconcile; each carries what is reported once it is done.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Nothing.
    None(Report),
    /// Report this first, then read the source's manifest and decide again with what came of it. An operator
    /// that finds the report there did not come back from reading: the source is then the worker's to read.
    Resolve(Box<Plan>, Report),
    /// Create the worker's Job.
    Start(Box<Start>),
    /// Delete the worker's Job and its pod.
    Stop {
        /// Name of the Job.
        job: String,
        /// Its uid: a namesake is left alone.
        uid: String,
        /// Once it is deleted.
        then: Report,
    },
    /// Delete the ImageSquashJob: its time to live is over.
    Expire,
}

/// An attempt to start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// What it is.
    pub(crate) attempt: Attempt,
    /// Once its Job exists.
    pub(crate) started: Started,
    /// When the API server says no to it.
    pub(crate) refused: Refused,
    /// When somebody else's Job has its name.
    pub(crate) taken: Report,
}

/// What the Job of an attempt is made of.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its number.
    pub(crate) number: i32,
    /// What it does.
    pub(crate) plan: Plan,
    /// The digest to read, where it is known.
    pub(crate) source_digest: Option<String>,
    /// Seconds until the job's deadline.
    pub(crate) remaining_seconds: i64,
}

/// What is reported of an attempt that was started, but for its Job's uid.
#[derive(Clone, Debug)]
pub(crate) struct Started(Report);

impl Started {
    /// As the API server made it.
    pub(crate) fn made(self, uid: String) -> Report {
        let Started(mut report) = self;
        if let Some(worker) = &mut report.status.worker {
            worker.uid = Some(uid);
        }
        report
    }

    #[cfg(test)]
    fn report(&self) -> &Report {
        &self.0
    }
}

/// What is reported of an attempt that was refused, but for the server's words.
#[derive(Clone, Debug)]
pub(crate) struct Refused(Report);

impl Refused {
    /// With the words.
    pub(crate) fn saying(self, words: &str) -> Report {
        let Refused(Report { mut status, next }) = self;
        let words = sanitize(words);
        // Every message of it ends with what was refused.
        let with_words = |message: &mut String| {
            *message = bounded(&format!("{message}: {words}"), condition::MESSAGE_LIMIT);
        };
        if let Some(failure) = &mut status.last_failure {
            with_words(&mut failure.message);
        }
        let summary = status.conditions.iter_mut().find(|condition| condition.type_ == SUCCEEDED);
        if let Some(summary) = summary {
            with_words(&mut summary.message);
        }
        Report { status, next }
    }
}

/// Decides.
pub(crate) fn decide(observed: &Observed<'_>, config: &Config, now: Timestamp) -> Action {
    let Observed { job, worker, pod, pod_refused, stray_pods, progress, idle_seconds, resolution, place } =
        observed;
    let status = job.status.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return Action::None(Report { status, next: None });
    }
    if status.is_finished() {
        return after_the_end(job, status, worker.as_ref(), pod.as_ref(), now);
    }
    let draft = Draft::new(job, config, now, status);
    let current = worker.as_ref().filter(|worker| draft.is_current(worker));

    if let Some(end) = current.and_then(|worker| outcome::ended(worker, pod.as_ref())) {
        return match draft.told() {
            Ok(told) => {
                let end = testimony::believed(end, told.borrowed());
                draft.attempt_ended(&end)
            }
            Err(refusal) => draft.finish(condition::State::False, refusal.reason, &refusal.message),
        };
    }
    if job.spec.suspend {
        return draft.suspend(current);
    }
    if draft.remaining_seconds() <= 0 {
        return draft.give_up(current);
    }
    match current {
        Some(worker) => {
            draft.follow(worker, pod.as_ref(), pod_refused.as_deref(), progress.as_ref(), *idle_seconds)
        }
        None if draft.has_current_attempt() => {
            let message = "the worker's Job was deleted while it ran";
            draft.attempt_failed(&AttemptFailure::new(Reason::WorkerLost, message))
        }
        None => draft.start_or_wait(stray_pods, resolution.as_ref(), *place),
    }
}

/// A finished job: its worker is ended if it somehow still runs, and it goes when its time is over.
fn after_the_end(
    job: &ImageSquashJob,
    status: ImageSquashJobStatus,
    worker: Option<&WorkerJob>,
    pod: Option<&WorkerPod>,
    now: Timestamp,
) -> Action {
    if let Some(worker) = worker.filter(|worker| worker.end.is_none() && !worker.deleting) {
        let kept_by_sidecar = pod.and_then(|pod| pod.kept_by_sidecar_since);
        match (pod, kept_by_sidecar) {
            (Some(pod), None) if pod.has_ended() => {}
            (Some(_), Some(since)) if now.as_second() - since.as_second() < SIDECAR_SECONDS => {
                return Action::None(Report { status, next: Some(Duration::from_secs(10)) });
            }
            _ => return stop(Some(worker), Report { status, next: Some(POLL) }),
        }
    }
    let (Some(ttl), Some(end)) = (job.spec.ttl_seconds_after_finished, &status.completion_time) else {
        return Action::None(Report { status, next: None });
    };
    let remaining = end.0.as_second() + i64::from(ttl) - now.as_second();
    match u64::try_from(remaining) {
        Ok(seconds) if seconds > 0 => {
            Action::None(Report { status, next: Some(Duration::from_secs(seconds)) })
        }
        _ => Action::Expire,
    }
}

/// Stops the worker if it isn't being stopped already.
fn stop(worker: Option<&WorkerJob>, then: Report) -> Action {
    match worker.filter(|worker| !worker.deleting) {
        Some(worker) => Action::Stop { job: worker.name.clone(), uid: worker.uid.clone(), then },
        None => Action::None(then),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod words_from_outside;
