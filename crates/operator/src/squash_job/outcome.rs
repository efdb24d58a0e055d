//! How an attempt ended, from the pod, its container and the Job, each of which may be missing.
//!
//! Order of belief: the worker's own termination message; then what the kernel, the node and the cluster say;
//! then the exit code; then the Job alone. The message comes first because a worker that was told to end
//! (exit 143) may have finished.

use unbloat_api::Reason;
use unbloat_contract::worker::{CONTRACT_VERSION, Outcome, is_readable};
use unbloat_contract::{FailureKind, exit};
use unbloat_text::bounded;

use super::world::{AttemptFailure, Ended, JobEnd, Terminated, WorkerJob, WorkerPod};

/// How the attempt ended; `None` while it goes on.
pub(crate) fn ended(job: &WorkerJob, pod: Option<&WorkerPod>) -> Option<Ended> {
    if let Some(end) = pod.and_then(|pod| of_pod(job, pod)) {
        return Some(end);
    }
    match &job.end {
        None => None,
        Some(JobEnd::Failed { reason, message }) if reason == "DeadlineExceeded" => {
            Some(Ended::Failed(AttemptFailure::new(Reason::DeadlineExceeded, message.clone())))
        }
        // A live pod of a Job that is given up: its end will tell more.
        Some(_) if pod.is_some_and(|pod| !pod.has_ended()) => None,
        Some(JobEnd::Failed { message, .. }) => Some(Ended::Failed(AttemptFailure::new(
            Reason::WorkerLost,
            format!("the worker's pod is gone, and with it what it left; the Job says: {message}"),
        ))),
        Some(JobEnd::Complete) => Some(Ended::Failed(AttemptFailure::new(
            Reason::WorkerLost,
            "the worker's pod ended well but is gone, and with it the figures; the attempt is repeated",
        ))),
    }
}

fn of_pod(job: &WorkerJob, pod: &WorkerPod) -> Option<Ended> {
    let Some(container) = &pod.terminated else {
        return pod.has_ended().then(|| Ended::Failed(without_container(job, pod)));
    };
    if let Some(termination) = &container.termination {
        if is_readable(termination.version) {
            return Some(of_message(&termination.outcome, container.exit_code, pod.disruption.as_deref()));
        }
        let message = format!(
            "the worker's message has version {}, the operator knows {CONTRACT_VERSION}; is the worker's image of another release?",
            termination.version
        );
        return Some(Ended::Failed(failure(Reason::WorkerFailed, message, container)));
    }
    // Where even the runtime's own first process doesn't fit, only its message says so.
    let did_not_fit = container.message.as_deref().is_some_and(|text| text.contains("OOM-killed"));
    if container.reason.as_deref() == Some("OOMKilled") || did_not_fit {
        let message = "the worker reached its memory limit and the kernel ended it";
        return Some(Ended::Failed(failure(Reason::WorkerOOMKilled, message.to_owned(), container)));
    }
    if let Some(disruption) = &pod.disruption {
        return Some(Ended::Failed(failure(Reason::WorkerEvicted, evicted(disruption), container)));
    }
    Some(Ended::Failed(of_exit_code(container)))
}

fn evicted(disruption: &str) -> String {
    format!("the cluster took the worker's pod from its node: {disruption}")
}

fn of_message(outcome: &Outcome, exit_code: i32, disruption: Option<&str>) -> Ended {
    match outcome {
        Outcome::Squashed(summary) => Ended::Squashed(summary.clone()),
        Outcome::AlreadyFlat(summary) => Ended::AlreadyFlat(summary.clone()),
        Outcome::Analyzed(_) => Ended::Failed(AttemptFailure {
            exit_code: Some(exit_code),
            ..AttemptFailure::new(
                Reason::WorkerFailed,
                "the worker analysed the image instead of squashing it",
            )
        }),
        // The worker knows that it was told to end; the cluster knows why.
        Outcome::Failed(failed) if failed.reason == FailureKind::Cancelled && disruption.is_some() => {
            Ended::Failed(AttemptFailure {
                exit_code: Some(exit_code),
                source_digest: failed.source_digest.clone(),
                ..AttemptFailure::new(Reason::WorkerEvicted, evicted(disruption.unwrap_or_default()))
            })
        }
        Outcome::Failed(failed) => Ended::Failed(AttemptFailure {
            reason: failed.reason.into(),
            message: failed.message.clone(),
            retryable: failed.retryable,
            exit_code: Some(exit_code),
            source_digest: failed.source_digest.clone(),
            digest: failed.digest.clone(),
        }),
    }
}

