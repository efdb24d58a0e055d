//! Places and budgets: which candidates may start now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use unbloat_api::squash_policy::Spent;
use unbloat_api::{Finding, ImageSquashPolicy};

use super::actor::Candidate;
use super::parsed::Parsed;
use super::{ImageOutcome, Picture, Start, tell};
use crate::budget;
use crate::image::ImageKey;
use crate::job::JobState;

/// A policy's account now: hours that are over are closed, jobs that exist need no name any more.
pub(super) fn account(policy: &ImageSquashPolicy, picture: &Picture<'_>) -> Spent {
    let spent = policy.status.as_ref().map(|status| status.spent.clone()).unwrap_or_default();
    let mut spent = budget::current(&spent, picture.now);
    let uid = policy.metadata.uid.as_deref().unwrap_or_default();
    let names: BTreeSet<&str> = picture
        .jobs
        .iter()
        .filter(|job| job.policy_uid == uid && job.namespace == policy.spec.job_namespace)
        .map(|job| job.name.as_str())
        .collect();
    budget::seen(&mut spent, |name| names.contains(name));
    spent
}

/// Lets candidates start, the most worthwhile first, and pays for them. Answers with what limits each policy.
pub(super) fn grant(
    picture: &Picture<'_>,
    policies: &[Parsed<'_>],
    mut candidates: Vec<Candidate>,
    accounts: &mut [Spent],
    start: &mut [Vec<Start>],
    images: &mut BTreeMap<ImageKey, ImageOutcome>,
) -> HashMap<usize, Finding> {
    let mut limited = HashMap::new();
    let mut running = running(picture, policies);
    let mut total: usize = running.values().sum();
    let mut repositories: BTreeSet<String> = BTreeSet::new();
    // What is paid for comes first: it was decided before the operator was killed.
    candidates.sort_by(|a, b| {
        let paid = |one: &Candidate| budget::is_paid(&accounts[one.policy], &one.start.name);
        paid(b)
            .cmp(&paid(a))
            .then(b.worth.cmp(&a.worth))
            .then(b.bytes.cmp(&a.bytes))
            .then_with(|| a.start.image.cmp(&b.start.image))
    });
    for candidate in candidates {
        let Candidate { policy: at, start: wanted, bytes, worth: _ } = candidate;
        let policy = &policies[at];
        let places = running.entry(at).or_insert(0);
        let most = usize::try_from(policy.object.spec.limits.max_concurrent_jobs).unwrap_or(1);
        let is_plan = wanted.is_suspended;
        let has_place = is_plan || (*places < most && total < picture.settings.max_concurrent_jobs);
        let checked = if repositories.contains(&wanted.image.repository) && !is_plan {
            Err(Finding::CoolingDown)
        } else if !has_place {
            Err(Finding::WaitingForPlace)
        } else if wanted.is_resume {
            // It was paid for when it was planned.
            Ok(())
        } else {
            budget::check(&accounts[at], &wanted.name, bytes, policy.allowance)
        };
        if let Err(finding) = checked {
            tell(images, &wanted.image, policy.name, finding);
            if finding != Finding::CoolingDown {
                limited.entry(at).or_insert(finding);
            }
            continue;
        }
        if !wanted.is_resume {
            budget::pay(&mut accounts[at], &wanted.name, bytes, picture.now);
        }
        if !is_plan {
            *places += 1;
            total += 1;
            repositories.insert(wanted.image.repository.clone());
        }
        let finding = if is_plan { Finding::JobPlanned } else { Finding::JobRunning };
        tell(images, &wanted.image, policy.name, finding);
        start[at].push(wanted);
    }
    for (at, policy) in policies.iter().enumerate() {
        let waits = images.values().any(|image| {
            image.policies.iter().any(|verdict| {
                verdict.name == policy.name && verdict.reason == Finding::WaitingForWindow.as_str()
            })
        });
        if waits {
            limited.entry(at).or_insert(Finding::WaitingForWindow);
        }
    }
    limited
}

/// Jobs of each policy that hold a place; those that are paid for and not seen yet are made again, so they
/// count then.
fn running(picture: &Picture<'_>, policies: &[Parsed<'_>]) -> HashMap<usize, usize> {
    let mut running = HashMap::new();
    for job in picture.jobs.iter().filter(|job| job.state == JobState::Running) {
        let of = policies.iter().position(|policy| {
            policy.uid == job.policy_uid && policy.object.spec.job_namespace == job.namespace
        });
        if let Some(at) = of {
            *running.entry(at).or_insert(0) += 1;
        }
    }
    running
}
