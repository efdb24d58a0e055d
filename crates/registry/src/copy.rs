//! Copying an image as it is, from anywhere to anywhere.

use std::collections::HashMap;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use unbloat_oci::{AnyManifest, Descriptor, Digest, EntryKind, Index, Manifest, Platform};

use crate::destination::{BlobCopy, Destination, Published, Unchanged};
use crate::error::{Error, ErrorKind};
use crate::fetched::Fetched;
use crate::operation::Operation;
use crate::referrers::{Copying, Referrers};
use crate::source::Source;

/// Blobs that are copied side by side: enough to hide round trips, few enough for a bounded memory.
const SIDE_BY_SIDE: usize = 4;
/// Indexes inside indexes that are followed.
const MAX_DEPTH: usize = 4;

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// The image at the destination.
    pub published: Published,
    /// Blobs that were there already.
    pub present: u64,
    /// Blobs that the registry took from another repository.
    pub mounted: u64,
    /// Blobs that were sent.
    pub copied: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
    /// What was copied of what refers to the image.
    pub referrers: Referrers,
}

#[derive(Default)]
struct Counts {
    present: u64,
    mounted: u64,
    copied: u64,
    copied_bytes: u64,
    /// Manifests that are there byte for byte.
    manifests: Vec<Digest>,
}

/// Copies an image byte for byte, so that its digest stays: but from a docker archive, whose plain layers are
/// compressed for a registry.
///
/// With `platforms`, only those of an index: one platform gives its image without an index, several a smaller
/// index. The image of no index has to be for one of them.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a platform that is not there; those of reading and writing. The manifest is
/// written last.
pub async fn copy(
    source: &Source,
    destination: &Destination,
    platforms: &[Platform],
) -> Result<CopyReport, Error> {
    copy_all(source, destination, platforms, false).await
}

/// Copies an image as [`copy`] does, with what refers to it and to its images: signatures, attestations,
/// SBOMs. What refers to an index of which only some platforms are copied stays behind, because that index is
/// another one then.
///
/// # Errors
/// As [`copy`].
pub async fn copy_with_referrers(
    source: &Source,
    destination: &Destination,
    platforms: &[Platform],
) -> Result<CopyReport, Error> {
    copy_all(source, destination, platforms, true).await
}

async fn copy_all(
    source: &Source,
    destination: &Destination,
    platforms: &[Platform],
    referrers: bool,
) -> Result<CopyReport, Error> {
    let top = source.resolve().await?;
    let mut counts = Counts::default();
    let fault =
        |kind: ErrorKind| Error::new(source.place(), Operation::Copying, top.descriptor.digest(), kind);
    let parsed = top.parse().map_err(|error| fault(error.into()))?;
    let (media_type, bytes) = match (parsed, platforms) {
        (AnyManifest::Image(image), wanted) => {
            require_platform(source, &image, wanted).await?;
            let bytes = copy_image(source, destination, &image, &top, &mut counts).await?;
            (image.media_type().clone(), bytes)
        }
        (AnyManifest::Index(index), []) => {
            require_room(destination, index.manifests())?;
            let media_type = index.media_type().clone();
            (media_type, copy_index(source, destination, index, &top, &mut counts, 0).await?)
        }
        (AnyManifest::Index(index), [one]) => {
            let mut there = Vec::new();
            images(source, &index, 0, &mut there).await?;
            let child = source.manifest(best(source, &there, one)?).await?;
            let image = Manifest::parse(Some(child.descriptor.media_type()), &child.bytes)
                .map_err(|error| fault(error.into()))?;
            let bytes = copy_image(source, destination, &image, &child, &mut counts).await?;
            (image.media_type().clone(), bytes)
        }
        (AnyManifest::Index(mut index), several) => {
            let mut there = Vec::new();
            images(source, &index, 0, &mut there).await?;
            let mut kept: Vec<Descriptor> = Vec::new();
            for platform in several {
                let entry = best(source, &there, platform)?;
                if !kept.iter().any(|other| other.digest() == entry.digest()) {
                    kept.push(entry.clone());
                }
            }
            require_room(destination, &kept)?;
            index.set_manifests(copy_entries(source, destination, &kept, &mut counts, 0).await?);
            (index.media_type().clone(), index.to_bytes().into())
        }
    };
    // Before the image itself: whoever sees the tag finds its signatures.
    let mut referring = Copying::new(source, destination);
    if referrers {
        for digest in &counts.manifests {
            referring.of(digest).await?;
        }
    }
    let unchanged = Unchanged { source, digest: top.descriptor.digest() };
    let published = destination.publish(&media_type, bytes, Some(unchanged)).await?;
    let Counts { present, mounted, copied, copied_bytes, manifests: _ } = counts;
    let referrers = referring.counts();
    Ok(CopyReport { published, present, mounted, copied, copied_bytes, referrers })
}

