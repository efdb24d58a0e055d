//! At the destination: the new image's config and manifest around the new layer, and the kept layers.

use bytes::Bytes;
use unbloat_contract::{NothingToDo, SquashResult, Stage};
use unbloat_oci::{Descriptor, Family, ImageConfig, Manifest, NewLayer};

use super::plan::{Plan, no_zstd};
use super::{Squash, count};
use crate::assemble::carry;
use crate::base;
use crate::error::Error;
use crate::image::Image;
use crate::open::Found;
use crate::output::Encoded;

impl Squash<'_> {
    /// Puts all of one image but its manifest at the destination, whose new layer is there.
    pub(super) async fn place(
        &self,
        image: &Image,
        plan: &Plan,
        encoded: &Encoded,
    ) -> Result<(Manifest, Bytes), Error> {
        let config = self.config(image, plan, encoded)?;
        let config_bytes = Bytes::from(config.to_bytes());
        let kept = &image.manifest.layers()[..plan.kept];
        let platform = image.platform();
        let kept = match self.destination {
            None => kept.to_vec(),
            Some(destination) => {
                self.progress.enter(Stage::CopyingBase, &platform);
                carry(destination, kept.iter().map(|layer| (self.source, layer))).await?
            }
        };
        let manifest = self.manifest(image, kept, plan, encoded, &config_bytes).await?;
        let bytes = Bytes::from(manifest.to_bytes());
        let Some(destination) = self.destination else { return Ok((manifest, bytes)) };
        destination.put_blob(manifest.config().media_type().clone(), config_bytes).await?;
        // An archive is read back when it is complete.
        if self.request.verify && !destination.location().is_archive() {
            self.progress.enter(Stage::Verifying, &platform);
            let descriptor = destination.put_manifest(manifest.media_type(), bytes.clone()).await?;
            let made = self.client.source(&destination.location().at_digest(descriptor.digest())).await?;
            self.verify(image, &made, plan.kept).await?;
        }
        Ok((manifest, bytes))
    }

    fn config(&self, image: &Image, plan: &Plan, encoded: &Encoded) -> Result<ImageConfig, Error> {
        let digest = image.descriptor.digest();
        let squashed = image.manifest.layers().len() - plan.kept;
        let new = NewLayer {
            diff_id: encoded.diff_id.clone(),
            created_by: self.created_by(plan.kept),
            comment: Some(format!("{squashed} layers of {digest} in one")),
        };
        let mut config = image.config.clone();
        config.squash(plan.kept, Some(&new)).map_err(|source| image.wrong(source))?;
        Ok(config)
    }

    async fn manifest(
        &self,
        image: &Image,
        mut layers: Vec<Descriptor>,
        plan: &Plan,
        encoded: &Encoded,
        config: &[u8],
    ) -> Result<Manifest, Error> {
        let Plan { kept, family, codec } = *plan;
        let media_type = family.layer(codec).ok_or_else(no_zstd)?;
        layers.push(Descriptor::new(media_type, encoded.digest.clone(), encoded.size));
        let mut manifest = image.manifest.clone();
        manifest.set_layers(layers);
        manifest.set_config(Descriptor::of(manifest.config().media_type().clone(), config));
        manifest.set_family(family).map_err(|(index, refusal)| {
            Error::Request(format!("layer {index} cannot be kept in this format: {refusal}"))
        })?;
        let wrong = |source| image.wrong(source);
        if !base::stays_true(self.client, self.source, self.request, image, kept).await {
            manifest.remove_base_annotations().map_err(wrong)?;
        }
        if family == Family::Oci {
            let digest = image.descriptor.digest().to_string();
            manifest.set_annotation("dev.unbloat.source.digest", &digest).map_err(wrong)?;
            manifest.set_annotation("dev.unbloat.options", &self.options_text(kept)).map_err(wrong)?;
        }
        Ok(manifest)
    }

    /// Whether anything goes to the destination. What is flat already goes there as it is, if that was asked
    /// for.
    pub(super) fn writes(&self, nothing_to_do: Option<NothingToDo>) -> bool {
        match nothing_to_do {
            None => true,
            Some(reason) => reason == NothingToDo::AlreadyFlat && self.request.copy_flat,
        }
    }

    /// Leaves the images as they are. What is flat already goes to the destination all the same, as it is.
    pub(super) async fn leave(
        &self,
        found: &Found,
        reason: NothingToDo,
        result: &mut SquashResult,
    ) -> Result<(), Error> {
        let digest = found.fetched.descriptor.digest();
        result.nothing_to_do = Some(reason);
        result.warnings.clear();
        result.figures.digest = digest.to_string();
        result.reference = self.source.location().at_digest(digest).to_string();
        for image in &found.images {
            count::unchanged(image).count_into(result, found.images.len() > 1);
        }
        let Some(destination) = self.destination else { return Ok(()) };
        let to = destination.location();
        if to != self.source.location() || to.is_standard_stream() {
            self.progress.enter(Stage::Publishing, "");
            let report = unbloat_registry::copy(self.source, destination, &[]).await?;
            // Another one where plain layers of a docker archive were compressed on their way.
            result.figures.digest = report.published.descriptor.digest().to_string();
            result.reference = report.published.reference;
        }
        Ok(())
    }
}
