//! When an original may be deleted: its time is over, and nothing refers to it.
//!
//! What refers is looked for in the order of its price. First what is known of the cluster anyway: pods by
//! the images that they run, and reports ([`rest`]). Then, for the few originals that are left, what pods
//! write, pod templates and other objects that hold images, the repository's tags, and whether the result is
//! there and was made of this very original ([`refers`]). A deletion can't be taken back, so what can't be
//! read counts as a reference.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use unbloat_api::Finding;
use unbloat_api::image_report::ReportedResult;
use unbloat_api::squash_policy::PolicyTarget;
use unbloat_oci::Reference;

use crate::image::ImageKey;
use crate::rollout::{self, Stage};
use crate::target;

/// A registry that refuses to delete isn't asked again for so long.
pub const REFUSED_SECONDS: i64 = 86_400;
/// An original that something refers to after its time is looked at again for so long.
pub const TRIED_SECONDS: i64 = 86_400;

/// An original with a result, whose policy has originals deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// The original.
    pub image: ImageKey,
    /// Its result.
    pub result: ReportedResult,
    /// Where the policy's results go.
    pub target: PolicyTarget,
}

/// What the cluster's own records say of an original.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The result, with what became of the original so far.
    pub result: &'a ReportedResult,
    /// Seconds that originals stay.
    pub seconds: i64,
    /// Whether a pod runs it.
    pub is_used: bool,
    /// Whether a report says that it is used, or has it as another image's result.
    pub is_reported: bool,
    /// When the last user of all namespaces went.
    pub unused_since: Option<Timestamp>,
    /// When its registry last refused a deletion.
    pub refused: Option<Timestamp>,
}

/// What is to be done about an original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// What a report says.
    pub finding: Finding,
    /// Whether the rest of what may refer to it is to be looked for now.
    pub is_due: bool,
    /// When to look again.
    pub next: Option<Timestamp>,
    /// Until when its reports stay for that.
    pub until: Option<Timestamp>,
}

/// Whether an original's time is over, and what of the cluster still refers to it.
///
/// Its time runs from the squash or from the moment when its last user went, whichever is later: a rollback
/// within it finds its image.
pub fn rest(known: &Known<'_>, now: Timestamp) -> Rest {
    let Known { result, seconds, is_used, is_reported, unused_since, refused } = known;
    let told = |finding| Rest { finding, is_due: false, next: None, until: None };
    if result.original.as_deref() == Some(Finding::OriginalDeleted.as_str()) {
        return told(Finding::OriginalDeleted);
    }
    if *is_used || *is_reported {
        return told(Finding::OriginalInUse);
    }
    let (Some(made), Some(unused)) = (&result.time, unused_since) else {
        return told(Finding::OriginalInUse);
    };
    let later = |from: Timestamp, seconds: i64| {
        let second = from.as_second().saturating_add(seconds);
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
    };
    let over = later(made.0.max(*unused), *seconds);
    let until = Some(later(over, TRIED_SECONDS));
    if now < over {
        return Rest { next: Some(over), until, ..told(Finding::OriginalKept) };
    }
    if let Some(again) = refused.map(|refused| later(refused, REFUSED_SECONDS)).filter(|again| now < *again) {
        return Rest { next: Some(again), until, ..told(Finding::OriginalNotDeletable) };
    }
    // What was found before stays said until it is looked for again.
    let before = result.original.as_deref().and_then(Finding::parse);
    let before = before.filter(|finding| {
        matches!(
            finding,
            Finding::OriginalInUse
                | Finding::OriginalTagged
                | Finding::ResultNotProven
                | Finding::OriginalUnknown
        )
    });
    Rest { is_due: true, until, ..told(before.unwrap_or(Finding::OriginalKept)) }
}

/// A tag of the original's repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub name: String,
    /// What it points at.
    pub digest: String,
    /// Where that is an index: the digests of its manifests.
    pub manifests: BTreeSet<String>,
}

/// Somebody who writes images: a pod, a template, a job that squashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// `KIND NAMESPACE/NAME`.
    pub name: String,
    /// The images, as it writes them.
    pub images: Vec<String>,
}

/// What a registry says of an original and its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The original's images for platforms, where it is an index; else its own digest.
    pub original: BTreeSet<String>,
    /// What the result says that it was made of.
    pub made_of: BTreeSet<String>,
    /// Manifests of the result.
    pub result: BTreeSet<String>,
}

