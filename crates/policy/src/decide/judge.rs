//! Which policies match an image, and whether it is too much for them.

use std::collections::{BTreeMap, BTreeSet};

use unbloat_api::Finding;
use unbloat_api::image_report::{MOST_POLICIES, PolicyVerdict, Verdict};
use unbloat_api::squash_policy::CredentialSource;

use super::parsed::Parsed;
use super::{ImageOutcome, Picture};
use crate::facts::Facts;
use crate::image::ImageKey;
use crate::inventory::Use;
use crate::selector::selected;
use crate::threshold::Judgement;

/// An image with all its uses and what policies say of it.
pub(super) struct Judged<'p> {
    pub(super) key: &'p ImageKey,
    pub(super) uses: Vec<&'p Use<'p>>,
    /// Tags by which what is matched and not opted out uses it.
    pub(super) tags: BTreeSet<String>,
    /// Whether anybody anywhere names it by digest.
    pub(super) by_digest: bool,
    /// Whether somebody who uses it opts out.
    pub(super) somebody_ignores: bool,
    /// For each policy that matches it, by its place.
    pub(super) policies: BTreeMap<usize, (Verdict, Finding)>,
}

/// Judges every image that is in use.
pub(super) fn judge<'p>(picture: &'p Picture<'p>, policies: &[Parsed<'_>]) -> Vec<Judged<'p>> {
    let mut images: Vec<Judged<'p>> = Vec::new();
    for using in picture.uses.values() {
        match images.last_mut().filter(|last| *last.key == using.image) {
            Some(last) => last.uses.push(using),
            None => images.push(Judged {
                key: &using.image,
                uses: vec![using],
                tags: BTreeSet::new(),
                by_digest: false,
                somebody_ignores: false,
                policies: BTreeMap::new(),
            }),
        }
    }
    let unknown = Facts::default();
    for image in &mut images {
        let facts = picture.facts.get(image.key).unwrap_or(&unknown);
        image.by_digest = image.uses.iter().any(|using| using.by_digest);
        image.somebody_ignores = image.uses.iter().any(|using| using.pods.iter().any(|pod| pod.is_ignored));
        for (at, policy) in policies.iter().enumerate() {
            let Some(is_for_it) = matches(picture, policy, image) else { continue };
            let said = if is_for_it { say(policy, facts) } else { (Verdict::Excluded, Finding::OptedOut) };
            image.policies.insert(at, said);
        }
    }
    images
}

/// Whether a policy matches an image, and whether anybody is left who doesn't opt out.
fn matches(picture: &Picture<'_>, policy: &Parsed<'_>, image: &mut Judged<'_>) -> Option<bool> {
    let selector = &policy.object.spec.selector;
    let (mut is_matched, mut is_for_it) = (false, false);
    for using in &image.uses {
        let labels = picture.world.namespaces.get(using.namespace);
        for pod in selected(selector, using, labels, &picture.settings.system_namespaces) {
            is_matched = true;
            if !pod.is_ignored {
                is_for_it = true;
                image.tags.extend(using.tags.iter().cloned());
            }
        }
    }
    is_matched.then_some(is_for_it)
}

/// What a policy says of what is known.
fn say(policy: &Parsed<'_>, facts: &Facts) -> (Verdict, Finding) {
    let Some(inspection) = &facts.inspection else {
        let finding = facts.unreadable.as_ref().map_or(Finding::InspectionPending, |why| why.finding);
        return (Verdict::Unknown, finding);
    };
    if let Some(blocker @ (Finding::OneLayer | Finding::OwnResult)) = inspection.blocker {
        return (Verdict::Flat, blocker);
    }
    let Some(thresholds) = &policy.thresholds else {
        return (Verdict::Unknown, Finding::InvalidQuantity);
    };
    match thresholds.judge(inspection, facts.analysis.as_ref(), policy.object.spec.analysis) {
        Judgement::Below => (Verdict::Fine, Finding::BelowThreshold),
        Judgement::NeedsAnalysis => {
            (Verdict::Unknown, facts.analysis_state.unwrap_or(Finding::AnalysisPending))
        }
        Judgement::Over if facts.result.is_some() => (Verdict::Squashed, Finding::ResultAvailable),
        Judgement::Over => (Verdict::OverThreshold, policy.idle_finding()),
    }
}

/// The outcomes, before anybody acts.
pub(super) fn outcomes(judged: &[Judged<'_>], picture: &Picture<'_>) -> BTreeMap<ImageKey, ImageOutcome> {
    let mut sorted: Vec<_> = picture.policies.iter().collect();
    sorted.sort_by_key(|policy| super::age(policy));
    let mut outcomes = BTreeMap::new();
    for image in judged {
        let mut outcome = ImageOutcome::default();
        let facts = picture.facts.get(image.key);
        for (at, (verdict, finding)) in &image.policies {
            let policy = sorted[*at];
            let name = policy.metadata.name.clone().unwrap_or_default();
            if *verdict != Verdict::Excluded && !policy.spec.suspend {
                outcome.wants_inspection = true;
                outcome.may_use_pod_secrets |= policy.spec.credentials == CredentialSource::PodPullSecrets;
                outcome.reader.get_or_insert_with(|| name.clone());
                let inspection = facts.and_then(|facts| facts.inspection.as_ref());
                let thresholds = crate::threshold::Limits::parse(&policy.spec.thresholds).ok();
                if let (Some(inspection), Some(thresholds)) = (inspection, thresholds) {
                    let is_readable = !matches!(
                        inspection.blocker,
                        Some(Finding::WindowsLayers | Finding::EncryptedLayers | Finding::ForeignLayers)
                    );
                    outcome.wants_analysis |=
                        is_readable && thresholds.wants_analysis(inspection, policy.spec.analysis);
                }
            }
            if outcome.policies.len() < MOST_POLICIES {
                let reason = finding.as_str().to_owned();
                outcome.policies.push(PolicyVerdict { name, verdict: *verdict, reason });
            }
        }
        outcome.verdict = summary(image.policies.values().map(|(verdict, _)| *verdict));
        outcomes.insert(image.key.clone(), outcome);
    }
    outcomes
}

/// The worst that a policy says; an image that no policy matches is excluded.
fn summary(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let weight = |verdict: &Verdict| match verdict {
        Verdict::OverThreshold => 5,
        Verdict::Squashed => 4,
        Verdict::Unknown => 3,
        Verdict::Flat => 2,
        Verdict::Fine => 1,
        Verdict::Excluded => 0,
    };
    verdicts.max_by_key(weight).unwrap_or(Verdict::Excluded)
}
