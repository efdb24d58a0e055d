//! Edits that rewrite no layer: a whiteout layer on top, other base layers below.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use unbloat_contract::{Figures, Limits, PlatformFigures, RebaseRequest, RemoveRequest, SquashResult, Stage};
use unbloat_layers::Options;
use unbloat_oci::{Compression, Descriptor, Digest, ImageConfig, Manifest, NewLayer};
use unbloat_registry::{Client, Destination, Source, Unchanged};

use crate::base::common_prefix;
use crate::error::Error;
use crate::history::parse_platform;
use crate::image::{self, Image};
use crate::listing;
use crate::progress::Progress;
use crate::run::layer_error;
use crate::source::Layers;

/// Puts one layer of whiteouts on an image. Bytes stay in the registry; what a container sees is gone.
///
/// # Errors
/// See [`Error`].
pub async fn remove(
    client: &Client,
    request: &RemoveRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let source = client.source(&request.source.parse()?).await?;
    let destination = client.destination(&request.destination.parse()?).await?;
    let image =
        image::single(&source, parse_platform(request.platforms.first().map(String::as_str))?.as_ref(), true)
            .await?;
    let tar = whiteouts(&request.paths)?;
    let family = image.manifest.family();
    let media_type = family
        .layer(Compression::Gzip)
        .ok_or_else(|| Error::Internal("a family without gzip layers".into()))?;
    let mut gzip =
        flate2::GzBuilder::new().operating_system(255).write(Vec::new(), flate2::Compression::new(6));
    let blob = gzip.write_all(&tar).and_then(|()| gzip.finish());
    let blob = blob.map_err(|error| Error::Output(error.to_string()))?;
    let mut config = image.config.clone();
    let new = NewLayer {
        diff_id: Digest::sha256_of(&tar),
        created_by: format!("unbloat remove {}", request.paths.join(" ")),
        comment: None,
    };
    let in_config = |source| Error::Document { what: "config".into(), source };
    config.append(&new).map_err(in_config)?;
    progress.enter(Stage::Publishing, "");
    let layer = destination.put_blob(media_type, blob.into()).await?;
    let mut layers = image.manifest.layers().to_vec();
    layers.push(layer);
    let mut manifest = image.manifest.clone();
    manifest.set_layers(layers);
    let kept: Vec<_> = image.manifest.layers().iter().map(|layer| (&source, layer)).collect();
    publish(Edit {
        image: &image,
        manifest,
        config,
        source: &source,
        destination: &destination,
        kept,
        started,
    })
    .await
    .inspect(|_| progress.enter(Stage::Finished, ""))
}

/// Puts the layers above one base onto another.
///
/// # Errors
/// [`Error::Request`] if the image does not begin with all layers of the old base; an error of merging if the layers
/// above cannot stand on the new one (a hard link to a file that it lacks).
pub async fn rebase(
    client: &Client,
    request: &RebaseRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let source = client.source(&request.source.parse()?).await?;
    let old_source = client.source(&request.old_base.parse()?).await?;
    let new_source = client.source(&request.new_base.parse()?).await?;
    let destination = client.destination(&request.destination.parse()?).await?;
    let image =
        image::single(&source, parse_platform(request.platforms.first().map(String::as_str))?.as_ref(), true)
            .await?;
    let wanted = image.config.platform();
    let old = image::single(&old_source, Some(&wanted), true).await?;
    let new = image::single(&new_source, Some(&wanted), true).await?;
    let below = old.manifest.layers().len();
    let common = common_prefix(&image.config, &old.config);
    if common < below {
        return Err(Error::Request(format!(
            "{} is not based on {}: layer {common} differs (the base has {below})",
            request.source, request.old_base
        )));
    }
    let family = image.manifest.family();
    let mut manifest = image.manifest.clone();
    let in_base = |layer: &Descriptor| -> Result<Descriptor, Error> {
        let mut layer = layer.clone();
        let there = layer.media_type().in_family(family).ok_or_else(|| {
            Error::Request(format!(
                "layer {} of the new base is {}, which the image's format has no type for",
                layer.digest(),
                layer.media_type()
            ))
        })?;
        layer.set_media_type(there);
        Ok(layer)
    };
    let mut layers = new.manifest.layers().iter().map(in_base).collect::<Result<Vec<_>, _>>()?;
    layers.extend_from_slice(&image.manifest.layers()[below..]);
    manifest.set_layers(layers.clone());
    let mut config = image.config.clone();
    let mut history = new.config.base_history(new.manifest.layers().len());
    history.extend(upper_history(&image.config, below));
    let mut diff_ids = new.config.diff_ids().to_vec();
    diff_ids.extend_from_slice(&image.config.diff_ids()[below..]);
    let in_config = |source| Error::Document { what: "config".into(), source };
    config.set_history(history);
    config.set_diff_ids(diff_ids).map_err(in_config)?;

    // What squashing would give is what the layers merge to; if they do not merge, there is no such image.
    progress.enter(Stage::Verifying, "");
    let mut kept: Vec<_> = layers[..layers.len() - (image.manifest.layers().len() - below)]
        .iter()
        .map(|layer| (&new_source, layer))
        .collect();
    kept.extend(image.manifest.layers()[below..].iter().map(|layer| (&source, layer)));
    let lower = layers.len() - (image.manifest.layers().len() - below);
    let both =
        Layers::two(&new_source, &source, &layers, lower, progress).with_windows(request.limits.memory_bytes);
    let warnings = check(both, &layers, &request.limits, progress).await?;

    progress.enter(Stage::Publishing, "");
    let edit =
        Edit { image: &image, manifest, config, source: &source, destination: &destination, kept, started };
    let mut result = publish(edit).await?;
    result.warnings = warnings;
    progress.enter(Stage::Finished, "");
    Ok(result)
}

