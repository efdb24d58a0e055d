//! The status of a job as it becomes, and the ends and waits that it comes to.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use unbloat_api::condition::{self, SOURCE_RESOLVED, SUCCEEDED, State, Statement};
use unbloat_api::squash_job::{Failure, ImageFigures, WorkerRef};
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};
use unbloat_contract::NothingToDo;
use unbloat_oci::Reference;
use unbloat_text::bounded;

use super::follow::TROUBLE;
use super::{Action, Attempt, POLL, QUEUE_POLL, Refused, Report, Start, Started, stop};
use crate::config::Config;
use crate::squash_job::plan::{Plan, Refusal, plan, references};
use crate::squash_job::testimony::Told;
use crate::squash_job::world::{AttemptFailure, Ended, Place, Resolution, SourceFacts, WorkerJob};
use crate::squash_job::{backoff, build, figures};

/// The status as it becomes.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    pub(super) job: &'a ImageSquashJob,
    pub(super) config: &'a Config,
    pub(super) now: Timestamp,
    pub(super) status: ImageSquashJobStatus,
}

/// What an attempt was told, owned.
pub(super) struct Instructions {
    source: Reference,
    target: Reference,
    source_digest: Option<String>,
    seconds: i64,
}

impl Instructions {
    pub(super) fn borrowed(&self) -> Told<'_> {
        Told {
            source: &self.source,
            target: &self.target,
            source_digest: self.source_digest.as_deref(),
            seconds: self.seconds,
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        job: &'a ImageSquashJob,
        config: &'a Config,
        now: Timestamp,
        mut status: ImageSquashJobStatus,
    ) -> Self {
        status.observed_generation = job.metadata.generation;
        Self { job, config, now, status }
    }

    pub(super) fn has_current_attempt(&self) -> bool {
        let counted = self.status.last_failure.as_ref().map_or(0, |failure| failure.attempt);
        self.status.worker.as_ref().is_some_and(|worker| worker.attempt > counted)
    }

    pub(super) fn is_current(&self, worker: &WorkerJob) -> bool {
        self.has_current_attempt() && self.status.worker.as_ref().is_some_and(|w| w.attempt == worker.attempt)
    }

    /// The job's own deadline, or the platform's where that is sooner.
    fn deadline(&self) -> (i64, &'static str) {
        let (own, platform) =
            (self.job.spec.active_deadline_seconds, self.config.deadlines.max_active_seconds);
        if own <= platform {
            (own, "spec.activeDeadlineSeconds")
        } else {
            (platform, "the platform's deadlines.maxActiveSeconds")
        }
    }

    pub(super) fn remaining_seconds(&self) -> i64 {
        let (limit, _) = self.deadline();
        match &self.status.start_time {
            Some(start) => start.0.as_second().saturating_add(limit) - self.now.as_second(),
            None => limit,
        }
    }

    /// What the current attempt was told.
    pub(super) fn told(&self) -> Result<Instructions, Refusal> {
        let (source, target) = references(&self.job.spec)?;
        let start = self.status.start_time.as_ref().map_or(self.now, |start| start.0);
        Ok(Instructions {
            source,
            target,
            source_digest: self.pinned_digest().map(str::to_owned),
            seconds: self.now.as_second() - start.as_second(),
        })
    }

    pub(super) fn attempt_ended(mut self, end: &Ended) -> Action {
        let (reason, result) = match end {
            Ended::Failed(failure) => return self.attempt_failed(failure),
            Ended::Squashed(result) => (Reason::Squashed, result),
            Ended::AlreadyFlat(result) => (Reason::AlreadyFlat, result),
        };
        figures::result(&mut self.status, &self.job.spec.source.image, result);
        let message = match reason {
            Reason::AlreadyFlat if result.nothing_to_do == Some(NothingToDo::BelowCondition) => {
                figures::below_message(&self.status)
            }
            Reason::AlreadyFlat => figures::flat_message(&self.status),
            _ => figures::squashed_message(result),
        };
        self.pinned_condition();
        self.finish(State::True, reason, &message)
    }

    pub(super) fn attempt_failed(self, failure: &AttemptFailure) -> Action {
        Action::None(self.failed(failure))
    }

    pub(super) fn failed(mut self, failure: &AttemptFailure) -> Report {
        let limit = self.job.spec.backoff_limit;
        self.status.failures = self.status.failures.saturating_add(1);
        // Its Job's own deadline says no more than that it is over.
        let last = match failure.reason {
            Reason::DeadlineExceeded => self.last(),
            _ => String::new(),
        };
        let failure = &AttemptFailure { message: format!("{}{last}", failure.message), ..failure.clone() };
        self.note(failure);
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
        let failures = self.status.failures;
        if failures > limit {
            let attempts = if failures == 1 { "attempt" } else { "attempts" };
            let message = format!("after {failures} failed {attempts}: {}", failure.message);
            return self.end(State::False, failure.reason, &message);
        }
        let wait = self.back_off(failures);
        let message =
            format!("attempt {failures} of {} failed: {}: {}", limit + 1, failure.reason, failure.message);
        self.waiting(Reason::Retrying, &message, wait)
    }

