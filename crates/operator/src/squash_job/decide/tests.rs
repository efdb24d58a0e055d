//! The decision table: for each state of a job, what is written, done and waited for.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus};
use unbloat_contract::{ProgressReport, Snapshot};

use unbloat_api::condition::SOURCE_RESOLVED;

use super::*;
use crate::config::Resolve;
use crate::squash_job::build;
use crate::squash_job::fixtures::{DIGEST, RESULT, config, job, job_with, squashed};
use crate::squash_job::world::{JobEnd, Place, Resolution, SourceFacts, Terminated, WorkerJob, WorkerPod};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A job's world; each test changes what it is about.
struct World {
    job: ImageSquashJob,
    config: Config,
    worker: Option<WorkerJob>,
    pod: Option<WorkerPod>,
    stray_pods: Vec<String>,
    progress: Option<ProgressReport>,
    pod_refused: Option<String>,
    idle_seconds: Option<i64>,
    resolution: Option<Resolution>,
    place: Place,
    now: i64,
}

fn world() -> World {
    World {
        job: job(),
        config: config(),
        worker: None,
        pod: None,
        stray_pods: Vec::new(),
        progress: None,
        pod_refused: None,
        idle_seconds: None,
        resolution: None,
        place: Place::Granted,
        now: 0,
    }
}

/// A world in which attempt 1 was started at second 0.
fn started_world() -> World {
    let mut world = world();
    world.resolution = Some(pinned());
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start, not {decision:?}") };
    world.job.status = Some(start.started.report().status.clone());
    world.worker = Some(worker(1));
    world.resolution = None;
    world
}

fn worker(attempt: i32) -> WorkerJob {
    WorkerJob {
        name: build::job_name(&job(), attempt),
        attempt,
        uid: format!("job-{attempt}"),
        created: Some(at(0)),
        config: Some(build::config_fingerprint(&config())),
        end: None,
        deleting: false,
    }
}

fn pinned() -> Resolution {
    Resolution::Pinned(SourceFacts { digest: DIGEST.to_owned(), layers: 272, compressed_bytes: 221_000_000 })
}

fn running_pod() -> WorkerPod {
    WorkerPod {
        name: "pod".into(),
        node: Some("node".into()),
        address: Some("10.0.0.1".into()),
        phase: "Running".into(),
        running: true,
        ..WorkerPod::default()
    }
}

fn ended_pod(exit_code: i32) -> WorkerPod {
    let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
    let terminated = Some(Terminated { exit_code, ..Terminated::default() });
    WorkerPod { running: false, phase: phase.into(), terminated, ..running_pod() }
}

fn successful_pod() -> WorkerPod {
    let mut pod = ended_pod(0);
    pod.terminated.as_mut().unwrap().termination = Some(squashed(vec!["w".repeat(2000); 20]));
    pod
}

impl World {
    fn decide(&self) -> Action {
        let observed = Observed {
            job: &self.job,
            worker: self.worker.clone(),
            pod: self.pod.clone(),
            stray_pods: self.stray_pods.clone(),
            progress: self.progress.clone(),
            pod_refused: self.pod_refused.clone(),
            idle_seconds: self.idle_seconds,
            resolution: self.resolution.clone(),
            place: self.place,
        };
        decide(&observed, &self.config, at(self.now))
    }

    /// Decides, and makes the decision's status the job's.
    fn turn(&mut self) -> Action {
        let decision = self.decide();
        self.job.status = Some(decision.status().clone());
        decision
    }
}

impl Action {
    /// What is reported once all goes well.
    fn report(&self) -> &Report {
        match self {
            Action::None(report) | Action::Stop { then: report, .. } => report,
            Action::Resolve(_, report) => report,
            Action::Start(start) => start.started.report(),
            Action::Expire => panic!("nothing is reported after {self:?}"),
        }
    }

    fn status(&self) -> &ImageSquashJobStatus {
        &self.report().status
    }

    fn next(&self) -> Option<Duration> {
        self.report().next
    }
}

fn summary(status: &ImageSquashJobStatus) -> (&str, &str) {
    let condition = status.succeeded().expect("a summary");
    (condition.status.as_str(), condition.reason.as_str())
}

