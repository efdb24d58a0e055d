//! Each condition by itself, on one original that nothing refers to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::fixtures::{DIGEST, OTHER, at};

const MADE: &str = "2026-05-01T12:00:00Z";
const REPOSITORY: &str = "a.example/b";
const RESULT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000bb";

fn result(tag: &str) -> ReportedResult {
    ReportedResult {
        reference: format!("{REPOSITORY}:{tag}@{RESULT}"),
        digest: RESULT.to_owned(),
        time: Some(Time(at(MADE))),
        policy: Some("main".to_owned()),
        ..ReportedResult::default()
    }
}

fn known(result: &ReportedResult) -> Known<'_> {
    Known {
        result,
        seconds: 3600,
        is_used: false,
        is_reported: false,
        unused_since: Some(at(MADE)),
        refused: None,
    }
}

#[test]
fn an_original_stays_for_its_time_and_while_the_cluster_refers_to_it() {
    let plain = result("v1-unbloat");
    let told = |finding: Finding| ReportedResult { original: Some(finding.to_string()), ..plain.clone() };
    let (deleted, tagged) = (told(Finding::OriginalDeleted), told(Finding::OriginalTagged));
    let timeless = ReportedResult { time: None, ..plain.clone() };
    let base = known(&plain);
    let late = Some(at("2026-05-01T18:00:00Z"));
    for (what, known, now, finding, is_due) in [
        ("a second before its time", base.clone(), "2026-05-01T12:59:59Z", Finding::OriginalKept, false),
        ("its time is over", base.clone(), "2026-05-01T13:00:00Z", Finding::OriginalKept, true),
        ("at once", Known { seconds: 0, ..base.clone() }, MADE, Finding::OriginalKept, true),
        (
            "for ten years",
            Known { seconds: 315_360_000, ..base.clone() },
            "2036-04-01T00:00:00Z",
            Finding::OriginalKept,
            false,
        ),
        (
            "a pod runs it",
            Known { is_used: true, ..base.clone() },
            "2026-06-01T00:00:00Z",
            Finding::OriginalInUse,
            false,
        ),
        (
            "a report has it",
            Known { is_reported: true, ..base.clone() },
            "2026-06-01T00:00:00Z",
            Finding::OriginalInUse,
            false,
        ),
        (
            "nobody knows since when it is unused",
            Known { unused_since: None, ..base.clone() },
            "2026-06-01T00:00:00Z",
            Finding::OriginalInUse,
            false,
        ),
        (
            "nobody knows when it was squashed",
            Known { result: &timeless, ..base.clone() },
            "2026-06-01T00:00:00Z",
            Finding::OriginalInUse,
            false,
        ),
        (
            "the last user went later",
            Known { unused_since: late, ..base.clone() },
            "2026-05-01T18:59:59Z",
            Finding::OriginalKept,
            false,
        ),
        (
            "and its time after that is over",
            Known { unused_since: late, ..base.clone() },
            "2026-05-01T19:00:00Z",
            Finding::OriginalKept,
            true,
        ),
        (
            "the registry refused an hour ago",
            Known { refused: Some(at("2026-05-01T13:00:00Z")), ..base.clone() },
            "2026-05-01T14:00:00Z",
            Finding::OriginalNotDeletable,
            false,
        ),
        (
            "the registry refused a day ago",
            Known { refused: Some(at("2026-05-01T13:00:00Z")), ..base.clone() },
            "2026-05-02T13:00:00Z",
            Finding::OriginalKept,
            true,
        ),
        (
            "it is deleted",
            Known { result: &deleted, ..base.clone() },
            "2026-06-01T00:00:00Z",
            Finding::OriginalDeleted,
            false,
        ),
        (
            "a tag was found before",
            Known { result: &tagged, ..base.clone() },
            "2026-05-01T14:00:00Z",
            Finding::OriginalTagged,
            true,
        ),
    ] {
        let rest = rest(&known, at(now));
        assert_eq!((rest.finding, rest.is_due), (finding, is_due), "{what}");
    }
    // Its reports stay until a day after its time, and somebody looks when its time is over.
    let rest = rest(&base, at(MADE));
    assert_eq!(rest.next, Some(at("2026-05-01T13:00:00Z")));
    assert_eq!(rest.until, Some(at("2026-05-02T13:00:00Z")));
}

