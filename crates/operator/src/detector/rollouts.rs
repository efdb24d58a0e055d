//! Pointing workloads at results, and watching them until they are ready or have their originals back.
//!
//! What comes next is said by `unbloat_policy::rollout`, from the workload as it is now; the state is an
//! annotation on the workload itself. A workload is read when it changed, when its time is over, or when its
//! turn has come, and never in a loop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use unbloat_api::{Finding, labels};
use unbloat_policy::decide::{Candidate, Rollouts as Plan};
use unbloat_policy::inventory::{Owner, Uses, Workload, World};
use unbloat_policy::rollout::{self, Stage, Step, Wanted};
use unbloat_text::bounded;

use super::inspect::Inspectors;
use super::metrics::DetectorMetrics;
use super::state::Shared as SharedState;
use crate::runtime::calls::{CallError, Calls, NOTE_LIMIT, REPORTER};
use crate::shared::Shared;

/// Why a workload isn't pointed at a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The result.
    pub(super) result: String,
    /// The workload's version that was read; a newer one is looked at again.
    version: Option<String>,
    pub(super) finding: Finding,
}

/// What is known between rounds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Workloads that are left as they are.
    pub(super) refusals: HashMap<Workload, Refusal>,
    /// Versions of workloads on their way, as they were when they were last looked at.
    followed: HashMap<Workload, String>,
}

impl Memory {
    /// The workloads on their way that have to be looked at, and when the next one's time is over.
    pub(super) fn due(&mut self, world: &World, now: Timestamp) -> (Vec<Workload>, Option<Timestamp>) {
        let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
        let mut moving = HashMap::new();
        for owner in world.owners.values() {
            let Some(rolled) = owner.rollout.as_deref() else { continue };
            if rolled.state.state != Stage::RollingOut {
                continue;
            }
            let end = rolled.state.since.saturating_add(rolled.state.deadline_seconds);
            let is_over = now.as_second() >= end;
            if is_over || self.followed.get(&rolled.workload) != Some(&owner.version) {
                due.push(rolled.workload.clone());
            } else if let Ok(end) = Timestamp::from_second(end) {
                next = Some(next.map_or(end, |known| known.min(end)));
            }
            moving.insert(rolled.workload.clone(), owner.version.clone());
        }
        self.followed = moving;
        due.sort_unstable();
        (due, next)
    }

    /// Forgets refusals of what runs no image any more.
    pub(super) fn keep(&mut self, uses: &Uses<'_>) {
        if self.refusals.is_empty() {
            return;
        }
        let tops: HashSet<(&str, &str, &str)> = uses
            .values()
            .flat_map(|using| {
                using.users.iter().map(|top| (top.kind.as_str(), using.namespace, top.name.as_str()))
            })
            .collect();
        self.refusals.retain(|workload, _| {
            tops.contains(&(workload.kind.as_str(), workload.namespace.as_str(), workload.name.as_str()))
        });
    }

    fn refuses(&self, candidate: &Candidate) -> bool {
        self.refusals.get(&candidate.workload).is_some_and(|refusal| {
            refusal.result == candidate.result
                && refusal.version.is_some()
                && refusal.version == candidate.version
        })
    }
}

/// How far each result has reached its users, by namespace and result: what needs somebody's attention comes
/// first. Made once a round, as there are many reports and few rollouts.
pub(super) fn reached(memory: &Memory, world: &World) -> HashMap<(String, String), Finding> {
    let rolled = world.owners.values().filter_map(|owner| owner.rollout.as_deref());
    let stages =
        rolled.map(|rolled| (&rolled.workload.namespace, &rolled.state.to, rolled.state.state.finding()));
    let refused = memory
        .refusals
        .iter()
        .map(|(workload, refusal)| (&workload.namespace, &refusal.result, refusal.finding));
    let weight = |finding: &Finding| match finding {
        Finding::RolledOut => 0,
        Finding::RollingOut => 2,
        Finding::RolloutReverted => 3,
        _ => 1,
    };
    let mut reached = HashMap::new();
    for (namespace, result, finding) in stages.chain(refused) {
        let known = reached.entry((namespace.clone(), result.clone())).or_insert(finding);
        if weight(&finding) > weight(known) {
            *known = finding;
        }
    }
    reached
}

