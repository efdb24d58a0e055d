//! The decision table, row by row, with the time as an argument.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use unbloat_api::image_report::{ReportedFailures, ReportedPlatform, ReportedResult, Verdict};
use unbloat_api::squash_policy::Spent;
use unbloat_api::{Finding, ImageSquashPolicy};

use super::{Decision, Picture, Settings, decide};
use crate::facts::{AnalysisFacts, Facts, Inspection, Unreadable};
use crate::fixtures::{Builder, DIGEST, OTHER, at, pod, policy, world};
use crate::image::ImageKey;
use crate::inventory::Owner;
use crate::job::{JobState, PolicyJob, job_name};

const NOW: &str = "2026-05-10T12:00:00Z";

fn key() -> ImageKey {
    ImageKey { repository: "a.example/b".into(), digest: DIGEST.into() }
}

fn inspected(layers: i32, bytes: i64) -> Facts {
    let platform = ReportedPlatform { platform: "linux/amd64".into(), layers, compressed_bytes: bytes };
    Facts { inspection: Some(Inspection { platforms: vec![platform], blocker: None }), ..Facts::default() }
}

fn bloated() -> Facts {
    inspected(60, 1000)
}

fn blocked(finding: Finding) -> Facts {
    let mut facts = bloated();
    facts.inspection.as_mut().unwrap().blocker = Some(finding);
    facts
}

/// A policy that squashes what has more than 50 layers.
fn squash(name: &str, day: u8, change: &Value) -> ImageSquashPolicy {
    let mut spec = json!({"mode": "Squash", "thresholds": {"layers": 50}});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    policy(name, day, &spec)
}

struct Case {
    world: Builder,
    policies: Vec<ImageSquashPolicy>,
    facts: HashMap<ImageKey, Facts>,
    jobs: Vec<PolicyJob>,
    most: usize,
}

/// One pod with the image, one policy that would squash it.
fn case() -> Case {
    let mut world = world();
    world.add(&pod("team", "p", "a.example/b:v1"));
    Case {
        world,
        policies: vec![squash("main", 1, &json!({}))],
        facts: [(key(), bloated())].into(),
        jobs: Vec::new(),
        most: 4,
    }
}

impl Case {
    fn with(mut self, change: &Value) -> Self {
        self.policies = vec![squash("main", 1, change)];
        self
    }

    fn known(mut self, facts: Facts) -> Self {
        self.facts.insert(key(), facts);
        self
    }

    fn job(mut self, number: i32, state: JobState) -> Self {
        self.jobs.push(job(&key(), "main", number, state));
        self
    }

    fn decide(&self, now: &str) -> Decision {
        let uses = self.world.world.uses();
        let policies: Vec<_> = self.policies.iter().cloned().map(Arc::new).collect();
        decide(&Picture {
            policies: &policies,
            world: &self.world.world,
            uses: &uses,
            facts: &self.facts,
            jobs: &self.jobs,
            settings: &Settings {
                system_namespaces: ["kube-system".to_owned(), "unbloat-system".to_owned()].into(),
                max_concurrent_jobs: self.most,
                rolls_out: true,
            },
            now: at(now),
        })
    }

    fn reason(&self, now: &str) -> String {
        self.decide(now).images[&key()].policies[0].reason.clone()
    }
}

fn job(image: &ImageKey, policy: &str, number: i32, state: JobState) -> PolicyJob {
    PolicyJob {
        namespace: "unbloat-system".into(),
        name: job_name(policy, image, number),
        policy_uid: format!("uid-{policy}"),
        image: image.id(),
        number,
        created: at("2026-05-10T10:00:00Z"),
        state,
    }
}

fn failed(time: &str, reason: &str) -> JobState {
    JobState::Failed { at: at(time), reason: reason.into() }
}

fn succeeded(time: &str) -> JobState {
    JobState::Succeeded { at: at(time), has_result: true }
}

fn started(decision: &Decision) -> Vec<String> {
    let all = decision.policies.iter().flat_map(|policy| &policy.start);
    all.map(|start| format!("{}{}", start.name, if start.is_suspended { " suspended" } else { "" })).collect()
}

