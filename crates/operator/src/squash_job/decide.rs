//! What to do about one job now: the next status and at most one action, from what was observed.
//!
//! A pure function of its arguments, the time among them. Everything that must survive a restart is in the status or in
//! the names of children, so that a decision is the same in a process that has just started.
//!
//! The way of a job: `Queued` -> (place granted) -> source resolved -> worker started -> `Running` -> ended. An attempt that
//! fails gives its place back and waits `Retrying`. Ends that were reached count before everything that would stop the job:
//! a result that is in the registry is never reported as suspended or late.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use unbloat_api::condition::{self, SOURCE_RESOLVED, SUCCEEDED, State, Statement, bounded};
use unbloat_api::squash_job::{Failure, ImageFigures, Progress, WorkerRef};
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};
use unbloat_contract::ProgressReport;

use super::plan::{Plan, plan};
use super::world::{AttemptFailure, Ended, Observed, Place, Resolution, SourceFacts, WorkerJob, WorkerPod};
use super::{backoff, build, figures, outcome};
use crate::config::{Config, Resolve};

/// How often a running worker is asked how far it is, and a stopping one whether it has gone.
pub(crate) const POLL: Duration = Duration::from_secs(2);
/// Jobs that wait for a place are woken when one becomes free; this is for a wake-up that was lost.
pub(crate) const QUEUE_POLL: Duration = Duration::from_secs(30);
/// A pod whose volume is still being made is unschedulable for a moment, which is no news.
const SCHEDULING_SECONDS: i64 = 5;
/// Progress is written when it passes a multiple of this: four writes for a job, whatever its length.
const PROGRESS_STEP: i32 = 20;

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
    /// Read the source's manifest and decide again with what came of it.
    Resolve(Box<Plan>),
    /// Create the worker's Job.
    Start(Box<Start>),
    /// Delete the worker's Job and its pod.
    Stop {
        /// Name of the Job.
        job: String,
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
    pub(crate) started: Report,
    /// When the API server says no to it.
    pub(crate) refused: Refused,
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

/// What is reported of an attempt that was refused, but for the server's words.
#[derive(Clone, Debug)]
pub(crate) struct Refused(Report);

impl Refused {
    /// With the words.
    pub(crate) fn saying(self, words: &str) -> Report {
        let Refused(Report { mut status, next }) = self;
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
    let Observed { job, worker, pod, stray_pods, progress, resolution, place } = observed;
    let status = job.status.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return Action::None(Report { status, next: None });
    }
    if status.is_finished() {
        return after_the_end(job, status, worker.as_ref(), pod.as_ref(), now);
    }
    let mut draft = Draft { job, config, now, status };
    draft.status.observed_generation = job.metadata.generation;
    draft.adopt(worker.as_ref());
    let current = worker.as_ref().filter(|worker| draft.is_current(worker));

    if let Some(end) = current.and_then(|worker| outcome::ended(worker, pod.as_ref())) {
        return draft.attempt_ended(&end);
    }
    if job.spec.suspend {
        return draft.suspend(current);
    }
    if draft.remaining_seconds() <= 0 {
        return draft.give_up(current);
    }
    match current {
        Some(worker) => draft.follow(worker, pod.as_ref(), progress.as_ref()),
        None if draft.has_current_attempt() => {
            let message = "the worker's Job was deleted while it ran";
            draft.attempt_failed(&AttemptFailure::new(Reason::WorkerLost, message))
        }
        None => draft.start_or_wait(stray_pods, resolution.as_ref(), *place),
    }
}

fn begin_attempt(status: &mut ImageSquashJobStatus, attempt: i32, job: String, now: Timestamp) {
    status.attempts = attempt;
    status.worker = Some(WorkerRef { attempt, job, pod: None, node: None });
    status.start_time.get_or_insert(Time(now));
    status.next_attempt_time = None;
    status.progress = None;
}

fn summarize(
    status: &mut ImageSquashJobStatus,
    job: &ImageSquashJob,
    state: State,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    Statement::new(SUCCEEDED, state, reason)
        .saying(message)
        .about(job.metadata.generation)
        .set(&mut status.conditions, now);
}

/// A finished job: its worker is ended if it somehow still runs, and it goes when its time is over.
fn after_the_end(
    job: &ImageSquashJob,
    status: ImageSquashJobStatus,
    worker: Option<&WorkerJob>,
    pod: Option<&WorkerPod>,
    now: Timestamp,
) -> Action {
    if let Some(worker) = worker.filter(|worker| worker.end.is_none() && !worker.deleting)
        && pod.is_none_or(|pod| !pod.has_ended())
    {
        return Action::Stop { job: worker.name.clone(), then: Report { status, next: Some(POLL) } };
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
        Some(worker) => Action::Stop { job: worker.name.clone(), then },
        None => Action::None(then),
    }
}

/// The status as it becomes.
#[derive(Clone)]
struct Draft<'a> {
    job: &'a ImageSquashJob,
    config: &'a Config,
    now: Timestamp,
    status: ImageSquashJobStatus,
}