#[test]
fn a_job_without_a_place_is_queued_and_written_once() {
    let mut world = world();
    world.place = Place::Waiting;
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("Unknown", "Queued"));
    assert!(matches!(decision, Action::None(_)));
    assert_eq!(decision.next(), Some(QUEUE_POLL));
    world.now = 500;
    assert_eq!(world.decide().status(), decision.status());
}

#[test]
fn a_job_with_a_place_resolves_its_source_and_then_starts_with_the_digest() {
    let mut world = world();
    assert!(matches!(world.decide(), Action::Resolve(..)));
    world.resolution = Some(pinned());
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start, not {:?}", decision) };
    assert_eq!((start.attempt.number, start.attempt.source_digest.as_deref()), (1, Some(DIGEST)));
    let after = start.started.report();
    assert_eq!(summary(&after.status), ("Unknown", "WorkerPending"));
    assert_eq!((after.status.attempts, after.status.start_time.clone()), (1, Some(Time(at(0)))));
    let resolved = condition::find(&after.status.conditions, SOURCE_RESOLVED).unwrap();
    assert_eq!((resolved.status.as_str(), resolved.reason.as_str()), ("True", "Resolved"));
    assert_eq!(after.status.source.as_ref().unwrap().layers, Some(272));
}

#[test]
fn a_source_that_only_the_worker_can_read_is_left_to_it() {
    let mut world = world();
    world.resolution = Some(Resolution::LeftToWorker);
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start") };
    assert_eq!(start.attempt.source_digest, None);
    let resolved = condition::find(&decision.status().conditions, SOURCE_RESOLVED).unwrap();
    assert_eq!((resolved.status.as_str(), resolved.reason.as_str()), ("Unknown", "ResolvedByWorker"));

    world.resolution = None;
    world.config.resolve = Resolve::Never;
    assert!(matches!(world.decide(), Action::Start(_)));
}

#[test]
fn a_flat_source_finishes_the_job_without_a_worker() {
    let mut world = world();
    world.job = job_with(&json!({"source": {"image": "a.example/b:c"}, "target": {"moveTag": true}}));
    world.resolution =
        Some(Resolution::Flat(SourceFacts { digest: DIGEST.into(), layers: 1, compressed_bytes: 1000 }));
    let decision = world.decide();
    assert_eq!(summary(decision.status()), ("True", "AlreadyFlat"));
    assert!(matches!(decision, Action::None(_)));
    assert_eq!(decision.status().target.as_ref().unwrap().digest.as_deref(), Some(DIGEST));
    assert_eq!(
        (decision.status().reclaimed_bytes, decision.status().layers.as_deref()),
        (Some(0), Some("1→1"))
    );
    assert_eq!(decision.status().attempts, 0);
    // Another target gets the image, from a worker.
    world.job = job();
    assert!(matches!(world.decide(), Action::Start(_)));
}

#[test]
fn an_operator_that_did_not_come_back_from_resolving_leaves_the_source_to_the_worker() {
    let mut world = world();
    let Action::Resolve(_, report) = world.decide() else { panic!("a resolution") };
    assert_eq!(summary(&report.status), ("Unknown", "Resolving"));
    world.job.status = Some(report.status);
    let Action::Start(start) = world.decide() else { panic!("a start") };
    assert_eq!(start.attempt.source_digest, None);
}

#[test]
fn the_operator_resolves_only_at_registries_that_are_listed() {
    let mut world = world();
    world.config.resolve_registries = vec!["other.example".to_owned()];
    assert!(matches!(world.decide(), Action::Start(_)));
    world.config.resolve_registries.clear();
    assert!(matches!(world.decide(), Action::Start(_)));
}

#[test]
fn an_invalid_spec_finishes_at_once_without_waiting_for_a_place() {
    let mut world = world();
    world.job =
        job_with(&json!({"source": {"image": "a.example/B:c"}, "target": {"image": "a.example/b:d"}}));
    world.place = Place::Waiting;
    assert_eq!(summary(world.decide().status()), ("False", "InvalidReference"));
    world.job = job_with(&json!({"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"},
        "worker": {"resources": {"cpu": "1000"}}}));
    assert_eq!(summary(world.decide().status()), ("False", "OverrideNotAllowed"));
}

