//! One image as it was read: manifest, config, and the checks that come before any layer is read.

use unbloat_oci::{Codec, Descriptor, DocumentError, ImageConfig, Manifest};
use unbloat_registry::{Fetched, Source};

use crate::error::{Error, LayerFault};

/// A manifest with its config.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Image {
    /// Reads the image whose manifest `fetched` is and refuses what cannot be squashed
    /// (`docs/layer-semantics.md#rule-20`).
    pub(crate) async fn read(source: &Source, fetched: &Fetched, allow_foreign: bool) -> Result<Self, Error> {
        let name = format!("manifest {} of {}", fetched.descriptor.digest(), source.location());
        let in_manifest = |source: DocumentError| Error::Document { what: name.clone(), source };
        let manifest =
            Manifest::parse(Some(fetched.descriptor.media_type()), &fetched.bytes).map_err(in_manifest)?;
        manifest.require_image().map_err(|refusal| Error::Unsupported(format!("{name}: {refusal}")))?;
        if let Err((index, refusal)) = manifest.check_layers(allow_foreign) {
            let layer = &manifest.layers()[index];
            return Err(Error::Layer {
                index,
                digest: layer.digest().clone(),
                media_type: layer.media_type().to_string(),
                source: LayerFault::MediaType(refusal),
            });
        }
        let bytes = source.config(manifest.config()).await?;
        let what = format!("config {} of {}", manifest.config().digest(), source.location());
        let config =
            ImageConfig::parse(&bytes).map_err(|source| Error::Document { what: what.clone(), source })?;
        config.require_supported().map_err(|refusal| Error::Unsupported(format!("{what}: {refusal}")))?;
        let (layers, diff_ids) = (manifest.layers().len(), config.diff_ids().len());
        if layers != diff_ids {
            return Err(Error::Unsupported(format!(
                "{what}: the manifest has {layers} layers and the config {diff_ids} diffIDs"
            )));
        }
        Ok(Self { descriptor: fetched.descriptor.clone(), manifest, config })
    }

    /// An error of its documents.
    pub(crate) fn wrong(&self, source: DocumentError) -> Error {
        Error::Document { what: format!("image {}", self.descriptor.digest()), source }
    }

    /// The platform as text, for messages and results.
    pub(crate) fn platform(&self) -> String {
        self.descriptor.platform().cloned().unwrap_or_else(|| self.config.platform()).to_string()
    }

    /// The codec that the layers from `kept` up have in common; gzip where they differ.
    pub(crate) fn common_codec(&self, kept: usize) -> Codec {
        let mut codecs = self.manifest.layers()[kept..]
            .iter()
            .filter_map(|layer| layer.media_type().layer().ok())
            .map(|kind| kind.codec);
        let Some(first) = codecs.next() else { return Codec::Gzip };
        if codecs.all(|codec| codec == first) { first } else { Codec::Gzip }
    }
}