#[test]
fn an_image_that_is_too_much_gets_a_job_that_is_paid_for() {
    let decision = case().decide(NOW);
    let start = &decision.policies[0].start[0];
    assert_eq!(start.places.source, format!("a.example/b@{DIGEST}"));
    assert_eq!(start.places.target.as_deref(), Some("a.example/b:v1-unbloat"));
    assert_eq!((start.number, start.is_suspended, start.is_resume), (1, false, false));
    let status = &decision.policies[0].status;
    assert_eq!((status.spent.jobs_this_hour, status.spent.bytes_today), (1, 1000));
    assert_eq!(status.spent.starting, std::slice::from_ref(&start.name));
    assert_eq!((status.images.matched, status.images.over_threshold), (1, 1));
    let image = &decision.images[&key()];
    assert_eq!((image.verdict, image.policies[0].reason.as_str()), (Verdict::OverThreshold, "JobRunning"));
}

#[test]
fn each_row_that_keeps_an_image_from_being_squashed_says_why() {
    let mut cooled = bloated();
    cooled.failures = ReportedFailures {
        jobs: 1,
        last_time: Some(Time(at("2026-05-10T11:58:00Z"))),
        ..ReportedFailures::default()
    };
    let rows: Vec<(Case, Finding)> = vec![
        (case().with(&json!({"mode": "Report"})), Finding::Reported),
        (case().with(&json!({"suspend": true})), Finding::PolicySuspended),
        (case().known(inspected(50, 1)), Finding::BelowThreshold),
        (case().known(Facts::default()), Finding::InspectionPending),
        (
            case().known(Facts {
                unreadable: Some(Unreadable { finding: Finding::PullUnauthorized, message: "no".into() }),
                ..Facts::default()
            }),
            Finding::PullUnauthorized,
        ),
        (case().known(blocked(Finding::Signed)), Finding::Signed),
        (case().known(blocked(Finding::WindowsLayers)), Finding::WindowsLayers),
        (case().known(blocked(Finding::EncryptedLayers)), Finding::EncryptedLayers),
        (case().known(blocked(Finding::OwnResult)), Finding::OwnResult),
        (case().known(blocked(Finding::OneLayer)), Finding::OneLayer),
        (case().known(cooled), Finding::CoolingDown),
        (case().job(1, JobState::Running), Finding::JobRunning),
        (case().job(1, succeeded("2026-05-10T10:00:00Z")), Finding::ResultAvailable),
        (case().job(1, JobState::Succeeded { at: at(NOW), has_result: false }), Finding::OneLayer),
        (case().job(1, failed("2026-05-10T11:59:00Z", "PushUnauthorized")), Finding::NoPushAccess),
        (case().job(1, failed("2026-05-10T11:59:00Z", "TargetRefused")), Finding::ImmutableTag),
        (case().job(3, failed("2026-05-10T11:00:00Z", "WorkerOOMKilled")), Finding::Quarantined),
        (case().with(&json!({"stability": {"minAgeSeconds": 31_536_000}})), Finding::TooYoung),
        (
            case().with(&json!({"windows": [{"schedule": "0 1 * * *", "durationSeconds": 3600}]})),
            Finding::WaitingForWindow,
        ),
        (case().with(&json!({"limits": {"maxBytesPerDay": "999"}})), Finding::LargerThanDay),
    ];
    for (case, finding) in rows {
        assert_eq!(case.reason(NOW), finding.as_str());
        assert_eq!(started(&case.decide(NOW)), Vec::<String>::new(), "{finding}");
    }
}

#[test]
fn nobody_is_left_when_all_who_use_it_opt_out() {
    let mut case = case();
    case.world.add(&pod("team", "p", "a.example/b:v1").label("unbloat.dev/policy", "ignore"));
    let decision = case.decide(NOW);
    let image = &decision.images[&key()];
    assert_eq!((image.verdict, image.policies[0].reason.as_str()), (Verdict::Excluded, "OptedOut"));
    assert!(!image.wants_inspection && started(&decision).is_empty());
    // One who doesn't is enough for a tag of its own, and not for moving the tag of all.
    case.world.add(&pod("team", "q", "a.example/b:v1"));
    assert_eq!(started(&case.decide(NOW)).len(), 1);
    let case = case.with(&json!({"target": {"moveTag": true}}));
    assert_eq!(case.reason(NOW), "OptedOut");
}

