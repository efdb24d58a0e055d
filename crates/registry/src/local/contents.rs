//! What a layout lists, and whether it is all there.

use serde::Deserialize;
use unbloat_oci::{AnyManifest, Descriptor, Digest, Index, MAX_MANIFEST_BYTES, Manifest};

use crate::error::ErrorKind;
use crate::fetched::announced;
use crate::local::extents::Blobs;

/// Annotation of an index entry with its tag.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of an index entry with its full reference, written by containerd and Docker.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// The images that a layout's `index.json` lists.
pub(crate) fn read_layout(layout: &[u8], index: &[u8]) -> Result<Vec<Descriptor>, ErrorKind> {
    #[derive(Deserialize)]
    struct Layout {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let layout: Layout = serde_json::from_slice(layout)
        .map_err(|error| ErrorKind::Invalid(format!("oci-layout is not valid: {error}")))?;
    if !layout.version.starts_with("1.") {
        let version = crate::error::sanitize(&layout.version);
        return Err(ErrorKind::Invalid(format!("the layout has the version {version}; 1.0.0 is known")));
    }
    Ok(Index::parse(Some(&unbloat_oci::Family::Oci.index()), index)?.manifests().to_vec())
}

/// Whether everything that an image needs is in these blobs.
pub(crate) fn is_complete(blobs: &Blobs, entry: &Descriptor) -> bool {
    let there = |digest: &Digest| blobs.open(digest).ok().flatten();
    let Some(bytes) = there(entry.digest()).and_then(|stored| {
        let length = usize::try_from(stored.size().min(MAX_MANIFEST_BYTES)).ok()?;
        stored.read_at(0, length).ok()
    }) else {
        return false;
    };
    match AnyManifest::parse(announced(entry), &bytes) {
        Ok(AnyManifest::Image(image)) => {
            let image: Manifest = image;
            image.layers().iter().chain([image.config()]).all(|blob| there(blob.digest()).is_some())
        }
        Ok(AnyManifest::Index(index)) => index.manifests().iter().all(|child| is_complete(blobs, child)),
        Err(_) => false,
    }
}
