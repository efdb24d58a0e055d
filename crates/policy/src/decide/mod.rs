//! What is to be done about everything now: one pure function over all policies, images and jobs.
//!
//! The way of an image: seen -> inspected -> judged by every policy that matches it -> (over a threshold) the
//! oldest policy that would act gets it -> it waits for age, cooldown, window, place and budget -> a job.
//! Candidates of all policies are ordered by what they would give back, so that a limited hour is spent where
//! it is worth most.
//!
//! `judge`, `actor` and `limits` are that way; `parsed` is a policy's text as values; `rollouts` and
//! `originals` decide what follows a result; `housekeeping` deletes old jobs, and `status` is what a policy
//! tells.

mod actor;
mod housekeeping;
mod judge;
mod limits;
mod originals;
mod parsed;
mod rollouts;
mod status;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use unbloat_api::image_report::{PolicyVerdict, Verdict};
use unbloat_api::squash_policy::Spent;
use unbloat_api::{Finding, ImageSquashPolicy, ImageSquashPolicyStatus};

use crate::facts::Facts;
use crate::image::ImageKey;
use crate::inventory::{Uses, World};
use crate::job::PolicyJob;
use crate::target::Places;

pub use originals::Originals;
pub use rollouts::{Candidate, Rollouts};

/// Everything that a decision depends on.
pub struct Picture<'a> {
    /// Policies.
    pub policies: &'a [Arc<ImageSquashPolicy>],
    /// What is in use.
    pub world: &'a World,
    /// The images in use, from it.
    pub uses: &'a Uses<'a>,
    /// What is known of each image.
    pub facts: &'a HashMap<ImageKey, Facts>,
    /// Jobs of policies.
    pub jobs: &'a [PolicyJob],
    /// The platform's settings.
    pub settings: &'a Settings,
    /// The time.
    pub now: Timestamp,
}

/// The platform's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces that a policy has to name.
    pub system_namespaces: BTreeSet<String>,
    /// Jobs that run at once over all policies.
    pub max_concurrent_jobs: usize,
    /// Whether workloads may be pointed at results.
    pub rolls_out: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let system = ["kube-system", "kube-public", "kube-node-lease", "unbloat-system"];
        Self { system_namespaces: system.map(str::to_owned).into(), max_concurrent_jobs: 4, rolls_out: true }
    }
}

/// What is to be done and told.
#[derive(Debug, Default)]
pub struct Decision {
    /// For each policy, the oldest first.
    pub policies: Vec<PolicyOutcome>,
    /// For each image in use.
    pub images: BTreeMap<ImageKey, ImageOutcome>,
    /// Workloads to point at results.
    pub rollouts: Vec<Rollouts>,
    /// Why nothing in a namespace that uses an image can be pointed at its result.
    pub unrolled: BTreeMap<(ImageKey, String), Finding>,
    /// What becomes of originals.
    pub originals: Originals,
    /// Jobs to delete: history, plans that are no more, policies that are gone.
    pub delete: Vec<(String, String)>,
    /// When to look again though nothing changed.
    pub next: Option<Timestamp>,
}

/// What comes of a policy.
#[derive(Clone, Debug)]
pub struct PolicyOutcome {
    /// The policy.
    pub policy: Arc<ImageSquashPolicy>,
    /// Its status, what `start` costs included: it is written before anything is started.
    pub status: ImageSquashPolicyStatus,
    /// What to start.
    pub start: Vec<Start>,
}

/// A job to make, or one to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The image.
    pub image: ImageKey,
    /// Source and target.
    pub places: Places,
    /// Number of the try.
    pub number: i32,
    /// Name of the job.
    pub name: String,
    /// Whether it waits for a person.
    pub is_suspended: bool,
    /// Whether it exists, suspended, and is to be let go.
    pub is_resume: bool,
}

/// What comes of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOutcome {
    /// The summary.
    pub verdict: Verdict,
    /// What each policy that matches it says, the oldest first.
    pub policies: Vec<PolicyVerdict>,
    /// Whether a policy wants it inspected.
    pub wants_inspection: bool,
    /// Whether a policy wants its layers read.
    pub wants_analysis: bool,
    /// Whether a policy lets pods' pull secrets be used for it.
    pub may_use_pod_secrets: bool,
    /// The first policy, for whose account the image is read.
    pub reader: Option<String>,
}

/// Decides.
pub fn decide(picture: &Picture<'_>) -> Decision {
    let mut policies: Vec<_> = picture.policies.to_vec();
    policies.sort_by_key(|policy| age(policy));
    let policies: Vec<_> = policies.iter().map(|policy| parsed::Parsed::of(policy, picture.now)).collect();
    let judged = judge::judge(picture, &policies);
    let mut images = judge::outcomes(&judged, picture);
    let candidates = actor::candidates(picture, &policies, &judged, &mut images);
    let mut accounts: Vec<Spent> =
        policies.iter().map(|policy| limits::account(policy.object, picture)).collect();
    let mut start: Vec<Vec<Start>> = policies.iter().map(|_| Vec::new()).collect();
    let limited = limits::grant(picture, &policies, candidates, &mut accounts, &mut start, &mut images);
    let delete = housekeeping::delete(picture, &policies, &images);
    let mut next = Next(None);
    let outcomes = policies
        .iter()
        .zip(accounts)
        .zip(start)
        .enumerate()
        .map(|(at, ((policy, spent), start))| {
            next.at(policy.next_window);
            next.at(crate::budget::next_refill(&spent));
            let status =
                status::status(picture, policy, at, &judged, &images, spent, limited.get(&at).copied());
            PolicyOutcome { policy: Arc::clone(policy.object), status, start }
        })
        .collect();
    next.at(actor::next_time(picture, &policies, &judged));
    let (rollouts, unrolled) = rollouts::rollouts(picture, &policies, &judged);
    let originals = originals::originals(picture, &policies);
    next.at(originals.next);
    let next = next.after(picture.now);
    Decision { policies: outcomes, images, rollouts, unrolled, originals, delete, next }
}

/// Older policies come first; names decide between twins.
fn age(policy: &ImageSquashPolicy) -> (Option<Timestamp>, String) {
    let metadata = &policy.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, metadata.name.clone().unwrap_or_default())
}

/// The earliest of many times.
struct Next(Option<Timestamp>);

impl Next {
    fn at(&mut self, time: Option<Timestamp>) {
        self.0 = match (self.0, time) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn after(self, now: Timestamp) -> Option<Timestamp> {
        self.0.filter(|time| *time > now)
    }
}

/// Says for an image what a policy finds about it.
fn tell(images: &mut BTreeMap<ImageKey, ImageOutcome>, image: &ImageKey, policy: &str, finding: Finding) {
    let Some(outcome) = images.get_mut(image) else { return };
    if let Some(verdict) = outcome.policies.iter_mut().find(|verdict| verdict.name == policy) {
        finding.as_str().clone_into(&mut verdict.reason);
    }
}
