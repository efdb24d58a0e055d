//! Figures in the status, and the words around them.

use unbloat_api::ImageSquashJobStatus;
use unbloat_api::squash_job::{ImageFigures, Progress};
use unbloat_contract::{Figures, SquashResult};
use unbloat_text::signed_bytes;

use super::units;
use super::world::SourceFacts;

/// Fills in what is known of the source before the squash.
pub(crate) fn source(status: &mut ImageSquashJobStatus, image: &str, facts: &SourceFacts) {
    let SourceFacts { digest, layers, compressed_bytes } = facts;
    let known = |value: i64| (value > 0).then_some(value);
    status.source = Some(ImageFigures {
        reference: Some(pinned_reference(image, digest)),
        digest: Some(digest.clone()),
        layers: known(*layers),
        compressed_bytes: known(*compressed_bytes),
        unpacked_bytes: None,
    });
}

fn pinned_reference(image: &str, digest: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    format!("{name}@{digest}")
}

/// Fills in what a worker reported.
pub(crate) fn result(status: &mut ImageSquashJobStatus, image: &str, result: &SquashResult) {
    let SquashResult {
        figures,
        reference,
        reclaimed_bytes,
        bytes_read: _,
        bytes_written: _,
        duration_seconds,
        warnings,
        platforms: _,
        nothing_to_do: _,
    } = result;
    let Figures {
        source_digest,
        digest,
        layers_before,
        layers_after,
        compressed_bytes_before,
        compressed_bytes_after,
        unpacked_bytes_before,
        unpacked_bytes_after,
        // A job's source is in a registry.
        plain_before: _,
    } = figures;
    let source = status.source.get_or_insert_default();
    source.reference = Some(pinned_reference(image, source_digest));
    source.digest = Some(source_digest.clone());
    source.layers = Some(signed(*layers_before));
    source.compressed_bytes = Some(signed(*compressed_bytes_before));
    source.unpacked_bytes = Some(signed(*unpacked_bytes_before));
    status.target = Some(ImageFigures {
        reference: Some(reference.clone()),
        digest: Some(digest.clone()),
        layers: Some(signed(*layers_after)),
        compressed_bytes: Some(signed(*compressed_bytes_after)),
        unpacked_bytes: Some(signed(*unpacked_bytes_after)),
    });
    status.reclaimed_bytes = Some(*reclaimed_bytes);
    // Seconds of a squash fit; `as` saturates and turns a NaN into 0.
    status.duration_seconds = Some(duration_seconds.ceil() as i64);
    status.warnings.clone_from(warnings);
    status.progress = Some(Progress {
        percent: 100,
        summary: "100%".to_owned(),
        bytes_read: signed(*compressed_bytes_before),
        bytes_total: signed(*compressed_bytes_before),
        bytes_written: signed(*compressed_bytes_after),
    });
    columns(status);
}

/// The printer columns, from the figures.
pub(crate) fn columns(status: &mut ImageSquashJobStatus) {
    let (Some(before), Some(after)) = (&status.source, &status.target) else { return };
    let pair = |before: Option<String>, after: Option<String>| Some(format!("{}→{}", before?, after?));
    status.layers = pair(before.layers.map(|n| n.to_string()), after.layers.map(|n| n.to_string()));
    status.size = pair(before.compressed_bytes.map(signed_bytes), after.compressed_bytes.map(signed_bytes));
    status.reclaimed = status.reclaimed_bytes.map(signed_bytes);
}

/// The summary of a squash in one line.
pub(crate) fn squashed_message(result: &SquashResult) -> String {
    let figures = &result.figures;
    format!(
        "{} now {}, {} are {}: {} reclaimed in {}",
        layers(figures.layers_before, "is", "are"),
        figures.layers_after,
        signed_bytes(signed(figures.compressed_bytes_before)),
        signed_bytes(signed(figures.compressed_bytes_after)),
        signed_bytes(result.reclaimed_bytes),
        units::seconds(result.duration_seconds.ceil() as i64)
    )
}

/// The summary of a squash that wasn't needed.
pub(crate) fn flat_message(status: &ImageSquashJobStatus) -> String {
    let source = status.source.as_ref().and_then(|source| source.layers).unwrap_or(1);
    let count = u64::try_from(source).unwrap_or_default();
    let noun = if count == 1 { "layer" } else { "layers" };
    format!("the source has {count} {noun} and nothing to merge or remove; the target is the same image")
}

/// The message of a success that left an image below `spec.condition` as it is.
pub(crate) fn below_message(status: &ImageSquashJobStatus) -> String {
    let source = status.source.as_ref().and_then(|source| source.layers).unwrap_or(1);
    let count = u64::try_from(source).unwrap_or_default();
    let has = layers(count, "and is", "and is");
    format!("the source has {has} below spec.condition; nothing was written")
}

fn layers(count: u64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 layer {one}") } else { format!("{count} layers {more}") }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