/// Refuses an index that the destination cannot hold before its images are read. What indexes inside it hold
/// is found when they are.
fn require_room(destination: &Destination, entries: &[Descriptor]) -> Result<(), Error> {
    let is_image = |entry: &&Descriptor| matches!(entry.kind(), EntryKind::Image(_));
    let is_index = |entry: &Descriptor| entry.kind() == EntryKind::Index;
    match entries.iter().filter(is_image).count() {
        0 if entries.iter().any(is_index) => Ok(()),
        images => destination.require_room_for(images),
    }
}

/// The images of an index and of the indexes in it, each with its platform: the entry's, else the config's.
async fn images(
    source: &Source,
    index: &Index,
    depth: usize,
    found: &mut Vec<(Platform, Descriptor)>,
) -> Result<(), Error> {
    for entry in index.manifests() {
        let fault = |kind: ErrorKind| Error::new(source.place(), Operation::Choosing, entry.digest(), kind);
        match entry.kind() {
            EntryKind::Image(Some(platform)) => found.push((platform, entry.clone())),
            EntryKind::Image(None) => {
                let child = source.manifest(entry).await?;
                let AnyManifest::Image(image) = child.parse().map_err(|error| fault(error.into()))? else {
                    continue;
                };
                // An artifact whose entry does not say so has no platform.
                if image.require_image().is_ok() {
                    found.push((platform_of(source, &image).await?, entry.clone()));
                }
            }
            EntryKind::Index if depth >= MAX_DEPTH => return Err(fault(too_deep())),
            EntryKind::Index => {
                let child = source.manifest(entry).await?;
                if let AnyManifest::Index(inner) = child.parse().map_err(|error| fault(error.into()))? {
                    Box::pin(images(source, &inner, depth + 1, found)).await?;
                }
            }
            EntryKind::Attestation { .. } | EntryKind::Artifact { .. } => {}
        }
    }
    Ok(())
}

fn too_deep() -> ErrorKind {
    ErrorKind::Invalid(format!("indexes are nested more than {MAX_DEPTH} deep"))
}

/// The entry that serves a platform best.
fn best<'a>(
    source: &Source,
    images: &'a [(Platform, Descriptor)],
    wanted: &Platform,
) -> Result<&'a Descriptor, Error> {
    match Platform::best(wanted, images.iter().map(|(platform, _)| platform)) {
        Some(at) => Ok(&images[at].1),
        None => {
            let have: Vec<String> = images.iter().map(|(platform, _)| platform.to_string()).collect();
            let words = format!("no image for {wanted}; there are {}", have.join(", "));
            Err(Error::new(source.place(), Operation::Choosing, wanted, ErrorKind::Unsupported(words)))
        }
    }
}

async fn platform_of(source: &Source, image: &Manifest) -> Result<Platform, Error> {
    let fault =
        |kind: ErrorKind| Error::new(source.place(), Operation::Choosing, image.config().digest(), kind);
    let config = source.config(image.config()).await?;
    Ok(unbloat_oci::ImageConfig::parse(&config).map_err(|error| fault(error.into()))?.platform())
}

