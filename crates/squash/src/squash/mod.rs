//! From a request to a result: every image of the source, one after the other, the tag last.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use unbloat_contract::{
    Compression, Figures, Format, NothingToDo, PlatformFigures, SquashRequest, SquashResult, Stage,
};
use unbloat_layers::{Options, Summary, merge};
use unbloat_oci::{Compression as Codec, Descriptor, Family, NewLayer};
use unbloat_registry::{
    BlobUpload, Client, Destination, Location, Remakes, Source, Unchanged, UploadOptions,
};

use crate::analyze::wasted_bytes;
use crate::assemble::{Assembly, IndexRules, Made, carry};
use crate::base;
use crate::cache::HeaderCache;
use crate::diff_ids::DiffIds;
use crate::encode::Settings;
use crate::error::Error;
use crate::image::Image;
use crate::listing::Links;
use crate::open::{Found, Wanted, open, parse_platforms};
use crate::output::{self, Compressed, Encoded};
use crate::place::at_digest;
use crate::progress::Progress;
use crate::source::Layers;
use crate::verify::{self, Side};

/// How the history entry of a squashed layer begins.
const CREATED_BY: &str = "unbloat squash";

/// Squashes what `request` names.
///
/// # Guarantees
/// Manifest and tag are written last, and the tag only while the source still has the digest that was read. On an error
/// nothing is published: at most blobs without a manifest are left, which registries collect.
///
/// # Errors
/// See [`Error`].
pub async fn squash(
    client: &Client,
    request: &SquashRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let source_at: Location = request.source.parse()?;
    let destination_at: Option<Location> =
        if request.dry_run { None } else { Some(request.destination.parse()?) };
    let source = client.source(&source_at).await?;
    let destination = match &destination_at {
        Some(location) => Some(client.destination(location).await?),
        None => None,
    };
    let run = Run { client, request, progress, source: &source, destination: destination.as_ref() };
    let wanted = parse_platforms(&request.platforms)?;
    let found = open(&source, Wanted::Platforms(&wanted), request.allow_foreign).await?;
    let digest = found.fetched.descriptor.digest();
    let mut result = SquashResult::default();
    result.figures.source_digest = digest.to_string();
    let watched = watched(client, &source_at, destination_at.as_ref(), &source).await?;
    let unchanged = Unchanged { source: &watched, digest };
    match run.nothing_to_do(&found).await? {
        Some(reason) => run.leave(&found, reason, &mut result).await?,
        None => {
            let made = run.images(&found).await?;
            run.publish(&found, &made, &unchanged, &mut result).await?;
        }
    }
    result.reclaimed_bytes = result.figures.pull_bytes_saved();
    result.bytes_read = source.bytes_read();
    result.bytes_written = destination.as_ref().map_or(0, Destination::bytes_written);
    result.duration_seconds = started.elapsed().as_secs_f64();
    progress.enter(Stage::Finished, "");
    Ok(result)
}

/// What must not have changed when the tag is moved. A source that is pinned (`NAME:TAG@DIGEST`) never changes; but when its
/// own tag is the destination, that tag must still point at the digest, or somebody else's push would be lost.
async fn watched(
    client: &Client,
    from: &Location,
    to: Option<&Location>,
    source: &Source,
) -> Result<Source, Error> {
    if let (Location::Registry(from), Some(Location::Registry(to))) = (from, to)
        && let Some(tag) = from.tag().filter(|tag| from.digest().is_some() && to.tag() == Some(tag))
        && from.name() == to.name()
        && let Ok(tagged) = from.with_tag(tag)
    {
        return Ok(client.source(&Location::Registry(tagged)).await?);
    }
    Ok(source.clone())
}

struct Run<'a> {
    client: &'a Client,
    request: &'a SquashRequest,
    progress: &'a Arc<Progress>,
    source: &'a Source,
    destination: Option<&'a Destination>,
}

