//! Which waiting jobs may start: a fair turn for each namespace, then the oldest first, within the limits of
//! the cluster and of each namespace.
//!
//! Decided over the whole store at once, so that the answer is the same whichever job asks. What the store
//! doesn't show yet (a job that was let in a moment ago) is passed in as reserved.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason};

use crate::config::Concurrency;

/// Whether a job has a worker, or is about to: it takes one place.
pub(crate) fn holds_place(job: &ImageSquashJob) -> bool {
    let Some(status) = &job.status else { return false };
    let Some(worker) = &status.worker else { return false };
    let counted = status.last_failure.as_ref().is_some_and(|failure| failure.attempt >= worker.attempt);
    !status.is_finished() && !counted
}

/// Whether the place that a job holds counts: its worker runs, or nothing is known to keep it from that.
///
/// One that finds no node, no quota or no image may be started at any time and so is kept track of, but it
/// keeps nobody else waiting: whoever makes such jobs would stop everybody.
pub(crate) fn holds_up_others(job: &ImageSquashJob) -> bool {
    holds_place(job) && !is_kept_from_starting(job)
}

fn is_kept_from_starting(job: &ImageSquashJob) -> bool {
    let waits_for = [Reason::WorkerUnschedulable, Reason::WorkerPodRefused, Reason::WorkerImageUnavailable];
    let reason = job.status.as_ref().and_then(|status| status.succeeded()).map(|condition| &condition.reason);
    reason.is_some_and(|reason| waits_for.iter().any(|known| known.as_str() == reason))
}

/// Places that are taken, in the cluster or in a namespace.
#[derive(Clone, Copy, Default)]
struct Taken {
    counted: usize,
    /// Held by workers that are kept from starting.
    kept: usize,
}

impl Taken {
    fn add(&mut self, job: &ImageSquashJob) {
        if holds_place(job) && is_kept_from_starting(job) {
            self.kept += 1;
        } else {
            self.counted += 1;
        }
    }

    /// As many as the limit may wait for a node beside those that run; the others count, so that no more than
    /// twice the limit run should they all start at once.
    fn of(self, limit: usize) -> usize {
        self.counted + self.kept.saturating_sub(limit)
    }
}

/// Whether a job would start if it had a place.
pub(crate) fn wants_place(job: &ImageSquashJob, now: Timestamp) -> bool {
    let status = job.status.as_ref();
    let due = status.and_then(|status| status.next_attempt_time.as_ref()).is_none_or(|time| time.0 <= now);
    job.metadata.deletion_timestamp.is_none()
        && !job.spec.suspend
        && !status.is_some_and(ImageSquashJobStatus::is_finished)
        && !holds_place(job)
        && due
}

/// The jobs that may start now, in addition to those that hold a place or are reserved.
///
/// `lingering` has the namespace of each worker pod that still ends though its job holds no place any more:
/// it takes one until it is gone.
pub(crate) fn grants<'a>(
    jobs: impl IntoIterator<Item = &'a ImageSquashJob>,
    reserved: &HashSet<String>,
    lingering: &[String],
    limits: Concurrency,
    now: Timestamp,
) -> Vec<&'a ImageSquashJob> {
    let mut taken = Taken { counted: lingering.len(), kept: 0 };
    let mut taken_in: HashMap<String, Taken> = HashMap::new();
    for namespace in lingering {
        taken_in.entry(namespace.clone()).or_default().counted += 1;
    }
    let mut waiting = Vec::new();
    for job in jobs {
        if holds_place(job) || job.metadata.uid.as_ref().is_some_and(|uid| reserved.contains(uid)) {
            taken.add(job);
            taken_in.entry(job.namespace().unwrap_or_default()).or_default().add(job);
        } else if wants_place(job, now) {
            waiting.push(job);
        }
    }
    // The last comes first, so that each turn takes from the end.
    waiting.sort_by_cached_key(|job| {
        let age = job.creation_timestamp().map(|time| time.0);
        Reverse((started_in_vain(job), age, job.namespace(), job.name_any()))
    });
    let mut granted = Vec::new();
    while let Some(free) = limits.global.checked_sub(taken.of(limits.global)).filter(|free| *free > 0) {
        let holds = |job: &ImageSquashJob| {
            let taken = job.namespace().and_then(|namespace| taken_in.get(&namespace).copied());
            taken.unwrap_or_default().of(limits.per_namespace)
        };
        let next = waiting
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, job)| may_hold_another(holds(job), free, limits))
            .min_by_key(|(_, job)| holds(job))
            .map(|(at, _)| at);
        let Some(at) = next else { break };
        let job = waiting.remove(at);
        taken_in.entry(job.namespace().unwrap_or_default()).or_default().counted += 1;
        taken.counted += 1;
        granted.push(job);
    }
    granted
}

