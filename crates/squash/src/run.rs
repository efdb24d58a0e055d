//! From a request to a result: every image of the source, one after the other, the tag last.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::Receiver;
use unbloat_contract::{Compression, Figures, Format, PlatformFigures, SquashRequest, SquashResult, Stage};
use unbloat_layers::{Options, Summary, merge};
use unbloat_oci::{
    AnyManifest, Compression as Codec, Descriptor, EntryKind, Family, Index, MediaType, NewLayer, Platform,
};
use unbloat_registry::{
    BlobUpload, Client, Destination, Fetched, Location, Remakes, Source, Unchanged, UploadOptions,
};

use crate::base;
use crate::cache::HeaderCache;
use crate::encode::Settings;
use crate::error::Error;
use crate::image::Image;
use crate::output::{self, Compressed, Encoded};
use crate::place::at_digest;
use crate::progress::Progress;
use crate::source::Layers;
use crate::verify;

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
    let fetched = source.resolve().await?;
    let what = || format!("{source_at} ({})", fetched.descriptor.digest());
    let parsed = fetched.parse().map_err(|source| Error::Document { what: what(), source })?;
    let mut result = SquashResult::default();
    result.figures.source_digest = fetched.descriptor.digest().to_string();
    let (media_type, bytes) = match parsed {
        AnyManifest::Image(_) => {
            let done = run.image(&fetched, None).await?;
            run.require_platform(&done)?;
            run.add(&mut result, &done);
            (done.media_type, done.bytes)
        }
        AnyManifest::Index(index) => run.index(index, &mut result).await?,
    };
    if let Some(destination) = &destination {
        progress.enter(Stage::Publishing, "");
        let watched = watched(client, &source_at, destination_at.as_ref(), &source).await?;
        let unchanged = Unchanged { source: &watched, digest: fetched.descriptor.digest() };
        let published = destination.publish(&media_type, bytes, Some(unchanged)).await?;
        result.figures.digest = published.descriptor.digest().to_string();
        result.reference = published.reference;
        if request.verify && matches!(destination_at, Some(Location::OciArchive { .. })) {
            run.verify_archive(&result).await?;
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

/// One image that is at the destination but for its manifest.
struct Done {
    figures: PlatformFigures,
    warnings: Vec<String>,
    media_type: MediaType,
    bytes: Bytes,
}

impl Run<'_> {
    fn add(&self, result: &mut SquashResult, done: &Done) {
        let PlatformFigures { platform, figures } = &done.figures;
        result.figures.add(figures);
        let several = !result.platforms.is_empty() || self.request.platforms.len() > 1;
        result.warnings.extend(done.warnings.iter().map(|warning| match several {
            true => format!("{platform}: {warning}"),
            false => warning.clone(),
        }));
        result.platforms.push(done.figures.clone());
    }

    fn platforms(&self) -> Result<Vec<Platform>, Error> {
        let parse = |text: &String| {
            text.parse().map_err(|error| Error::Request(format!("--platform {text}: {error}")))
        };
        self.request.platforms.iter().map(parse).collect()
    }

    fn require_platform(&self, done: &Done) -> Result<(), Error> {
        let wanted = self.platforms()?;
        let has: Option<Platform> = done.figures.platform.parse().ok();
        if wanted.is_empty() || has.as_ref().is_none_or(|has| wanted.iter().any(|wanted| has.is(wanted))) {
            return Ok(());
        }
        Err(Error::Request(format!("the image is for {} only", done.figures.platform)))
    }

    /// Every image of an index; what is no image of the wanted platforms is left out, and said.
    async fn index(&self, mut index: Index, result: &mut SquashResult) -> Result<(MediaType, Bytes), Error> {
        let wanted = self.platforms()?;
        let mut entries = Vec::new();
        for descriptor in index.manifests() {
            match descriptor.kind() {
                EntryKind::Image(_) => {}
                EntryKind::Attestation { .. } => {
                    result.warnings.push(format!(
                        "attestation {} is left out: it is about a digest that the result does not have",
                        descriptor.digest()
                    ));
                    continue;
                }
                EntryKind::Index => {
                    return Err(Error::Unsupported(format!(
                        "entry {} of the index is an index itself; name it by its digest",
                        descriptor.digest()
                    )));
                }
                EntryKind::Artifact { .. } => {
                    if let Some(destination) = self.destination {
                        self.copy_artifact(destination, descriptor).await?;
                    }
                    entries.push(descriptor.clone());
                    continue;
                }
            }
            let chosen = |platform: &Platform| wanted.iter().any(|wanted| platform.is(wanted));
            if !wanted.is_empty() && !descriptor.platform().is_some_and(chosen) {
                continue;
            }
            let fetched = self.source.manifest(descriptor).await?;
            let done = self.image(&fetched, Some(descriptor)).await?;
            self.add(result, &done);
            let mut entry = descriptor.clone();
            entry.set_media_type(done.media_type.clone());
            entry.set_content(unbloat_oci::Digest::sha256_of(&done.bytes), done.bytes.len() as u64);
            if let Some(destination) = self.destination {
                destination.put_manifest(&done.media_type, done.bytes).await?;
            }
            entries.push(entry);
        }
        if result.platforms.is_empty() {
            return Err(Error::Request(format!(
                "{} has no image for {}",
                self.source.location(),
                self.request.platforms.join(", ")
            )));
        }
        let family = match self.request.format {
            Format::Keep => index.family(),
            Format::Oci => Family::Oci,
            Format::Docker => Family::Docker,
        };
        index.set_family(family);
        index.set_manifests(entries);
        if self.request.base.is_none() {
            index
                .remove_base_annotations()
                .map_err(|source| Error::Document { what: "index".into(), source })?;
        }
        Ok((index.media_type().clone(), index.to_bytes().into()))
    }

    async fn copy_artifact(&self, destination: &Destination, descriptor: &Descriptor) -> Result<(), Error> {
        let fetched = self.source.manifest(descriptor).await?;
        for blob in blobs_of(&fetched.bytes) {
            destination.copy_blob(self.source, &blob).await?;
        }
        destination.put_manifest(descriptor.media_type(), fetched.bytes).await?;
        Ok(())
    }

    /// Squashes one image and puts all of it but the manifest at the destination.
    async fn image(&self, fetched: &Fetched, entry: Option<&Descriptor>) -> Result<Done, Error> {
        let mut image = Image::read(self.source, fetched, self.request.allow_foreign).await?;
        if let Some(entry) = entry {
            image.descriptor = entry.clone();
        }
        let layers = image.manifest.layers().to_vec();
        let kept = base::kept_layers(self.client, self.request, &image).await?;
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
        let codec = self.codec(&image, kept, family)?;
        let platform = image.platform();
        self.progress.enter(Stage::Merging, &platform);
        let before: u64 = layers.iter().map(Descriptor::size).sum();
        self.progress.expect(layers.len() as u64, before);
        let (encoded, summary) = self.make_layer(&layers, kept, codec).await?;
        let mut warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
        if summary.more_warnings > 0 {
            warnings.push(format!("and {} more warnings", summary.more_warnings));
        }

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
        if kept == 0 {
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
            stream::iter(&layers[..kept])
                .map(|layer| async move { destination.copy_blob(self.source, layer).await.map(|_| ()) })
                .buffer_unordered(4)
                .try_collect::<()>()
                .await?;
            destination.put_blob(manifest.config().media_type().clone(), config_bytes).await?;
            let archive = matches!(destination.location(), Location::OciArchive { .. });
            if self.request.verify && !archive {
                self.progress.enter(Stage::Verifying, &platform);
                let descriptor = destination.put_manifest(manifest.media_type(), bytes.clone()).await?;
                let place = at_digest(destination.location(), descriptor.digest());
                let made = self.client.source(&place).await?;
                self.verify(&image, &made, kept).await?;
            }
        }
        let unpacked = |range: &[u64]| range.iter().sum::<u64>();
        Ok(Done {
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
        format!("unbloat squash {}", self.options_text(kept)).trim_end().to_owned()
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
                .with_cache(cache, kept);
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
        let made_image = crate::image::single(made, None, true).await?;
        let outcome = verify::compare_images(
            (self.source, image, &self.merge_options(0)),
            (made, &made_image, &Options { jobs: self.merge_options(0).jobs, ..Options::default() }),
            if kept > 0 { crate::listing::Links::MaySplit } else { crate::listing::Links::Same },
            &[],
            self.request.limits.memory_bytes,
            self.progress,
        )
        .await?;
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
            let image = crate::image::single(&read, None, true).await?;
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

/// The blobs that a manifest of any kind names.
fn blobs_of(manifest: &[u8]) -> Vec<Descriptor> {
    #[derive(serde::Deserialize)]
    struct Blob {
        #[serde(rename = "mediaType", default)]
        media_type: String,
        digest: unbloat_oci::Digest,
        size: u64,
    }
    #[derive(serde::Deserialize, Default)]
    struct Blobs {
        config: Option<Blob>,
        #[serde(default)]
        layers: Vec<Blob>,
        #[serde(default)]
        blobs: Vec<Blob>,
    }
    let Blobs { config, layers, blobs } = serde_json::from_slice(manifest).unwrap_or_default();
    let all = config.into_iter().chain(layers).chain(blobs);
    all.map(|blob| Descriptor::new(MediaType::new(&blob.media_type), blob.digest, blob.size)).collect()
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
