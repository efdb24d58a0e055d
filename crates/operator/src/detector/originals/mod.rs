//! Deleting originals whose time is over and that nothing refers to.
//!
//! Which those are is said by `unbloat_policy::retention`. What it asks for is gathered here, right before
//! the deletion: [`holders`] from the API server, tags and the result's origin from the [`registry`]. Where
//! anything can't be read, nothing is deleted. What was found is told by the reports, which are the memory.

mod holders;
mod registry;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use unbloat_api::image_report::ReportedResult;
use unbloat_api::{Finding, ImageReport, labels};
use unbloat_policy::decide;
use unbloat_policy::facts::Facts;
use unbloat_policy::image::ImageKey;
use unbloat_policy::retention::{Holder, Original, refers};
use unbloat_registry::{Category, Error, ErrorKind};
use unbloat_text::bounded;

use super::inspect::Inspectors;
use super::metrics::DetectorMetrics;
use super::state::Shared as SharedState;
use crate::runtime::calls::{Calls, NOTE_LIMIT, REPORTER};
use crate::shared::Shared;

/// Originals that are looked at in one go.
const AT_ONCE: usize = 20;
/// First wait until an original that something refers to is looked at again; doubled each time.
const FIRST_WAIT: i64 = 30;
/// Longest such wait: it is a list of all workloads and a request for each tag.
const LONGEST_WAIT: i64 = 3600;

/// What is known between rounds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What was found and reports don't say yet.
    found: HashMap<ImageKey, (Finding, Timestamp)>,
    /// When each is looked at again, and how often it was.
    again: HashMap<ImageKey, (Timestamp, u32)>,
    /// Whether somebody is looking.
    is_looking: bool,
}

impl Memory {
    /// Adds to the facts what was found and the reports don't say yet, and forgets what they do.
    pub(super) fn tell(&mut self, facts: &mut HashMap<ImageKey, Facts>) {
        self.found.retain(|key, (finding, time)| {
            let Some(result) = facts.get_mut(key).and_then(|facts| facts.result.as_mut()) else {
                return false;
            };
            let before = (result.original.clone(), result.original_time.clone());
            put(result, *finding, Some(*time));
            before != (result.original.clone(), result.original_time.clone())
        });
    }

    /// Those that are looked at now, and when the next one is.
    pub(super) fn due(&mut self, due: Vec<Original>, now: Timestamp) -> (Vec<Original>, Option<Timestamp>) {
        let keys: BTreeSet<&ImageKey> = due.iter().map(|original| &original.image).collect();
        self.again.retain(|key, _| keys.contains(key));
        let next = self.again.values().map(|(at, _)| *at).filter(|at| *at > now).min();
        if self.is_looking {
            return (Vec::new(), next);
        }
        let waits = |original: &Original| self.again.get(&original.image).is_some_and(|(at, _)| *at > now);
        let now: Vec<Original> = due.into_iter().filter(|one| !waits(one)).take(AT_ONCE).collect();
        self.is_looking = !now.is_empty();
        (now, next)
    }

    fn found(&mut self, key: &ImageKey, finding: Finding, now: Timestamp) {
        let (_, count) = self.again.get(key).copied().unwrap_or((now, 0));
        let wait = FIRST_WAIT.saturating_mul(1 << count.min(16)).min(LONGEST_WAIT);
        let at = Timestamp::from_second(now.as_second() + wait).unwrap_or(Timestamp::MAX);
        self.again.insert(key.clone(), (at, count.saturating_add(1)));
        self.found.insert(key.clone(), (finding, now));
    }
}

/// What the reports say from now on.
pub(super) fn put(result: &mut ReportedResult, finding: Finding, time: Option<Timestamp>) {
    let lasts = matches!(finding, Finding::OriginalDeleted | Finding::OriginalNotDeletable);
    result.original = Some(finding.as_str().to_owned());
    result.original_time = match time {
        Some(time) if lasts => Some(Time(time)),
        _ => result.original_time.take().filter(|_| lasts),
    };
}

/// What the decision says of originals that nobody looked at now.
pub(super) fn decided(facts: &mut HashMap<ImageKey, Facts>, decision: &decide::Originals) {
    for (key, finding) in &decision.told {
        if let Some(result) = facts.get_mut(key).and_then(|facts| facts.result.as_mut()) {
            put(result, *finding, None);
        }
    }
}

