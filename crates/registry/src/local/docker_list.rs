//! `manifest.json`, which makes an OCI layout in a tar an archive that `docker load` takes, of every version.
//!
//! Docker 25 and containerd read the layout beside it and keep the digests; older Docker versions, podman and
//! skopeo read the list. Both name the same blobs, so nothing is stored twice.

use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use unbloat_oci::{AnyManifest, Descriptor, EntryKind, Index, MAX_MANIFEST_BYTES, Manifest};

use crate::error::ErrorKind;
use crate::fetched::announced;
use crate::local::extents::{Blobs, blob_path};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    config: String,
    repo_tags: &'a [String],
    layers: Vec<String>,
}

/// The list for what `bytes` names, whose blobs are in the layout at `root`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for what the list cannot say: several images, or a layer that is not here.
pub(super) fn manifest_json(
    root: &Path,
    descriptor: &Descriptor,
    bytes: &Bytes,
    names: &[String],
) -> Result<Vec<u8>, ErrorKind> {
    let blobs = Blobs::Folder(root.to_owned());
    let image = match AnyManifest::parse(announced(descriptor), bytes)? {
        AnyManifest::Image(image) => image,
        AnyManifest::Index(index) => only_image(&blobs, &index)?,
    };
    for layer in image.layers() {
        if blobs.open(layer.digest())?.is_none() {
            let reason = format!("layer {} is not in it, and docker load needs all", layer.digest());
            return Err(ErrorKind::Unsupported(reason));
        }
    }
    let item = Item {
        config: blob_path(image.config().digest()),
        repo_tags: names,
        layers: image.layers().iter().map(|layer| blob_path(layer.digest())).collect(),
    };
    serde_json::to_vec(&[item]).map_err(|error| ErrorKind::Internal(error.to_string()))
}

/// The one image of an index, whose manifests are in the layout.
fn only_image(blobs: &Blobs, index: &Index) -> Result<Manifest, ErrorKind> {
    let mut images = Vec::new();
    collect(blobs, index, &mut images)?;
    match images.len() {
        1 => Ok(images.remove(0)),
        several => Err(ErrorKind::Unsupported(of_several(several))),
    }
}

/// Why an index does not fit.
pub(crate) fn of_several(images: usize) -> String {
    format!("a docker archive holds one image, and the index has {images}; choose one with --platform")
}

fn collect(blobs: &Blobs, index: &Index, images: &mut Vec<Manifest>) -> Result<(), ErrorKind> {
    for entry in index.manifests() {
        if !matches!(entry.kind(), EntryKind::Image(_) | EntryKind::Index) {
            continue;
        }
        let stored = blobs.open(entry.digest())?;
        let stored = stored.ok_or_else(|| ErrorKind::Internal(format!("{} is missing", entry.digest())))?;
        let length = usize::try_from(stored.size().min(MAX_MANIFEST_BYTES)).unwrap_or(usize::MAX);
        match AnyManifest::parse(announced(entry), &stored.read_at(0, length)?)? {
            // A signature or an SBOM, whose entry does not say so.
            AnyManifest::Image(image) if image.require_image().is_err() => {}
            AnyManifest::Image(image) => images.push(image),
            AnyManifest::Index(inner) => collect(blobs, &inner, images)?,
        }
    }
    Ok(())
}
