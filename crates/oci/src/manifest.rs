//! Image manifests, OCI and Docker schema 2, and telling manifests, indexes and the rest apart.

use std::collections::BTreeMap;

use crate::descriptor::{self, Descriptor};
use crate::media_type::{self, Family, MediaType, Refusal};
use crate::{Document, DocumentError, Index, MAX_MANIFEST_BYTES};

/// Annotations that a full squash makes false: the result has no base any more.
const BASE_ANNOTATIONS: &str = "org.opencontainers.image.base.";

/// What a registry answers when asked for a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one of them exists at a time; a box would only be in the way")]
pub enum AnyManifest {
    /// One image.
    Image(Manifest),
    /// Several, by platform.
    Index(Index),
}

impl AnyManifest {
    /// Reads a manifest or an index. `media_type` is what the server or the descriptor said, where it said
    /// anything; it has to agree with the document, because a document that is both a manifest and an index
    /// fools one reader.
    ///
    /// # Errors
    /// [`DocumentError::Refused`] for Docker schema 1, artifacts and unknown types; else
    /// [`DocumentError::Invalid`].
    pub fn parse(media_type: Option<&MediaType>, bytes: &[u8]) -> Result<Self, DocumentError> {
        let document = Document::parse("manifest", bytes, MAX_MANIFEST_BYTES)?;
        let written = document.get::<MediaType>("mediaType")?;
        // A server without a better idea says application/json or text/plain; then the document speaks for
        // itself.
        let told = media_type.filter(|t| {
            t.is_manifest()
                || t.is_index()
                || t.is_schema1()
                || t.as_str() == media_type::OCI_ARTIFACT_MANIFEST
        });
        let has_layers = document.raw("layers").is_some() || document.raw("config").is_some();
        let has_manifests = document.raw("manifests").is_some();
        let schema: Option<u64> = document.get("schemaVersion")?;
        if schema == Some(1)
            || document.raw("fsLayers").is_some()
            || told.or(written.as_ref()).is_some_and(MediaType::is_schema1)
        {
            return Err(Refusal::Schema1.into());
        }
        if has_layers && has_manifests {
            return Err(DocumentError::invalid(
                "manifest",
                "it has both \"manifests\" and \"layers\" or \"config\"",
            ));
        }
        if let (Some(told), Some(written)) = (told, &written)
            && told != written
        {
            return Err(DocumentError::invalid(
                "manifest",
                format!("it was announced as {told} and calls itself {written}"),
            ));
        }
        let actual = match written.as_ref().or(told) {
            Some(known) => known.clone(),
            None if has_manifests => Family::Oci.index(),
            None if has_layers => Family::Oci.manifest(),
            None => return Err(DocumentError::invalid("manifest", "it is neither an image nor an index")),
        };
        if actual.as_str() == media_type::OCI_ARTIFACT_MANIFEST {
            let kind = document.get::<String>("artifactType")?.unwrap_or_default();
            return Err(Refusal::Artifact { media_type: MediaType::new(&kind).to_string() }.into());
        }
        if actual.is_index() {
            if has_layers {
                return Err(DocumentError::invalid("index", "it has the members of an image manifest"));
            }
            return Ok(Self::Index(Index::from_document(actual, document)?));
        }
        if actual.is_manifest() {
            if has_manifests {
                return Err(DocumentError::invalid(
                    "manifest",
                    "it has the member of an index, \"manifests\"",
                ));
            }
            return Ok(Self::Image(Manifest::from_document(actual, document)?));
        }
        Err(Refusal::UnknownManifest { media_type: actual.to_string() }.into())
    }
}

/// An image manifest, edited as a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    media_type: MediaType,
    config: Descriptor,
    layers: Vec<Descriptor>,
    document: Document,
}

impl Manifest {
    /// Reads an image manifest (an index is an error).
    ///
    /// # Errors
    /// As [`AnyManifest::parse`].
    pub fn parse(media_type: Option<&MediaType>, bytes: &[u8]) -> Result<Self, DocumentError> {
        match AnyManifest::parse(media_type, bytes)? {
            AnyManifest::Image(manifest) => Ok(manifest),
            AnyManifest::Index(_) => Err(DocumentError::invalid("manifest", "it is an index, not an image")),
        }
    }

    /// A new manifest.
    #[must_use]
    pub fn new(family: Family, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let mut document = Document::empty("manifest");
        let media_type = family.manifest();
        document.set("schemaVersion", &2);
        document.set("mediaType", &media_type);
        document.set_raw("config", config.to_raw());
        document.set_raw("layers", descriptor::to_raw_list(&layers));
        Self { media_type, config, layers, document }
    }