/// Does it.
pub(super) struct Rollouts {
    calls: Calls,
    state: Arc<SharedState>,
    inspectors: Inspectors,
    metrics: DetectorMetrics,
    instance: String,
}

impl Rollouts {
    pub(super) fn new(
        shared: &Shared,
        state: Arc<SharedState>,
        inspectors: Inspectors,
        metrics: DetectorMetrics,
    ) -> Self {
        let (calls, instance) = (shared.calls.clone(), shared.instance.clone());
        Self { calls, state, inspectors, metrics, instance }
    }

    /// Watches what is on its way, then points others.
    pub(super) async fn apply(&self, following: Vec<Workload>, plans: Vec<Plan>) {
        for workload in following {
            if let Err(error) = self.follow(&workload).await {
                told(&error, &workload);
            }
        }
        for Plan { mut free, candidates } in plans {
            for candidate in candidates {
                // Nothing is read before its turn has come.
                if free == 0 {
                    break;
                }
                if self.state.with(|state| state.rollouts.refuses(&candidate)) {
                    continue;
                }
                match self.consider(&candidate).await {
                    Ok(true) => free -= 1,
                    Ok(false) => {}
                    Err(error) => told(&error, &candidate.workload),
                }
            }
        }
    }

    async fn follow(&self, workload: &Workload) -> Result<(), CallError> {
        let Some(object) = self.read(workload).await? else { return Ok(()) };
        let Some(state) = rollout::annotation(&object) else {
            self.know(workload, &object);
            return Ok(());
        };
        match rollout::follow(&object, &state, Timestamp::now()) {
            Step::Done(Some(patch)) => {
                self.write(workload, &object, &patch, Stage::RolledOut, &state.to).await
            }
            Step::Revert(patch) => {
                self.write(workload, &object, &patch, Stage::RolloutReverted, &state.to).await
            }
            Step::Nothing | Step::Refuse(..) | Step::Point(_) | Step::Wait | Step::Done(None) => {
                self.know(workload, &object);
                Ok(())
            }
        }
    }