/// Attempts that never ran: such a job comes after those that were not tried yet.
fn started_in_vain(job: &ImageSquashJob) -> i32 {
    job.status.as_ref().map_or(0, |status| status.attempts.saturating_sub(status.failures))
}

/// Whether a namespace that holds some places may have another one of those that are free.
///
/// Where no namespace may have all places, it holds less than are free: two that take what they can leave one
/// for a third, and that one for a fourth. What a namespace doesn't give back soon, because its registry
/// doesn't answer, keeps nobody else out.
fn may_hold_another(holds: usize, free: usize, limits: Concurrency) -> bool {
    let shared = limits.per_namespace < limits.global;
    holds < limits.per_namespace && (!shared || holds < free)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(namespace: &str, name: &str, created: i64) -> ImageSquashJob {
        serde_json::from_value(json!({
            "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"),
                         "creationTimestamp": at(created).to_string()},
            "spec": {"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"}},
        }))
        .unwrap()
    }

    fn with_status(mut job: ImageSquashJob, status: serde_json::Value) -> ImageSquashJob {
        job.status = Some(serde_json::from_value(status).unwrap());
        job
    }

    fn names(jobs: &[ImageSquashJob], reserved: &[&str], global: usize, per_namespace: usize) -> Vec<String> {
        names_beside(&[], jobs, reserved, global, per_namespace)
    }

    fn names_beside(
        lingering: &[String],
        jobs: &[ImageSquashJob],
        reserved: &[&str],
        global: usize,
        per_namespace: usize,
    ) -> Vec<String> {
        let reserved = reserved.iter().map(ToString::to_string).collect();
        grants(jobs, &reserved, lingering, Concurrency { global, per_namespace }, at(1000))
            .iter()
            .map(|job| job.name_any())
            .collect()
    }

    #[test]
    fn the_oldest_start_first_and_a_full_namespace_does_not_hold_up_the_others() {
        let jobs =
            [job("a", "a3", 3), job("a", "a1", 1), job("a", "a2", 2), job("b", "b4", 4), job("b", "b5", 5)];
        assert_eq!(names(&jobs, &[], 5, 2), ["a1", "b4", "a2", "b5"]);
        assert_eq!(names(&jobs, &[], 3, 2), ["a1", "b4"]);
        assert_eq!(names(&jobs, &[], 1, 2), ["a1"]);
        // The platform lets a namespace have all of them.
        assert_eq!(names(&jobs[..3], &[], 3, 3), ["a1", "a2", "a3"]);
    }

    #[test]
    fn running_and_reserved_jobs_take_their_places() {
        let running = with_status(job("a", "run", 0), json!({"worker": {"attempt": 1, "job": "run-1"}}));
        let jobs = [running, job("a", "next", 1), job("b", "other", 2), job("b", "last", 3)];
        assert_eq!(names(&jobs, &[], 2, 2), ["other"]);
        assert_eq!(names(&jobs, &["a/next"], 3, 2), ["other"]);
        // The store shows it running and the reservation is still there: one job, one place.
        assert_eq!(names(&jobs, &["a/run"], 2, 2), ["other"]);
    }

    #[test]
    fn jobs_that_wait_for_something_else_take_no_place() {
        let finished = with_status(
            job("a", "done", 1),
            json!({"worker": {"attempt": 1, "job": "done-1"}, "conditions": [{"type": "Succeeded", "status": "True",
                "reason": "Squashed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        );
        let backing_off = with_status(
            job("a", "later", 2),
            json!({"worker": {"attempt": 1, "job": "later-1"}, "nextAttemptTime": at(2000).to_string(),
                "lastFailure": {"attempt": 1, "reason": "WorkerLost", "message": ""}}),
        );
        let mut suspended = job("a", "suspended", 3);
        suspended.spec.suspend = true;
        let jobs = [finished, backing_off, suspended, job("a", "ready", 4)];
        assert_eq!(names(&jobs, &[], 1, 1), ["ready"]);
        assert!(!jobs[..3].iter().any(holds_place));
    }

    #[test]
    fn namespaces_that_hold_what_they_can_leave_places_for_others() {
        let holding = |namespace: &str, number: usize| {
            let name = format!("hold{number}");
            with_status(job(namespace, &name, 0), json!({"worker": {"attempt": 1, "job": "j"}}))
        };
        let mut jobs: Vec<_> = (0..4).map(|number| holding("a", number)).collect();
        jobs.extend((0..20).map(|number| job("b", &format!("b{number:02}"), 10)));
        // Two of the four that are left: then it holds as many as are free.
        assert_eq!(names(&jobs, &[], 8, 4), ["b00", "b01"]);
        jobs.extend((0..2).map(|number| holding("b", number)));
        jobs.push(job("victim", "late", 500));
        assert_eq!(names(&jobs, &[], 8, 4), ["late"]);
        jobs.push(holding("victim", 0));
        jobs.push(job("fourth", "latest", 600));
        assert_eq!(names(&jobs, &[], 8, 4), ["latest"]);
    }

    #[test]
    fn a_job_that_could_not_start_comes_after_those_that_were_not_tried() {
        let in_vain = with_status(
            job("a", "unschedulable", 1),
            json!({"attempts": 1, "worker": {"attempt": 1, "job": "u-1"}, "nextAttemptTime": at(900).to_string(),
                "lastFailure": {"attempt": 1, "reason": "WorkerUnschedulable", "message": ""}}),
        );
        assert_eq!(names(&[in_vain, job("a", "young", 5)], &[], 1, 1), ["young"]);
    }

    #[test]
    fn workers_that_are_kept_from_starting_hold_nobody_up_and_are_no_more_than_the_limit() {
        let kept = |namespace: &str, number: usize, reason: &str| {
            let name = format!("kept{number}");
            with_status(
                job(namespace, &name, 0),
                json!({"worker": {"attempt": 1, "job": "j"}, "conditions": [{"type": "Succeeded", "status": "Unknown",
                    "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
            )
        };
        let reasons = ["WorkerUnschedulable", "WorkerPodRefused", "WorkerImageUnavailable"];
        let mut jobs: Vec<_> = (0..4).map(|number| kept("a", number, reasons[number % 3])).collect();
        assert!(jobs.iter().all(holds_place) && !jobs.iter().any(holds_up_others));
        jobs.extend([job("a", "own", 1), job("victim", "late", 500)]);
        assert_eq!(names(&jobs, &[], 4, 4), ["own", "late"]);
        // Of more than may wait, those that are too many count.
        jobs.extend((4..7).map(|number| kept("b", number, reasons[0])));
        assert_eq!(names(&jobs, &[], 4, 4), ["own"]);
        jobs.push(kept("b", 8, reasons[0]));
        assert_eq!(names(&jobs, &[], 4, 4), [""; 0]);
        // One that has only been started may run at any moment.
        let starting = kept("c", 9, "WorkerPending");
        assert!(holds_up_others(&starting));
        assert_eq!(names(&[starting, job("d", "next", 1)], &[], 1, 1), [""; 0]);
    }

    #[test]
    fn a_pod_that_still_ends_keeps_its_place() {
        let jobs = [job("a", "a1", 1), job("b", "b2", 2)];
        assert_eq!(names_beside(&["a".to_owned()], &jobs, &[], 2, 1), ["b2"]);
        assert_eq!(names_beside(&["c".to_owned()], &jobs, &[], 1, 1), [""; 0]);
    }

    #[test]
    fn an_attempt_that_is_due_comes_before_a_younger_job() {
        let due = with_status(
            job("a", "due", 1),
            json!({"worker": {"attempt": 1, "job": "due-1"}, "nextAttemptTime": at(999).to_string(),
                "lastFailure": {"attempt": 1, "reason": "WorkerLost", "message": ""}}),
        );
        assert_eq!(names(&[job("a", "young", 5), due], &[], 1, 1), ["due"]);
    }
}