#[test]
fn an_image_that_no_policy_matches_is_excluded_and_not_read() {
    let case = case().with(&json!({"selector": {"images": {"include": ["other/*"]}}}));
    let decision = case.decide(NOW);
    let image = &decision.images[&key()];
    assert_eq!((image.verdict, image.wants_inspection, image.policies.len()), (Verdict::Excluded, false, 0));
    assert_eq!(decision.policies[0].status.images.matched, 0);
}

#[test]
fn a_tag_is_moved_only_where_nobody_uses_the_digest() {
    let mut case = case().with(&json!({"target": {"moveTag": true}}));
    assert_eq!(case.decide(NOW).policies[0].start[0].places.target, None);
    case.world.add(&pod("elsewhere", "q", &format!("a.example/b@{DIGEST}")));
    assert_eq!(case.reason(NOW), "UsedByDigest");
}

#[test]
fn of_two_policies_the_older_acts_and_both_say_so() {
    let mut case = case();
    case.policies.push(squash("younger", 2, &json!({})));
    case.policies.push(squash("oldest-only-reports", 1, &json!({"mode": "Report"})));
    case.policies[0] = squash("older", 1, &json!({}));
    let decision = case.decide(NOW);
    let told: Vec<_> = decision.images[&key()]
        .policies
        .iter()
        .map(|said| (said.name.as_str(), said.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [("older", "JobRunning"), ("oldest-only-reports", "Reported"), ("younger", "OlderPolicyActs")]
    );
    assert_eq!(started(&decision).len(), 1);
    // Whatever the order in which they are listed.
    case.policies.reverse();
    assert_eq!(started(&case.decide(NOW)), started(&decision));
}

#[test]
fn an_older_policy_that_is_suspended_or_broken_leaves_it_to_the_next() {
    for change in [
        json!({"suspend": true}),
        json!({"mode": "Report"}),
        json!({"windows": [{"schedule": "0 1 * * *", "durationSeconds": 60, "timeZone": "No/Where"}]}),
    ] {
        let mut case = case().with(&change);
        case.policies.push(squash("younger", 2, &json!({})));
        let decision = case.decide(NOW);
        assert_eq!(started(&decision).len(), 1, "{change}");
        assert!(decision.policies[0].start.is_empty() && decision.policies[1].start.len() == 1, "{change}");
    }
}

#[test]
fn a_policy_with_a_bad_schedule_or_zone_says_where_and_squashes_nothing() {
    for (window, reason, words) in [
        (json!({"schedule": "0 25 * * *", "durationSeconds": 60}), "InvalidSchedule", "windows[0].schedule"),
        (
            json!({"schedule": "0 1 * * *", "durationSeconds": 60, "timeZone": "Mars/Base"}),
            "InvalidTimeZone",
            "windows[0].timeZone",
        ),
    ] {
        let case = case().with(&json!({"windows": [window]}));
        let decision = case.decide(NOW);
        let ready = decision.policies[0].status.conditions.iter().find(|one| one.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason));
        assert!(ready.message.contains(words), "{}", ready.message);
        assert!(started(&decision).is_empty());
    }
}

#[test]
fn a_plan_is_a_suspended_job_and_turns_into_a_running_one() {
    let case = case().with(&json!({"mode": "Plan"}));
    let decision = case.decide(NOW);
    assert!(started(&decision)[0].ends_with(" suspended"));
    assert_eq!(decision.images[&key()].policies[0].reason, "JobPlanned");
    // It is there: nothing more is made, and nothing is deleted.
    let planned = case.job(1, JobState::Planned);
    let decision = planned.decide(NOW);
    assert!(started(&decision).is_empty() && decision.delete.is_empty());
    // The policy turns to Squash: the same job is let go and paid for once.
    let mut now_squash = planned;
    now_squash.policies = vec![squash("main", 1, &json!({}))];
    let decision = now_squash.decide(NOW);
    let start = &decision.policies[0].start[0];
    assert!(start.is_resume && !start.is_suspended);
    assert_eq!(decision.policies[0].status.spent.jobs_this_hour, 0);
    // The policy turns to Report: what waits for approval goes.
    now_squash.policies = vec![squash("main", 1, &json!({"mode": "Report"}))];
    assert_eq!(now_squash.decide(NOW).delete.len(), 1);
}

