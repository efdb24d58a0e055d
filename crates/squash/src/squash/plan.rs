//! Before anything is made: whether there is anything to do, and what becomes of each image.

use unbloat_contract::{Compression, Format, NothingToDo, SquashRequest};
use unbloat_layers::Options;
use unbloat_oci::{Codec, Family};
use unbloat_registry::Location;

use super::Squash;
use crate::analyze::wasted_bytes;
use crate::base;
use crate::error::Error;
use crate::image::Image;
use crate::open::Found;

/// How the history entry of a squashed layer begins.
const CREATED_BY: &str = "unbloat squash";

/// What one image becomes.
pub(super) struct Plan {
    /// How many of its lowest layers stay as they are.
    pub(super) kept: usize,
    /// Whose media types the result has.
    pub(super) family: Family,
    /// Of the new layer.
    pub(super) codec: Codec,
}

impl Squash<'_> {
    /// Whether there is a reason to leave all images as they are: they were squashed before, or are not worth
    /// it.
    pub(super) async fn nothing_to_do(&self, found: &Found) -> Result<Option<NothingToDo>, Error> {
        let SquashRequest { condition, force, .. } = self.request;
        if found.images.iter().all(|image| condition.has_too_few_layers(image.manifest.layers().len())) {
            return Ok(Some(NothingToDo::BelowCondition));
        }
        if let Some(least) = condition.min_wasted_bytes {
            let mut wasted = 0;
            for image in &found.images {
                let limits = &self.request.limits;
                wasted = wasted.max(wasted_bytes(self.source, image, limits, self.progress).await?);
            }
            if wasted < least {
                return Ok(Some(NothingToDo::BelowCondition));
            }
        }
        if *force || !self.request.only_shapes() {
            return Ok(None);
        }
        for image in &found.images {
            let kept = base::kept_layers(self.client, self.request, image).await?;
            let is_flat = image.manifest.layers().len() <= kept + 1 && is_ours(image, kept);
            let stays = self.codec(image, kept, self.family(image))? == image.common_codec(kept);
            if !is_flat || !stays {
                return Ok(None);
            }
        }
        Ok(Some(NothingToDo::AlreadyFlat))
    }

    /// What becomes of an image.
    ///
    /// # Errors
    /// [`Error::Request`] where nothing would be left to squash, or the format has no such layers.
    pub(super) async fn plan(&self, image: &Image) -> Result<Plan, Error> {
        let layers = image.manifest.layers().len();
        let kept = base::kept_layers(self.client, self.request, image).await?;
        if kept >= layers {
            return Err(Error::Request(format!(
                "nothing to squash: the image has {layers} layers and {kept} of them are kept"
            )));
        }
        let family = self.family(image);
        let codec = self.codec(image, kept, family)?;
        Ok(Plan { kept, family, codec })
    }

    /// Whose media types the result of an image has.
    fn family(&self, image: &Image) -> Family {
        match self.request.format {
            Format::Keep => image.manifest.family(),
            Format::Oci => Family::Oci,
            Format::Docker => Family::Docker,
        }
    }

    fn codec(&self, image: &Image, kept: usize, family: Family) -> Result<Codec, Error> {
        let codec = match self.request.compression {
            Compression::Keep => {
                let common = image.common_codec(kept);
                if self.takes(common, family) { common } else { Codec::Gzip }
            }
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
            Compression::None => Codec::None,
        };
        if codec == Codec::Zstd && family == Family::Docker {
            return Err(no_zstd());
        }
        Ok(codec)
    }

    /// Whether layers of this codec, which nobody asked for, can go to the destination.
    fn takes(&self, codec: Codec, family: Family) -> bool {
        let to = self.request.destination.parse().ok();
        let is_pushed = matches!(to, Some(Location::Registry(_)))
            && !matches!(self.source.location(), Location::Registry(_));
        match codec {
            Codec::Gzip => true,
            // Local tools store plain layers; Docker's manifests know them by name only, and there are
            // registries that refuse them.
            Codec::None => family == Family::Oci && !is_pushed,
            // What `docker load` takes only since version 23.
            Codec::Zstd => family == Family::Oci && !matches!(to, Some(Location::DockerArchive { .. })),
        }
    }

    /// The options that have a part in the result, for annotations and history.
    pub(super) fn options_text(&self, kept: usize) -> String {
        let mut text = Vec::new();
        for path in &self.request.remove {
            text.push(format!("--remove {path}"));
        }
        for path in &self.request.truncate {
            text.push(format!("--truncate {path}"));
        }
        if kept > 0 {
            text.push(format!("--base-layers {kept}"));
        }
        text.join(" ")
    }

    /// What the new layer's history entry says.
    pub(super) fn created_by(&self, kept: usize) -> String {
        format!("{CREATED_BY} {}", self.options_text(kept)).trim_end().to_owned()
    }

    /// The merge's options above `kept` layers.
    pub(super) fn merge_options(&self, kept: usize) -> Options {
        let SquashRequest { remove, truncate, strict, follow_symlinked_parents, limits, .. } = self.request;
        Options {
            remove: remove.clone(),
            truncate: truncate.clone(),
            strict: *strict,
            follow_symlinked_parents: *follow_symlinked_parents,
            base_layers: kept,
            jobs: limits.threads(),
            hold_bytes: limits.hold_bytes(),
            max_unpacked_bytes: limits.max_unpacked_bytes,
            max_paths: limits.max_paths,
        }
    }
}

pub(super) fn no_zstd() -> Error {
    Error::Request("Docker manifests have no zstd layers; use --format oci or --compression gzip".into())
}

/// Whether the layer above the kept ones is one that a squash made: it has nothing to give.
fn is_ours(image: &Image, kept: usize) -> bool {
    let Some(steps) = image.config.layer_history() else { return false };
    let step = steps.get(kept).and_then(|step| image.config.history().get(*step));
    step.and_then(|step| step.created_by.as_deref()).is_some_and(|by| by.starts_with(CREATED_BY))
}