    /// An attempt that never ran gives its place back and is made anew later; it is no failure of the job.
    pub(super) fn started_in_vain(mut self, worker: &WorkerJob, reason: Reason, words: &str) -> Action {
        self.note(&AttemptFailure::new(reason, words));
        let in_vain = self.status.attempts.saturating_sub(self.status.failures);
        let wait = self.back_off(in_vain);
        let message = format!("attempt {} did not start and gave its place back: {words}", worker.attempt);
        let report = self.waiting(reason, &message, wait);
        stop(Some(worker), report)
    }

    /// Remembers why an attempt is over, so that it holds no place.
    fn note(&mut self, failure: &AttemptFailure) {
        self.status.progress = None;
        self.status.last_failure = Some(Failure {
            attempt: self.status.attempts,
            reason: failure.reason.as_str().to_owned(),
            message: bounded(&failure.message, condition::MESSAGE_LIMIT),
            exit_code: failure.exit_code,
        });
    }

    /// Sets when the next attempt may start.
    fn back_off(&mut self, failures: i32) -> Duration {
        let backoff = &self.config.backoff;
        let uid = self.job.metadata.uid.as_deref().unwrap_or_default();
        let wait = backoff::wait(uid, failures, backoff.base(), backoff.cap());
        self.status.next_attempt_time = self.now.checked_add(wait).ok().map(Time);
        wait
    }

    pub(super) fn suspend(mut self, current: Option<&WorkerJob>) -> Action {
        self.status.worker = None;
        self.status.start_time = None;
        self.status.next_attempt_time = None;
        self.status.progress = None;
        let message = "spec.suspend is set; the work starts over when it is cleared";
        self.summarize(State::Unknown, Reason::Suspended, message);
        stop(current, Report { status: self.status, next: None })
    }

    pub(super) fn give_up(self, current: Option<&WorkerJob>) -> Action {
        let (limit, whose) = self.deadline();
        let message = format!("not done {limit} s after it started ({whose}){}", self.last());
        stop(current, self.end(State::False, Reason::DeadlineExceeded, &message))
    }

    /// What went wrong last, as a message goes on: a worker's last trouble, else the last failure, else how
    /// far it was.
    fn last(&self) -> String {
        let running = self.message_of(Reason::Running).filter(|message| message.contains(TROUBLE));
        match (running, &self.status.last_failure, self.status.succeeded()) {
            (Some(running), _, _) => format!("; last: {running}"),
            (None, Some(failure), _) => format!("; the last failure: {}", failure.message),
            (None, None, Some(summary)) => format!("; last: {}: {}", summary.reason, summary.message),
            (None, None, None) => String::new(),
        }
    }