#[test]
fn jobs_of_a_policy_that_is_gone_are_swept_up() {
    let mut case = case().job(1, JobState::Planned);
    case.jobs.push(job(&key(), "gone", 1, JobState::Running));
    let decision = case.decide(NOW);
    assert_eq!(decision.delete, [("unbloat-system".to_owned(), job_name("gone", &key(), 1))]);
}

#[test]
fn the_newest_jobs_are_kept_as_history() {
    let mut case = case().with(&json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}));
    for (number, state) in [
        (1, succeeded("2026-05-10T08:00:00Z")),
        (2, succeeded("2026-05-10T09:00:00Z")),
        (3, failed("2026-05-10T10:00:00Z", "x")),
    ] {
        case = case.job(number, state);
    }
    let mut deleted = case.decide(NOW).delete;
    deleted.sort();
    let name = |number| ("unbloat-system".to_owned(), job_name("main", &key(), number));
    assert_eq!(deleted, [name(1), name(3)]);
}

/// Ten images of ten repositories, the later ones worth more.
fn many() -> Case {
    let mut case = case();
    case.world = world();
    case.facts.clear();
    for number in 0..10_i32 {
        case.world.add(&pod("team", &format!("p{number}"), &format!("a.example/r{number}:v1")));
        let mut facts = inspected(60, 100);
        facts.analysis =
            Some(AnalysisFacts { reclaimable_bytes: i64::from(number), ..AnalysisFacts::default() });
        case.facts
            .insert(ImageKey { repository: format!("a.example/r{number}"), digest: DIGEST.into() }, facts);
    }
    case
}

fn repositories(decision: &Decision) -> Vec<String> {
    let all = decision.policies.iter().flat_map(|policy| &policy.start);
    all.map(|start| start.image.repository.clone()).collect()
}

#[test]
fn places_go_to_what_gives_back_most() {
    let decision = many().decide(NOW);
    assert_eq!(repositories(&decision), ["a.example/r9", "a.example/r8"]);
    let limited = decision.policies[0].status.conditions.iter().find(|one| one.type_ == "Limited").unwrap();
    assert_eq!((limited.status.as_str(), limited.reason.as_str()), ("True", "WaitingForPlace"));
}

#[test]
fn places_are_limited_over_all_policies() {
    let mut case = many();
    case.policies = vec![
        squash(
            "one",
            1,
            &json!({"limits": {"maxConcurrentJobs": 5}, "selector": {"images": {"include": ["*/r[0-4]", "a.example/r0", "a.example/r1"]}}}),
        ),
        squash("two", 2, &json!({"limits": {"maxConcurrentJobs": 5}})),
    ];
    case.most = 3;
    assert_eq!(repositories(&case.decide(NOW)).len(), 3);
    case.jobs.push(job(
        &ImageKey { repository: "x".into(), digest: DIGEST.into() },
        "one",
        1,
        JobState::Running,
    ));
    assert_eq!(repositories(&case.decide(NOW)).len(), 2);
}

#[test]
fn a_strangers_job_takes_no_place_and_blocks_no_image() {
    let mut case = case();
    let mut forged = job(&key(), "main", 1, JobState::Running);
    forged.namespace = "tenant".into();
    case.jobs = vec![forged; 5];
    assert_eq!(started(&case.decide(NOW)).len(), 1);
}