/// What is found of an original of this target and result, when nothing is different.
struct Case {
    original: Original,
    holders: Vec<Holder>,
    tags: Vec<Tag>,
    origin: Option<Origin>,
}

fn tag(name: &str, digest: &str) -> Tag {
    Tag { name: name.to_owned(), digest: digest.to_owned(), manifests: BTreeSet::new() }
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

/// `v1` was squashed to `v1-unbloat`, and nothing else is there.
fn beside() -> Case {
    Case {
        original: Original {
            image: ImageKey { repository: REPOSITORY.to_owned(), digest: DIGEST.to_owned() },
            result: result("v1-unbloat"),
            target: PolicyTarget::default(),
        },
        holders: Vec::new(),
        tags: vec![tag("v1", DIGEST), tag("v1-unbloat", RESULT), tag("v2", OTHER)],
        origin: Some(Origin { original: set(&[DIGEST]), made_of: set(&[DIGEST]), result: set(&[RESULT]) }),
    }
}

/// `v1` was moved to the result.
fn moved() -> Case {
    let mut case = beside();
    case.original.target = PolicyTarget { tag_suffix: None, repository: None, move_tag: true };
    case.original.result = result("v1");
    case.tags = vec![tag("v1", RESULT), tag("v2", OTHER)];
    case
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Case)) -> Self {
        change(&mut self);
        self
    }

    fn held_by(self, image: &str) -> Self {
        let holder = Holder { name: "CronJob team/nightly".to_owned(), images: vec![image.to_owned()] };
        self.with(|case| case.holders.push(holder))
    }

    fn finding(&self) -> Option<Finding> {
        let Case { original, holders, tags, origin } = self;
        refers(original, holders, tags, origin.as_ref()).map(|(finding, _)| finding)
    }
}

#[test]
fn an_original_whose_time_is_over_stays_while_anything_refers_to_it() {
    let by_digest = format!("{REPOSITORY}@{DIGEST}");
    let both = format!("{REPOSITORY}:v9@{DIGEST}");
    let moved_away = format!("{REPOSITORY}:v1@{RESULT}");
    let cosign = format!("{}.sig", DIGEST.replace(':', "-"));
    let in_use = Some(Finding::OriginalInUse);
    let tagged = Some(Finding::OriginalTagged);
    let unproven = Some(Finding::ResultNotProven);
    for (what, case, finding) in [
        ("nothing", beside(), None),
        ("nothing, and its tag was moved", moved(), None),
        ("somebody by its tag", beside().held_by("a.example/b:v1"), in_use),
        ("somebody by its digest", beside().held_by(&by_digest), in_use),
        ("somebody by a tag and its digest", beside().held_by(&both), in_use),
        ("somebody by a tag that is the result's now", moved().held_by("a.example/b:v1"), None),
        ("somebody by its digest, though the tag was moved", moved().held_by(&by_digest), in_use),
        ("somebody by the result", beside().held_by(&moved_away), None),
        ("somebody by another tag", beside().held_by("a.example/b:v2"), None),
        ("somebody in another repository", beside().held_by("a.example/c:v1"), None),
        ("a text that is no image", beside().held_by("v1"), None),
        (
            "somebody without a tag",
            beside()
                .with(|case| case.tags[0].name = "latest".into())
                .with(|case| case.original.result = result("latest-unbloat"))
                .held_by("a.example/b"),
            in_use,
        ),
        ("another tag", beside().with(|case| case.tags.push(tag("stable", DIGEST))), tagged),
        ("a tag that was moved back", moved().with(|case| case.tags[0].digest = DIGEST.into()), tagged),
        (
            "a tag of an index that has it",
            beside().with(|case| case.tags[2].manifests = set(&[DIGEST])),
            tagged,
        ),
        ("a signature's tag", beside().with(|case| case.tags.push(tag(&cosign, OTHER))), tagged),
        (
            "its own tag, once the policy's suffix is another",
            beside().with(|case| case.original.target.tag_suffix = Some("-small".into())),
            tagged,
        ),
        ("a registry that says nothing of the result", beside().with(|case| case.origin = None), unproven),
        (
            "a result that says nothing of its source",
            beside().with(|case| case.origin.as_mut().unwrap().made_of.clear()),
            unproven,
        ),
        (
            "a result of another image",
            beside().with(|case| case.origin.as_mut().unwrap().made_of = set(&[OTHER])),
            unproven,
        ),
        (
            "a result that lacks a platform",
            beside().with(|case| case.origin.as_mut().unwrap().original = set(&[DIGEST, OTHER])),
            unproven,
        ),
        (
            "a platform that was flat and is the result's too",
            beside().with(|case| case.origin.as_mut().unwrap().original = set(&[DIGEST, RESULT])),
            None,
        ),
    ] {
        assert_eq!(case.finding(), finding, "{what}");
    }
}

