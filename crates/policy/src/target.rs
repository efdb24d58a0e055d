//! Where the result of a policy's job goes.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use unbloat_api::Finding;
use unbloat_api::squash_policy::PolicyTarget;
use unbloat_oci::{Reference, Target};

use crate::image::ImageKey;

/// Longest tag that the distribution specification allows.
const MOST_OF_A_TAG: usize = 128;

/// Source and target of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `spec.source.image`.
    pub source: String,
    /// `spec.target.image`; the source's own tag is moved where it is absent.
    pub target: Option<String>,
    /// Whether who can pull the original can pull the result: it is in the same repository.
    pub is_same_repository: bool,
}

/// Source and target for an image that is used by these tags.
///
/// The source is read by its digest; with `moveTag` by the tag too, which has to stand still.
///
/// # Errors
/// `NoTag` and `UsedByDigest` where the policy's target can't be derived.
pub fn places(
    target: &PolicyTarget,
    image: &ImageKey,
    tags: &BTreeSet<String>,
    by_digest: bool,
) -> Result<Places, Finding> {
    let PolicyTarget { tag_suffix, repository, move_tag } = target;
    let source = image.reference();
    // The first in order: the same in every turn, whatever pod was seen first.
    let tag = tags.iter().next();
    if *move_tag {
        if by_digest {
            return Err(Finding::UsedByDigest);
        }
        let tag = tag.ok_or(Finding::NoTag)?;
        let source = format!("{}:{tag}", image.repository);
        return Ok(Places { source, target: None, is_same_repository: true });
    }
    if let Some(below) = repository {
        let path = image.repository.split_once('/').map_or(image.repository.as_str(), |(_, path)| path);
        let tag = tag.cloned().unwrap_or_else(|| digest_tag(&image.digest));
        let target = format!("{below}/{path}:{tag}");
        return Ok(Places { source, target: Some(target), is_same_repository: false });
    }
    let suffix = tag_suffix.as_deref().unwrap_or_default();
    let tag = with_suffix(tag.ok_or(Finding::NoTag)?, suffix);
    let target = format!("{}:{tag}", image.repository);
    Ok(Places { source, target: Some(target), is_same_repository: true })
}

/// Whether a reference can be written at all: a repository that is joined of two may be too long.
pub fn is_valid(reference: &str) -> bool {
    reference.parse::<Reference>().is_ok_and(|reference| matches!(reference.target(), Target::Tag(_)))
}

/// A tag that would be too long keeps its beginning and gets a hash of the whole.
fn with_suffix(tag: &str, suffix: &str) -> String {
    let whole = format!("{tag}{suffix}");
    if whole.len() <= MOST_OF_A_TAG {
        return whole;
    }
    let hash: String =
        Sha256::digest(tag.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let room = MOST_OF_A_TAG - suffix.len() - hash.len() - 1;
    format!("{}-{hash}{suffix}", &tag[..room])
}

fn digest_tag(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    format!("sha-{}", &hex[..hex.len().min(16)])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::DIGEST;

    fn place(target: &Value, tags: &[&str], by_digest: bool) -> Result<Places, Finding> {
        let target = serde_json::from_value(target.clone()).unwrap();
        let image = ImageKey { repository: "a.example:5000/team/app".into(), digest: DIGEST.into() };
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        places(&target, &image, &tags, by_digest)
    }

    #[test]
    fn each_kind_of_target() {
        let suffix = json!({"tagSuffix": "-unbloat"});
        let by_digest = format!("a.example:5000/team/app@{DIGEST}");
        let places = place(&suffix, &["v2", "v1"], false).unwrap();
        assert_eq!(places.source, by_digest);
        assert_eq!(places.target.as_deref(), Some("a.example:5000/team/app:v1-unbloat"));
        assert!(places.is_same_repository);
        assert_eq!(place(&suffix, &[], true), Err(Finding::NoTag));

        let elsewhere = json!({"repository": "b.example/squashed"});
        let places = place(&elsewhere, &["v1"], true).unwrap();
        assert_eq!(places.target.as_deref(), Some("b.example/squashed/team/app:v1"));
        assert!(!places.is_same_repository);
        let places = place(&elsewhere, &[], true).unwrap();
        assert_eq!(places.target.as_deref(), Some("b.example/squashed/team/app:sha-4355a46b19d348dc"));

        let moving = json!({"moveTag": true});
        let places = place(&moving, &["v1"], false).unwrap();
        assert_eq!((places.source.as_str(), places.target), ("a.example:5000/team/app:v1", None));
        assert_eq!(place(&moving, &["v1"], true), Err(Finding::UsedByDigest));
        assert_eq!(place(&moving, &[], false), Err(Finding::NoTag));
    }

    #[test]
    fn a_tag_that_would_be_too_long_is_cut_and_stays_its_own() {
        let suffix = json!({"tagSuffix": "-unbloat"});
        let tag = |last: &str| {
            let long = format!("{}{last}", "t".repeat(126));
            place(&suffix, &[&long], false).unwrap().target.unwrap()
        };
        let (one, other) = (tag("1"), tag("2"));
        assert_ne!(one, other);
        for target in [one, other] {
            assert!(is_valid(&target) && target.ends_with("-unbloat"), "{target}");
            assert_eq!(target.rsplit_once(':').unwrap().1.len(), MOST_OF_A_TAG);
        }
    }
}