#[test]
fn budgets_hold_over_a_restart_and_come_back() {
    let limits = json!({"limits": {"maxConcurrentJobs": 100, "maxJobsPerHour": 3, "maxBytesPerDay": "500"}});
    let mut case = many().with(&limits);
    case.most = 100;
    let decision = case.decide(NOW);
    assert_eq!(repositories(&decision).len(), 3);
    let spent = decision.policies[0].status.spent.clone();
    let with = |spent: &Spent| {
        let mut policy = squash("main", 1, &limits);
        policy.status =
            Some(unbloat_api::ImageSquashPolicyStatus { spent: spent.clone(), ..Default::default() });
        vec![policy]
    };
    // Killed after paying, before making: the same three are made, and paid for once.
    case.policies = with(&spent);
    for _ in 0..50 {
        let again = case.decide("2026-05-10T12:10:00Z");
        assert_eq!(repositories(&again), repositories(&decision));
        assert_eq!(again.policies[0].status.spent, spent);
    }
    // They are there: their names are forgotten, what was spent is not.
    for start in &decision.policies[0].start {
        case.jobs.push(job(&start.image, "main", 1, succeeded("2026-05-10T12:20:00Z")));
    }
    let later = case.decide("2026-05-10T12:30:00Z");
    assert_eq!(repositories(&later), Vec::<String>::new());
    let account = &later.policies[0].status.spent;
    assert_eq!((account.jobs_this_hour, account.starting.len()), (3, 0));
    // The hour is over, the day isn't: 300 of 500 bytes are gone.
    case.policies = with(account);
    let next_hour = case.decide("2026-05-10T13:00:00Z");
    assert_eq!(repositories(&next_hour).len(), 2);
    let reason = |name: &str, decision: &Decision| {
        let image = decision.images.iter().find(|(key, _)| key.repository == name).unwrap().1;
        image.policies[0].reason.clone()
    };
    assert_eq!(reason("a.example/r0", &next_hour), "DaySpent");
}

#[test]
fn a_window_that_is_closed_starts_nothing_and_says_when_it_opens() {
    let case = case().with(&json!({"windows": [{"schedule": "0 1 * * *", "durationSeconds": 14_400, "timeZone": "Europe/Berlin"}]}));
    let decision = case.decide(NOW);
    assert_eq!(decision.policies[0].status.next_window_time, Some(Time(at("2026-05-10T23:00:00Z"))));
    assert!(decision.next.is_some_and(|next| next <= at("2026-05-10T23:00:00Z")));
    let limited = decision.policies[0].status.conditions.iter().find(|one| one.type_ == "Limited").unwrap();
    assert_eq!(limited.reason, "WaitingForWindow");
    let open = case.decide("2026-05-11T02:59:00Z");
    assert_eq!((started(&open).len(), open.policies[0].status.next_window_time.clone()), (1, None));
    assert!(started(&case.decide("2026-05-11T03:00:00Z")).is_empty());
}

#[test]
fn a_repository_cools_down_when_a_pipeline_pushes_its_bloat_anew() {
    let mut case = case();
    let newer = ImageKey { digest: OTHER.into(), ..key() };
    case.world = world();
    case.world.add(&pod("team", "p", "a.example/b:v2").digest(OTHER));
    case.facts.insert(newer.clone(), bloated());
    // The image of yesterday isn't used any more; its report says when it was squashed.
    let mut squashed = bloated();
    let result = |time: &str| ReportedResult { time: Some(Time(at(time))), ..ReportedResult::default() };
    squashed.result = Some(result("2026-05-10T08:00:00Z"));
    case.facts.insert(key(), squashed.clone());
    let reason = |case: &Case| case.decide(NOW).images[&newer].policies[0].reason.clone();
    assert_eq!(reason(&case), "CoolingDown");
    squashed.result = Some(result("2026-05-09T12:00:00Z"));
    case.facts.insert(key(), squashed);
    assert_eq!(reason(&case), "JobRunning");
}

#[test]
fn two_digests_of_one_repository_are_not_squashed_at_once() {
    let mut case = case();
    case.world.add(&pod("team", "q", "a.example/b:v2").digest(OTHER));
    case.facts.insert(ImageKey { digest: OTHER.into(), ..key() }, bloated());
    assert_eq!(started(&case.decide(NOW)).len(), 1);
}

