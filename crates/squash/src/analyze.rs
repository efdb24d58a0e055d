//! Where an image's bytes are and why: an image of a registry, folder or archive as an [`Analysis`].

use std::sync::Arc;
use std::time::Instant;

use unbloat_analysis::{Analysis, AnalysisOptions, ImageFacts, LayerFacts};
use unbloat_contract::{AnalyzeRequest, Limits, Stage};
use unbloat_oci::Descriptor;
use unbloat_registry::{Client, Source};

use crate::diff_ids::DiffIds;
use crate::error::{Error, layer_error};
use crate::history::parse_platform;
use crate::image::Image;
use crate::open::single_of_several;
use crate::progress::Progress;
use crate::source::{Layers, Order};

/// Analyses an image. Each layer is read once, nothing is written.
///
/// # Errors
/// See [`Error`].
pub async fn analyze(
    client: &Client,
    request: &AnalyzeRequest,
    progress: &Arc<Progress>,
) -> Result<Analysis, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let platform = parse_platform(request.platform.as_deref())?;
    let source = client.source(&request.image.parse()?).await?;
    let (image, others) = single_of_several(&source, platform.as_ref(), request.allow_foreign).await?;
    let AnalyzeRequest { top, detailed, limits, .. } = request;
    let options = AnalysisOptions { top: *top, detailed: *detailed, ..options(limits) };
    let mut analysis = analyze_image(&source, &request.image, &image, limits, options, progress).await?;
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let list = others.join(", ");
        analysis
            .warnings
            .push(format!("the index has images for other platforms too, which --platform chooses: {list}"));
    }
    let seconds = started.elapsed().as_secs_f64();
    analysis.estimate.seconds = squash_seconds(seconds, &analysis, limits.threads());
    progress.enter(Stage::Finished, "");
    Ok(analysis)
}

fn options(limits: &Limits) -> AnalysisOptions {
    AnalysisOptions {
        top: Some(0),
        detailed: false,
        jobs: limits.threads(),
        max_unpacked_bytes: limits.max_unpacked_bytes,
        max_paths: limits.max_paths,
    }
}

async fn analyze_image(
    source: &Source,
    reference: &str,
    image: &Image,
    limits: &Limits,
    options: AnalysisOptions,
    progress: &Arc<Progress>,
) -> Result<Analysis, Error> {
    let facts = facts(reference, image);
    let descriptors = image.manifest.layers().to_vec();
    progress.enter(Stage::Analyzing, &facts.platform);
    progress.expect(descriptors.len() as u64, descriptors.iter().map(Descriptor::size).sum());
    let diff_ids = DiffIds::expected(&image.config, false);
    let layers = Layers::new(source, &descriptors, false, limits.prefetch_bytes(), progress)
        .in_order(Order::LowestFirst)
        .with_windows(limits.memory_bytes)
        .with_diff_ids(&diff_ids);
    let analysed = tokio::task::spawn_blocking(move || {
        loop {
            match unbloat_analysis::analyze(&layers, &facts, &options) {
                Err(unbloat_layers::Error::Layer { layer, source }) if layers.was_misread(layer, &source) => {
                }
                ended => return ended,
            }
        }
    })
    .await;
    let analysed = analysed.map_err(|panic| Error::Internal(panic.to_string()))?;
    let mut analysis = analysed.map_err(|error| layer_error(error, &descriptors, progress))?;
    analysis.warnings.extend(diff_ids.warnings());
    Ok(analysis)
}

/// Bytes of an image that upper layers hide.
pub(crate) async fn wasted_bytes(
    source: &Source,
    image: &Image,
    limits: &Limits,
    progress: &Arc<Progress>,
) -> Result<u64, Error> {
    let analysis = analyze_image(source, "", image, limits, options(limits), progress).await?;
    Ok(analysis.totals.wasted_bytes)
}

/// How long a squash takes where an analysis took `seconds`: it reads the same blobs, then writes what
/// survives while it reads. Bytes of gzip that survive are copied; what has to be made anew and hashed goes
/// at some 150 MB/s a core.
fn squash_seconds(seconds: f64, analysis: &Analysis, cores: usize) -> f64 {
    const ENCODED_PER_SECOND: f64 = 150e6;
    /// Of the surviving content, what lies at the edges of runs and cannot be copied (`docs/codecs.md`).
    const ENCODED_SHARE: f64 = 0.2;
    let encoded =
        analysis.totals.merged_bytes as f64 * ENCODED_SHARE / (ENCODED_PER_SECOND * cores.max(1) as f64);
    ((seconds + encoded) * 100.0).round() / 100.0
}

/// What manifest and config say of an image and its layers.
pub(crate) fn facts(reference: &str, image: &Image) -> ImageFacts {
    let Image { descriptor, manifest, config } = image;
    let steps = config.layer_history().unwrap_or_default();
    let layers = manifest.layers().iter().zip(config.diff_ids()).enumerate();
    ImageFacts {
        reference: reference.to_owned(),
        digest: descriptor.digest().to_string(),
        platform: image.platform(),
        layers: layers
            .map(|(index, (layer, diff_id))| {
                let step = steps.get(index).and_then(|step| config.history().get(*step));
                LayerFacts {
                    digest: layer.digest().to_string(),
                    diff_id: diff_id.to_string(),
                    media_type: layer.media_type().to_string(),
                    compressed_bytes: layer.size(),
                    created_by: step.and_then(|step| step.created_by.clone()),
                    created: step.and_then(|step| step.created.clone()),
                }
            })
            .collect(),
    }
}
