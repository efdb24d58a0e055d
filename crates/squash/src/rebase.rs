//! Swapping the base of an image: its own layers on top of other ones, none of them rewritten.
//!
//! Layers say what they change, and rely on what is below for the rest: a folder that they write into, a file
//! that they link to, a link's target. So both bases are read by their names, and what the upper layers use
//! has to be the same kind of thing in both; else the result would lose files that nobody removed (`lib` as a
//! directory over a base where it is a symlink).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use unbloat_contract::{Figures, PlatformFigures, RebaseRequest, SquashResult, Stage};
use unbloat_oci::{Descriptor, Digest, Family, ImageConfig, Manifest, Platform};
use unbloat_registry::{Client, Destination, Location, Source, Unchanged};

use crate::assemble::{Assembly, IndexRules, Made, carry};
use crate::base::common_prefix;
use crate::conflicts::{self, Uses};
use crate::diff_ids::DiffIds;
use crate::error::Error;
use crate::image::Image;
use crate::open::{Wanted, open, parse_platforms, single};
use crate::progress::Progress;
use crate::source::Layers;
use crate::tree::{self, Tree};

/// Paths that a refusal names.
const MOST_NAMED: usize = 20;

/// Puts the layers above one base onto another.
///
/// # Errors
/// [`Error::Request`] if the image does not begin with all layers of the old base, if the new base is for
/// another platform, or if what the upper layers use means something else there; an error of merging if they
/// cannot stand on it.
pub async fn rebase(
    client: &Client,
    request: &RebaseRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let source = client.source(&request.source.parse()?).await?;
    let old = client.source(&request.old_base.parse()?).await?;
    let new = client.source(&request.new_base.parse()?).await?;
    let wanted = parse_platforms(&request.platforms)?;
    let found = open(&source, Wanted::Platforms(&wanted), true).await?;
    let run = Run { request, progress, source: &source, old: &old, new: &new };
    let mut plans = Vec::new();
    for image in &found.images {
        plans.push(run.plan(image).await?);
    }

    progress.enter(Stage::Publishing, "");
    let destination = client.destination_for(&request.destination.parse()?, &source).await?;
    destination.require_room_for(found.images.len())?;
    let mut made = Vec::new();
    for (image, plan) in found.images.iter().zip(plans) {
        made.push(run.place(&destination, image, plan).await?);
    }
    let assembly = Assembly {
        images: &found.images,
        made: &made,
        source: &source,
        destination: Some(&destination),
        rules: IndexRules { family: None, keeps_base: false },
    };
    let (media_type, bytes) = assembly.document(&found).await?;
    let unchanged = Unchanged { source: &source, digest: found.fetched.descriptor.digest() };
    let published = destination.publish(&media_type, bytes, Some(unchanged)).await?;
    let mut result = SquashResult {
        warnings: found.warnings(),
        reference: published.reference,
        ..SquashResult::default()
    };
    result.figures.source_digest = found.fetched.descriptor.digest().to_string();
    result.figures.digest = published.descriptor.digest().to_string();
    for image in &made {
        image.count_into(&mut result, made.len() > 1);
    }
    result.reclaimed_bytes = result.figures.pull_bytes_saved();
    result.bytes_read = source.bytes_read() + old.bytes_read() + new.bytes_read();
    result.bytes_written = destination.bytes_written();
    result.duration_seconds = started.elapsed().as_secs_f64();
    progress.enter(Stage::Finished, "");
    Ok(result)
}

struct Run<'a> {
    request: &'a RebaseRequest,
    progress: &'a Arc<Progress>,
    source: &'a Source,
    old: &'a Source,
    new: &'a Source,
}

/// What becomes of one image.
struct Plan {
    manifest: Manifest,
    config: ImageConfig,
    /// How many of the result's layers are the new base's.
    base_layers: usize,
    unpacked_bytes: u64,
    warnings: Vec<String>,
}