#[test]
fn a_running_worker_is_reported_coarsely() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("Unknown", "Running"));
    assert_eq!(decision.status().worker.as_ref().unwrap().node.as_deref(), Some("node"));
    assert_eq!(decision.next(), Some(POLL));
    let mut writes = 0;
    for percent in 0..=100 {
        world.now += 1;
        world.progress = Some(ProgressReport {
            percent,
            snapshot: Snapshot { bytes_total: 1000, ..Snapshot::default() },
            ..ProgressReport::default()
        });
        let before = world.job.status.clone();
        let decision = world.turn();
        writes += usize::from(Some(decision.status()) != before.as_ref());
    }
    assert_eq!(writes, 4);
    assert_eq!(world.job.status.unwrap().progress.unwrap().summary, "80%");
}

/// A report of a worker that tries something again.
fn tries(words: &str) -> Option<ProgressReport> {
    let trouble = (!words.is_empty()).then(|| words.to_owned());
    Some(ProgressReport { trouble, ..ProgressReport::default() })
}

fn said(world: &World) -> String {
    world.job.status.as_ref().unwrap().succeeded().unwrap().message.clone()
}

#[test]
fn what_a_worker_tries_again_is_said_while_it_does_and_at_the_deadline() {
    let mut world = started_world();
    world.job.spec.active_deadline_seconds = 60;
    world.pod = Some(running_pod());
    world.progress = tries("");
    assert_eq!(summary(world.turn().status()), ("Unknown", "Running"));
    let plain = said(&world);
    let mut writes = 0;
    for second in 1..30 {
        world.now = second;
        world.progress = match second % 3 {
            0 => None,
            1 => tries("uploading blob: status 503\u{1b}[2J"),
            _ => tries(""),
        };
        let before = world.job.status.clone();
        writes += usize::from(Some(world.turn().status()) != before.as_ref());
    }
    assert_eq!(
        (writes, said(&world)),
        (1, format!("{plain}; last trouble: uploading blob: status 503")),
        "one that comes and goes is written once"
    );
    // Other words count where the worker gets on, or is stuck.
    world.progress = tries("reading blob: status 500");
    world.turn();
    assert!(said(&world).ends_with("status 503"), "{}", said(&world));
    world.idle_seconds = Some(30);
    world.progress = tries(&"ü".repeat(5000));
    world.turn();
    assert!(said(&world).contains("ü") && said(&world).len() < 700, "{}", said(&world));
    world.progress = tries("uploading blob: status 503");
    world.turn();
    world.now = 60;
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("False", "DeadlineExceeded"));
    assert!(said(&world).contains("status 503"), "{}", said(&world));
}

#[test]
fn the_deadline_of_the_workers_job_names_what_it_tried_again_too() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    world.progress = tries("uploading blob: status 503");
    world.turn();
    world.worker.as_mut().unwrap().end = Some(JobEnd::Failed {
        reason: "DeadlineExceeded".into(),
        message: "Job was active longer than specified deadline".into(),
    });
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("False", "DeadlineExceeded"));
    assert!(said(&world).contains("specified deadline; last: attempt 1"), "{}", said(&world));
    assert!(said(&world).contains("status 503"), "{}", said(&world));
}

#[test]
fn a_worker_that_stalls_says_what_it_tries_again() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    world.progress = tries("reading blob: no answer");
    world.idle_seconds = Some(world.config.deadlines.idle_seconds);
    world.turn();
    assert!(
        said(&world).contains("made no progress") && said(&world).contains("no answer"),
        "{}",
        said(&world)
    );
}

#[test]
fn a_pod_that_does_not_start_says_why_and_does_not_flap() {
    let mut world = started_world();
    world.pod = Some(WorkerPod {
        phase: "Pending".into(),
        unschedulable: Some((Some(at(10)), "0/1 nodes".into())),
        ..WorkerPod::default()
    });
    world.now = 11;
    assert_eq!(summary(world.turn().status()), ("Unknown", "WorkerPending"));
    world.now = 15;
    let first = world.turn();
    assert_eq!(summary(first.status()), ("Unknown", "WorkerUnschedulable"));
    world.pod.as_mut().unwrap().unschedulable = Some((Some(at(10)), "0/2 nodes".into()));
    assert_eq!(world.turn().status(), first.status());

    world.pod = Some(WorkerPod {
        phase: "Pending".into(),
        stuck: Some(("ErrImagePull".into(), "no such host".into())),
        ..WorkerPod::default()
    });
    let stuck = world.turn();
    assert_eq!(summary(stuck.status()), ("Unknown", "WorkerImageUnavailable"));
    assert!(stuck.status().succeeded().unwrap().message.contains("ErrImagePull: no such host"));
    world.pod.as_mut().unwrap().stuck = Some(("ImagePullBackOff".into(), "back-off".into()));
    assert_eq!(world.turn().status(), stuck.status());
}