/// Merges the rebased image for the sake of its errors and warnings.
async fn check(
    both: Layers,
    layers: &[Descriptor],
    limits: &Limits,
    progress: &Arc<Progress>,
) -> Result<Vec<String>, Error> {
    let count = layers.len();
    let options = Options {
        jobs: limits.threads(),
        hold_bytes: limits.hold_bytes(),
        max_unpacked_bytes: limits.max_unpacked_bytes,
        max_paths: limits.max_paths,
        ..Options::default()
    };
    let listed = tokio::task::spawn_blocking(move || listing::list(&both, count, &options)).await;
    let listed = listed.map_err(|panic| Error::Internal(panic.to_string()))?;
    let (_, summary) = listed.map_err(|error| layer_error(error, layers, progress))?;
    Ok(summary.warnings.iter().map(ToString::to_string).collect())
}

/// The history of the layers from `below` up, with the steps between them.
fn upper_history(config: &ImageConfig, below: usize) -> Vec<unbloat_oci::HistoryEntry> {
    let lower = config.base_history(below).len();
    match config.layer_history() {
        Some(_) => config.history()[lower..].to_vec(),
        None => config.diff_ids()[below..]
            .iter()
            .map(|_| unbloat_oci::HistoryEntry::new(None, "layer without history", None, false))
            .collect(),
    }
}

struct Edit<'a> {
    image: &'a Image,
    manifest: Manifest,
    config: ImageConfig,
    source: &'a Source,
    destination: &'a Destination,
    /// Layers that exist, with where they are.
    kept: Vec<(&'a Source, &'a Descriptor)>,
    started: Instant,
}

async fn publish(edit: Edit<'_>) -> Result<SquashResult, Error> {
    let Edit { image, mut manifest, config, source, destination, kept, started } = edit;
    stream::iter(kept)
        .map(|(source, layer)| async move { destination.copy_blob(source, layer).await.map(|_| ()) })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    let bytes = Bytes::from(config.to_bytes());
    manifest.set_config(destination.put_blob(manifest.config().media_type().clone(), bytes).await?);
    let bytes = Bytes::from(manifest.to_bytes());
    let resolved = source.resolve().await?;
    let unchanged = Unchanged { source, digest: resolved.descriptor.digest() };
    let published = destination.publish(manifest.media_type(), bytes, Some(unchanged)).await?;
    let size = |layers: &[Descriptor]| layers.iter().map(Descriptor::size).sum::<u64>();
    let figures = Figures {
        source_digest: image.descriptor.digest().to_string(),
        digest: published.descriptor.digest().to_string(),
        layers_before: image.manifest.layers().len() as u64,
        layers_after: manifest.layers().len() as u64,
        compressed_bytes_before: size(image.manifest.layers()),
        compressed_bytes_after: size(manifest.layers()),
        unpacked_bytes_before: 0,
        unpacked_bytes_after: 0,
    };
    Ok(SquashResult {
        reference: published.reference,
        reclaimed_bytes: figures.pull_bytes_saved(),
        bytes_read: source.bytes_read(),
        bytes_written: destination.bytes_written(),
        duration_seconds: started.elapsed().as_secs_f64(),
        platforms: vec![PlatformFigures { platform: image.platform(), figures: figures.clone() }],
        figures,
        ..SquashResult::default()
    })
}

/// A layer that removes `paths`.
fn whiteouts(paths: &[String]) -> Result<Vec<u8>, Error> {
    let mut names = BTreeSet::new();
    for path in paths {
        if path.contains(['*', '?', '[']) {
            return Err(Error::Request(format!(
                "{path:?} looks like a pattern; remove takes paths (squash --remove takes patterns)"
            )));
        }
        let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let whiteout = parts.iter().any(|part| part.starts_with(".wh."));
        let Some((base, dir)) = parts.split_last().filter(|_| !parts.contains(&"..") && !whiteout) else {
            return Err(Error::Request(format!("{path:?} is no path below the root of an image")));
        };
        let mut name = dir.join("/");
        if !name.is_empty() {
            name.push('/');
        }
        names.insert(format!("{name}.wh.{base}"));
    }
    Ok(unbloat_layers::tar::empty_files(names.iter().map(String::as_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whiteout_layer_names_each_path_once_and_stays_below_the_root() {
        let paths = ["/var/log/btmp", "var/log/btmp", "/tmp/x/"].map(str::to_owned);
        let tar = whiteouts(&paths).unwrap();
        assert_eq!(tar.len(), 2 * 512 + 1024);
        for bad in ["/", "a/../b", "/etc/*.conf", "a/.wh.b"] {
            assert!(whiteouts(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
