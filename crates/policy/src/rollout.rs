//! Pointing a workload at a result: what comes next, from the workload as it is.
//!
//! The whole state is an annotation on the workload itself, so that a restart, or another operator, goes on
//! where the last one was: what the containers ran before, what they run now, and since when. Nothing is
//! changed that somebody else's tool manages: it would only be put back.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use unbloat_api::Finding;
use unbloat_api::labels::{ROLLOUT, opts_out};

/// Labels and annotations that GitOps tools and package managers leave on what they manage, with the tool's
/// name.
const MANAGERS: [(&str, &str); 10] = [
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("meta.helm.sh/release-name", "Helm"),
    ("helm.sh/chart", "Helm"),
    ("fleet.cattle.io/bundle-id", "Fleet"),
    ("objectset.rio.cattle.io/id", "Fleet"),
    ("configmanagement.gke.io/managed", "Config Sync"),
    ("kapp.k14s.io/app", "kapp"),
];
/// The standard label of the managing tool; these values of it are tools that put things back.
const MANAGED_BY: (&str, [&str; 3]) = ("app.kubernetes.io/managed-by", ["Helm", "argocd", "flux"]);

/// What the annotation says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The result.
    pub to: String,
    /// What each container ran before.
    pub from: BTreeMap<String, String>,
    /// When it was pointed at the result, in seconds since 1970.
    pub since: i64,
    /// Seconds that it has to become ready: what the policy said then, so that it is watched to its end
    /// whatever becomes of the policy.
    pub deadline_seconds: i64,
    /// How far it is.
    pub state: Stage,
}

/// How far a rollout is. The names are the findings that reports tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It was pointed at the result and is watched.
    RollingOut,
    /// It became ready with it.
    RolledOut,
    /// It didn't, and has its original back.
    RolloutReverted,
}