#[test]
fn a_failed_image_waits_longer_each_time_and_is_then_left_alone() {
    let now = |minutes: i64| (at("2026-05-10T12:00:00Z").as_second() + minutes * 60, minutes);
    let text = |second: i64| Timestamp::from_second(second).unwrap().to_string();
    for (number, minutes, expected) in [
        (1, 4, "CoolingDown"),
        (1, 6, "JobRunning"),
        (2, 9, "CoolingDown"),
        (2, 11, "JobRunning"),
        (3, 60, "Quarantined"),
        (3, 24 * 60 - 1, "Quarantined"),
        (3, 24 * 60, "JobRunning"),
    ] {
        let case = case().job(number, failed("2026-05-10T12:00:00Z", "WorkerFailed"));
        assert_eq!(case.reason(&text(now(minutes).0)), expected, "{number} {minutes}");
        // The job may be gone: the report remembers.
        let mut facts = bloated();
        facts.failures = ReportedFailures {
            jobs: number,
            last_time: Some(Time(at("2026-05-10T12:00:00Z"))),
            last_reason: Some("WorkerFailed".into()),
            ..ReportedFailures::default()
        };
        let case = self::case().known(facts);
        assert_eq!(case.reason(&text(now(minutes).0)), expected, "{number} {minutes} by report");
    }
    let case = case().job(2, failed("2026-05-10T11:00:00Z", "WorkerFailed"));
    assert_eq!(case.decide(NOW).policies[0].start[0].number, 3);
}

#[test]
fn age_is_since_the_oldest_user_or_the_report() {
    let young = json!({"stability": {"minAgeSeconds": 3600}});
    let mut case = case().with(&young);
    case.world.add(&pod("team", "p", "a.example/b:v1").since("2026-05-10T11:30:00Z"));
    assert_eq!(case.reason(NOW), "TooYoung");
    assert_eq!(case.decide(NOW).next, Some(at("2026-05-10T12:30:00Z")));
    let mut facts = bloated();
    facts.first_seen = Some(at("2026-05-10T10:00:00Z"));
    assert_eq!(case.known(facts).reason(NOW), "JobRunning");
}

#[test]
fn what_has_a_result_is_squashed_and_not_squashed_again() {
    let mut facts = bloated();
    facts.result =
        Some(ReportedResult { time: Some(Time(at("2026-05-01T00:00:00Z"))), ..ReportedResult::default() });
    let decision = case().known(facts).decide(NOW);
    assert_eq!(decision.images[&key()].verdict, Verdict::Squashed);
    assert!(started(&decision).is_empty());
    assert_eq!(decision.policies[0].status.images.squashed, 1);
}

#[test]
fn layers_are_read_when_the_policy_wants_it() {
    for (change, facts, expected) in [
        (json!({}), bloated(), true),
        (json!({}), inspected(5, 1), false),
        (json!({"analysis": "Always"}), inspected(5, 1), true),
        (json!({"analysis": "Never"}), bloated(), false),
        (json!({"suspend": true}), bloated(), false),
        (json!({}), blocked(Finding::EncryptedLayers), false),
        (json!({"thresholds": {"wastedPercent": 20}}), inspected(5, 1), true),
    ] {
        let decision = case().with(&change).known(facts).decide(NOW);
        assert_eq!(decision.images[&key()].wants_analysis, expected, "{change}");
    }
}

#[test]
fn credentials_that_are_missing_are_told_by_the_policy() {
    let facts = Facts {
        unreadable: Some(Unreadable { finding: Finding::PullUnauthorized, message: "denied".into() }),
        ..Facts::default()
    };
    let decision = case().known(facts).decide(NOW);
    let status = &decision.policies[0].status;
    let condition = status.conditions.iter().find(|one| one.type_ == "CredentialsUnavailable").unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "PullUnauthorized"));
    assert!(condition.message.contains("a.example"), "{}", condition.message);
    assert_eq!(status.images.unknown, 1);
}

#[test]
fn a_policy_that_matches_ten_thousand_images_starts_no_storm() {
    let mut case = case();
    for number in 0..10_000 {
        let digest = format!("sha256:{number:064x}");
        let repository = format!("a.example/r{number}");
        case.world.add(&pod("team", &format!("p{number}"), &format!("{repository}:v1")).digest(&digest));
        case.facts.insert(ImageKey { repository, digest }, bloated());
    }
    let start = std::time::Instant::now();
    let decision = case.decide(NOW);
    assert_eq!(started(&decision).len(), 2);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(decision.policies[0].status.images.over_threshold, 10_001);
}

