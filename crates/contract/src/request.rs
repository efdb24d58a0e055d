//! What is asked for: the typed requests that the command, the worker's spec file and tests share.
//!
//! Images are named as locations: `HOST/REPO:TAG`, `…@sha256:…`, `oci:DIR[:TAG]`, `oci-archive:FILE`,
//! `docker-archive:FILE`.

use serde::{Deserialize, Serialize};

use crate::format::{Compression, Format};
use crate::limits::Limits;
use crate::shape::{Condition, Shape};

/// One squash. The same request and the same source always give the same digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SquashRequest {
    /// Location of the image.
    pub source: String,
    /// Where the result goes.
    pub destination: String,
    /// Paths or globs to drop from the result.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Paths or globs whose regular files are kept with zero length.
    #[serde(default)]
    pub truncate: Vec<String>,
    /// What is a warning otherwise is an error: a pattern that matches nothing, a diffID that is not the
    /// layer's.
    #[serde(default)]
    pub strict: bool,
    /// The layers that stay as they are, so that other images go on sharing them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What the result looks like.
    #[serde(default)]
    pub shape: Shape,
    /// When it is worth it.
    #[serde(default)]
    pub condition: Condition,
    /// Squash an image, too, that is flat already.
    #[serde(default)]
    pub force: bool,
    /// An image that is flat already goes to the destination as it is, instead of staying where it is.
    #[serde(default = "yes")]
    pub copy_flat: bool,
    /// Platforms (`os/arch[/variant]`) of an index to squash; empty means all of them.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// How the new layer is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Compression level, in the codec's own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// Family of media types of the result.
    #[serde(default)]
    pub format: Format,
    /// Read the result back and prove that its tree is the source's before a tag moves.
    #[serde(default)]
    pub verify: bool,
    /// Tell what would be saved and write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// A path below a lower layer's symlink goes through the link instead of replacing it.
    #[serde(default)]
    pub follow_symlinked_parents: bool,
    /// Fetch and merge foreign (non-distributable) layers too.
    #[serde(default)]
    pub allow_foreign: bool,
    /// Bounds on what one squash may use.
    #[serde(default)]
    pub limits: Limits,
}

fn yes() -> bool {
    true
}

impl SquashRequest {
    /// A full squash with every default.
    #[must_use]
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            remove: Vec::new(),
            truncate: Vec::new(),
            strict: false,
            base: None,
            shape: Shape::default(),
            condition: Condition::default(),
            force: false,
            copy_flat: true,
            platforms: Vec::new(),
            compression: Compression::default(),
            level: None,
            format: Format::default(),
            verify: false,
            dry_run: false,
            follow_symlinked_parents: false,
            allow_foreign: false,
            limits: Limits::default(),
        }
    }

    /// Whether an image that has the asked shape is what is asked for: nothing is to be dropped, encoded or
    /// converted.
    #[must_use]
    pub fn only_shapes(&self) -> bool {
        self.remove.is_empty()
            && self.truncate.is_empty()
            && self.platforms.is_empty()
            && self.compression == Compression::Keep
            && self.level.is_none()
            && self.format == Format::Keep
    }

    /// The number of layers of a platform up to which an image is what is asked for already; `None` if it
    /// never is.
    ///
    /// Only what a manifest tells is looked at: with a base image, or with anything to drop, encode or
    /// convert, a squash has something to do.
    #[must_use]
    pub fn flat_up_to(&self) -> Option<usize> {
        let kept = match &self.base {
            None => 0,
            Some(Base::Layers(count)) => *count,
            Some(Base::Image(_)) => return None,
        };
        (self.only_shapes() && !self.force).then_some(kept + 1)
    }
}

/// The layers that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Base {
    /// The lowest N layers of the source.
    Layers(usize),
    /// The longest common prefix of diffIDs with this image.
    Image(String),
}

/// What to analyse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalyzeRequest {
    /// Location of the image.
    pub image: String,
    /// The platform, where the location names several; the machine's own otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Paths to list, the worst first; `None` lists all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Keep what each layer did to each path, with mode, owner and link target.
    #[serde(default)]
    pub detailed: bool,
    /// Fetch foreign layers too.
    #[serde(default)]
    pub allow_foreign: bool,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
}

/// Removing paths without touching what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Location of the image.
    pub source: String,
    /// Where the result goes.
    pub destination: String,
    /// Paths and globs.
    pub paths: Vec<String>,
    /// A path that matches nothing is a warning instead of an error.
    pub ignore_missing: bool,
    /// A diffID in the config that is not the layer's is an error.
    pub strict: bool,
    /// Platforms of an index to edit; empty means all of them.
    pub platforms: Vec<String>,
    /// Bounds on reading the layers.
    pub limits: Limits,
}

/// Swapping the base of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebaseRequest {
    /// Location of the image.
    pub source: String,
    /// Where the result goes.
    pub destination: String,
    /// The base that the image was made from.
    pub old_base: String,
    /// The base that it shall have.
    pub new_base: String,
    /// What the upper layers rely on may mean something else in the new base.
    pub allow_conflicts: bool,
    /// A diffID in a config that is not the layer's is an error.
    pub strict: bool,
    /// Platforms of an index to edit; empty means all of them.
    pub platforms: Vec<String>,
    /// Bounds on the check.
    pub limits: Limits,
}

/// What to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyRequest {
    /// Location of the first image.
    pub a: String,
    /// Location of the second image.
    pub b: String,
    /// Platforms to compare; empty means all that the first has.
    pub platforms: Vec<String>,
    /// Compare these paths and what is below them only; empty means all.
    pub paths: Vec<String>,
    /// A hard link of the first image may be a copy in the second.
    pub allow_split_links: bool,
    /// A diffID in a config that is not the layer's is an error instead of a warning.
    pub strict: bool,
    /// Bounds.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_flat_only_when_nothing_at_all_is_to_be_done() {
        let plain = SquashRequest::new("a", "b");
        assert_eq!(plain.flat_up_to(), Some(1));
        let above_a_base = SquashRequest { base: Some(Base::Layers(3)), ..plain.clone() };
        assert_eq!(above_a_base.flat_up_to(), Some(4));
        for asked in [
            SquashRequest { base: Some(Base::Image("x".into())), ..plain.clone() },
            SquashRequest { remove: vec!["/x".into()], ..plain.clone() },
            SquashRequest { truncate: vec!["/x".into()], ..plain.clone() },
            SquashRequest { platforms: vec!["linux/amd64".into()], ..plain.clone() },
            SquashRequest { compression: Compression::Zstd, ..plain.clone() },
            SquashRequest { level: Some(9), ..plain.clone() },
            SquashRequest { format: Format::Oci, ..plain.clone() },
            SquashRequest { force: true, ..plain.clone() },
        ] {
            assert_eq!(asked.flat_up_to(), None, "{asked:?}");
        }
    }
}
