//! What a policy's status says.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use unbloat_api::condition::State;
use unbloat_api::finding::{CREDENTIALS_UNAVAILABLE, LIMITED, READY, Statement};
use unbloat_api::image_report::Verdict;
use unbloat_api::squash_policy::{CredentialSource, ImageCounts, Reclaimable, RolloutStrategy, Spent};
use unbloat_api::{Finding, ImageSquashPolicyStatus};

use super::judge::Judged;
use super::parsed::Parsed;
use super::{ImageOutcome, Picture, Settings};
use crate::image::ImageKey;

/// What the policy asks for and this version leaves to people: nothing is ignored without a word.
fn not_carried_out(policy: &Parsed<'_>, settings: &Settings) -> Option<String> {
    let spec = &policy.object.spec;
    let rollout = match spec.rollout.strategy {
        RolloutStrategy::None => None,
        RolloutStrategy::Workload if settings.rolls_out => None,
        RolloutStrategy::Workload => {
            return Some(
                "It is followed, but for rollout, which this installation doesn't allow (detection.rollouts of its configuration): \
                 results stand in the reports"
                    .to_owned(),
            );
        }
        RolloutStrategy::Devbox => Some("rollout.strategy: Devbox"),
    };
    let pods =
        (spec.credentials == CredentialSource::PodPullSecrets).then_some("credentials: PodPullSecrets");
    let fields: Vec<&str> = [rollout, pods].into_iter().flatten().collect();
    (!fields.is_empty()).then(|| {
        format!(
            "It is followed, but for {}, which this version doesn't carry out: results stand in the reports",
            fields.join(", ")
        )
    })
}

/// The status.
pub(super) fn status(
    picture: &Picture<'_>,
    policy: &Parsed<'_>,
    at: usize,
    judged: &[Judged<'_>],
    images: &BTreeMap<ImageKey, ImageOutcome>,
    spent: Spent,
    limited: Option<Finding>,
) -> ImageSquashPolicyStatus {
    let old = policy.object.status.clone().unwrap_or_default();
    let generation = policy.object.metadata.generation;
    let mut counts = ImageCounts::default();
    let mut reclaimable = Reclaimable::default();
    let mut unauthorized = 0;
    let mut example = None;
    for image in judged {
        let Some((verdict, finding)) = image.policies.get(&at) else { continue };
        let facts = picture.facts.get(image.key);
        counts.matched += 1;
        match verdict {
            Verdict::Unknown => counts.unknown += 1,
            Verdict::Squashed => counts.squashed += 1,
            Verdict::OverThreshold => {
                counts.over_threshold += 1;
                if let Some(analysis) = facts.and_then(|facts| facts.analysis.as_ref()) {
                    let add = |sum: i64, more: i64| sum.saturating_add(more).min(9_007_199_254_740_991);
                    reclaimable.pull_bytes = add(reclaimable.pull_bytes, analysis.reclaimable_bytes);
                    reclaimable.unpacked_bytes = add(reclaimable.unpacked_bytes, analysis.wasted_bytes);
                }
            }
            _ => {}
        }
        let told = images.get(image.key).into_iter().flat_map(|outcome| &outcome.policies);
        let is_quarantined = told
            .filter(|said| said.name == policy.name)
            .any(|said| said.reason == Finding::Quarantined.as_str());
        if is_quarantined {
            counts.quarantined += 1;
        }
        if *finding == Finding::PullUnauthorized {
            unauthorized += 1;
            example.get_or_insert(image.key.host());
        }
    }
    if reclaimable.pull_bytes > 0 {
        reclaimable.summary = unbloat_text::signed_bytes(reclaimable.pull_bytes);
    }
    let mut conditions = old.conditions.clone();
    let ready = match &policy.invalid {
        Some(invalid) => {
            Statement::new(READY, State::False, invalid.finding).message(invalid.message.clone())
        }
        None if policy.object.spec.suspend => Statement::new(READY, State::True, Finding::PolicySuspended),
        None => match not_carried_out(policy, picture.settings) {
            Some(words) => Statement::new(READY, State::True, Finding::Following).message(words),
            None => Statement::new(READY, State::True, Finding::Following),
        },
    };
    let limited = match limited {
        Some(finding) => Statement::new(LIMITED, State::True, finding),
        None => Statement::new(LIMITED, State::False, Finding::WithinLimits),
    };
    let credentials = match example {
        Some(host) => {
            let message = format!(
                "{unauthorized} images can't be read, at {host} among others: {}",
                Finding::PullUnauthorized.what_to_do()
            );
            Statement::new(CREDENTIALS_UNAVAILABLE, State::True, Finding::PullUnauthorized).message(message)
        }
        None => Statement::new(CREDENTIALS_UNAVAILABLE, State::False, Finding::CredentialsWork),
    };
    for statement in [ready, limited, credentials] {
        statement.generation(generation).put(&mut conditions, picture.now);
    }
    ImageSquashPolicyStatus {
        observed_generation: generation,
        conditions,
        images: counts,
        reclaimable,
        spent,
        next_window_time: policy.next_window.map(Time),
    }
}