/// An image with a result that two Deployments, a Job's pod and one that opts out use.
fn repaired(change: &Value) -> Case {
    let mut case = case().with(change);
    let mut use_by = |name: &str, kind: &str, is_ignored| {
        let pod = pod("team", &format!("{name}-1"), "a.example/b:v1").owned(kind, name, name);
        case.world.add(&pod);
        case.world.own(name, None, is_ignored);
    };
    use_by("one", "Deployment", false);
    use_by("two", "StatefulSet", false);
    use_by("batch", "Job", false);
    use_by("quiet", "Deployment", true);
    let mut facts = bloated();
    facts.result = Some(ReportedResult {
        reference: format!("a.example/b:v1-unbloat@{OTHER}"),
        digest: OTHER.into(),
        job: "j".into(),
        time: Some(Time(at(NOW))),
        pull_bytes_saved: Some(1),
        ..ReportedResult::default()
    });
    case.known(facts)
}

#[test]
fn workloads_that_use_an_original_are_pointed_at_its_result_and_nothing_else_is() {
    let decision = repaired(&json!({"rollout": {"strategy": "Workload"}})).decide(NOW);
    let [plan] = &decision.rollouts[..] else { panic!("{:?}", decision.rollouts) };
    let names: Vec<&str> = plan.candidates.iter().map(|one| one.workload.name.as_str()).collect();
    assert_eq!((names, plan.free), (vec!["one", "two"], 2));
    assert!(plan.candidates.iter().all(|one| one.is_same_repository && one.written == ["a.example/b:v1"]));
    assert_eq!(decision.unrolled[&(key(), "team".to_owned())], Finding::NotAWorkload);
}

#[test]
fn rollouts_need_a_policy_that_asks_for_them_and_acts_now() {
    let rollout = json!({"strategy": "Workload"});
    for change in [
        json!({}),
        json!({"rollout": {"strategy": "None"}}),
        json!({"rollout": rollout, "mode": "Report"}),
        json!({"rollout": rollout, "suspend": true}),
        json!({"rollout": rollout, "windows": [{"schedule": "0 1 * * *", "durationSeconds": 60}]}),
    ] {
        let decision = repaired(&change).decide(NOW);
        assert!(decision.rollouts.iter().all(|plan| plan.candidates.is_empty()), "{change}");
    }
}

#[test]
fn what_is_on_its_way_takes_a_place_and_what_was_reverted_stops_its_namespace() {
    let mut case =
        repaired(&json!({"rollout": {"strategy": "Workload"}, "limits": {"maxConcurrentJobs": 1}}));
    let rolled = |case: &mut Case, stage: &str, name: &str| {
        let state = json!({"to": format!("a.example/b:v1-unbloat@{OTHER}"), "from": {}, "state": stage,
            "since": at(NOW).as_second() - 5, "deadlineSeconds": 60});
        let metadata = serde_json::from_value(json!({"name": name, "namespace": "team",
            "annotations": {"unbloat.dev/rollout": state.to_string()}}))
        .unwrap();
        case.world.world.owners.insert(name.into(), Owner::of("Deployment", &metadata));
    };
    assert_eq!(case.decide(NOW).rollouts[0].free, 1);
    rolled(&mut case, "RolledOut", "one");
    let names = |case: &Case| -> Vec<String> {
        case.decide(NOW).rollouts[0].candidates.iter().map(|one| one.workload.name.clone()).collect()
    };
    assert_eq!(names(&case), ["two"], "one that was put back by hand is left");
    rolled(&mut case, "RollingOut", "three");
    assert_eq!(case.decide(NOW).rollouts[0].free, 0);
    assert_eq!(
        case.decide("2026-05-10T13:00:00Z").rollouts[0].free,
        1,
        "one that nobody ends holds nothing up"
    );
    rolled(&mut case, "RolloutReverted", "three");
    assert!(names(&case).is_empty());
}