    pub(crate) fn from_document(media_type: MediaType, document: Document) -> Result<Self, DocumentError> {
        let raw = document
            .raw("config")
            .ok_or_else(|| DocumentError::invalid("manifest", "it has no \"config\""))?;
        let config =
            Descriptor::parse(raw).map_err(|e| DocumentError::invalid("manifest", format!("config: {e}")))?;
        let layers = descriptor::list(&document, "layers")?;
        Ok(Self { media_type, config, layers, document })
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// OCI or Docker.
    #[must_use]
    pub fn family(&self) -> Family {
        self.media_type.family().unwrap_or(Family::Oci)
    }

    /// The image's config.
    #[must_use]
    pub fn config(&self) -> &Descriptor {
        &self.config
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// What it refers to, if it is a referrer.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if `subject` is no descriptor.
    pub fn subject(&self) -> Result<Option<Descriptor>, DocumentError> {
        self.document.raw("subject").filter(|raw| raw.get() != "null").map(Descriptor::parse).transpose()
    }

    /// Annotations whose values are strings.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.document.get("annotations").ok().flatten().unwrap_or_default()
    }

    /// Refuses what is not a container image that can be squashed: artifacts, by the type of the config.
    ///
    /// # Errors
    /// [`Refusal::Artifact`].
    pub fn require_image(&self) -> Result<(), Refusal> {
        let artifact = self.document.get::<String>("artifactType").ok().flatten();
        let config = self.config.media_type();
        // Some builders leave out the config's media type or write application/json or octet-stream.
        let plain = matches!(config.as_str(), "" | "application/json" | "application/octet-stream");
        match artifact {
            Some(kind) if !config.is_config() => {
                Err(Refusal::Artifact { media_type: MediaType::new(&kind).to_string() })
            }
            _ if config.is_config() || plain => Ok(()),
            _ => Err(Refusal::Artifact { media_type: config.to_string() }),
        }
    }

    /// Checks every layer's media type.
    ///
    /// # Errors
    /// The index of the first layer that cannot be squashed, and why.
    pub fn check_layers(&self, allow_foreign: bool) -> Result<(), (usize, Refusal)> {
        for (at, layer) in self.layers.iter().enumerate() {
            layer.media_type().plain_layer(allow_foreign).map_err(|refusal| (at, refusal))?;
        }
        Ok(())
    }

    /// Sets the config.
    pub fn set_config(&mut self, config: Descriptor) {
        self.document.set_raw("config", config.to_raw());
        self.config = config;
    }

    /// Sets the layers. Kept ones should be clones of [`Manifest::layers`], so that their bytes stay.
    pub fn set_layers(&mut self, layers: Vec<Descriptor>) {
        if layers != self.layers {
            self.document.set_raw("layers", descriptor::to_raw_list(&layers));
            self.layers = layers;
        }
    }

    /// Changes manifest, config and layers to a family's media types.
    ///
    /// # Errors
    /// The index of a layer that the family has no type for (zstd in Docker), and why.
    pub fn set_family(&mut self, family: Family) -> Result<(), (usize, Refusal)> {
        let mut layers = self.layers.clone();
        for (at, layer) in layers.iter_mut().enumerate() {
            let media_type = layer
                .media_type()
                .in_family(family)
                .ok_or_else(|| (at, Refusal::UnknownLayer { media_type: layer.media_type().to_string() }))?;
            if &media_type != layer.media_type() {
                layer.set_media_type(media_type);
            }
        }
        self.set_layers(layers);
        if let Some(media_type) = self.config.media_type().in_family(family)
            && &media_type != self.config.media_type()
        {
            let mut config = self.config.clone();
            config.set_media_type(media_type);
            self.set_config(config);
        }
        let media_type = family.manifest();
        if media_type != self.media_type {
            self.document.set("mediaType", &media_type);
            self.media_type = media_type;
        }
        Ok(())
    }

    /// Sets one annotation.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if the annotations there are no object.
    pub fn set_annotation(&mut self, key: &str, value: &str) -> Result<(), DocumentError> {
        let mut annotations = self.document.object("annotations")?;
        annotations.set(key, value);
        self.document.set_raw("annotations", annotations.to_raw());
        Ok(())
    }

    /// Removes `org.opencontainers.image.base.*` (`docs/layer-semantics.md#rule-18`).
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if the annotations there are no object.
    pub fn remove_base_annotations(&mut self) -> Result<(), DocumentError> {
        descriptor::remove_annotations(&mut self.document, |key| key.starts_with(BASE_ANNOTATIONS))
    }

    /// The manifest's bytes: those it was read from, if nothing changed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.to_bytes()
    }
}