impl Run<'_> {
    /// Every image, one after the other.
    async fn images(&self, found: &Found) -> Result<Vec<Made>, Error> {
        let mut made = Vec::new();
        for image in &found.images {
            made.push(self.image(image).await?);
        }
        Ok(made)
    }

    /// Whether there is a reason to leave all images as they are: they were squashed before, or are not worth it.
    async fn nothing_to_do(&self, found: &Found) -> Result<Option<NothingToDo>, Error> {
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
        // What `docker save` writes has plain layers, which a registry may refuse.
        let is_stored_plain = matches!(self.source.location(), Location::DockerArchive { .. });
        if *force || is_stored_plain || !self.request.only_shapes() {
            return Ok(None);
        }
        for image in &found.images {
            let kept = base::kept_layers(self.client, self.request, image).await?;
            if image.manifest.layers().len() > kept + 1 || !is_ours(image, kept) {
                return Ok(None);
            }
        }
        Ok(Some(NothingToDo::AlreadyFlat))
    }

    /// Leaves the images as they are. What is flat already goes to the destination all the same, as it is.
    async fn leave(
        &self,
        found: &Found,
        reason: NothingToDo,
        result: &mut SquashResult,
    ) -> Result<(), Error> {
        let digest = found.fetched.descriptor.digest();
        result.nothing_to_do = Some(reason);
        result.warnings.clear();
        result.figures.digest = digest.to_string();
        result.reference = at_digest(self.source.location(), digest).to_string();
        for image in &found.images {
            unchanged(image).count_into(result, found.images.len() > 1);
        }
        let Some(destination) = self.destination else { return Ok(()) };
        let copies = reason == NothingToDo::AlreadyFlat && self.request.copy_flat;
        if copies && destination.location() != self.source.location() {
            self.progress.enter(Stage::Publishing, "");
            let report = unbloat_registry::copy(self.source, destination, &[]).await?;
            result.reference = report.published.reference;
        }
        Ok(())
    }

    /// Writes the last documents and moves the name.
    async fn publish(
        &self,
        found: &Found,
        made: &[Made],
        unchanged: &Unchanged<'_>,
        result: &mut SquashResult,
    ) -> Result<(), Error> {
        result.warnings = found.warnings();
        for image in made {
            image.count_into(result, made.len() > 1);
        }
        let family = match self.request.format {
            Format::Keep => None,
            Format::Oci => Some(Family::Oci),
            Format::Docker => Some(Family::Docker),
        };
        let assembly = Assembly {
            images: &found.images,
            made,
            source: self.source,
            destination: self.destination,
            rules: IndexRules { family, keeps_base: self.request.base.is_some() },
        };
        let (media_type, bytes) = assembly.document(found).await?;
        let Some(destination) = self.destination else { return Ok(()) };
        self.progress.enter(Stage::Publishing, "");
        let published = destination.publish(&media_type, bytes, Some(unchanged.clone())).await?;
        result.figures.digest = published.descriptor.digest().to_string();
        result.reference = published.reference;
        if self.request.verify && matches!(destination.location(), Location::OciArchive { .. }) {
            self.verify_archive(result).await?;
        }
        Ok(())
    }

    /// Squashes one image and puts all of it but the manifest at the destination.
    async fn image(&self, image: &Image) -> Result<Made, Error> {
        let layers = image.manifest.layers().to_vec();
        let kept = base::kept_layers(self.client, self.request, image).await?;
        if kept >= layers.len() {
            return Err(Error::Request(format!(
                "nothing to squash: the image has {} layers and {kept} of them are kept",
                layers.len()
            )));
        }
        let family = match self.request.format {
            Format::Keep => image.manifest.family(),
            Format::Oci => Family::Oci,
            Format::Docker => Family::Docker,
        };
        let codec = self.codec(image, kept, family)?;
        let platform = image.platform();
        self.progress.enter(Stage::Merging, &platform);
        let before: u64 = layers.iter().map(Descriptor::size).sum();
        self.progress.expect(layers.len() as u64, before);
        let diff_ids = DiffIds::expected(&image.config, self.request.strict);
        let (encoded, summary) = self.make_layer(&layers, kept, codec, &diff_ids).await?;
        let mut warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
        if summary.more_warnings > 0 {
            warnings.push(format!("and {} more warnings", summary.more_warnings));
        }
        warnings.extend(diff_ids.warnings());

        let what = || format!("image {}", image.descriptor.digest());
        let in_document = |source| Error::Document { what: what(), source };
        let mut config = image.config.clone();
        let new = NewLayer {
            diff_id: encoded.diff_id.clone(),
            created_by: self.created_by(kept),
            comment: Some(format!("{} layers of {} in one", layers.len() - kept, image.descriptor.digest())),
        };
        config.squash(kept, Some(&new)).map_err(in_document)?;
        let media_type = family.layer(codec).ok_or_else(|| {
            Error::Request(
                "Docker manifests have no zstd layers; use --format oci or --compression gzip".into(),
            )
        })?;
        let mut after = layers[..kept].to_vec();
        after.push(Descriptor::new(media_type, encoded.digest.clone(), encoded.size));
        let config_bytes = Bytes::from(config.to_bytes());
        let mut manifest = image.manifest.clone();
        manifest.set_layers(after.clone());
        manifest.set_config(Descriptor::of(manifest.config().media_type().clone(), &config_bytes));
        manifest.set_family(family).map_err(|(index, refusal)| {
            Error::Request(format!("layer {index} cannot be kept in this format: {refusal}"))
        })?;
        if !base::stays_true(self.client, self.source, self.request, image, kept).await {
            manifest.remove_base_annotations().map_err(in_document)?;
        }
        if family == Family::Oci {
            let digest = image.descriptor.digest().to_string();
            manifest.set_annotation("dev.unbloat.source.digest", &digest).map_err(in_document)?;
            manifest.set_annotation("dev.unbloat.options", &self.options_text(kept)).map_err(in_document)?;
        }
        let bytes = Bytes::from(manifest.to_bytes());
        if let Some(destination) = self.destination {
            self.progress.enter(Stage::CopyingBase, &platform);
            carry(destination, layers[..kept].iter().map(|layer| (self.source, layer))).await?;
            destination.put_blob(manifest.config().media_type().clone(), config_bytes).await?;
            let archive = matches!(destination.location(), Location::OciArchive { .. });
            if self.request.verify && !archive {
                self.progress.enter(Stage::Verifying, &platform);
                let descriptor = destination.put_manifest(manifest.media_type(), bytes.clone()).await?;
                let place = at_digest(destination.location(), descriptor.digest());
                let made = self.client.source(&place).await?;
                self.verify(image, &made, kept).await?;
            }
        }
        let unpacked = |range: &[u64]| range.iter().sum::<u64>();
        Ok(Made {
            figures: PlatformFigures {
                platform,
                figures: Figures {
                    source_digest: image.descriptor.digest().to_string(),
                    digest: unbloat_oci::Digest::sha256_of(&bytes).to_string(),
                    layers_before: layers.len() as u64,
                    layers_after: after.len() as u64,
                    compressed_bytes_before: before,
                    compressed_bytes_after: after.iter().map(Descriptor::size).sum(),
                    unpacked_bytes_before: unpacked(&summary.unpacked_bytes),
                    unpacked_bytes_after: unpacked(&summary.unpacked_bytes[..kept])
                        + summary.written.tar_bytes,
                },
            },
            warnings,
            media_type: manifest.media_type().clone(),
            bytes,
        })
    }

    fn codec(&self, image: &Image, kept: usize, family: Family) -> Result<Codec, Error> {
        let codec = match self.request.compression {
            Compression::Keep => {
                let common = image.common_compression(kept);
                if common == Codec::Zstd && family == Family::Docker { Codec::Gzip } else { common }
            }
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
            Compression::None => Codec::None,
        };
        if codec == Codec::Zstd && family == Family::Docker {
            let advice = "Docker manifests have no zstd layers; use --format oci or --compression gzip";
            return Err(Error::Request(advice.into()));
        }
        Ok(codec)
    }

    /// The options that have a part in the result, for annotations and history.
    fn options_text(&self, kept: usize) -> String {
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

    fn created_by(&self, kept: usize) -> String {
        format!("{CREATED_BY} {}", self.options_text(kept)).trim_end().to_owned()
    }

    pub(crate) fn merge_options(&self, kept: usize) -> Options {
        merge_options(self.request, kept)
    }

    /// Merges the layers into a new blob at the destination.
    async fn make_layer(
        &self,
        layers: &[Descriptor],
        kept: usize,
        codec: Codec,
        diff_ids: &DiffIds,
    ) -> Result<(Encoded, Summary), Error> {
        let options = self.merge_options(kept);
        let encoders = self.request.limits.encoders();
        let settings = Settings::new(codec, self.request.level, encoders).map_err(Error::Request)?;
        let mut remakes = self.destination.map(Destination::remakes);
        loop {
            let prefetch = self.request.limits.prefetch_bytes();
            let cache = self.request.limits.cache.as_deref().map(HeaderCache::new);
            let source = Layers::new(self.source, layers, codec == Codec::Gzip, prefetch, self.progress)
                .with_windows(self.request.limits.memory_bytes)
                .with_cache(cache, kept)
                .with_diff_ids(diff_ids);
            let (mut batches, buffers, thread) = output::start(settings, self.progress);
            let (count, options) = (layers.len(), options.clone());
            let merging = tokio::task::spawn_blocking(move || {
                let summary = merge(&source, count, &options, &mut batches)?;
                batches.end().map_err(unbloat_layers::Error::Output)?;
                Ok(summary)
            });
            let (merged, uploaded) = tokio::join!(merging, self.upload(buffers));
            let upload = match uploaded {
                Ok(upload) => upload,
                // The registry lost what it had of the layer, or refused the way it came: the same layer once more.
                Err(error) if again(&mut remakes, &error).await => continue,
                Err(error) => return Err(error.into()),
            };
            let merged = merged.map_err(|panic| Error::Internal(panic.to_string()))?;
            let encoded = tokio::task::spawn_blocking(move || thread.join())
                .await
                .map_err(|panic| Error::Internal(panic.to_string()))?
                .map_err(|_| Error::Internal("the codec's thread panicked".into()))?;
            let summary = match merged {
                Ok(summary) => summary,
                Err(unbloat_layers::Error::Output(cause)) => {
                    return Err(match (encoded, self.progress.is_cancelled()) {
                        (_, true) => Error::Cancelled,
                        (Err(reason), false) => Error::Output(reason),
                        (Ok(_), false) => Error::Output(cause.to_string()),
                    });
                }
                Err(error) => return Err(layer_error(error, layers, self.progress)),
            };
            let encoded = encoded.map_err(Error::Output)?;
            let encoded = encoded.ok_or_else(|| Error::Internal("the merged stream was cut off".into()))?;
            if let Some(upload) = upload
                && let Err(error) = upload.finish(Some(encoded.digest.clone())).await
            {
                if again(&mut remakes, &error).await {
                    continue;
                }
                return Err(error.into());
            }
            return Ok((encoded, summary));
        }
    }

    /// Sends what the codec makes, until it ends; a blob that begins anew is another upload. When this ends, so does the
    /// queue: a failed upload must not leave the codec waiting for room.
    async fn upload(
        &self,
        mut buffers: Receiver<Compressed>,
    ) -> Result<Option<BlobUpload>, unbloat_registry::Error> {
        let begin = async || match self.destination {
            Some(destination) => destination.upload(UploadOptions { hash: false }).await.map(Some),
            None => Ok(None),
        };
        let mut upload = begin().await?;
        while let Some(compressed) = buffers.recv().await {
            match compressed {
                Compressed::Restart => {
                    drop(upload.take());
                    upload = begin().await?;
                }
                Compressed::Bytes(bytes) => {
                    self.progress.wrote(bytes.len());
                    if let Some(upload) = &mut upload {
                        upload.write(bytes).await?;
                    }
                }
            }
        }
        Ok(upload)
    }

    async fn verify(&self, image: &Image, made: &Source, kept: usize) -> Result<(), Error> {
        let made_image = crate::open::single(made, None, true).await?;
        let options = self.merge_options(0);
        let plain = Options { jobs: options.jobs, ..Options::default() };
        let sides = (
            Side { source: self.source, image, options: &options },
            Side { source: made, image: &made_image, options: &plain },
        );
        let links = if kept > 0 { Links::MaySplit } else { Links::Same };
        let outcome =
            verify::compare_images(sides, links, &[], &self.request.limits, false, self.progress).await?;
        match outcome.differences.first() {
            None => Ok(()),
            Some(first) => Err(Error::Verification(format!(
                "{} of {} paths differ, first {}: {}",
                outcome.different, outcome.paths, first.path, first.what
            ))),
        }
    }

    /// An archive cannot be read before it is complete, so it is verified afterwards and taken away if it is wrong.
    async fn verify_archive(&self, result: &SquashResult) -> Result<(), Error> {
        let Some(destination) = self.destination else { return Ok(()) };
        let Location::OciArchive { path, .. } = destination.location() else { return Ok(()) };
        self.progress.enter(Stage::Verifying, "");
        for platform in &result.platforms {
            let source_digest =
                platform.figures.source_digest.parse().map_err(|_| Error::Internal("digest".into()))?;
            let read = self.client.source(&at_digest(self.source.location(), &source_digest)).await?;
            let image = crate::open::single(&read, None, true).await?;
            let digest = platform.figures.digest.parse().map_err(|_| Error::Internal("digest".into()))?;
            let made = self.client.source(&at_digest(destination.location(), &digest)).await?;
            let kept = base::kept_layers(self.client, self.request, &image).await?;
            if let Err(error) = self.verify(&image, &made, kept).await {
                let _ = std::fs::remove_file(path);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether to make a layer again after a failed upload.
async fn again(remakes: &mut Option<Remakes>, error: &unbloat_registry::Error) -> bool {
    match remakes {
        Some(remakes) => remakes.again(error).await,
        None => false,
    }
}

/// An image as it is, among others that may have changed.
fn unchanged(image: &Image) -> Made {
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

/// Whether the layer above the kept ones is one that a squash made: it has nothing to give.
fn is_ours(image: &Image, kept: usize) -> bool {
    let Some(steps) = image.config.layer_history() else { return false };
    let step = steps.get(kept).and_then(|step| image.config.history().get(*step));
    step.and_then(|step| step.created_by.as_deref()).is_some_and(|by| by.starts_with(CREATED_BY))
}

/// The merge's options for a request.
pub(crate) fn merge_options(request: &SquashRequest, kept: usize) -> Options {
    let limits = &request.limits;
    Options {
        remove: request.remove.clone(),
        truncate: request.truncate.clone(),
        strict: request.strict,
        follow_symlinked_parents: request.follow_symlinked_parents,
        base_layers: kept,
        jobs: limits.threads(),
        hold_bytes: limits.hold_bytes(),
        max_unpacked_bytes: limits.max_unpacked_bytes,
        max_paths: limits.max_paths,
    }
}

/// The merge's error with the layer's name.
pub(crate) fn layer_error(error: unbloat_layers::Error, layers: &[Descriptor], progress: &Progress) -> Error {
    use unbloat_layers::LayerError;
    if progress.is_cancelled() {
        return Error::Cancelled;
    }
    let (index, source) = match error {
        unbloat_layers::Error::Layer { layer, source } => (layer, source),
        other @ (unbloat_layers::Error::Pattern { .. }
        | unbloat_layers::Error::PatternUnmatched { .. }
        | unbloat_layers::Error::TooManyLayers(_)) => return Error::Request(other.to_string()),
        other => return Error::Output(other.to_string()),
    };
    let limit = matches!(source, LayerError::UnpackedLimit { .. } | LayerError::PathLimit { .. });
    let (reason, source) = match source {
        LayerError::Stream(cause) => match cause.downcast::<unbloat_registry::Error>() {
            Ok(error) => (error.to_string(), Some(error)),
            Err(cause) => (cause.to_string(), None),
        },
        other => (other.to_string(), None),
    };
    let Some(layer) = layers.get(index) else { return Error::Internal(reason) };
    Error::Layer {
        index,
        digest: layer.digest().clone(),
        media_type: layer.media_type().to_string(),
        reason,
        source,
        limit,
    }
}