    pub(super) fn start_or_wait(
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
            let said = self.status.succeeded().filter(|summary| summary.status == "Unknown");
            let said = said.and_then(|said| Some((Reason::parse(&said.reason)?, said.message.clone())));
            let (reason, message) =
                said.unwrap_or((Reason::Retrying, "waits for its next attempt".to_owned()));
            return self.wait(reason, &message, wait);
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
                "waits for a free place: {} squashes run at once, at most {} in a namespace",
                limits.global, limits.per_namespace
            );
            return self.wait(Reason::Queued, &message, QUEUE_POLL);
        }
        if self.pinned_digest().is_none() {
            let was_resolving = self.message_of(Reason::Resolving).is_some();
            match resolution {
                None if self.config.resolves(plan.source.registry()) && !was_resolving => {
                    self.summarize(
                        State::Unknown,
                        Reason::Resolving,
                        "the operator reads the source's manifest",
                    );
                    let report = Report { status: self.status, next: Some(POLL) };
                    return Action::Resolve(Box::new(plan), report);
                }
                Some(Resolution::Flat(facts)) => {
                    self.pin(facts);
                    // Another target gets the image from a worker, which may write there.
                    if self.job.spec.target.move_tag {
                        return self.already_flat();
                    }
                }
                Some(Resolution::Pinned(facts)) => self.pin(facts),
                None | Some(Resolution::LeftToWorker) => self.left_to_worker(),
            }
        }
        self.start(plan)
    }

    fn start(self, plan: Plan) -> Action {
        let Some(number) = self.status.attempts.checked_add(1) else {
            return self.finish(State::False, Reason::WorkerFailed, "there are no more attempts to count");
        };
        let attempt = Attempt {
            number,
            plan,
            source_digest: self.pinned_digest().map(str::to_owned),
            remaining_seconds: self.remaining_seconds(),
        };
        let refused = self.clone().refused();
        let taken = self.clone().taken(number);
        Action::Start(Box::new(Start { started: self.started(number), refused, taken, attempt }))
    }

    /// The report once an attempt's Job exists.
    fn started(mut self, attempt: i32) -> Started {
        self.status.attempts = attempt;
        let job = build::job_name(self.job, attempt);
        self.status.worker = Some(WorkerRef { attempt, job, uid: None, pod: None, node: None });
        self.status.start_time.get_or_insert(Time(self.now));
        self.status.next_attempt_time = None;
        self.status.progress = None;
        let message = format!("attempt {attempt}: the worker's pod is being started");
        self.summarize(State::Unknown, Reason::WorkerPending, &message);
        Started(Report { status: self.status, next: Some(POLL) })
    }

    /// The report once the API server refused an attempt's Job.
    fn refused(self) -> Refused {
        let failure = AttemptFailure::new(Reason::WorkerCreateFailed, "the worker's Job was refused");
        Refused(self.failed(&failure))
    }

    /// The report when the attempt's name is taken by a Job that the operator did not make: that number is
    /// left out.
    fn taken(mut self, attempt: i32) -> Report {
        self.status.attempts = attempt;
        self.status.worker = None;
        let message = format!(
            "there is a Job {} that the operator did not make; the next attempt has another name",
            build::job_name(self.job, attempt)
        );
        self.note(&AttemptFailure::new(Reason::WorkerCreateFailed, message.clone()));
        self.waiting(Reason::WorkerPending, &message, POLL)
    }

    fn already_flat(mut self) -> Action {
        self.status.target = self.status.source.clone();
        self.status.reclaimed_bytes = Some(0);
        figures::columns(&mut self.status);
        let message = figures::flat_message(&self.status);
        self.finish(State::True, Reason::AlreadyFlat, &message)
    }

    pub(super) fn pinned_digest(&self) -> Option<&str> {
        self.status.source.as_ref()?.digest.as_deref()
    }

    pub(super) fn pin(&mut self, facts: &SourceFacts) {
        figures::source(&mut self.status, &self.job.spec.source.image, facts);
        self.pinned_condition();
    }

    fn pinned_condition(&mut self) {
        let Some(digest) = self.pinned_digest().map(str::to_owned) else { return };
        self.resolved(State::True, Reason::Resolved, &format!("every attempt reads {digest}"));
    }

    fn left_to_worker(&mut self) {
        self.resolved(State::Unknown, Reason::ResolvedByWorker, "the worker resolves the source");
    }

    fn resolved(&mut self, state: State, reason: Reason, message: &str) {
        Statement::new(SOURCE_RESOLVED, state, reason)
            .saying(message)
            .about(self.job.metadata.generation)
            .set(&mut self.status.conditions, self.now);
    }

    pub(super) fn summarize(&mut self, state: State, reason: Reason, message: &str) {
        Statement::new(SUCCEEDED, state, reason)
            .saying(message)
            .about(self.job.metadata.generation)
            .set(&mut self.status.conditions, self.now);
    }

    /// The message of the summary, if it already has this reason.
    pub(super) fn message_of(&self, reason: Reason) -> Option<String> {
        let condition = self.status.succeeded().filter(|condition| condition.reason == reason.as_str())?;
        Some(condition.message.clone())
    }

    pub(super) fn wait(self, reason: Reason, message: &str, next: Duration) -> Action {
        Action::None(self.waiting(reason, message, next))
    }

    fn waiting(mut self, reason: Reason, message: &str, next: Duration) -> Report {
        self.summarize(State::Unknown, reason, message);
        let until_deadline = match (&self.status.start_time, u64::try_from(self.remaining_seconds())) {
            (Some(_), Ok(seconds)) => Duration::from_secs(seconds.max(1)),
            _ => next,
        };
        Report { status: self.status, next: Some(next.min(until_deadline)) }
    }

    pub(super) fn finish(self, state: State, reason: Reason, message: &str) -> Action {
        Action::None(self.end(state, reason, message))
    }

    fn end(mut self, state: State, reason: Reason, message: &str) -> Report {
        self.status.completion_time = Some(Time(self.now));
        self.status.next_attempt_time = None;
        if state == State::False {
            self.status.progress = None;
        }
        // At the end nobody resolves any more: what isn't known by now wasn't resolved, for the job's own
        // reason.
        let open = condition::find(&self.status.conditions, SOURCE_RESOLVED)
            .is_some_and(|resolved| resolved.status == State::Unknown.as_str());
        if open && self.pinned_digest().is_some() {
            self.pinned_condition();
        } else if open {
            self.resolved(State::False, reason, message);
        }
        self.summarize(state, reason, message);
        let ttl = self.job.spec.ttl_seconds_after_finished.and_then(|ttl| u64::try_from(ttl).ok());
        Report { status: self.status, next: ttl.map(|ttl| Duration::from_secs(ttl.max(1))) }
    }
}
