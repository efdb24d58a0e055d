//! Image indexes and Docker manifest lists.

use std::collections::BTreeMap;

use crate::descriptor::{self, Descriptor};
use crate::media_type::{Family, MediaType};
use crate::{AnyManifest, Digest, Document, DocumentError, Platform};

/// What an entry of an index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An image, for the platform if the index names one.
    Image(Option<Platform>),
    /// Another index.
    Index,
    /// Buildkit's attestation of another entry; it names the digest it is about.
    Attestation {
        /// The image that it speaks of.
        of: Option<Digest>,
    },
    /// Something that is no image: a signature, an SBOM, a chart.
    Artifact {
        /// Its type.
        media_type: MediaType,
    },
}

/// An index, edited as a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    media_type: MediaType,
    manifests: Vec<Descriptor>,
    document: Document,
}

impl Index {
    /// Reads an index or manifest list (an image manifest is an error).
    ///
    /// # Errors
    /// As [`AnyManifest::parse`].
    pub fn parse(media_type: Option<&MediaType>, bytes: &[u8]) -> Result<Self, DocumentError> {
        match AnyManifest::parse(media_type, bytes)? {
            AnyManifest::Index(index) => Ok(index),
            AnyManifest::Image(_) => Err(DocumentError::invalid("index", "it is an image, not an index")),
        }
    }

    /// A new index.
    #[must_use]
    pub fn new(family: Family, manifests: Vec<Descriptor>) -> Self {
        let media_type = family.index();
        let mut document = Document::empty("index");
        document.set("schemaVersion", &2);
        document.set("mediaType", &media_type);
        document.set_raw("manifests", descriptor::to_raw_list(&manifests));
        Self { media_type, manifests, document }
    }

    pub(crate) fn from_document(media_type: MediaType, document: Document) -> Result<Self, DocumentError> {
        let manifests = descriptor::list(&document, "manifests")?;
        Ok(Self { media_type, manifests, document })
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

    /// The entries in order.
    #[must_use]
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// Annotations whose values are strings.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.document.get("annotations").ok().flatten().unwrap_or_default()
    }

    /// What it refers to, if it is a referrer.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if `subject` is no descriptor.
    pub fn subject(&self) -> Result<Option<Descriptor>, DocumentError> {
        self.document.raw("subject").filter(|raw| raw.get() != "null").map(Descriptor::parse).transpose()
    }

    /// The entry that serves a platform best, images only.
    #[must_use]
    pub fn find(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images: Vec<(&Descriptor, &Platform)> = self
            .manifests
            .iter()
            .filter(|entry| matches!(entry.kind(), EntryKind::Image(_)))
            .filter_map(|entry| Some((entry, entry.platform()?)))
            .collect();
        Platform::best(wanted, images.iter().map(|(_, platform)| *platform)).map(|at| images[at].0)
    }

    /// Sets the entries. Kept ones should be clones of [`Index::manifests`], so that their bytes stay.
    pub fn set_manifests(&mut self, manifests: Vec<Descriptor>) {
        if manifests != self.manifests {
            self.document.set_raw("manifests", descriptor::to_raw_list(&manifests));
            self.manifests = manifests;
        }
    }

    /// Changes the index's own media type; its entries are the caller's.
    pub fn set_family(&mut self, family: Family) {
        let media_type = family.index();
        if media_type != self.media_type {
            self.document.set("mediaType", &media_type);
            self.media_type = media_type;
        }
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

    /// Removes `org.opencontainers.image.base.*`.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if the annotations there are no object.
    pub fn remove_base_annotations(&mut self) -> Result<(), DocumentError> {
        descriptor::remove_annotations(&mut self.document, |key| {
            key.starts_with("org.opencontainers.image.base.")
        })
    }

    /// The index's bytes: those it was read from, if nothing changed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.to_bytes()
    }
}

impl Descriptor {
    /// What this entry of an index is.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        let annotations = self.annotations();
        if annotations.contains_key("vnd.docker.reference.type") {
            let of = annotations.get("vnd.docker.reference.digest").and_then(|text| text.parse().ok());
            return EntryKind::Attestation { of };
        }
        if self.media_type().is_index() {
            return EntryKind::Index;
        }
        if let Some(kind) = self.artifact_type()
            && !MediaType::new(&kind).is_config()
        {
            return EntryKind::Artifact { media_type: MediaType::new(&kind) };
        }
        if !self.media_type().is_manifest() {
            return EntryKind::Artifact { media_type: self.media_type().clone() };
        }
        match self.platform() {
            Some(platform) if platform.is_unknown() => EntryKind::Attestation { of: None },
            platform => EntryKind::Image(platform.cloned()),
        }
    }
}