#[test]
fn a_result_fills_figures_and_columns_and_finishes() {
    let mut world = started_world();
    world.pod = Some(successful_pod());
    world.now = 30;
    let status = world.turn().status().clone();
    assert_eq!(summary(&status), ("True", "Squashed"));
    assert_eq!(status.layers.as_deref(), Some("272→2"));
    assert_eq!(status.size.as_deref(), Some("210.8 MiB→3.0 MiB"));
    assert_eq!((status.reclaimed.as_deref(), status.reclaimed_bytes), (Some("207.8 MiB"), Some(217_900_000)));
    assert_eq!(
        status.target.as_ref().unwrap().reference.as_deref(),
        Some(&*format!("a.example/b:d@{RESULT}"))
    );
    assert_eq!(
        status.source.as_ref().unwrap().reference.as_deref(),
        Some(&*format!("a.example/b:c@{DIGEST}"))
    );
    assert_eq!((status.duration_seconds, status.completion_time), (Some(12), Some(Time(at(30)))));
    assert!(status.warnings.len() == 16 && status.warnings.iter().all(|warning| warning.len() <= 512));
}

#[test]
fn a_result_counts_before_a_suspension_and_a_deadline() {
    let mut world = started_world();
    world.pod = Some(successful_pod());
    world.job.spec.suspend = true;
    world.now = 1_000_000;
    assert_eq!(summary(world.decide().status()), ("True", "Squashed"));
}

#[test]
fn a_transient_failure_waits_gives_its_place_back_and_starts_the_next_attempt() {
    let mut world = started_world();
    world.pod = Some(ended_pod(5));
    let failed = world.turn();
    assert_eq!(summary(failed.status()), ("Unknown", "Retrying"));
    assert_eq!((failed.status().attempts, failed.status().failures), (1, 1));
    assert!(!crate::squash_job::places::holds_place(&world.job));
    let message = &failed.status().succeeded().unwrap().message;
    assert!(message.starts_with("attempt 1 of 4 failed: RegistryUnavailable"), "{message}");
    // Looked at again at once: the same failure counts once, and nothing is written.
    assert_eq!(world.turn().status(), failed.status());

    world.now = 11;
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start, not {:?}", decision) };
    assert_eq!((start.attempt.number, start.attempt.source_digest.as_deref()), (2, Some(DIGEST)));
    assert_eq!(start.attempt.remaining_seconds, 6 * 3600 - 11);
}

#[test]
fn the_backoff_limit_ends_the_job_with_the_last_failures_reason() {
    let mut world = started_world();
    world.job.spec.backoff_limit = 1;
    world.pod = Some(ended_pod(5));
    world.turn();
    world.now = 100;
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start") };
    world.job.status = Some(start.started.report().status.clone());
    world.worker = Some(worker(2));
    world.pod = Some(ended_pod(9));
    let last = world.turn();
    assert_eq!(summary(last.status()), ("False", "ScratchFailed"));
    assert!(last.status().succeeded().unwrap().message.starts_with("after 2 failed attempts"));
}

#[test]
fn a_final_failure_ends_the_job_at_the_first_attempt() {
    let mut world = started_world();
    world.pod = Some(ended_pod(6));
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("False", "InvalidImage"));
    assert_eq!(decision.status().last_failure.as_ref().unwrap().exit_code, Some(6));
    assert_eq!(decision.status().progress, None);
}

#[test]
fn a_refused_job_is_retried_with_the_servers_words() {
    let mut world = world();
    world.resolution = Some(pinned());
    let Action::Start(start) = world.decide() else { panic!("a start") };
    let report = start.refused.saying("exceeded quota: pods");
    assert_eq!(summary(&report.status), ("Unknown", "Retrying"));
    assert_eq!((report.status.attempts, report.status.failures), (0, 1));
    assert!(report.status.succeeded().unwrap().message.ends_with("refused: exceeded quota: pods"));
    assert!(report.status.last_failure.unwrap().message.contains("exceeded quota"));
}