/// What still refers to an original whose time is over: the finding, and who it is.
pub fn refers(
    original: &Original,
    holders: &[Holder],
    tags: &[Tag],
    origin: Option<&Origin>,
) -> Option<(Finding, String)> {
    let digest = &original.image.digest;
    if !origin.is_some_and(is_proven) {
        return Some((Finding::ResultNotProven, original.result.reference.clone()));
    }
    // All tags that name it, the one that was squashed too: who writes that one would lose the image.
    let names: BTreeSet<&str> =
        tags.iter().filter(|tag| points_at(tag, digest)).map(|tag| tag.name.as_str()).collect();
    for holder in holders {
        if let Some(image) = holder.images.iter().find(|image| is_named(&original.image, &names, image)) {
            return Some((Finding::OriginalInUse, format!("{} ({image})", holder.name)));
        }
    }
    // Cosign's tags for signatures and attestations are named after what they are for.
    let attached = format!("{}.", digest.replacen(':', "-", 1));
    let other = tags.iter().find(|tag| {
        (points_at(tag, digest) && !is_own(original, &tag.name)) || tag.name.starts_with(&attached)
    });
    other.map(|tag| (Finding::OriginalTagged, tag.name.clone()))
}

fn points_at(tag: &Tag, digest: &str) -> bool {
    tag.digest == digest || tag.manifests.contains(digest)
}

/// Whether a tag is the one that the result was made for: it goes with the original, as the result has
/// taken its place.
fn is_own(original: &Original, tag: &str) -> bool {
    let tags = BTreeSet::from([tag.to_owned()]);
    let Ok(places) = target::places(&original.target, &original.image, &tags, false) else { return false };
    let result = original.result.reference.split_once('@').map(|(name, _)| name);
    places.target.is_some() && places.target.as_deref() == result
}

/// Whether an image, as somebody writes it, is the original: by its digest, or by a tag that names it.
fn is_named(image: &ImageKey, names: &BTreeSet<&str>, written: &str) -> bool {
    // What can't be read as a reference can't be pulled either.
    let Ok(reference) = written.parse::<Reference>() else { return false };
    if reference.name() != image.repository {
        return false;
    }
    match reference.digest() {
        Some(digest) => digest.as_str() == image.digest,
        None => names.contains(reference.tag().unwrap_or("latest")),
    }
}

/// Whether the result is there, was made of this very original, and has each of its platforms.
fn is_proven(origin: &Origin) -> bool {
    let Origin { original, made_of, result } = origin;
    !made_of.is_empty()
        && made_of.is_subset(original)
        && original.iter().all(|digest| made_of.contains(digest) || result.contains(digest))
}

/// What an object holds of images: a workload that has pods to start, a job that has to squash, a devbox.
/// `None` for what starts no pod any more.
pub fn holder(kind: &str, object: &Value) -> Option<Holder> {
    let at = |pointer: &str| object.pointer(pointer);
    let has_ended = || {
        at("/status/conditions").and_then(Value::as_array).into_iter().flatten().any(|condition| {
            let type_ = condition["type"].as_str().unwrap_or_default();
            match kind {
                "Job" => matches!(type_, "Complete" | "Failed") && condition["status"] == "True",
                _ => type_ == "Succeeded" && condition["status"] != "Unknown",
            }
        })
    };
    let is_over = match kind {
        // A revision before: kept for the Deployment's history alone.
        "ReplicaSet" => {
            let owners = at("/metadata/ownerReferences").and_then(Value::as_array);
            let of_deployment = owners.into_iter().flatten().any(|owner| owner["kind"] == "Deployment");
            of_deployment && at("/spec/replicas").and_then(Value::as_i64) == Some(0)
        }
        "Job" | "ImageSquashJob" => has_ended(),
        _ => false,
    };
    if is_over {
        return None;
    }
    let mut images = Vec::new();
    // A devbox has the image of its next start in its status.
    let parts = if kind == "Devbox" { &["/spec", "/status"][..] } else { &["/spec"] };
    for part in parts {
        at(part).into_iter().for_each(|part| texts(part, &mut images));
    }
    // One that is on its way to a result may get its original back.
    if let Some(state) = rollout::annotation(object).filter(|state| state.state == Stage::RollingOut) {
        images.extend(state.from.into_values());
    }
    let text = |pointer: &str| at(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{kind} {}/{}", text("/metadata/namespace"), text("/metadata/name"));
    Some(Holder { name, images })
}

/// All texts of a document: what isn't an image matches none.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        Value::Object(all) => all.values().for_each(|one| texts(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