async fn require_platform(source: &Source, image: &Manifest, wanted: &[Platform]) -> Result<(), Error> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let have = platform_of(source, image).await?;
    if wanted.iter().any(|wanted| have.rank_for(wanted).is_some()) {
        return Ok(());
    }
    let words = format!("no image for {first}: it is for {have} only; leave the platform out");
    Err(Error::new(source.place(), Operation::Choosing, first, ErrorKind::Unsupported(words)))
}

/// Copies what an index names; its own bytes as they are to be at the destination.
async fn copy_index(
    source: &Source,
    destination: &Destination,
    mut index: Index,
    fetched: &Fetched,
    counts: &mut Counts,
    depth: usize,
) -> Result<Bytes, Error> {
    let entries = copy_entries(source, destination, index.manifests(), counts, depth).await?;
    if entries == index.manifests() {
        counts.manifests.push(fetched.descriptor.digest().clone());
        return Ok(fetched.bytes.clone());
    }
    index.set_manifests(entries);
    Ok(index.to_bytes().into())
}

/// The entries as they are at the destination.
async fn copy_entries(
    source: &Source,
    destination: &Destination,
    entries: &[Descriptor],
    counts: &mut Counts,
    depth: usize,
) -> Result<Vec<Descriptor>, Error> {
    let mut there = Vec::new();
    for entry in entries {
        let child: Fetched = source.manifest(entry).await?;
        let fault = |kind: ErrorKind| Error::new(source.place(), Operation::Copying, entry.digest(), kind);
        let media_type = child.descriptor.media_type().clone();
        let bytes = match child.parse().map_err(|error| fault(error.into()))? {
            AnyManifest::Image(image) => copy_image(source, destination, &image, &child, counts).await?,
            AnyManifest::Index(_) if depth >= MAX_DEPTH => return Err(fault(too_deep())),
            AnyManifest::Index(index) => {
                Box::pin(copy_index(source, destination, index, &child, counts, depth + 1)).await?
            }
        };
        let written = destination.put_manifest(&media_type, bytes).await?;
        let mut entry = entry.clone();
        entry.set_content(written.digest().clone(), written.size());
        there.push(entry);
    }
    Ok(there)
}

/// Copies the blobs of an image; its manifest's bytes as they are to be at the destination.
async fn copy_image(
    source: &Source,
    destination: &Destination,
    image: &Manifest,
    fetched: &Fetched,
    counts: &mut Counts,
) -> Result<Bytes, Error> {
    let mut blobs: Vec<&Descriptor> = Vec::new();
    for blob in image.layers().iter().chain([image.config()]) {
        // Registries take a manifest without its foreign layers; clients fetch them from their URLs.
        let foreign = blob.media_type().layer().is_ok_and(|kind| kind.foreign) && !blob.urls().is_empty();
        if !foreign && !blobs.iter().any(|other| other.digest() == blob.digest()) {
            blobs.push(blob);
        }
    }
    let copying = |blob| async move { destination.copy_layer(source, blob).await.map(|copy| (blob, copy)) };
    let mut copies = stream::iter(blobs).map(copying).buffer_unordered(SIDE_BY_SIDE);
    let mut packed = HashMap::new();
    while let Some((blob, (copy, there))) = copies.try_next().await? {
        if there.digest() != blob.digest() {
            packed.insert(blob.digest(), there);
        }
        match copy {
            BlobCopy::Present => counts.present += 1,
            BlobCopy::Mounted => counts.mounted += 1,
            BlobCopy::Copied(bytes) => {
                counts.copied += 1;
                counts.copied_bytes += bytes;
            }
        }
    }
    if packed.is_empty() {
        counts.manifests.push(fetched.descriptor.digest().clone());
        return Ok(fetched.bytes.clone());
    }
    let there = |layer: &Descriptor| packed.get(layer.digest()).unwrap_or(layer).clone();
    let mut manifest = image.clone();
    manifest.set_layers(image.layers().iter().map(there).collect());
    Ok(manifest.to_bytes().into())
}