#[test]
fn suspending_stops_the_worker_and_resuming_starts_another_attempt() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    world.turn();
    world.job.spec.suspend = true;
    let decision = world.turn();
    assert!(matches!(&decision, Action::Stop { job, .. } if *job == worker(1).name));
    assert_eq!(summary(decision.status()), ("Unknown", "Suspended"));
    assert_eq!((decision.status().start_time.clone(), decision.status().failures), (None, 0));

    world.job.spec.suspend = false;
    world.worker = Some(WorkerJob { deleting: true, ..worker(1) });
    world.stray_pods = vec!["pod".into()];
    assert!(matches!(world.turn(), Action::None(_)), "the old pod has not ended");
    world.worker = None;
    world.stray_pods.clear();
    let decision = world.turn();
    assert!(matches!(&decision, Action::Start(start) if start.attempt.number == 2), "{:?}", decision);
}

#[test]
fn a_suspended_job_that_never_ran_waits_without_a_turn() {
    let mut world = world();
    world.job.spec.suspend = true;
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("Unknown", "Suspended"));
    assert!(matches!(decision, Action::None(_)) && decision.next().is_none());
}

#[test]
fn the_deadline_stops_the_worker_and_ends_the_job() {
    let mut world = started_world();
    world.job.spec.active_deadline_seconds = 60;
    world.pod = Some(running_pod());
    world.now = 59;
    assert_eq!(world.turn().next(), Some(Duration::from_secs(1)));
    world.now = 60;
    let decision = world.turn();
    assert!(matches!(decision, Action::Stop { .. }));
    assert_eq!(summary(decision.status()), ("False", "DeadlineExceeded"));
    // Restarted before the deletion: the worker of a finished job is ended.
    assert!(matches!(world.decide(), Action::Stop { .. }));
    world.worker.as_mut().unwrap().deleting = true;
    assert!(matches!(world.decide(), Action::None(_)));
}

#[test]
fn the_deadline_covers_the_waits_between_attempts() {
    let mut world = started_world();
    world.job.spec.active_deadline_seconds = 5;
    world.pod = Some(ended_pod(5));
    let waiting = world.turn();
    assert_eq!(waiting.next(), Some(Duration::from_secs(5)), "the deadline comes before the next attempt");
    world.now = 6;
    assert_eq!(summary(world.turn().status()), ("False", "DeadlineExceeded"));
}

#[test]
fn a_lost_worker_is_a_failed_attempt() {
    let mut world = started_world();
    world.worker = None;
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("Unknown", "Retrying"));
    assert_eq!(decision.status().last_failure.as_ref().unwrap().reason, "WorkerLost");
}

#[test]
fn a_job_that_the_status_does_not_know_is_nothing_to_go_by() {
    let mut world = world();
    world.worker = Some(WorkerJob { end: Some(JobEnd::Complete), ..worker(1) });
    world.pod = Some(successful_pod());
    assert!(
        matches!(world.decide(), Action::Resolve(..)),
        "the result of a Job that nobody knows is no result"
    );
}

#[test]
fn a_name_that_is_taken_is_left_out_and_is_no_failure() {
    let mut world = world();
    world.resolution = Some(pinned());
    let Action::Start(start) = world.decide() else { panic!("a start") };
    assert_eq!((start.taken.status.attempts, start.taken.status.failures), (1, 0));
    world.job.status = Some(start.taken.status);
    assert!(!crate::squash_job::places::holds_place(&world.job));
    let Action::Start(start) = world.decide() else { panic!("another start") };
    assert_eq!(start.attempt.number, 2);
    let made = start.started.made("uid-of-job".to_owned());
    assert_eq!(made.status.worker.unwrap().uid.as_deref(), Some("uid-of-job"));
}

#[test]
fn an_attempt_that_does_not_start_gives_its_place_back_and_is_no_failure() {
    let mut world = started_world();
    world.pod = Some(WorkerPod {
        phase: "Pending".into(),
        unschedulable: Some((Some(at(1)), "0/1 nodes \u{1b}[31mfit".into())),
        ..WorkerPod::default()
    });
    world.now = 299;
    assert!(matches!(world.turn(), Action::None(_)));
    assert!(crate::squash_job::places::holds_place(&world.job));
    world.now = 300;
    let decision = world.turn();
    assert!(matches!(&decision, Action::Stop { uid, .. } if uid == "job-1"), "{decision:?}");
    assert_eq!(summary(decision.status()), ("Unknown", "WorkerUnschedulable"));
    assert_eq!((decision.status().attempts, decision.status().failures), (1, 0));
    assert!(!crate::squash_job::places::holds_place(&world.job));
    let message = decision.status().succeeded().unwrap().message.clone();
    assert!(message.contains("0/1 nodes") && !message.contains('\u{1b}'), "{message}");
    // What it waits for stays to be read until the next attempt.
    world.worker = None;
    world.pod = None;
    world.now = 301;
    assert_eq!(world.turn().status().succeeded().unwrap().message, message);
    world.now = 320;
    assert!(matches!(world.decide(), Action::Start(start) if start.attempt.number == 2));
}