fn without_container(job: &WorkerJob, pod: &WorkerPod) -> AttemptFailure {
    if let Some(disruption) = &pod.disruption {
        return AttemptFailure::new(Reason::WorkerEvicted, evicted(disruption));
    }
    if let Some(JobEnd::Failed { reason, message }) = &job.end
        && reason == "DeadlineExceeded"
    {
        return AttemptFailure::new(Reason::DeadlineExceeded, message.clone());
    }
    AttemptFailure::new(Reason::WorkerLost, "the worker's pod ended before its container started")
}

/// 128 and the number of SIGKILL.
const SIGKILL: u8 = 137;

/// Exit codes of the worker and of the command are the same; this is for a worker that left no message.
fn of_exit_code(container: &Terminated) -> AttemptFailure {
    let code = u8::try_from(container.exit_code).ok();
    let (reason, words) = match code {
        Some(0) => (Reason::WorkerFailed, "the worker ended well but left no result"),
        Some(SIGKILL) => (Reason::WorkerLost, "the worker was ended before it was done"),
        code => {
            let kind = code.and_then(FailureKind::of_exit_code);
            let words = code.and_then(exit::meaning);
            (
                kind.map_or(Reason::WorkerFailed, Reason::from),
                words.unwrap_or("the worker ended in a way that it shouldn't"),
            )
        }
    };
    let left = container.message.as_deref().map(|text| format!("; it left: {}", bounded(text, 512)));
    let message = format!("{words} (exit code {}){}", container.exit_code, left.unwrap_or_default());
    failure(reason, message, container)
}

fn failure(reason: Reason, message: String, container: &Terminated) -> AttemptFailure {
    AttemptFailure { exit_code: Some(container.exit_code), ..AttemptFailure::new(reason, message) }
}

#[cfg(test)]
mod tests {
    use unbloat_contract::worker::Termination;
    use unbloat_contract::{Failure, Figures, SquashResult};

    use super::*;

    fn job(end: Option<JobEnd>) -> WorkerJob {
        WorkerJob {
            name: "w".into(),
            uid: "u".into(),
            attempt: 1,
            created: None,
            config: None,
            end,
            deleting: false,
        }
    }

    fn failed_job(reason: &str) -> WorkerJob {
        job(Some(JobEnd::Failed { reason: reason.into(), message: "told so".into() }))
    }

    fn ended_pod(exit_code: i32) -> WorkerPod {
        let terminated = Terminated { exit_code, ..Terminated::default() };
        WorkerPod { phase: "Failed".into(), terminated: Some(terminated), ..WorkerPod::default() }
    }

