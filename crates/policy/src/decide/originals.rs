//! Which originals have to be kept, and which may be deleted if nothing else refers to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::jiff::Timestamp;
use unbloat_api::Finding;

use super::Picture;
use super::parsed::Parsed;
use crate::image::ImageKey;
use crate::retention::{Known, Original, rest};

/// What becomes of originals.
#[derive(Clone, Debug, Default)]
pub struct Originals {
    /// What their reports say.
    pub told: BTreeMap<ImageKey, Finding>,
    /// Until when their reports stay, whoever uses them.
    pub until: BTreeMap<ImageKey, Timestamp>,
    /// Those whose time is over.
    pub due: Vec<Original>,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
}

/// Looks at every image with a result of a policy that has originals deleted.
pub(super) fn originals(picture: &Picture<'_>, policies: &[Parsed<'_>]) -> Originals {
    let mut found = Originals::default();
    let asks = |name: &str| {
        policies
            .iter()
            .find(|policy| policy.name == name && policy.acts())
            .and_then(|policy| Some((policy, policy.object.spec.retention?)))
    };
    if !policies.iter().any(|policy| asks(policy.name).is_some()) {
        return found;
    }
    let used: BTreeSet<&ImageKey> = picture.uses.keys().map(|(key, _)| key).collect();
    let refused = refused(picture);
    let results: BTreeSet<String> = picture
        .facts
        .values()
        .filter_map(|facts| facts.result.as_ref())
        .filter_map(|result| Some(format!("{}@{}", repository(&result.reference)?, result.digest)))
        .collect();
    let mut next = super::Next(None);
    for (image, facts) in picture.facts {
        let Some(result) = &facts.result else { continue };
        let Some((policy, retention)) = result.policy.as_deref().and_then(asks) else { continue };
        let rest = rest(
            &Known {
                result,
                seconds: retention.original_seconds,
                is_used: used.contains(image),
                is_reported: facts.is_reported_used || results.contains(&image.reference()),
                unused_since: facts.unused_since,
                refused: refused.get(image.host()).copied(),
            },
            picture.now,
        );
        next.at(rest.next);
        found.told.insert(image.clone(), rest.finding);
        if let Some(until) = rest.until {
            found.until.insert(image.clone(), until);
        }
        if rest.is_due {
            let (target, result) = (policy.object.spec.target.clone(), result.clone());
            found.due.push(Original { image: image.clone(), result, target });
        }
    }
    found.due.sort_by(|a, b| a.image.cmp(&b.image));
    found.next = next.0;
    found
}

/// When each registry last refused to delete.
fn refused<'p>(picture: &'p Picture<'_>) -> HashMap<&'p str, Timestamp> {
    let mut refused: HashMap<&str, Timestamp> = HashMap::new();
    for (image, facts) in picture.facts {
        let Some(result) = &facts.result else { continue };
        let is_refused = result.original.as_deref() == Some(Finding::OriginalNotDeletable.as_str());
        if let Some(time) = result.original_time.as_ref().filter(|_| is_refused) {
            let last = refused.entry(image.host()).or_insert(time.0);
            *last = (*last).max(time.0);
        }
    }
    refused
}

/// `HOST/REPOSITORY` of a result.
fn repository(reference: &str) -> Option<String> {
    reference.parse::<unbloat_oci::Reference>().ok().map(|reference| reference.name())
}
