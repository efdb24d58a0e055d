//! An attempt that has a Job and no end yet.

use k8s_openapi::jiff::Timestamp;
use unbloat_api::Reason;
use unbloat_api::squash_job::Progress;
use unbloat_contract::ProgressReport;
use unbloat_text::{bounded, sanitize};

use super::draft::Draft;
use super::{Action, POLL, PROGRESS_STEP, SCHEDULING_SECONDS, stop};
use crate::squash_job::build;
use crate::squash_job::world::{AttemptFailure, SourceFacts, WorkerJob, WorkerPod};

impl Draft<'_> {
    pub(super) fn follow(
        self,
        worker: &WorkerJob,
        pod: Option<&WorkerPod>,
        pod_refused: Option<&str>,
        progress: Option<&ProgressReport>,
        idle_seconds: Option<i64>,
    ) -> Action {
        if let Some(pod) = pod.filter(|pod| pod.is_lost(self.now)) {
            let node = pod.node.as_deref().unwrap_or("its node");
            let message =
                format!("the worker's pod does not end: {node} does not answer; it starts elsewhere");
            let report = self.failed(&AttemptFailure::new(Reason::WorkerLost, message));
            return stop(Some(worker), report);
        }
        if let Some(pod) = pod.filter(|pod| pod.running) {
            return self.running(worker, pod, progress, idle_seconds);
        }
        let (reason, words) = self.trouble(pod, pod_refused);
        let attempt = worker.attempt;
        if worker.config.as_ref().is_some_and(|config| *config != build::config_fingerprint(self.config)) {
            return self.started_in_vain(
                worker,
                reason,
                "the operator's configuration has changed meanwhile",
            );
        }
        let limit = self.config.deadlines.start_seconds;
        let since = worker.created.map_or(0, |created| self.now.as_second() - created.as_second());
        if since >= limit {
            let words = words.unwrap_or_else(|| "the worker's pod is being started".to_owned());
            return self.started_in_vain(worker, reason, &format!("not running after {limit} s: {words}"));
        }
        let Some(words) = words else {
            let message = format!("attempt {attempt}: the worker's pod is being started");
            return self.wait(Reason::WorkerPending, &message, POLL);
        };
        // The words change with every node that comes and goes, every back-off; the first ones are as good.
        let message = self
            .message_of(reason)
            .filter(|said| said.contains(MARK))
            .unwrap_or_else(|| format!("attempt {attempt} {MARK}{words}"));
        self.wait(reason, &message, POLL * 5)
    }

    /// What keeps a pod from running, where that is no ordinary wait.
    fn trouble(&self, pod: Option<&WorkerPod>, pod_refused: Option<&str>) -> (Reason, Option<String>) {
        let Some(pod) = pod else {
            let reason = pod_refused.map_or(Reason::WorkerPending, |_| Reason::WorkerPodRefused);
            return (reason, pod_refused.map(sanitize));
        };
        let lasts = |since: Option<Timestamp>| {
            since.is_none_or(|since| self.now.as_second() - since.as_second() >= SCHEDULING_SECONDS)
        };
        if let Some((_, words)) = pod.unschedulable.as_ref().filter(|(since, _)| lasts(*since)) {
            return (Reason::WorkerUnschedulable, Some(sanitize(words)));
        }
        let Some((reason, words)) = &pod.stuck else { return (Reason::WorkerPending, None) };
        let image = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
        let known = if image.contains(&reason.as_str()) {
            Reason::WorkerImageUnavailable
        } else {
            Reason::WorkerPending
        };
        (known, Some(sanitize(&format!("{reason}: {words}"))))
    }

    fn running(
        mut self,
        worker: &WorkerJob,
        pod: &WorkerPod,
        progress: Option<&ProgressReport>,
        idle_seconds: Option<i64>,
    ) -> Action {
        let limit = self.config.deadlines.idle_seconds;
        if idle_seconds.is_some_and(|idle| idle >= limit) {
            let trouble = progress.and_then(trouble).unwrap_or_default();
            let message = format!("the worker made no progress for {limit} s{trouble}");
            let report = self.failed(&AttemptFailure::new(Reason::WorkerStalled, message));
            return stop(Some(worker), report);
        }
        let begins = self.message_of(Reason::Running).is_none();
        if let Some(current) = &mut self.status.worker {
            current.pod = Some(pod.name.clone());
            current.node = pod.node.clone();
        }
        let before = self.status.progress.clone();
        if let Some(report) = progress {
            self.progressed(report, begins);
        }
        let plain = format!("attempt {}: a worker reads, merges and pushes", worker.attempt);
        let said = self.message_of(Reason::Running).filter(|said| said.starts_with(&plain));
        // What passes by is said once: its words are followed only where the worker gets on, or nowhere.
        let is_new = self.status.progress != before || idle_seconds.is_some_and(|idle| idle >= STUCK_SECONDS);
        let message = match (said, progress.and_then(trouble)) {
            (Some(said), Some(_)) if said.contains(TROUBLE) && !is_new => said,
            (_, Some(words)) => format!("{plain}{words}"),
            (said, None) => said.unwrap_or(plain),
        };
        self.wait(Reason::Running, &message, POLL)
    }

    /// Takes over how far the worker says it is: it only ever grows within an attempt.
    fn progressed(&mut self, report: &ProgressReport, begins: bool) {
        let known = self.status.progress.as_ref().map_or(-1, |progress| progress.percent / PROGRESS_STEP);
        let percent = i32::from(report.percent.min(100));
        // What passes the last step is about to be the result.
        let step = (percent / PROGRESS_STEP).min(100 / PROGRESS_STEP - 1);
        if !(begins && known < 0) && step <= known.max(0) {
            return;
        }
        let saturated = |value: u64| i64::try_from(value).unwrap_or(i64::MAX).min(MOST);
        self.status.progress = Some(Progress {
            percent,
            summary: format!("{percent}%"),
            bytes_read: saturated(report.snapshot.bytes_read),
            bytes_total: saturated(report.snapshot.bytes_total),
            bytes_written: saturated(report.snapshot.bytes_written),
        });
        if let Some(digest) = report.source_digest.clone().filter(|_| self.pinned_digest().is_none()) {
            self.pin(&SourceFacts { digest, ..SourceFacts::default() });
        }
    }
}

/// What a worker is trying again, as a message goes on; it stays said until the attempt is over.
fn trouble(report: &ProgressReport) -> Option<String> {
    let words = report.trouble.as_deref().map(sanitize).filter(|words| !words.is_empty())?;
    Some(format!("{TROUBLE}{}", bounded(&words, MOST_OF_A_TROUBLE)))
}

/// What comes before the words of a trouble.
pub(super) const TROUBLE: &str = "; last trouble: ";
/// Without progress for so long a worker is stuck, and its newest trouble is why.
const STUCK_SECONDS: i64 = 30;
/// Bytes of those.
const MOST_OF_A_TROUBLE: usize = 512;
const MARK: &str = "doesn't start: ";
/// The largest number that the schema takes: what JSON holds exactly.
const MOST: i64 = (1 << 53) - 1;
