//! New images back into the index that they came from.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use unbloat_contract::{PlatformFigures, SquashResult};
use unbloat_oci::{Descriptor, Digest, Family, MediaType};
use unbloat_registry::{Destination, Source};

use crate::error::Error;
use crate::image::Image;
use crate::open::{Child, Found, Node};

/// Blobs that are copied side by side.
const SIDE_BY_SIDE: usize = 4;

/// An image that is at the destination but for its manifest.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) figures: PlatformFigures,
    pub(crate) warnings: Vec<String>,
    pub(crate) media_type: MediaType,
    pub(crate) bytes: Bytes,
}

impl Made {
    /// Counts it into a result. With several images, a warning names the one that it is about.
    pub(crate) fn count_into(&self, result: &mut SquashResult, several: bool) {
        result.figures.add(&self.figures.figures);
        result.warnings.extend(self.warnings.iter().map(|warning| match several {
            true => format!("{}: {warning}", self.figures.platform),
            false => warning.clone(),
        }));
        result.platforms.push(self.figures.clone());
    }
}

/// What is done with an index besides taking new images into it.
#[derive(Clone, Copy)]
pub(crate) struct IndexRules {
    /// Media types of another family, where they are asked for.
    pub(crate) family: Option<Family>,
    /// Whether `org.opencontainers.image.base.*` stays true.
    pub(crate) keeps_base: bool,
}

/// New images in the place of the old ones.
pub(crate) struct Assembly<'a> {
    /// The images as they were, with their entries.
    pub(crate) images: &'a [Image],
    /// What they became.
    pub(crate) made: &'a [Made],
    pub(crate) source: &'a Source,
    /// `None` writes nothing.
    pub(crate) destination: Option<&'a Destination>,
    pub(crate) rules: IndexRules,
}

impl Assembly<'_> {
    /// The document to publish: the image, or the index around the images. All but that document is written.
    ///
    /// # Errors
    /// Those of writing manifests and of copying what is no image.
    pub(crate) async fn document(&self, found: &Found) -> Result<(MediaType, Bytes), Error> {
        match (&found.index, self.made) {
            (Some(node), _) => self.index(node).await,
            (None, [image]) => Ok((image.media_type.clone(), image.bytes.clone())),
            (None, _) => Err(Error::Internal("an image became none or several".into())),
        }
    }

    async fn index(&self, node: &Node) -> Result<(MediaType, Bytes), Error> {
        let mut entries = Vec::new();
        for child in &node.children {
            match child {
                Child::Artifact(descriptor) => {
                    self.copy_artifact(descriptor).await?;
                    entries.push(descriptor.clone());
                }
                Child::Index(inner) => {
                    let (media_type, bytes) = Box::pin(self.index(inner)).await?;
                    entries.extend(inner.entry.as_ref().map(|entry| renewed(entry, &media_type, &bytes)));
                    self.put(&media_type, bytes).await?;
                }
                Child::Image(at) => {
                    let Made { media_type, bytes, .. } = &self.made[*at];
                    entries.push(renewed(&self.images[*at].descriptor, media_type, bytes));
                    self.put(media_type, bytes.clone()).await?;
                }
            }
        }
        let mut index = node.index.clone();
        index.set_family(self.rules.family.unwrap_or_else(|| index.family()));
        index.set_manifests(entries);
        if !self.rules.keeps_base {
            let in_index = |source| Error::Document { what: "index".into(), source };
            index.remove_base_annotations().map_err(in_index)?;
        }
        Ok((index.media_type().clone(), index.to_bytes().into()))
    }

    async fn put(&self, media_type: &MediaType, bytes: Bytes) -> Result<(), Error> {
        if let Some(destination) = self.destination {
            destination.put_manifest(media_type, bytes).await?;
        }
        Ok(())
    }

    async fn copy_artifact(&self, descriptor: &Descriptor) -> Result<(), Error> {
        let Some(destination) = self.destination else { return Ok(()) };
        let fetched = self.source.manifest(descriptor).await?;
        for blob in blobs_of(&fetched.bytes) {
            destination.copy_blob(self.source, &blob).await?;
        }
        destination.put_manifest(descriptor.media_type(), fetched.bytes).await?;
        Ok(())
    }
}

/// An index's entry for the image's new manifest.
fn renewed(entry: &Descriptor, media_type: &MediaType, bytes: &Bytes) -> Descriptor {
    let mut entry = entry.clone();
    let digest = Digest::sha256_of(bytes);
    if entry.digest() != &digest {
        entry.set_media_type(media_type.clone());
        entry.set_content(digest, bytes.len() as u64);
    }
    entry
}

/// Makes layers that stay as they are be at the destination, and tells them as they are there: the plain ones
/// of a docker archive are compressed for a registry. What a registry leaves to the layer's own addresses
/// (foreign layers) is carried by its descriptor alone, as registries take it.
pub(crate) async fn carry(
    destination: &Destination,
    layers: impl IntoIterator<Item = (&Source, &Descriptor)>,
) -> Result<Vec<Descriptor>, Error> {
    let carried = stream::iter(layers)
        .map(|(source, layer)| async move {
            match is_elsewhere(layer) {
                true => Ok(layer.clone()),
                false => destination.copy_layer(source, layer).await.map(|(_, there)| there),
            }
        })
        .buffered(SIDE_BY_SIDE);
    Ok(carried.try_collect().await?)
}

/// Whether a layer's bytes are where its descriptor says, and in no registry that has the image.
pub(crate) fn is_elsewhere(layer: &Descriptor) -> bool {
    layer.media_type().layer().is_ok_and(|kind| kind.foreign) && !layer.urls().is_empty()
}

/// The blobs that a manifest of any kind names.
fn blobs_of(manifest: &[u8]) -> Vec<Descriptor> {
    #[derive(serde::Deserialize)]
    struct Blob {
        #[serde(rename = "mediaType", default)]
        media_type: String,
        digest: Digest,
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