/// Does it.
#[derive(Clone)]
pub(super) struct Originals {
    calls: Calls,
    state: Arc<SharedState>,
    inspectors: Inspectors,
    metrics: DetectorMetrics,
    instance: String,
}

impl Originals {
    pub(super) fn new(
        shared: &Shared,
        state: Arc<SharedState>,
        inspectors: Inspectors,
        metrics: DetectorMetrics,
    ) -> Self {
        let (calls, instance) = (shared.calls.clone(), shared.instance.clone());
        Self { calls, state, inspectors, metrics, instance }
    }

    /// Looks at them beside the rounds, one after the other.
    pub(super) fn apply(&self, due: Vec<Original>) {
        if due.is_empty() {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            this.look(&due).await;
            this.state.change(|state| state.originals.is_looking = false);
        });
    }

    async fn look(&self, due: &[Original]) {
        let repositories: BTreeSet<String> =
            due.iter().map(|original| original.image.repository.clone()).collect();
        let holders = match holders::holders(&self.calls, &repositories).await {
            Ok(holders) => holders,
            Err(error) => {
                tracing::warn!(%error, "originals stay: who holds images can't be read");
                for original in due {
                    self.tell(original, Finding::OriginalUnknown, &error.to_string()).await;
                }
                return;
            }
        };
        let mut refused: BTreeSet<&str> = BTreeSet::new();
        for original in due {
            // What refuses one deletion refuses them all.
            if refused.contains(original.image.host()) {
                continue;
            }
            let (finding, words) = self.consider(original, &holders, &repositories).await;
            if finding == Finding::OriginalNotDeletable {
                refused.insert(original.image.host());
            }
            self.tell(original, finding, &words).await;
        }
    }

    /// Deletes an original, or says what keeps it.
    async fn consider(
        &self,
        original: &Original,
        holders: &[Holder],
        repositories: &BTreeSet<String>,
    ) -> (Finding, String) {
        let origin = match self.inspectors.origin(original).await {
            Ok(origin) => origin,
            Err(error) => return (Finding::OriginalUnknown, error.to_string()),
        };
        let tags = match self.inspectors.tags(&original.image).await {
            Ok(tags) => tags,
            Err(error) => return (Finding::OriginalUnknown, error.to_string()),
        };
        // Pods come last: listing tags takes its time, and one may have been made meanwhile.
        let mut all = self.pods(repositories);
        all.extend_from_slice(holders);
        if let Some((finding, who)) = refers(original, &all, &tags, origin.as_ref()) {
            return (finding, who);
        }
        if let Err(error) = self.calls.may_write("delete an original") {
            return (Finding::OriginalUnknown, error.to_string());
        }
        let image = &original.image;
        match self.inspectors.delete(image).await {
            Ok(was_there) => {
                tracing::info!(%image, was_there, "an original is deleted");
                (Finding::OriginalDeleted, format!("{image}: its result is {}", original.result.reference))
            }
            Err(error) if is_refusal(&error) => (Finding::OriginalNotDeletable, error.to_string()),
            Err(error) => (Finding::OriginalUnknown, error.to_string()),
        }
    }

    /// Pods that haven't ended, with what they write: also those whose image isn't pulled yet.
    fn pods(&self, repositories: &BTreeSet<String>) -> Vec<Holder> {
        self.state.with(|state| {
            let pods = state.world.pods.values().filter(|pod| !pod.has_ended);
            pods.filter_map(|pod| {
                let images = pod.containers.iter().map(|container| container.image.clone());
                let images: Vec<String> =
                    images.filter(|image| holders::is_of(image, repositories)).collect();
                let name = format!("Pod {}/{}", pod.namespace, pod.name);
                (!images.is_empty()).then_some(Holder { name, images })
            })
            .collect()
        })
    }

    /// The reports say it from now on; an event has the words, once for each change.
    async fn tell(&self, original: &Original, finding: Finding, words: &str) {
        let now = Timestamp::now();
        let reports: Vec<Arc<ImageReport>> = self.state.with(|state| {
            state.originals.found(&original.image, finding, now);
            let image = &original.image;
            let is_of = |report: &&Arc<ImageReport>| {
                report.spec.repository == image.repository && report.spec.digest == image.digest
            };
            state.reports.values().filter(is_of).cloned().collect()
        });
        if original.result.original.as_deref() == Some(finding.as_str()) {
            return;
        }
        tracing::info!(image = %original.image, %finding, words, "what becomes of an original");
        self.metrics.original(finding.as_str());
        for report in reports {
            self.event(&report, finding, words).await;
        }
    }

    async fn event(&self, report: &ImageReport, finding: Finding, words: &str) {
        let ObjectMeta { name, namespace, uid, .. } = &report.metadata;
        let own = name.clone().unwrap_or_default();
        let type_ = if finding == Finding::OriginalNotDeletable { "Warning" } else { "Normal" };
        self.calls
            .write_event(&Event {
                metadata: ObjectMeta {
                    // What happened to one report happened once.
                    name: Some(format!("{own}.{}", finding.as_str().to_lowercase())),
                    namespace: namespace.clone(),
                    labels: Some([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                event_time: Some(MicroTime(Timestamp::now())),
                action: Some("Retention".to_owned()),
                note: Some(bounded(&format!("{} {words}", finding.meaning()), NOTE_LIMIT)),
                reason: Some(finding.as_str().to_owned()),
                type_: Some(type_.to_owned()),
                regarding: Some(ObjectReference {
                    api_version: Some(format!("{}/{}", unbloat_api::GROUP, unbloat_api::VERSION)),
                    kind: Some("ImageReport".to_owned()),
                    name: name.clone(),
                    namespace: namespace.clone(),
                    uid: uid.clone(),
                    ..ObjectReference::default()
                }),
                reporting_controller: Some(REPORTER.to_owned()),
                reporting_instance: Some(bounded(&self.instance, 128)),
                ..Event::default()
            })
            .await;
    }
}

/// Whether a registry understood and said no: it would say the same in a minute.
fn is_refusal(error: &Error) -> bool {
    error.category() == Category::Unauthorized
        || matches!(error.kind(), ErrorKind::NotFound { .. })
        || matches!(error.kind(), ErrorKind::Status { status, .. } if *status < 500 || *status == 501)
}

#[cfg(test)]
mod tests {
    use unbloat_api::squash_policy::PolicyTarget;

    use super::*;

    fn original(digest: &str) -> Original {
        Original {
            image: ImageKey { repository: "a.example/b".to_owned(), digest: digest.to_owned() },
            result: ReportedResult::default(),
            target: PolicyTarget::default(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_look_at_a_time_and_what_was_found_is_looked_at_after_growing_waits() {
        let mut memory = Memory::default();
        let all = || vec![original("one"), original("two")];
        assert_eq!(memory.due(all(), at(0)).0.len(), 2);
        assert!(memory.due(all(), at(0)).0.is_empty(), "somebody is looking");
        memory.is_looking = false;
        memory.found(&original("one").image, Finding::OriginalInUse, at(0));
        let (now, next) = memory.due(all(), at(1));
        assert_eq!((now, next), (vec![original("two")], Some(at(30))));
        let mut passed = 30;
        for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            memory.found(&original("one").image, Finding::OriginalInUse, at(passed));
            memory.is_looking = false;
            let (now, next) = memory.due(vec![original("one")], at(passed + 1));
            assert_eq!((now.len(), next), (0, Some(at(passed + wait))));
            passed += wait;
        }
        // What isn't due any more is forgotten.
        assert_eq!(memory.due(Vec::new(), at(passed)), (Vec::new(), None));
        assert_eq!(memory.due(vec![original("one")], at(passed)).0.len(), 1);
    }

    #[test]
    fn what_was_found_is_told_until_the_reports_say_it() {
        let mut memory = Memory::default();
        let key = original("one").image;
        let facts = |result: ReportedResult| -> HashMap<ImageKey, Facts> {
            [(key.clone(), Facts { result: Some(result), ..Facts::default() })].into()
        };
        memory.found(&key, Finding::OriginalDeleted, at(7));
        let mut known = facts(ReportedResult::default());
        memory.tell(&mut known);
        let told = known[&key].result.clone().unwrap();
        assert_eq!(told.original.as_deref(), Some("OriginalDeleted"));
        assert_eq!(told.original_time, Some(Time(at(7))));
        // Not written yet: told again, as after a conflict.
        memory.tell(&mut facts(ReportedResult::default()));
        assert_eq!(memory.found.len(), 1);
        memory.tell(&mut facts(told));
        assert!(memory.found.is_empty());
    }
}