/// The image was squashed on the first of May and its last user went at noon of that day.
fn squashed_and_left() -> Case {
    let mut case = case().with(&json!({"retention": {"originalSeconds": 3600}}));
    case.world = world();
    let mut facts = bloated();
    facts.unused_since = Some(at("2026-05-01T12:00:00Z"));
    facts.result = Some(ReportedResult {
        reference: format!("a.example/b:v1-unbloat@{OTHER}"),
        digest: OTHER.into(),
        time: Some(Time(at("2026-05-01T10:00:00Z"))),
        policy: Some("main".into()),
        ..ReportedResult::default()
    });
    case.known(facts)
}

#[test]
fn originals_are_deleted_only_where_their_policy_asks_for_it_now() {
    let due = |case: &Case, now: &str| case.decide(now).originals.due.len();
    assert_eq!(due(&squashed_and_left(), "2026-05-01T12:59:59Z"), 0);
    assert_eq!(due(&squashed_and_left(), NOW), 1);
    let asleep = squashed_and_left().decide("2026-05-01T12:30:00Z");
    assert_eq!(asleep.next, Some(at("2026-05-01T13:00:00Z")));
    assert_eq!(asleep.originals.told[&key()], Finding::OriginalKept);
    assert_eq!(asleep.originals.until[&key()], at("2026-05-02T13:00:00Z"));
    for change in [
        json!({}),
        json!({"retention": {"originalSeconds": 3600}, "suspend": true}),
        json!({"retention": {"originalSeconds": 3600}, "mode": "Report"}),
        json!({"retention": {"originalSeconds": 3600}, "limits": {"maxBytesPerDay": "many"}}),
    ] {
        let decision = squashed_and_left().with(&change).decide(NOW);
        assert!(decision.originals.due.is_empty() && decision.originals.told.is_empty(), "{change}");
    }
    // Another policy's wish is none of this one's.
    let mut other = squashed_and_left();
    other.policies = vec![
        squash("main", 1, &json!({})),
        squash("other", 2, &json!({"retention": {"originalSeconds": 0}})),
    ];
    assert_eq!(due(&other, NOW), 0);
    // Made before policies were written down, or by hand.
    let mut old = squashed_and_left();
    old.facts.get_mut(&key()).unwrap().result.as_mut().unwrap().policy = None;
    assert_eq!(due(&old, NOW), 0);
}

#[test]
fn an_original_stays_while_a_pod_or_a_report_has_it() {
    let mut used = squashed_and_left();
    used.world.add(&pod("elsewhere", "p", "a.example/b:v1"));
    assert_eq!(used.decide(NOW).originals.told[&key()], Finding::OriginalInUse);
    let mut reported = squashed_and_left();
    reported.facts.get_mut(&key()).unwrap().is_reported_used = true;
    assert!(reported.decide(NOW).originals.due.is_empty());
    // It is what another image was squashed to.
    let mut result = squashed_and_left();
    let mut first = bloated();
    first.result = Some(ReportedResult {
        reference: format!("a.example/b:v0-unbloat@{DIGEST}"),
        digest: DIGEST.into(),
        ..ReportedResult::default()
    });
    result.facts.insert(ImageKey { repository: "a.example/b".into(), digest: "sha256:first".into() }, first);
    assert!(result.decide(NOW).originals.due.is_empty());
}

#[test]
fn a_registry_that_refuses_to_delete_is_left_alone_for_all_its_images() {
    let mut case = squashed_and_left();
    let mut refused = case.facts[&key()].clone();
    let told = refused.result.as_mut().unwrap();
    told.original = Some("OriginalNotDeletable".into());
    told.original_time = Some(Time(at("2026-05-10T11:00:00Z")));
    let id = |host: &str| ImageKey { repository: format!("{host}/c"), digest: OTHER.into() };
    case.facts.insert(id("b.example"), refused.clone());
    assert_eq!(case.decide(NOW).originals.due.len(), 1, "another registry");
    case.facts.insert(id("a.example"), refused);
    assert!(case.decide(NOW).originals.due.is_empty());
    assert_eq!(case.decide("2026-05-11T11:00:00Z").originals.due.len(), 3);
}
