//! What a worker, or somebody in its place, may say: any of it gives a status that the API server takes and
//! that a terminal can show, and costs no more than it is long.

use proptest::prelude::*;
use serde_json::{Value, json};
use unbloat_contract::worker::CONTRACT_VERSION;
use unbloat_contract::{ProgressReport, Snapshot};

use super::*;
use crate::squash_job::fixtures::{DIGEST, RESULT, config, job, squashed};
use crate::squash_job::progress::understood;
use crate::squash_job::world::{Place, Resolution, Terminated};

/// More than any status has by rights: sixteen warnings of half a kilobyte and a few messages.
const MOST_STATUS: usize = 64 << 10;
/// The largest number that the schema takes.
const MOST: u64 = (1 << 53) - 1;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_100).unwrap()
}

/// The status after attempt 1 was started.
fn started() -> ImageSquashJobStatus {
    let job = job();
    let observed = Observed {
        job: &job,
        worker: None,
        pod: None,
        pod_refused: None,
        stray_pods: Vec::new(),
        progress: None,
        idle_seconds: None,
        resolution: Some(Resolution::LeftToWorker),
        place: Place::Granted,
    };
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    match decide(&observed, &config(), begin) {
        Action::Start(start) => start.started.made("job-1".into()).status,
        other => panic!("a start, not {other:?}"),
    }
}

fn success() -> Value {
    serde_json::to_value(squashed(vec!["a warning".into(); 3])).unwrap()
}

fn failure() -> Value {
    json!({"version": CONTRACT_VERSION, "outcome": {"failed": {"reason": "PushDenied", "message": "no", "retryable": true,
        "digest": RESULT, "sourceDigest": DIGEST}}})
}

fn progress() -> Value {
    let snapshot = Snapshot { bytes_read: 5, bytes_total: 10, bytes_written: 2, ..Snapshot::default() };
    let report = ProgressReport {
        version: CONTRACT_VERSION,
        percent: 40,
        snapshot,
        source_digest: Some(DIGEST.into()),
        trouble: Some("429 from a.example".into()),
        ..ProgressReport::default()
    };
    serde_json::to_value(report).unwrap()
}

/// What stands in the place of an honest value.
fn hostile() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,80}",
        any::<String>(),
        Just("\u{1b}]0;title\u{7}\u{1b}[31mred\u{202e}".repeat(20)),
        Just("x".repeat(5000)),
        Just("\u{10ffff}".repeat(1500)),
        Just(format!("a.example/{}:d@{RESULT}", "b".repeat(1500))),
        Just(format!("evil.example/b:d@{RESULT}")),
        Just(DIGEST.to_owned()),
        Just("sha256:0".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0_u64), Just(MOST), Just(MOST + 1), Just(u64::MAX)].prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{1,12}", inner, 0..5)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

/// Every place of a document.
fn places(document: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match document {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{name}"), all));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

/// A document of a worker's with some of its values replaced.
fn changed(document: Value) -> impl Strategy<Value = Value> {
    let mut all = Vec::new();
    places(&document, "", &mut all);
    let change = (prop::sample::select(all), hostile());
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut document = document.clone();
        for (place, value) in changes {
            if let Some(old) = document.pointer_mut(&place) {
                *old = value;
            }
        }
        document
    })
}

/// What is wrong with a value of a status, if anything is.
fn wrong(at: &str, value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let fits = number.as_i64().is_some_and(|number| number.unsigned_abs() <= MOST)
                || (number.as_i64().is_none() && number.as_f64().is_some_and(|number| number.abs() < 1e12));
            (!fits).then(|| format!("{at}: {number}"))
        }
        Value::String(text) => {
            let obeyed = text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
            let long = text.len() > condition::MESSAGE_LIMIT;
            (obeyed || long).then(|| format!("{at}: {} bytes, {text:?}", text.len()))
        }
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| wrong(&format!("{at}/{index}"), item))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(name, field)| wrong(&format!("{at}/{name}"), field))
        }
        Value::Null | Value::Bool(_) => None,
    }
}