    /// Whether it was pointed at its result.
    async fn consider(&self, candidate: &Candidate) -> Result<bool, CallError> {
        let Candidate { workload, result, written, deadline_seconds, .. } = candidate;
        let Some(object) = self.read(workload).await? else { return Ok(false) };
        let mut wanted =
            Wanted { written, result, deadline_seconds: *deadline_seconds, is_pull_proven: true };
        let now = Timestamp::now();
        let patch = match rollout::next(&object, &wanted, now) {
            Step::Point(patch) => patch,
            Step::Refuse(finding, words) => {
                self.refuse(candidate, &object, finding, &words).await;
                return Ok(false);
            }
            // Pods of the template before, which end.
            Step::Nothing | Step::Wait | Step::Done(_) | Step::Revert(_) => {
                self.know(workload, &object);
                return Ok(false);
            }
        };
        // A pod is never given an image that can't be pulled: it is there, and whoever pulls the original can
        // pull it.
        match self.inspectors.can_be_pulled(result, candidate.is_same_repository).await {
            Ok(true) => {}
            Ok(false) => {
                wanted.is_pull_proven = false;
                if let Step::Refuse(finding, words) = rollout::next(&object, &wanted, now) {
                    self.refuse(candidate, &object, finding, &words).await;
                }
                return Ok(false);
            }
            Err(error) => {
                tracing::warn!(%error, "a rollout waits: whether its result can be pulled can't be told");
                return Ok(false);
            }
        }
        match self.write(workload, &object, &patch, Stage::RollingOut, result).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_refusal() => {
                self.refuse(candidate, &object, Finding::RolloutRefused, &error.words()).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The workload as it is now; `None` when it is gone, which is known from then on.
    async fn read(&self, workload: &Workload) -> Result<Option<Value>, CallError> {
        let Some(api) = self.api(workload) else { return Ok(None) };
        match self.calls.read("get a workload", api.get(&workload.name)).await {
            Ok(object) => {
                let mut object = serde_json::to_value(&object).unwrap_or_default();
                object["kind"] = Value::from(workload.kind.as_str());
                Ok(Some(object))
            }
            Err(error) if error.is_gone() => {
                self.state.with(|state| {
                    state.world.owners.retain(|_, owner| {
                        owner.rollout.as_deref().is_none_or(|rolled| rolled.workload != *workload)
                    });
                });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn write(
        &self,
        workload: &Workload,
        object: &Value,
        patch: &Value,
        stage: Stage,
        result: &str,
    ) -> Result<(), CallError> {
        let Some(api) = self.api(workload) else { return Ok(()) };
        let parameters =
            PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Strategic(patch);
        let call = api.patch(&workload.name, &parameters, &patch);
        let written = self.calls.write("point a workload", ("patch", kind_of(workload)), call).await?;
        let written = serde_json::to_value(&written).unwrap_or_default();
        self.know(workload, &written);
        // What was refused before isn't any more.
        self.state.with(|state| state.rollouts.refusals.remove(workload));
        let Workload { kind, namespace, name } = workload;
        tracing::info!(kind, namespace, name, result, stage = ?stage, "a rollout");
        if stage != Stage::RollingOut {
            self.metrics.rolled_out(stage.finding().as_str());
        }
        let finding = stage.finding();
        self.tell(workload, object, finding, &format!("{} ({result})", finding.meaning())).await;
        Ok(())
    }

    async fn refuse(&self, candidate: &Candidate, object: &Value, finding: Finding, words: &str) {
        let refusal = Refusal {
            result: candidate.result.clone(),
            version: object["metadata"]["resourceVersion"].as_str().map(str::to_owned),
            finding,
        };
        let before =
            self.state.with(|state| state.rollouts.refusals.insert(candidate.workload.clone(), refusal));
        self.know(&candidate.workload, object);
        if before.is_some_and(|before| before.finding == finding && before.result == candidate.result) {
            return;
        }
        self.metrics.rolled_out(finding.as_str());
        self.tell(&candidate.workload, object, finding, words).await;
        // The report tells it.
        self.state.change(|_| {});
    }

    /// What was read or written is known before the watch tells it.
    fn know(&self, workload: &Workload, object: &Value) {
        let Ok(metadata) = serde_json::from_value::<ObjectMeta>(object["metadata"].clone()) else { return };
        let owner = Owner::of(&workload.kind, &metadata);
        self.state.with(|state| {
            state.rollouts.followed.insert(workload.clone(), owner.version.clone());
            state.world.owners.insert(metadata.uid.unwrap_or_default(), owner);
        });
    }

    async fn tell(&self, workload: &Workload, object: &Value, finding: Finding, words: &str) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let Workload { kind, namespace, name } = workload;
        self.calls
            .write_event(&Event {
                metadata: ObjectMeta {
                    // What happened to one version happened once.
                    name: Some(format!("{}.{}.{text}", bounded(name, 200), finding.as_str().to_lowercase())),
                    namespace: Some(namespace.clone()),
                    labels: Some([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                event_time: Some(MicroTime(Timestamp::now())),
                action: Some("Rollout".to_owned()),
                note: Some(bounded(words, NOTE_LIMIT)),
                reason: Some(finding.as_str().to_owned()),
                type_: Some(
                    match finding {
                        Finding::RollingOut | Finding::RolledOut => "Normal",
                        _ => "Warning",
                    }
                    .to_owned(),
                ),
                regarding: Some(ObjectReference {
                    api_version: Some("apps/v1".to_owned()),
                    kind: Some(kind.clone()),
                    name: Some(name.clone()),
                    namespace: Some(namespace.clone()),
                    uid: Some(uid),
                    ..ObjectReference::default()
                }),
                reporting_controller: Some(REPORTER.to_owned()),
                reporting_instance: Some(bounded(&self.instance, 128)),
                ..Event::default()
            })
            .await;
    }

    fn api(&self, workload: &Workload) -> Option<Api<DynamicObject>> {
        let resource = match workload.kind.as_str() {
            "Deployment" => ApiResource::erase::<Deployment>(&()),
            "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
            "DaemonSet" => ApiResource::erase::<DaemonSet>(&()),
            _ => return None,
        };
        Some(Api::namespaced_with(self.calls.client(), &workload.namespace, &resource))
    }
}

/// The kind, for the metrics.
fn kind_of(workload: &Workload) -> &'static str {
    match workload.kind.as_str() {
        "StatefulSet" => "StatefulSet",
        "DaemonSet" => "DaemonSet",
        _ => "Deployment",
    }
}

fn told(error: &CallError, workload: &Workload) {
    if !error.is_conflict() {
        let Workload { kind, namespace, name } = workload;
        tracing::warn!(%error, kind, namespace, name, "a rollout isn't carried out; the next round tries again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(name: &str, version: &str, stage: &str, since: i64) -> (String, Owner) {
        let state = json!({"to": "a.example/b@sha256:00", "from": {"app": "a.example/b:v1"}, "since": since,
            "deadlineSeconds": 60, "state": stage});
        let metadata = serde_json::from_value(json!({
            "namespace": "team", "name": name, "uid": name, "resourceVersion": version,
            "annotations": {labels::ROLLOUT: state.to_string()},
        }))
        .unwrap();
        (name.to_owned(), Owner::of("Deployment", &metadata))
    }

    fn names(due: &(Vec<Workload>, Option<Timestamp>)) -> Vec<&str> {
        due.0.iter().map(|workload| workload.name.as_str()).collect()
    }

    #[test]
    fn a_workload_on_its_way_is_read_when_it_changed_or_its_time_is_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut world = World::default();
        world.owners.extend([owner("a", "1", "RollingOut", 100), owner("b", "1", "RolledOut", 100)]);
        let mut memory = Memory::default();
        assert_eq!(names(&memory.due(&world, at(110))), ["a"]);
        let quiet = memory.due(&world, at(120));
        assert_eq!((names(&quiet).len(), quiet.1), (0, Some(at(160))));
        world.owners.extend([owner("a", "2", "RollingOut", 100)]);
        assert_eq!(names(&memory.due(&world, at(130))), ["a"]);
        assert_eq!(names(&memory.due(&world, at(160))), ["a"]);
        world.owners.extend([owner("a", "3", "RolledOut", 100)]);
        assert!(names(&memory.due(&world, at(170))).is_empty());
    }

    #[test]
    fn a_report_tells_what_needs_attention_first_and_of_its_own_namespace_alone() {
        let mut world = World::default();
        let mut memory = Memory::default();
        let said = |memory: &Memory, world: &World, namespace: &str| {
            reached(memory, world).get(&(namespace.to_owned(), "a.example/b@sha256:00".to_owned())).copied()
        };
        assert_eq!(said(&memory, &world, "team"), None);
        world.owners.extend([owner("a", "1", "RolledOut", 1)]);
        assert_eq!(said(&memory, &world, "team"), Some(Finding::RolledOut));
        let workload =
            Workload { kind: "Deployment".into(), namespace: "team".into(), name: "managed".into() };
        memory.refusals.insert(
            workload,
            Refusal {
                result: "a.example/b@sha256:00".into(),
                version: Some("1".into()),
                finding: Finding::ManagedByGitOps,
            },
        );
        assert_eq!(said(&memory, &world, "team"), Some(Finding::ManagedByGitOps));
        world.owners.extend([owner("c", "1", "RollingOut", 1)]);
        assert_eq!(said(&memory, &world, "team"), Some(Finding::RollingOut));
        world.owners.extend([owner("d", "1", "RolloutReverted", 1)]);
        assert_eq!(said(&memory, &world, "team"), Some(Finding::RolloutReverted));
        assert_eq!(said(&memory, &world, "other"), None);
        // What nobody uses any more is no refusal.
        memory.keep(&Uses::new());
        assert!(memory.refusals.is_empty());
    }
}