    fn reason(job: &WorkerJob, pod: Option<&WorkerPod>) -> (Reason, bool) {
        match ended(job, pod) {
            Some(Ended::Failed(failure)) => (failure.reason, failure.retryable),
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn a_running_worker_has_not_ended() {
        let pod = WorkerPod { phase: "Running".into(), running: true, ..WorkerPod::default() };
        assert_eq!(ended(&job(None), Some(&pod)), None);
        assert_eq!(ended(&job(None), None), None);
        // The Job is given up while the pod still ends: its termination message is worth the wait.
        assert_eq!(ended(&failed_job("BackoffLimitExceeded"), Some(&pod)), None);
    }

    #[test]
    fn the_workers_own_message_wins_over_exit_code_and_disruption() {
        let mut pod = ended_pod(143);
        pod.disruption = Some("EvictionByEvictionAPI".into());
        let figures = Figures { digest: "sha256:1".into(), ..Figures::default() };
        let summary = SquashResult { figures, ..SquashResult::default() };
        let termination =
            Termination { version: CONTRACT_VERSION, outcome: Outcome::Squashed(summary.clone()) };
        pod.terminated.as_mut().unwrap().termination = Some(termination);
        assert_eq!(ended(&job(None), Some(&pod)), Some(Ended::Squashed(summary)));
    }

    #[test]
    fn a_workers_failure_is_taken_as_it_tells_it() {
        let mut pod = ended_pod(5);
        pod.terminated.as_mut().unwrap().termination = Some(Termination {
            version: CONTRACT_VERSION,
            outcome: Outcome::Failed(Failure {
                reason: FailureKind::RegistryUnavailable,
                message: "503".into(),
                retryable: true,
                source_digest: Some("sha256:2".into()),
                digest: None,
            }),
        });
        let Some(Ended::Failed(failure)) = ended(&job(None), Some(&pod)) else { panic!("a failure") };
        assert_eq!((failure.reason, failure.exit_code), (Reason::RegistryUnavailable, Some(5)));
        assert_eq!(failure.source_digest.as_deref(), Some("sha256:2"));
    }

    #[test]
    fn a_worker_that_was_told_to_end_by_an_eviction_was_evicted() {
        let told = |disruption: Option<&str>| {
            let mut pod = ended_pod(143);
            pod.disruption = disruption.map(str::to_owned);
            let failed = Failure {
                reason: FailureKind::Cancelled,
                message: "the worker was told to end".into(),
                retryable: true,
                source_digest: Some("sha256:3".into()),
                digest: None,
            };
            pod.terminated.as_mut().unwrap().termination =
                Some(Termination { version: CONTRACT_VERSION, outcome: Outcome::Failed(failed) });
            match ended(&job(None), Some(&pod)) {
                Some(Ended::Failed(failure)) => failure,
                other => panic!("not a failure: {other:?}"),
            }
        };
        let evicted = told(Some("EvictionByEvictionAPI: drained"));
        assert_eq!((evicted.reason, evicted.retryable), (Reason::WorkerEvicted, true));
        assert!(evicted.message.contains("drained"), "{}", evicted.message);
        assert_eq!(evicted.source_digest.as_deref(), Some("sha256:3"));
        assert_eq!(told(None).reason, Reason::WorkerLost);
    }

    #[test]
    fn a_message_of_another_release_is_said_to_be_one() {
        let mut pod = ended_pod(0);
        pod.terminated.as_mut().unwrap().termination =
            Some(Termination { version: 99, outcome: Outcome::Squashed(SquashResult::default()) });
        assert_eq!(reason(&job(None), Some(&pod)), (Reason::WorkerFailed, true));
    }

    #[test]
    fn every_end_without_a_message_has_its_reason() {
        let mut out_of_memory = ended_pod(137);
        out_of_memory.terminated.as_mut().unwrap().reason = Some("OOMKilled".into());
        assert_eq!(reason(&job(None), Some(&out_of_memory)), (Reason::WorkerOOMKilled, false));

        let mut too_small = ended_pod(128);
        too_small.terminated.as_mut().unwrap().message =
            Some("container init was OOM-killed (memory limit too low?)".into());
        assert_eq!(reason(&job(None), Some(&too_small)), (Reason::WorkerOOMKilled, false));

        let mut evicted = ended_pod(137);
        evicted.disruption = Some("TerminationByKubelet: disk".into());
        assert_eq!(reason(&job(None), Some(&evicted)), (Reason::WorkerEvicted, true));

        let never_started = WorkerPod {
            phase: "Failed".into(),
            disruption: Some("Evicted: disk".into()),
            ..WorkerPod::default()
        };
        assert_eq!(reason(&job(None), Some(&never_started)), (Reason::WorkerEvicted, true));

        let gone = WorkerPod { phase: "Running".into(), gone: true, ..never_started };
        assert_eq!(reason(&failed_job("BackoffLimitExceeded"), Some(&gone)), (Reason::WorkerEvicted, true));

        assert_eq!(reason(&failed_job("DeadlineExceeded"), None), (Reason::DeadlineExceeded, false));
        assert_eq!(reason(&failed_job("BackoffLimitExceeded"), None), (Reason::WorkerLost, true));
        assert_eq!(reason(&job(Some(JobEnd::Complete)), None), (Reason::WorkerLost, true));
        for (exit_code, expected, retryable) in [
            (0, Reason::WorkerFailed, true),
            (1, Reason::VerifyFailed, false),
            (2, Reason::InvalidSpec, false),
            (3, Reason::ImageNotFound, false),
            (4, Reason::PullUnauthorized, false),
            (5, Reason::RegistryUnavailable, true),
            (6, Reason::InvalidImage, false),
            (7, Reason::SourceChanged, false),
            (8, Reason::LimitExceeded, false),
            (9, Reason::ScratchFailed, true),
            (70, Reason::WorkerFailed, true),
            (143, Reason::WorkerLost, true),
        ] {
            assert_eq!(
                reason(&job(None), Some(&ended_pod(exit_code))),
                (expected, retryable),
                "exit {exit_code}"
            );
        }
    }
}
