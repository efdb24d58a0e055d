//! Which workloads are to be pointed at results.
//!
//! A rollout restarts pods, so it keeps to the policy's windows, and no more workloads of a policy are on
//! their way at once than it has jobs.

use std::collections::BTreeMap;

use unbloat_api::Finding;
use unbloat_api::image_report::Verdict;
use unbloat_api::squash_policy::RolloutStrategy;
use unbloat_oci::Reference;

use super::Picture;
use super::judge::Judged;
use super::parsed::Parsed;
use crate::image::ImageKey;
use crate::inventory::{Rolled, Workload};
use crate::rollout::Stage;
use crate::selector::selected;

/// Kinds whose pod template can be pointed elsewhere.
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// What a policy's rollouts come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollouts {
    /// Workloads that may still be pointed at a result now.
    pub free: usize,
    /// The candidates, in a fixed order.
    pub candidates: Vec<Candidate>,
}

/// A workload that runs an original of which there is a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The original.
    pub image: ImageKey,
    /// The result, with its digest.
    pub result: String,
    /// Whether the result is in the original's repository: who can pull the one can pull the other.
    pub is_same_repository: bool,
    /// The workload.
    pub workload: Workload,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// The original as its pods write it.
    pub written: Vec<String>,
    /// Seconds for it to become ready.
    pub deadline_seconds: i64,
}

/// Finds them, and says of each image and namespace that no workload can be pointed at anything.
pub(super) fn rollouts(
    picture: &Picture<'_>,
    policies: &[Parsed<'_>],
    judged: &[Judged<'_>],
) -> (Vec<Rollouts>, BTreeMap<(ImageKey, String), Finding>) {
    let mut found: BTreeMap<usize, (usize, BTreeMap<Workload, Candidate>)> = BTreeMap::new();
    let mut nobody = BTreeMap::new();
    let rolled: Vec<&Rolled> =
        picture.world.owners.values().filter_map(|owner| owner.rollout.as_deref()).collect();
    for image in judged.iter().filter(|_| picture.settings.rolls_out) {
        let Some(result) = picture.facts.get(image.key).and_then(|facts| facts.result.as_ref()) else {
            continue;
        };
        let is_asked_for = |at: &usize| {
            let policy = &policies[*at];
            policy.acts()
                && policy.object.spec.rollout.strategy == RolloutStrategy::Workload
                && image.policies[at].0 == Verdict::Squashed
        };
        let Some(at) = image.policies.keys().copied().find(is_asked_for) else { continue };
        let policy = &policies[at];
        let (moving, candidates) = found.entry(at).or_default();
        *moving += rolled.iter().filter(|rolled| is_moving(rolled, &result.reference, picture)).count();
        let is_same_repository = result
            .reference
            .parse::<Reference>()
            .is_ok_and(|reference| reference.name() == image.key.repository);
        for using in &image.uses {
            let labels = picture.world.namespaces.get(using.namespace);
            let pods =
                selected(&policy.object.spec.selector, using, labels, &picture.settings.system_namespaces);
            let failed = rolled.iter().any(|rolled| {
                rolled.workload.namespace == using.namespace
                    && rolled.state.to == result.reference
                    && rolled.state.state == Stage::RolloutReverted
            });
            for pod in pods.into_iter().filter(|pod| !pod.is_ignored) {
                if !KINDS.contains(&pod.top.kind.as_str()) {
                    nobody.insert((image.key.clone(), using.namespace.to_owned()), Finding::NotAWorkload);
                    continue;
                }
                // What one of the namespace's workloads didn't become ready with isn't given to another one.
                if failed || !policy.is_open {
                    continue;
                }
                let workload = Workload {
                    kind: pod.top.kind.clone(),
                    namespace: using.namespace.to_owned(),
                    name: pod.top.name.clone(),
                };
                // It was pointed at this result already: it is watched, has it, had it taken back, or
                // somebody put the original back by hand.
                let is_it =
                    |rolled: &Rolled| rolled.workload == workload && rolled.state.to == result.reference;
                if rolled.iter().any(|rolled| is_it(rolled)) {
                    continue;
                }
                let candidate = candidates.entry(workload.clone()).or_insert_with(|| Candidate {
                    image: image.key.clone(),
                    result: result.reference.clone(),
                    is_same_repository,
                    workload,
                    version: pod.top_version.map(str::to_owned),
                    written: Vec::new(),
                    deadline_seconds: policy.object.spec.rollout.deadline_seconds,
                });
                // A workload with two images that have results gets them one after the other.
                if candidate.image == *image.key
                    && !candidate.written.iter().any(|known| known == pod.written)
                {
                    candidate.written.push(pod.written.to_owned());
                }
            }
        }
    }
    let plans = found
        .into_iter()
        .map(|(at, (moving, candidates))| {
            let most =
                usize::try_from(policies[at].object.spec.limits.max_concurrent_jobs).unwrap_or(1).max(1);
            Rollouts { free: most.saturating_sub(moving), candidates: candidates.into_values().collect() }
        })
        .collect();
    (plans, nobody)
}

/// Whether a workload is on its way to a result, within its time.
fn is_moving(rolled: &Rolled, result: &str, picture: &Picture<'_>) -> bool {
    let state = &rolled.state;
    let passed = picture.now.as_second().saturating_sub(state.since);
    state.to == result && state.state == Stage::RollingOut && (0..=state.deadline_seconds).contains(&passed)
}