#[test]
fn an_attempt_that_has_not_started_is_made_anew_when_the_configuration_changes() {
    let mut world = started_world();
    world.pod = Some(WorkerPod { phase: "Pending".into(), ..WorkerPod::default() });
    world.now = 5;
    assert!(matches!(world.decide(), Action::None(_)));
    world.config.worker.image = "reg.example/worker:2".to_owned();
    assert!(matches!(world.decide(), Action::Stop { .. }));
    world.pod = Some(running_pod());
    assert!(matches!(world.decide(), Action::None(_)), "a worker that runs goes on");
}

#[test]
fn a_pod_that_the_api_server_refuses_is_said_in_its_words() {
    let mut world = started_world();
    world.pod_refused = Some("exceeded quota: pods".into());
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("Unknown", "WorkerPodRefused"));
    assert!(decision.status().succeeded().unwrap().message.contains("exceeded quota"));
    world.now = 400;
    assert!(matches!(world.decide(), Action::Stop { .. }), "it holds no place for ever");
}

#[test]
fn a_worker_without_progress_is_stopped_and_counts_as_failed() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    world.idle_seconds = Some(899);
    assert!(matches!(world.turn(), Action::None(_)));
    world.idle_seconds = Some(900);
    let decision = world.turn();
    assert!(matches!(decision, Action::Stop { .. }));
    assert_eq!(summary(decision.status()), ("Unknown", "Retrying"));
    assert_eq!(decision.status().last_failure.as_ref().unwrap().reason, "WorkerStalled");
    assert!(!crate::squash_job::places::holds_place(&world.job));
}

#[test]
fn a_job_gets_at_most_the_platforms_deadline() {
    let mut world = started_world();
    world.config.deadlines.max_active_seconds = 60;
    world.job.spec.active_deadline_seconds = 2_592_000;
    world.pod = Some(running_pod());
    world.now = 60;
    let decision = world.turn();
    assert_eq!(summary(decision.status()), ("False", "DeadlineExceeded"));
    assert!(decision.status().succeeded().unwrap().message.contains("maxActiveSeconds"));
}

#[test]
fn a_node_that_is_lost_holds_nothing_up() {
    let mut world = started_world();
    world.pod = Some(WorkerPod { deleting: Some(at(100)), ..running_pod() });
    world.now = 159;
    assert!(matches!(world.turn(), Action::None(_)));
    world.now = 160;
    let decision = world.turn();
    assert!(matches!(decision, Action::Stop { .. }));
    assert_eq!(decision.status().last_failure.as_ref().unwrap().reason, "WorkerLost");
}

#[test]
fn a_sidecar_that_runs_on_is_ended_once_the_log_could_be_read() {
    let mut world = started_world();
    world.pod = Some(WorkerPod { kept_by_sidecar_since: Some(at(10)), ..successful_pod() });
    world.now = 12;
    assert_eq!(summary(world.turn().status()), ("True", "Squashed"));
    assert!(matches!(world.decide(), Action::None(_)));
    world.now = 60;
    assert!(matches!(world.decide(), Action::Stop { .. }));
}

#[test]
fn nobody_resolves_any_more_at_the_end() {
    let mut world = world();
    world.config.resolve = Resolve::Never;
    let Action::Start(start) = world.decide() else { panic!("a start") };
    world.job.status = Some(start.started.report().status.clone());
    world.worker = Some(worker(1));
    world.pod = Some(ended_pod(4));
    let status = world.turn().status().clone();
    assert_eq!(summary(&status), ("False", "PullUnauthorized"));
    let resolved = condition::find(&status.conditions, SOURCE_RESOLVED).unwrap();
    assert_eq!((resolved.status.as_str(), resolved.reason.as_str()), ("False", "PullUnauthorized"));
}