impl Draft<'_> {
    /// Takes over an attempt whose Job was made just before a restart, when the status wasn't written yet.
    fn adopt(&mut self, worker: Option<&WorkerJob>) {
        let Some(worker) = worker.filter(|worker| worker.attempt > self.status.attempts) else { return };
        begin_attempt(&mut self.status, worker.attempt, worker.name.clone(), self.now);
        if let Some(digest) = &worker.source_digest {
            self.pin(&SourceFacts { digest: digest.clone(), ..SourceFacts::default() });
        }
    }

    fn has_current_attempt(&self) -> bool {
        let counted = self.status.last_failure.as_ref().map_or(0, |failure| failure.attempt);
        self.status.worker.as_ref().is_some_and(|worker| worker.attempt > counted)
    }

    fn is_current(&self, worker: &WorkerJob) -> bool {
        self.has_current_attempt() && self.status.worker.as_ref().is_some_and(|w| w.attempt == worker.attempt)
    }

    fn remaining_seconds(&self) -> i64 {
        let limit = self.job.spec.active_deadline_seconds;
        match &self.status.start_time {
            Some(start) => start.0.as_second() + limit - self.now.as_second(),
            None => limit,
        }
    }

    fn attempt_ended(mut self, end: &Ended) -> Action {
        let (reason, summary) = match end {
            Ended::Failed(failure) => return self.attempt_failed(failure),
            Ended::Squashed(summary) => (Reason::Squashed, summary),
            Ended::AlreadyFlat(summary) => (Reason::AlreadyFlat, summary),
        };
        figures::result(&mut self.status, summary);
        let message = match reason {
            Reason::AlreadyFlat => figures::flat_message(self.status.source.as_ref()),
            _ => figures::squashed_message(summary),
        };
        self.pinned_condition();
        self.finish(State::True, reason, &message)
    }

    fn attempt_failed(self, failure: &AttemptFailure) -> Action {
        Action::None(self.failed(failure))
    }

    fn failed(mut self, failure: &AttemptFailure) -> Report {
        let attempt = self.status.attempts;
        let limit = self.job.spec.backoff_limit;
        self.status.failures += 1;
        self.status.progress = None;
        self.status.last_failure = Some(Failure {
            attempt,
            reason: failure.reason.as_str().to_owned(),
            message: bounded(&failure.message, condition::MESSAGE_LIMIT),
            exit_code: failure.exit_code,
        });
        if let Some(digest) = failure.source_digest.clone().filter(|_| self.pinned_digest().is_none()) {
            self.pin(&SourceFacts { digest, ..SourceFacts::default() });
        }
        if let Some(digest) = &failure.digest {
            self.status.target =
                Some(ImageFigures { digest: Some(digest.clone()), ..ImageFigures::default() });
        }
        if !failure.retryable {
            return self.end(State::False, failure.reason, &failure.message);
        }
        if self.status.failures > limit {
            let message = format!("after {} failed attempts: {}", self.status.failures, failure.message);
            return self.end(State::False, failure.reason, &message);
        }
        let backoff = &self.config.backoff;
        let uid = self.job.metadata.uid.as_deref().unwrap_or_default();
        let wait = backoff::wait(uid, self.status.failures, backoff.base(), backoff.cap());
        self.status.next_attempt_time = self.now.checked_add(wait).ok().map(Time);
        let message = format!(
            "attempt {} of {} failed: {}: {}",
            self.status.failures,
            limit + 1,
            failure.reason,
            failure.message
        );
        self.waiting(Reason::Retrying, &message, wait)
    }

    fn suspend(mut self, current: Option<&WorkerJob>) -> Action {
        self.status.worker = None;
        self.status.start_time = None;
        self.status.next_attempt_time = None;
        self.status.progress = None;
        let message = "spec.suspend is set; the work starts over when it is cleared";
        summarize(&mut self.status, self.job, State::Unknown, Reason::Suspended, message, self.now);
        stop(current, Report { status: self.status, next: None })
    }

    fn give_up(self, current: Option<&WorkerJob>) -> Action {
        let last = self
            .status
            .last_failure
            .as_ref()
            .map(|failure| format!("; the last failure: {}", failure.message));
        let message = format!(
            "not done {} s after it started (spec.activeDeadlineSeconds){}",
            self.job.spec.active_deadline_seconds,
            last.unwrap_or_default()
        );
        stop(current, self.end(State::False, Reason::DeadlineExceeded, &message))
    }

    fn follow(
        self,
        worker: &WorkerJob,
        pod: Option<&WorkerPod>,
        progress: Option<&ProgressReport>,
    ) -> Action {
        let attempt = worker.attempt;
        let Some(pod) = pod else {
            let message = format!("attempt {attempt}: the worker's pod is being started");
            return self.wait(Reason::WorkerPending, &message, POLL);
        };
        if pod.running {
            return self.running(attempt, pod, progress);
        }
        let lasts = |since: Option<Timestamp>| {
            since.is_none_or(|since| self.now.as_second() - since.as_second() >= SCHEDULING_SECONDS)
        };
        if let Some((_, words)) = pod.unschedulable.as_ref().filter(|(since, _)| lasts(*since)) {
            // The scheduler's words change with every node that comes and goes; the first ones are as good.
            let message = self.message_of(Reason::WorkerUnschedulable).unwrap_or_else(|| words.clone());
            return self.wait(Reason::WorkerUnschedulable, &message, POLL * 5);
        }
        if let Some((reason, words)) = &pod.stuck {
            const MARK: &str = "doesn't start: ";
            let message = self
                .message_of(Reason::WorkerPending)
                .filter(|message| message.contains(MARK))
                .unwrap_or_else(|| {
                    format!("attempt {attempt}: the worker's container {MARK}{reason}: {words}")
                });
            return self.wait(Reason::WorkerPending, &message, POLL * 5);
        }
        let message = format!("attempt {attempt}: the worker's pod is being started");
        self.wait(Reason::WorkerPending, &message, POLL)
    }

    fn running(mut self, attempt: i32, pod: &WorkerPod, progress: Option<&ProgressReport>) -> Action {
        let begins = self.message_of(Reason::Running).is_none();
        let known = self.status.progress.as_ref().map_or(-1, |progress| progress.percent / PROGRESS_STEP);
        if let Some(worker) = &mut self.status.worker {
            worker.pod = Some(pod.name.clone());
            worker.node = pod.node.clone();
        }
        if let Some(report) = progress {
            let percent = i32::from(report.percent.min(100));
            // What passes the last step is about to be the result.
            let step = (percent / PROGRESS_STEP).min(100 / PROGRESS_STEP - 1);
            if begins || step > known.max(0) {
                self.status.progress = Some(Progress {
                    percent,
                    summary: format!("{percent}%"),
                    bytes_read: saturated(report.snapshot.bytes_read),
                    bytes_total: saturated(report.snapshot.bytes_total),
                    bytes_written: saturated(report.snapshot.bytes_written),
                });
                if let Some(digest) = report.source_digest.clone().filter(|_| self.pinned_digest().is_none())
                {
                    self.pin(&SourceFacts { digest, ..SourceFacts::default() });
                }
            }
        }
        let message = format!("attempt {attempt}: a worker reads, merges and pushes");
        self.wait(Reason::Running, &message, POLL)
    }

    fn start_or_wait(
        mut self,
        stray_pods: &[String],
        resolution: Option<&Resolution>,
        place: Place,
    ) -> Action {
        if let Some(next) = &self.status.next_attempt_time
            && next.0 > self.now
        {
            let wait = Duration::try_from(next.0.duration_since(self.now)).unwrap_or(POLL);
            // The message is the last failure's; only the generation may have changed.
            let message = self.message_of(Reason::Retrying);
            return match message {
                Some(message) => self.wait(Reason::Retrying, &message, wait),
                None => self.wait(Reason::Retrying, "waits for its next attempt", wait),
            };
        }
        let plan = match plan(&self.job.spec, self.config) {
            Ok(plan) => plan,
            Err(refusal) => return self.finish(State::False, refusal.reason, &refusal.message),
        };
        if let Some(pod) = stray_pods.first() {
            let message = format!("waits until the pod {pod} of an earlier attempt has ended");
            return self.wait(Reason::WorkerPending, &message, POLL);
        }
        if place == Place::Waiting {
            let limits = self.config.concurrency;
            let message = format!(
                "waits for a free place: {} squashes run at once, {} in a namespace",
                limits.global, limits.per_namespace
            );
            return self.wait(Reason::Queued, &message, QUEUE_POLL);
        }
        if self.config.resolve == Resolve::Anonymous && self.pinned_digest().is_none() {
            match resolution {
                None => {
                    return Action::Resolve(Box::new(plan));
                }
                Some(Resolution::Flat(facts)) => {
                    self.pin(facts);
                    return self.already_flat();
                }
                Some(Resolution::Failed { reason, message }) => {
                    return self.attempt_failed(&AttemptFailure::new(*reason, message.clone()));
                }
                Some(Resolution::Pinned(facts)) => self.pin(facts),
                Some(Resolution::LeftToWorker) => self.left_to_worker(),
            }
        } else if self.pinned_digest().is_none() {
            self.left_to_worker();
        }
        let attempt = Attempt {
            number: self.status.attempts + 1,
            plan,
            source_digest: self.pinned_digest().map(str::to_owned),
            remaining_seconds: self.remaining_seconds(),
        };
        let refused = self.clone().refused();
        Action::Start(Box::new(Start { started: self.started(attempt.number), refused, attempt }))
    }

    /// The report once an attempt's Job exists.
    fn started(mut self, attempt: i32) -> Report {
        begin_attempt(&mut self.status, attempt, build::job_name(self.job, attempt), self.now);
        let message = format!("attempt {attempt}: the worker's pod is being started");
        summarize(&mut self.status, self.job, State::Unknown, Reason::WorkerPending, &message, self.now);
        Report { status: self.status, next: Some(POLL) }
    }

    /// The report once the API server refused an attempt's Job.
    fn refused(self) -> Refused {
        let failure = AttemptFailure::new(Reason::WorkerCreateFailed, "the worker's Job was refused");
        Refused(self.failed(&failure))
    }

    fn already_flat(mut self) -> Action {
        self.status.target = self.status.source.clone();
        self.status.reclaimed_bytes = Some(0);
        figures::columns(&mut self.status);
        let message = figures::flat_message(self.status.source.as_ref());
        self.finish(State::True, Reason::AlreadyFlat, &message)
    }

    fn pinned_digest(&self) -> Option<&str> {
        self.status.source.as_ref()?.digest.as_deref()
    }

    fn pin(&mut self, facts: &SourceFacts) {
        figures::source(&mut self.status, &self.job.spec.source.image, facts);
        self.pinned_condition();
    }

    fn pinned_condition(&mut self) {
        let Some(digest) = self.pinned_digest().map(str::to_owned) else { return };
        let message = format!("every attempt reads {digest}");
        self.resolved(State::True, Reason::Resolved, &message);
    }

    fn left_to_worker(&mut self) {
        let message = "the operator has no access to the source's registry; the worker resolves it";
        self.resolved(State::Unknown, Reason::ResolvedByWorker, message);
    }

    fn resolved(&mut self, state: State, reason: Reason, message: &str) {
        let generation = self.job.metadata.generation;
        Statement::new(SOURCE_RESOLVED, state, reason)
            .saying(message)
            .about(generation)
            .set(&mut self.status.conditions, self.now);
    }

    /// The message of the summary, if it already has this reason.
    fn message_of(&self, reason: Reason) -> Option<String> {
        let condition = self.status.succeeded().filter(|condition| condition.reason == reason.as_str())?;
        Some(condition.message.clone())
    }

    fn wait(self, reason: Reason, message: &str, next: Duration) -> Action {
        Action::None(self.waiting(reason, message, next))
    }

    fn waiting(mut self, reason: Reason, message: &str, next: Duration) -> Report {
        summarize(&mut self.status, self.job, State::Unknown, reason, message, self.now);
        let until_deadline = match (&self.status.start_time, u64::try_from(self.remaining_seconds())) {
            (Some(_), Ok(seconds)) => Duration::from_secs(seconds.max(1)),
            _ => next,
        };
        Report { status: self.status, next: Some(next.min(until_deadline)) }
    }

    fn finish(self, state: State, reason: Reason, message: &str) -> Action {
        Action::None(self.end(state, reason, message))
    }

    fn end(mut self, state: State, reason: Reason, message: &str) -> Report {
        self.status.completion_time = Some(Time(self.now));
        self.status.next_attempt_time = None;
        if state == State::False {
            self.status.progress = None;
        }
        summarize(&mut self.status, self.job, state, reason, message, self.now);
        let ttl = self.job.spec.ttl_seconds_after_finished.and_then(|ttl| u64::try_from(ttl).ok());
        Report { status: self.status, next: ttl.map(|ttl| Duration::from_secs(ttl.max(1))) }
    }
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
