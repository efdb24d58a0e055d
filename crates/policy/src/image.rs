//! An image: its repository and digest, and how a container names it.

use std::fmt;

use sha2::{Digest as _, Sha256};
use unbloat_oci::{Digest, Reference};

/// Hex digits that tell images apart in names.
const NAME_HEX: usize = 16;
/// Bytes of the repository's last part in a name.
const NAME_WORDS: usize = 40;

/// One image. Two tags of one digest are one image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// `HOST/REPOSITORY`.
    pub repository: String,
    /// Digest of the manifest or index.
    pub digest: String,
}

/// How a container names its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The image.
    pub key: ImageKey,
    /// The tag, where the pod's spec has one.
    pub tag: Option<String>,
    /// Whether the spec names it by digest.
    pub by_digest: bool,
}

impl ImageKey {
    /// The same image has the same 40 hex digits everywhere: a label's value.
    pub fn id(&self) -> String {
        let hash = Sha256::digest(format!("{}@{}", self.repository, self.digest).as_bytes());
        hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Name of the report that the release of a class makes of it: the repository's last part for people,
    /// and what makes it unique. Releases that share a namespace have a report each.
    pub fn report_name(&self, class: &str) -> String {
        let last = self.repository.rsplit('/').next().unwrap_or_default();
        let unique = self.id()[..NAME_HEX].to_owned();
        name(last, NAME_WORDS, &if class.is_empty() { unique } else { format!("{unique}-{class}") })
    }

    /// `HOST/REPOSITORY@DIGEST`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }

    /// The registry's host.
    pub fn host(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// A name that Kubernetes takes: at most `most` bytes of words, then `-` and what makes it unique.
pub fn name(words: &str, most: usize, unique: &str) -> String {
    let mut clean: String = words
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(most)
        .collect();
    clean.truncate(clean.trim_end_matches('-').len());
    let clean = clean.trim_start_matches('-');
    if clean.is_empty() { format!("image-{unique}") } else { format!("{clean}-{unique}") }
}

/// The image of a container, from what its spec says and what kubelet says that it runs.
///
/// `None` while kubelet hasn't pulled it, and for images that have no digest in a registry (loaded by hand).
pub fn named(spec: &str, image_id: &str) -> Option<Named> {
    let (place, digest) = image_id.rsplit_once('@')?;
    let digest: Digest = digest.parse().ok()?;
    let place = place.split_once("://").map_or(place, |(_, place)| place);
    // The runtime may know the digest by another repository's name; the spec says where this one pulls it
    // from.
    let reference = spec.parse::<Reference>().ok().filter(|_| !is_bare_digest(spec));
    let written = match reference {
        Some(reference) => reference,
        None => place.parse::<Reference>().ok()?,
    };
    let by_digest = written.digest().is_some();
    // What a reference has without a tag of its own is "latest", unless it names a digest.
    let tag = written.tag().map(ToOwned::to_owned).or_else(|| (!by_digest).then(|| "latest".to_owned()));
    let key = ImageKey { repository: written.name(), digest: digest.to_string() };
    Some(Named { key, tag, by_digest })
}

fn is_bare_digest(text: &str) -> bool {
    text.parse::<Digest>().is_ok() || (text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

    #[test]
    fn each_form_of_a_containers_image_is_understood() {
        let id = |place: &str| format!("{place}@{DIGEST}");
        for (spec, image_id, repository, tag, by_digest) in [
            ("nginx", id("docker.io/library/nginx"), "docker.io/library/nginx", Some("latest"), false),
            ("a.example/b:v1", id("a.example/b"), "a.example/b", Some("v1"), false),
            ("a.example/b:v1", id("docker-pullable://a.example/b"), "a.example/b", Some("v1"), false),
            // The runtime pulled the same digest from elsewhere before.
            ("a.example/b:v1", id("mirror.example/x/b"), "a.example/b", Some("v1"), false),
            (&id("a.example/b"), id("a.example/b"), "a.example/b", None, true),
            (&id("a.example/b:v1"), id("a.example/b"), "a.example/b", Some("v1"), true),
            ("127.0.0.1:5000/b/c:d", id("127.0.0.1:5000/b/c"), "127.0.0.1:5000/b/c", Some("d"), false),
            (DIGEST, id("a.example/b"), "a.example/b", Some("latest"), false),
        ] {
            let named = named(spec, &image_id).unwrap_or_else(|| panic!("{spec} {image_id}"));
            assert_eq!(named.key.repository, repository, "{spec}");
            assert_eq!(named.key.digest, DIGEST);
            if spec != DIGEST {
                assert_eq!((named.tag.as_deref(), named.by_digest), (tag, by_digest), "{spec}");
            }
        }
    }

    #[test]
    fn what_has_no_digest_in_a_registry_is_no_image() {
        for (spec, image_id) in [
            ("nginx", ""),
            ("nginx", DIGEST),
            ("nginx", "docker://sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"),
            ("nginx", "nginx@sha256:short"),
        ] {
            assert_eq!(named(spec, image_id), None, "{image_id}");
        }
    }

    #[test]
    fn names_are_valid_and_differ_with_repository_and_digest() {
        let key =
            |repository: &str| ImageKey { repository: repository.to_owned(), digest: DIGEST.to_owned() };
        let one = key("a.example/Team/My_App..x").report_name("");
        assert!(one.starts_with("my-app--x-"), "{one}");
        assert_ne!(one, key("b.example/Team/My_App..x").report_name(""));
        let long = key(&format!("a.example/{}", "x".repeat(300))).report_name("");
        assert!(long.len() <= 63, "{long}");
        assert!(key("a.example/___").report_name("").starts_with("image-"));
        assert_eq!(
            key("a.example/b").report_name("fast"),
            format!("{}-fast", key("a.example/b").report_name(""))
        );
        assert_eq!(key("a.example/b").id().len(), 40);
    }
}