impl Stage {
    /// What a report says.
    pub fn finding(self) -> Finding {
        match self {
            Stage::RollingOut => Finding::RollingOut,
            Stage::RolledOut => Finding::RolledOut,
            Stage::RolloutReverted => Finding::RolloutReverted,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The images as pods of this workload write them.
    pub written: &'a [String],
    /// The result, with its digest.
    pub result: &'a str,
    /// Seconds for it to become ready from then on.
    pub deadline_seconds: i64,
    /// Whether who can pull the original can pull the result.
    pub is_pull_proven: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing: it has nothing to do with this image.
    Nothing,
    /// Nothing, for this reason, with words.
    Refuse(Finding, String),
    /// Write this patch: the workload runs the result from then on.
    Point(Value),
    /// Look again later.
    Wait,
    /// It became ready: write this patch, if any.
    Done(Option<Value>),
    /// It didn't become ready: write this patch, which gives it its original back.
    Revert(Value),
}

/// Decides about a Deployment, StatefulSet or DaemonSet, as the API has it.
pub fn next(workload: &Value, wanted: &Wanted<'_>, now: Timestamp) -> Step {
    // One that still has to become ready with an earlier result is watched to its end first.
    let state =
        annotation(workload).filter(|state| state.to == wanted.result || state.state == Stage::RollingOut);
    if let Some(state) = state {
        return follow(workload, &state, now);
    }
    let from = matching(workload, wanted.written);
    if from.is_empty() {
        return Step::Nothing;
    }
    let labels = map(workload, "labels");
    if opts_out(Some(&labels)) {
        return Step::Refuse(Finding::OptedOut, Finding::OptedOut.meaning().to_owned());
    }
    if let Some(manager) = manager(workload, &labels) {
        let images: Vec<&str> = from.values().map(String::as_str).collect();
        let words = format!(
            "{manager} would put the original back; commit {} instead of {}",
            wanted.result,
            images.join(", ")
        );
        return Step::Refuse(Finding::ManagedByGitOps, words);
    }
    if !wanted.is_pull_proven {
        return Step::Refuse(Finding::PullNotProven, Finding::PullNotProven.meaning().to_owned());
    }
    let images = from.keys().map(|name| (name.clone(), wanted.result.to_owned())).collect();
    let state = State {
        to: wanted.result.to_owned(),
        from,
        since: now.as_second(),
        deadline_seconds: wanted.deadline_seconds,
        state: Stage::RollingOut,
    };
    Step::Point(patch(workload, &images, &state))
}

/// Decides about one that was pointed at a result, from its annotation alone.
pub fn follow(workload: &Value, state: &State, now: Timestamp) -> Step {
    let with = |stage: Stage| State { state: stage, ..state.clone() };
    match state.state {
        Stage::RolledOut => return Step::Done(None),
        Stage::RolloutReverted => {
            let words = "it didn't become ready with the result and got its original back".to_owned();
            return Step::Refuse(Finding::RolloutReverted, words);
        }
        Stage::RollingOut => {}
    }
    // Somebody gave it another image meanwhile: that is theirs to watch, and nothing is put back.
    let runs = images(workload);
    if !state.from.keys().all(|name| runs.get(name) == Some(&state.to)) {
        return Step::Done(Some(patch(workload, &BTreeMap::new(), &with(Stage::RolledOut))));
    }
    if is_ready(workload) {
        return Step::Done(Some(patch(workload, &BTreeMap::new(), &with(Stage::RolledOut))));
    }
    if now.as_second().saturating_sub(state.since) >= state.deadline_seconds {
        return Step::Revert(patch(workload, &state.from, &with(Stage::RolloutReverted)));
    }
    Step::Wait
}

/// The state that the annotation holds; one that can't be read is none.
pub fn annotation(workload: &Value) -> Option<State> {
    parse(workload.get("metadata")?.get("annotations")?.get(ROLLOUT)?.as_str()?)
}

/// The state that the annotation's text says.
pub fn parse(text: &str) -> Option<State> {
    serde_json::from_str(text).ok()
}

/// Containers of the pod template that run one of these images, with what they write.
fn matching(workload: &Value, written: &[String]) -> BTreeMap<String, String> {
    images(workload).into_iter().filter(|(_, image)| written.contains(image)).collect()
}

/// Containers of the pod template with their images.
fn images(workload: &Value) -> BTreeMap<String, String> {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| {
        workload
            .pointer(&format!("/spec/template/spec/{list}"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    });
    containers
        .filter_map(|container| {
            Some((container.get("name")?.as_str()?.to_owned(), container.get("image")?.as_str()?.to_owned()))
        })
        .collect()
}

fn map(workload: &Value, field: &str) -> BTreeMap<String, String> {
    workload["metadata"]
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The tool that manages it, or the object that controls it.
fn manager(workload: &Value, labels: &BTreeMap<String, String>) -> Option<String> {
    let annotations = map(workload, "annotations");
    let marked = MANAGERS.iter().find(|(key, _)| labels.contains_key(*key) || annotations.contains_key(*key));
    if let Some((_, name)) = marked {
        return Some((*name).to_owned());
    }
    let (key, tools) = MANAGED_BY;
    if let Some(tool) =
        labels.get(key).filter(|value| tools.iter().any(|tool| tool.eq_ignore_ascii_case(value)))
    {
        return Some(tool.clone());
    }
    let owners = workload["metadata"].get("ownerReferences").and_then(Value::as_array)?;
    let owner = owners.iter().find(|owner| owner["controller"] == json!(true))?;
    Some(format!(
        "{} {}",
        owner["kind"].as_str().unwrap_or_default(),
        owner["name"].as_str().unwrap_or_default()
    ))
}

/// Whether every pod that it wants runs its newest template and is available.
fn is_ready(workload: &Value) -> bool {
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let status = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
    let generation = number("/metadata/generation").unwrap_or(0);
    if status("observedGeneration") < generation {
        return false;
    }
    match workload["kind"].as_str() {
        Some("DaemonSet") => {
            let wanted = status("desiredNumberScheduled");
            status("updatedNumberScheduled") == wanted && status("numberAvailable") == wanted
        }
        _ => {
            let wanted = number("/spec/replicas").unwrap_or(1);
            let available = status("availableReplicas").max(status("readyReplicas"));
            status("updatedReplicas") == wanted && status("replicas") == wanted && available == wanted
        }
    }
}

/// A strategic merge patch: containers are merged by name. It holds only for the version that was read.
fn patch(workload: &Value, images: &BTreeMap<String, String>, state: &State) -> Value {
    let text = serde_json::to_string(state).unwrap_or_default();
    let mut patch = json!({
        "metadata": {
            "resourceVersion": workload["metadata"]["resourceVersion"],
            "annotations": {ROLLOUT: text},
        },
    });
    for list in ["containers", "initContainers"] {
        let has = |name: &String| {
            let all = workload.pointer(&format!("/spec/template/spec/{list}")).and_then(Value::as_array);
            all.into_iter().flatten().any(|container| container["name"].as_str() == Some(name))
        };
        let changed: Vec<Value> = images
            .iter()
            .filter(|(name, _)| has(name))
            .map(|(name, image)| json!({"name": name, "image": image}))
            .collect();
        if !changed.is_empty() {
            patch["spec"]["template"]["spec"][list] = json!(changed);
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    const OLD: &str = "a.example/b:v1";
    const NEW: &str = "a.example/b:v1-unbloat@sha256:00";

    fn workload(change: &Value) -> Value {
        let mut object = json!({
            "kind": "Deployment",
            "metadata": {"name": "app", "resourceVersion": "7", "generation": 2},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "app", "image": OLD}, {"name": "sidecar", "image": "other"}]}}},
        });
        for (key, value) in change.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        object
    }

    fn step(workload: &Value, now: &str) -> Step {
        let written = [OLD.to_owned()];
        next(
            workload,
            &Wanted { written: &written, result: NEW, deadline_seconds: 600, is_pull_proven: true },
            at(now),
        )
    }

    const START: &str = "2026-05-10T12:00:00Z";

    /// The workload once a patch was taken.
    fn patched(workload: &Value, patch: &Value) -> Value {
        let mut workload = workload.clone();
        workload["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
        for changed in
            patch.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
        {
            let containers =
                workload.pointer_mut("/spec/template/spec/containers").unwrap().as_array_mut().unwrap();
            let container = containers.iter_mut().find(|one| one["name"] == changed["name"]).unwrap();
            container["image"] = changed["image"].clone();
        }
        workload
    }

    #[test]
    fn a_workload_is_pointed_watched_and_done() {
        let before = workload(&json!({}));
        let Step::Point(patch) = step(&before, START) else { panic!("not pointed") };
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["spec"]["template"]["spec"]["containers"], json!([{"name": "app", "image": NEW}]));
        let mut after = patched(&before, &patch);
        assert_eq!(step(&after, "2026-05-10T12:05:00Z"), Step::Wait);
        after["status"] =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(step(&after, "2026-05-10T12:05:00Z"), Step::Wait, "the status is of the template before");
        after["status"]["observedGeneration"] = json!(2);
        let Step::Done(Some(patch)) = step(&after, "2026-05-10T12:05:00Z") else { panic!("not done") };
        assert!(patch.pointer("/spec").is_none());
        assert_eq!(step(&patched(&after, &patch), "2026-05-10T13:00:00Z"), Step::Done(None));
    }

    #[test]
    fn what_does_not_become_ready_gets_its_original_back_and_is_not_tried_again() {
        let before = workload(&json!({}));
        let Step::Point(patch) = step(&before, START) else { panic!("not pointed") };
        let after = patched(&before, &patch);
        let Step::Revert(patch) = step(&after, "2026-05-10T12:10:00Z") else { panic!("not reverted") };
        assert_eq!(patch["spec"]["template"]["spec"]["containers"], json!([{"name": "app", "image": OLD}]));
        let reverted = patched(&after, &patch);
        assert_eq!(reverted["spec"], before["spec"]);
        assert!(matches!(step(&reverted, "2026-05-11T12:00:00Z"), Step::Refuse(Finding::RolloutReverted, _)));
    }

    #[test]
    fn what_somebody_points_elsewhere_meanwhile_is_theirs() {
        let before = workload(&json!({}));
        let Step::Point(patch) = step(&before, START) else { panic!("not pointed") };
        let mut after = patched(&before, &patch);
        after["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a.example/b:v2");
        let Step::Done(Some(patch)) = step(&after, "2026-05-10T12:20:00Z") else { panic!("it is watched") };
        assert!(patch.pointer("/spec").is_none(), "nothing is put back");
    }

    #[test]
    fn what_a_tool_or_an_owner_manages_is_refused_with_what_to_commit() {
        for (change, tool) in [
            (json!({"labels": {"argocd.argoproj.io/instance": "x"}}), "Argo CD"),
            (json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}), "Argo CD"),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}), "Flux"),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "x"}}), "Flux"),
            (json!({"annotations": {"meta.helm.sh/release-name": "x"}}), "Helm"),
            (json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), "Helm"),
            (
                json!({"ownerReferences": [{"kind": "Postgres", "name": "main", "controller": true}]}),
                "Postgres main",
            ),
        ] {
            let Step::Refuse(Finding::ManagedByGitOps, words) = step(&workload(&change), START) else {
                panic!("{change}");
            };
            assert!(words.contains(tool) && words.contains(NEW) && words.contains(OLD), "{words}");
        }
    }

    #[test]
    fn what_opts_out_or_runs_something_else_is_left_alone() {
        let ignored = workload(&json!({"labels": {"unbloat.dev/policy": "ignore"}}));
        assert!(matches!(step(&ignored, START), Step::Refuse(Finding::OptedOut, _)));
        let mut other = workload(&json!({}));
        other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a.example/b:v2");
        assert_eq!(step(&other, START), Step::Nothing);
        let written = [OLD.to_owned()];
        let elsewhere =
            Wanted { written: &written, result: NEW, deadline_seconds: 600, is_pull_proven: false };
        assert!(matches!(
            next(&workload(&json!({})), &elsewhere, at(START)),
            Step::Refuse(Finding::PullNotProven, _)
        ));
    }

    #[test]
    fn a_daemon_set_is_ready_on_every_node() {
        let mut set = workload(&json!({}));
        set["kind"] = json!("DaemonSet");
        set["status"] = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2});
        assert!(!is_ready(&set));
        set["status"]["numberAvailable"] = json!(3);
        assert!(is_ready(&set));
    }
}
