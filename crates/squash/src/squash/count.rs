//! What a squash gained, in figures.

use unbloat_contract::{Figures, PlatformFigures};
use unbloat_layers::Summary;
use unbloat_oci::{Codec, Descriptor, Digest, Manifest};

use super::plan::Plan;
use crate::assemble::Made;
use crate::diff_ids::DiffIds;
use crate::image::Image;

/// An image as it is, among others that may have changed.
pub(super) fn unchanged(image: &Image) -> Made {
    let digest = image.descriptor.digest().to_string();
    let layers = image.manifest.layers();
    let bytes = layers.iter().map(Descriptor::size).sum();
    let figures = Figures {
        source_digest: digest.clone(),
        digest,
        layers_before: layers.len() as u64,
        layers_after: layers.len() as u64,
        compressed_bytes_before: bytes,
        compressed_bytes_after: bytes,
        ..Figures::default()
    };
    Made {
        figures: PlatformFigures { platform: image.platform(), figures },
        warnings: Vec::new(),
        media_type: image.manifest.media_type().clone(),
        bytes: image.manifest.to_bytes().into(),
    }
}

/// An image that was squashed. `manifest` is of the result, `digest` its own.
pub(super) fn squashed(
    image: &Image,
    plan: &Plan,
    manifest: &Manifest,
    digest: &Digest,
    merged: &Summary,
) -> Figures {
    let compressed = |layers: &[Descriptor]| layers.iter().map(Descriptor::size).sum::<u64>();
    let unpacked = |layers: &[u64]| layers.iter().sum::<u64>();
    let (before, after) = (image.manifest.layers(), manifest.layers());
    let kept = plan.kept;
    let is_plain =
        |layer: &Descriptor| layer.media_type().layer().is_ok_and(|kind| kind.codec == Codec::None);
    Figures {
        source_digest: image.descriptor.digest().to_string(),
        digest: digest.to_string(),
        layers_before: before.len() as u64,
        layers_after: after.len() as u64,
        compressed_bytes_before: compressed(before),
        compressed_bytes_after: compressed(after),
        unpacked_bytes_before: unpacked(&merged.unpacked_bytes),
        unpacked_bytes_after: unpacked(&merged.unpacked_bytes[..kept]) + merged.written.tar_bytes,
        plain_before: plan.codec != Codec::None && before[kept..].iter().any(is_plain),
    }
}

/// What people should know of an image that was squashed.
pub(super) fn warnings(merged: &Summary, diff_ids: &DiffIds) -> Vec<String> {
    let mut warnings: Vec<String> = merged.warnings.iter().map(ToString::to_string).collect();
    if merged.more_warnings > 0 {
        warnings.push(format!("and {} more warnings", merged.more_warnings));
    }
    warnings.extend(diff_ids.warnings());
    warnings
}