impl Run<'_> {
    async fn plan(&self, image: &Image) -> Result<Plan, Error> {
        let platform = image.config.platform();
        let old = base(self.old, &self.request.old_base, &platform).await?;
        let new = base(self.new, &self.request.new_base, &platform).await?;
        let below = old.manifest.layers().len();
        let common = common_prefix(&image.config, &old.config);
        if common < below {
            return Err(Error::Request(format!(
                "{} is not based on {}: layer {common} differs (the base has {below})",
                self.request.source, self.request.old_base
            )));
        }
        let base_layers = new.manifest.layers().len();
        let manifest = self.manifest(image, &new, below)?;
        let config = config(image, &new, below)?;

        self.progress.enter(Stage::Verifying, &platform.to_string());
        let (tree, unpacked_bytes, mut warnings) = self.rebased(&manifest, &config, base_layers).await?;
        let conflicts = self.conflicts(image, &old, &new, &tree).await?;
        if !conflicts.is_empty() && !self.request.allow_conflicts {
            return Err(refusal(&self.request.new_base, &conflicts));
        }
        warnings.extend(conflicts);
        Ok(Plan { manifest, config, base_layers, unpacked_bytes, warnings })
    }

    fn manifest(&self, image: &Image, new: &Image, below: usize) -> Result<Manifest, Error> {
        let family = image.manifest.family();
        let mut layers = Vec::new();
        for layer in new.manifest.layers() {
            let there = layer.media_type().in_family(family).ok_or_else(|| {
                Error::Request(format!(
                    "layer {} of the new base is {}, which the image's format has no type for",
                    layer.digest(),
                    layer.media_type()
                ))
            })?;
            let mut layer = layer.clone();
            if layer.media_type() != &there {
                layer.set_media_type(there);
            }
            layers.push(layer);
        }
        layers.extend_from_slice(&image.manifest.layers()[below..]);
        let mut manifest = image.manifest.clone();
        manifest.set_layers(layers);
        let in_manifest = |source| Error::Document { what: "manifest".into(), source };
        manifest.remove_base_annotations().map_err(in_manifest)?;
        if family == Family::Oci {
            let digest = new.descriptor.digest().to_string();
            manifest.set_annotation("org.opencontainers.image.base.digest", &digest).map_err(in_manifest)?;
            if let Location::Registry(reference) = self.new.location() {
                let name = reference
                    .tag()
                    .map_or_else(|| reference.name(), |tag| format!("{}:{tag}", reference.name()));
                manifest.set_annotation("org.opencontainers.image.base.name", &name).map_err(in_manifest)?;
            }
        }
        Ok(manifest)
    }

    /// What squashing would give is what the layers merge to; if they do not merge, there is no such image.
    async fn rebased(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
        base_layers: usize,
    ) -> Result<(Tree, u64, Vec<String>), Error> {
        let (lower, _) = tree::readable(&manifest.layers()[..base_layers]);
        let (upper, missing) = tree::readable(&manifest.layers()[base_layers..]);
        let (_, all_missing) = tree::readable(manifest.layers());
        let diff_ids = DiffIds::without(config, &all_missing, self.request.strict);
        let count = lower.len();
        let layers: Vec<Descriptor> = lower.into_iter().chain(upper).collect();
        let limits = &self.request.limits;
        self.progress.expect(layers.len() as u64, layers.iter().map(Descriptor::size).sum());
        let both = Layers::two(self.new, self.source, &layers, count, self.progress)
            .with_windows(limits.memory_bytes)
            .with_diff_ids(&diff_ids);
        let (tree, summary) = Tree::read(both, &layers, limits, self.progress).await?;
        let mut warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(diff_ids.warnings());
        warnings.extend(missing.into_iter().map(|layer| {
            format!(
                "layer {} is foreign and stored elsewhere: what it uses of the base was not compared",
                layer + base_layers
            )
        }));
        Ok((tree, summary.unpacked_bytes.iter().sum(), warnings))
    }

    /// What the upper layers use and the bases disagree about, in sentences.
    async fn conflicts(
        &self,
        image: &Image,
        old: &Image,
        new: &Image,
        rebased: &Tree,
    ) -> Result<Vec<String>, Error> {
        let limits = &self.request.limits;
        let below = old.manifest.layers().len();
        let (upper, _) = tree::readable(&image.manifest.layers()[below..]);
        let uses = Uses::read(self.source, &upper, limits, self.progress).await?;
        let (layers, _) = tree::readable(old.manifest.layers());
        let (before, _) =
            tree::read_image(self.old, &layers, &DiffIds::default(), limits, self.progress).await?;
        let (layers, _) = tree::readable(new.manifest.layers());
        let (after, _) =
            tree::read_image(self.new, &layers, &DiffIds::default(), limits, self.progress).await?;
        let mut found = uses.conflicts(&before, &after);
        if uses.has_symlinks() {
            let (layers, _) = tree::readable(image.manifest.layers());
            let (whole, _) =
                tree::read_image(self.source, &layers, &DiffIds::default(), limits, self.progress).await?;
            found.extend(conflicts::of_symlinks(&uses, &whole, rebased));
        }
        Ok(found)
    }

    async fn place(&self, destination: &Destination, image: &Image, plan: Plan) -> Result<Made, Error> {
        let Plan { mut manifest, config, base_layers, unpacked_bytes, warnings } = plan;
        let places = manifest.layers().iter().enumerate().map(|(at, layer)| match at < base_layers {
            true => (self.new, layer),
            false => (self.source, layer),
        });
        let layers = carry(destination, places).await?;
        if layers != manifest.layers() {
            manifest.set_layers(layers.clone());
        }
        let config = Bytes::from(config.to_bytes());
        manifest.set_config(destination.put_blob(manifest.config().media_type().clone(), config).await?);
        let bytes = Bytes::from(manifest.to_bytes());
        let size = |layers: &[Descriptor]| layers.iter().map(Descriptor::size).sum::<u64>();
        let figures = Figures {
            source_digest: image.descriptor.digest().to_string(),
            digest: Digest::sha256_of(&bytes).to_string(),
            layers_before: image.manifest.layers().len() as u64,
            layers_after: layers.len() as u64,
            compressed_bytes_before: size(image.manifest.layers()),
            compressed_bytes_after: size(&layers),
            // Of the old image nothing was read but names.
            unpacked_bytes_before: 0,
            unpacked_bytes_after: unpacked_bytes,
            plain_before: false,
        };
        Ok(Made {
            figures: PlatformFigures { platform: image.platform(), figures },
            warnings,
            media_type: manifest.media_type().clone(),
            bytes,
        })
    }
}