#[test]
fn progress_never_goes_backwards_within_an_attempt() {
    let mut world = started_world();
    world.pod = Some(running_pod());
    let mut last = -1;
    for percent in [28, 48, 86, 54, 65, 5, 99] {
        world.progress = Some(ProgressReport { percent, ..ProgressReport::default() });
        let shown = world.turn().status().progress.as_ref().map_or(-1, |progress| progress.percent);
        assert!(shown >= last, "{shown} after {last}");
        last = shown;
    }
}

#[test]
fn nothing_starts_beside_a_pod_of_an_earlier_attempt() {
    let mut world = world();
    world.stray_pods = vec!["old".into()];
    let decision = world.turn();
    assert!(matches!(decision, Action::None(_)));
    assert!(decision.status().succeeded().unwrap().message.contains("old"));
}

#[test]
fn the_worker_and_its_log_stay_when_the_pods_phase_lags_behind_its_containers_end() {
    let mut world = started_world();
    world.pod = Some(WorkerPod { phase: "Running".into(), ..successful_pod() });
    assert_eq!(summary(world.turn().status()), ("True", "Squashed"));
    assert!(matches!(world.decide(), Action::None(_)));
}

#[test]
fn a_finished_job_is_left_alone_until_its_time_to_live_is_over() {
    let mut world = started_world();
    world.pod = Some(successful_pod());
    world.worker = Some(WorkerJob { end: Some(JobEnd::Complete), ..worker(1) });
    world.turn();
    let kept = world.decide();
    assert!(matches!(kept, Action::None(_)) && kept.next().is_none());
    world.job.spec.ttl_seconds_after_finished = Some(100);
    world.now = 40;
    assert_eq!(world.decide().next(), Some(Duration::from_secs(60)));
    world.now = 100;
    assert!(matches!(world.decide(), Action::Expire));
}

#[test]
fn a_job_that_is_being_deleted_is_not_touched() {
    let mut world = started_world();
    world.job.metadata.deletion_timestamp = Some(Time(at(1)));
    let decision = world.decide();
    assert!(matches!(decision, Action::None(_)));
    assert_eq!(Some(decision.status()), world.job.status.as_ref());
}

#[test]
fn a_source_digest_that_a_worker_found_is_read_by_the_next_attempt() {
    let mut world = world();
    world.config.resolve = Resolve::Never;
    let decision = world.decide();
    let Action::Start(start) = &decision else { panic!("a start") };
    world.job.status = Some(start.started.report().status.clone());
    world.worker = Some(worker(1));
    world.pod = Some(running_pod());
    world.progress = Some(ProgressReport { source_digest: Some(DIGEST.into()), ..ProgressReport::default() });
    world.turn();
    world.pod = Some(ended_pod(5));
    world.turn();
    world.now = 100;
    let Action::Start(start) = world.decide() else { panic!("a start") };
    assert_eq!(start.attempt.source_digest.as_deref(), Some(DIGEST));
}

#[test]
fn every_event_is_a_transition_and_has_a_name_of_its_own() {
    let mut world = started_world();
    let started_status = world.job.status.clone().unwrap();
    let mut before = job();
    before.status = None;
    let event =
        |job: &ImageSquashJob, new: &ImageSquashJobStatus| build::event(job, new, "operator-0", at(0));
    assert!(event(&before, &started_status).is_none(), "a Job that is made has not started");
    world.pod = Some(running_pod());
    let running = world.decide().status().clone();
    let start = event(&world.job, &running).unwrap();
    assert_eq!((start.type_.as_deref(), start.reason.as_deref()), (Some("Normal"), Some("Started")));
    world.job.status = Some(running.clone());
    world.progress = Some(ProgressReport { percent: 50, ..ProgressReport::default() });
    let further = world.decide().status().clone();
    assert!(further != running && event(&world.job, &further).is_none(), "progress is no event");

    world.pod = Some(ended_pod(5));
    let retrying = world.decide().status().clone();
    let retry = event(&world.job, &retrying).unwrap();
    assert_eq!(
        (retry.type_.as_deref(), retry.reason.as_deref()),
        (Some("Warning"), Some("RegistryUnavailable"))
    );
    assert_ne!(retry.metadata.name, start.metadata.name);
    world.job.status = Some(retrying.clone());
    assert!(event(&world.job, &retrying).is_none());
}