#[test]
fn what_starts_no_pod_any_more_holds_no_image() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "a.example/b:v1", "env": [{"name": "X", "value": "a.example/env:1"}]}],
        "initContainers": [{"name": "i", "image": "a.example/i:1"}]}});
    let workload = |spec: &Value| json!({"metadata": {"namespace": "team", "name": "app"}, "spec": spec});
    let asleep = workload(&json!({"replicas": 0, "template": template}));
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
        let holder = holder(kind, &asleep).unwrap_or_else(|| panic!("{kind}"));
        assert_eq!(holder.name, format!("{kind} team/app"));
        for image in ["a.example/b:v1", "a.example/i:1", "a.example/env:1"] {
            assert!(holder.images.iter().any(|one| one == image), "{kind}: {image}");
        }
    }
    let mut nightly = workload(&json!({"suspend": true, "jobTemplate": {"spec": {"template": template}}}));
    assert!(holder("CronJob", &nightly).unwrap().images.contains(&"a.example/b:v1".to_owned()));
    // A revision before is history.
    let mut before = asleep.clone();
    before["metadata"]["ownerReferences"] =
        json!([{"kind": "Deployment", "name": "app", "controller": true}]);
    assert_eq!(holder("ReplicaSet", &before), None);
    before["spec"]["replicas"] = json!(1);
    assert!(holder("ReplicaSet", &before).is_some());
    before["spec"]["replicas"] = json!(0);
    before["metadata"]["ownerReferences"][0]["kind"] = json!("Rollout");
    assert!(holder("ReplicaSet", &before).is_some(), "another controller may start it again");
    // Jobs that have ended.
    for (kind, type_, status, holds) in [
        ("Job", "Complete", "True", false),
        ("Job", "Failed", "True", false),
        ("Job", "Suspended", "True", true),
        ("Job", "Failed", "False", true),
        ("ImageSquashJob", "Succeeded", "True", false),
        ("ImageSquashJob", "Succeeded", "False", false),
        ("ImageSquashJob", "Succeeded", "Unknown", true),
    ] {
        nightly["status"] = json!({"conditions": [{"type": type_, "status": status}]});
        assert_eq!(holder(kind, &nightly).is_some(), holds, "{kind} {type_} {status}");
    }
    // A devbox starts from what its status says.
    let devbox = json!({"metadata": {"namespace": "ns", "name": "d"}, "spec": {"image": "a.example/runtime:1"},
        "status": {"commitRecords": {"one": {"baseImage": "a.example/b:v1"}}}});
    assert_eq!(holder("Devbox", &devbox).unwrap().images, ["a.example/runtime:1", "a.example/b:v1"]);
}

#[test]
fn a_workload_on_its_way_to_a_result_may_get_its_original_back() {
    let mut object = json!({"metadata": {"namespace": "team", "name": "app"}, "spec": {}});
    for (stage, holds) in [("RollingOut", true), ("RolledOut", false), ("RolloutReverted", false)] {
        let state = json!({"to": "a.example/b@x", "from": {"app": "a.example/b:v1"}, "since": 1, "deadlineSeconds": 60, "state": stage});
        object["metadata"]["annotations"] = json!({unbloat_api::labels::ROLLOUT: state.to_string()});
        let images = holder("Deployment", &object).unwrap().images;
        assert_eq!(images.contains(&"a.example/b:v1".to_owned()), holds, "{stage}");
    }
}