/// A base for exactly this platform.
async fn base(source: &Source, name: &str, platform: &Platform) -> Result<Image, Error> {
    let base = single(source, Some(platform), true).await?;
    let has = base.config.platform();
    if !has.is(platform) {
        return Err(Error::Request(format!("{name} is for {has} and the image for {platform}")));
    }
    Ok(base)
}

fn config(image: &Image, new: &Image, below: usize) -> Result<ImageConfig, Error> {
    let mut config = image.config.clone();
    let mut history = new.config.base_history(new.manifest.layers().len());
    history.extend(upper_history(&image.config, below));
    let mut diff_ids = new.config.diff_ids().to_vec();
    diff_ids.extend_from_slice(&image.config.diff_ids()[below..]);
    config.set_history(history);
    config.set_diff_ids(diff_ids).map_err(|source| Error::Document { what: "config".into(), source })?;
    Ok(config)
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

fn refusal(new_base: &str, conflicts: &[String]) -> Error {
    let named: Vec<String> =
        conflicts.iter().take(MOST_NAMED).map(|conflict| format!("\n  {conflict}")).collect();
    let more = match conflicts.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    Error::Request(format!(
        "the image's own layers use paths that mean something else in {new_base}; build the image again on it, or take that \
         with --allow-conflicts:{}{more}",
        named.concat()
    ))
}