/// Decides about attempt 1 with what was said of it, and looks at the status.
fn check(pod: WorkerPod, progress: Option<ProgressReport>) -> Result<ImageSquashJobStatus, TestCaseError> {
    let mut job = job();
    let status = started();
    let worker = WorkerJob {
        name: status.worker.as_ref().map(|worker| worker.job.clone()).unwrap_or_default(),
        uid: "job-1".into(),
        attempt: 1,
        created: Some(Timestamp::from_second(1_800_000_000).unwrap()),
        config: None,
        end: None,
        deleting: false,
    };
    job.status = Some(status);
    let observed = Observed {
        job: &job,
        worker: Some(worker),
        pod: Some(pod),
        pod_refused: None,
        stray_pods: Vec::new(),
        progress,
        idle_seconds: Some(1),
        resolution: None,
        place: Place::Waiting,
    };
    let status = match decide(&observed, &config(), now()) {
        Action::None(report) | Action::Stop { then: report, .. } | Action::Resolve(_, report) => {
            report.status
        }
        Action::Start(start) => start.started.report().status.clone(),
        Action::Expire => return Err(TestCaseError::fail("the job was deleted")),
    };
    let document = serde_json::to_value(&status).unwrap();
    prop_assert_eq!(wrong("", &document), None);
    let length = document.to_string().len();
    prop_assert!(length <= MOST_STATUS, "{} bytes", length);
    // As the API server gives it back.
    let back: ImageSquashJobStatus = serde_json::from_value(document.clone()).unwrap();
    prop_assert_eq!(serde_json::to_value(back).unwrap(), document);
    if let Some(reference) = status.target.as_ref().and_then(|target| target.reference.as_ref()) {
        prop_assert!(reference.starts_with("a.example/b:d@sha256:"), "{}", reference);
    }
    Ok(status)
}

fn pod(terminated: Option<Terminated>) -> WorkerPod {
    WorkerPod {
        name: "pod".into(),
        node: Some("node".into()),
        address: Some("10.0.0.1".into()),
        phase: if terminated.is_some() { "Succeeded" } else { "Running" }.into(),
        running: terminated.is_none(),
        terminated,
        ..WorkerPod::default()
    }
}

#[test]
fn honest_words_are_believed() {
    let terminated = |document: Value, exit_code| Terminated {
        exit_code,
        termination: serde_json::from_value(document).ok(),
        ..Terminated::default()
    };
    let done = check(pod(Some(terminated(success(), 0))), None).unwrap();
    assert_eq!(done.succeeded().map(|condition| condition.reason.as_str()), Some("Squashed"));
    let failed = check(pod(Some(terminated(failure(), 4))), None).unwrap();
    assert!(failed.last_failure.is_some());
    let running = check(pod(None), serde_json::from_value(progress()).ok()).unwrap();
    assert_eq!(running.progress.map(|progress| progress.percent), Some(40));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn an_end_that_is_said_somehow(
        document in prop_oneof![changed(success()), changed(failure())],
        exit_code in prop_oneof![Just(0), Just(1), any::<i32>()],
        reason in prop::option::of(any::<String>()),
    ) {
        let text = document.to_string();
        let termination = serde_json::from_str(&text).ok();
        let message = termination.is_none().then_some(text);
        check(pod(Some(Terminated { exit_code, reason, termination, message })), None)?;
    }

    #[test]
    fn a_progress_that_is_said_somehow(document in changed(progress())) {
        check(pod(None), understood(document.to_string().as_bytes()))?;
    }

    #[test]
    fn a_pod_that_does_not_start_for_any_reason(reason in any::<String>(), words in hostile()) {
        let words = words.to_string();
        let stuck = WorkerPod { running: false, stuck: Some((reason, words.clone())), ..pod(None) };
        check(stuck, None)?;
        let unschedulable = WorkerPod { running: false, unschedulable: Some((None, words)), ..pod(None) };
        check(unschedulable, None)?;
    }
}
