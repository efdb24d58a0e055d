//! Media types: which document or layer a descriptor points to, and whether it can be squashed.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, plain tar; `+gzip` and `+zstd` follow.
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer that must not be pushed (deprecated).
pub(crate) const OCI_LAYER_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// OCI artifact manifest, of a release candidate of image-spec 1.1 only.
pub(crate) const OCI_ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// Docker image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, plain tar.
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer that is fetched from elsewhere (Windows base images).
pub(crate) const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker manifest, version 2, schema 1, signed and not.
pub const DOCKER_SCHEMA1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
];

/// What `Accept` says when a manifest is asked for; schema 1 is left out so that a registry converts or
/// refuses.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, */*;q=0.1";

/// A media type as it was written; compare and classify with the methods.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

/// The two families of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `application/vnd.oci.*`
    Oci,
    /// `application/vnd.docker.*`
    Docker,
}

/// How the bytes of one layer are compressed, by its label. The bytes themselves decide: readers sniff. What
/// a request asks for, which may be "as it is", is the contract's `Compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Plain tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What a layer's media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerKind {
    /// OCI or Docker.
    pub family: Family,
    /// Compression by the label.
    pub codec: Codec,
    /// A foreign or non-distributable layer: it may have to be fetched from its `urls`.
    pub foreign: bool,
}

/// Something that is well understood and not supported (`docs/layer-semantics.md#rule-20`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Docker schema 1.
    #[error(
        "the manifest is Docker schema 1, which names its layers differently and is no longer in use; push the image again with a current client"
    )]
    Schema1,
    /// The OCI artifact manifest, or an image manifest without an image.
    #[error("the manifest is an artifact ({media_type}), not an image")]
    Artifact {
        /// Type of the artifact or of its config.
        media_type: String,
    },
    /// A manifest of an unknown type.
    #[error("the manifest has the unknown media type {media_type:?}")]
    UnknownManifest {
        /// The media type.
        media_type: String,
    },
    /// An encrypted layer.
    #[error("the layer is encrypted ({media_type}); decrypt the image first")]
    EncryptedLayer {
        /// The media type.
        media_type: String,
    },
    /// A foreign layer that was not asked for.
    #[error(
        "the layer is foreign or non-distributable ({media_type}); it is read only when foreign layers are allowed"
    )]
    ForeignLayer {
        /// The media type.
        media_type: String,
    },
    /// A Windows image.
    #[error("the image is for Windows, whose layers are not file system tars alone")]
    Windows,
    /// A layer that is no tar.
    #[error("the layer has the unknown media type {media_type:?}")]
    UnknownLayer {
        /// The media type.
        media_type: String,
    },
}

impl Family {
    /// Media type of an image manifest.
    #[must_use]
    pub fn manifest(self) -> MediaType {
        MediaType::from_static(match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        })
    }

    /// Media type of an index or manifest list.
    #[must_use]
    pub fn index(self) -> MediaType {
        MediaType::from_static(match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_LIST,
        })
    }

    /// Media type of an image config.
    #[must_use]
    pub fn config(self) -> MediaType {
        MediaType::from_static(match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        })
    }

    /// Media type of a layer; `None` where the family has none (Docker knows no zstd).
    #[must_use]
    pub fn layer(self, codec: Codec) -> Option<MediaType> {
        Some(MediaType::from_static(match (self, codec) {
            (Self::Oci, Codec::None) => OCI_LAYER,
            (Self::Oci, Codec::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Codec::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, Codec::None) => DOCKER_LAYER,
            (Self::Docker, Codec::Gzip) => DOCKER_LAYER_GZIP,
            (Self::Docker, Codec::Zstd) => return None,
        }))
    }
}

impl MediaType {
    /// A media type from a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A media type from text; parameters (`; charset=…`) and space are cut off.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Cow::Owned(text.split(';').next().unwrap_or_default().trim().to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an image manifest (OCI or Docker schema 2).
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(&*self.0, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it is an index or a manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(&*self.0, OCI_INDEX | DOCKER_LIST)
    }

    /// Whether it is Docker schema 1.
    #[must_use]
    pub fn is_schema1(&self) -> bool {
        DOCKER_SCHEMA1.contains(&&*self.0)
    }

    /// Whether it is an image's config.
    #[must_use]
    pub(crate) fn is_config(&self) -> bool {
        matches!(&*self.0, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// The family of a manifest, index, config or layer that is known.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        if self.0.starts_with("application/vnd.oci.") {
            Some(Family::Oci)
        } else if self.0.starts_with("application/vnd.docker.") {
            Some(Family::Docker)
        } else {
            None
        }
    }

    /// What a layer's media type says.
    ///
    /// # Errors
    /// A [`Refusal`] for encrypted and unknown layers. A foreign layer is classified, not refused: see
    /// [`MediaType::plain_layer`].
    pub fn layer(&self) -> Result<LayerKind, Refusal> {
        let text = &*self.0;
        if text.ends_with("+encrypted") || text.contains(".tar.enc") {
            return Err(Refusal::EncryptedLayer { media_type: self.for_people() });
        }
        let unknown = || Refusal::UnknownLayer { media_type: self.for_people() };
        let (family, foreign, suffix) = if let Some(suffix) = text.strip_prefix(OCI_LAYER) {
            (Family::Oci, false, suffix)
        } else if let Some(suffix) = text.strip_prefix(OCI_LAYER_NONDISTRIBUTABLE) {
            (Family::Oci, true, suffix)
        } else if let Some(suffix) = text.strip_prefix(DOCKER_LAYER) {
            (Family::Docker, false, suffix)
        } else if let Some(suffix) = text.strip_prefix(DOCKER_FOREIGN) {
            (Family::Docker, true, suffix)
        } else {
            return Err(unknown());
        };
        // Docker writes `.gzip`; some builders wrote OCI's `.gzip` and Docker's `.zstd`, which readers
        // accept.
        let codec = match suffix {
            "" => Codec::None,
            "+gzip" | ".gzip" => Codec::Gzip,
            "+zstd" | ".zstd" => Codec::Zstd,
            _ => return Err(unknown()),
        };
        Ok(LayerKind { family, codec, foreign })
    }

    /// As [`MediaType::layer`], and refuses foreign layers unless they are allowed.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub(crate) fn plain_layer(&self, allow_foreign: bool) -> Result<LayerKind, Refusal> {
        let kind = self.layer()?;
        if kind.foreign && !allow_foreign {
            return Err(Refusal::ForeignLayer { media_type: self.for_people() });
        }
        Ok(kind)
    }

    /// The same kind of thing in the other family: config, layer, manifest or index. `None` where it has
    /// none.
    #[must_use]
    pub fn in_family(&self, family: Family) -> Option<Self> {
        if self.family() == Some(family) {
            return Some(self.clone());
        }
        if self.is_manifest() {
            return Some(family.manifest());
        }
        if self.is_index() {
            return Some(family.index());
        }
        if self.is_config() {
            return Some(family.config());
        }
        let kind = self.layer().ok()?;
        if !kind.foreign {
            return family.layer(kind.codec);
        }
        match (family, kind.codec) {
            (Family::Oci, Codec::Gzip) => Some(Self::new(&format!("{OCI_LAYER_NONDISTRIBUTABLE}+gzip"))),
            (Family::Oci, Codec::None) => Some(Self::from_static(OCI_LAYER_NONDISTRIBUTABLE)),
            (Family::Docker, Codec::Gzip) => Some(Self::new(&format!("{DOCKER_FOREIGN}.gzip"))),
            _ => None,
        }
    }

    /// Bounded and printable: the text comes from a server.
    fn for_people(&self) -> String {
        self.0.chars().filter(|c| !c.is_control()).take(120).collect()
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_people())
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Result<LayerKind, Refusal> {
        MediaType::new(text).layer()
    }

    #[test]
    fn layers_are_classified_by_family_compression_and_origin() {
        use Codec::{Gzip, None, Zstd};
        use Family::{Docker, Oci};
        for (text, family, codec, foreign) in [
            ("application/vnd.oci.image.layer.v1.tar", Oci, None, false),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Oci, Gzip, false),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Oci, Zstd, false),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Oci, Gzip, true),
            (DOCKER_LAYER_GZIP, Docker, Gzip, false),
            (DOCKER_LAYER, Docker, None, false),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Docker, Gzip, true),
        ] {
            assert_eq!(layer(text), Ok(LayerKind { family, codec, foreign }), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_squashed_is_refused_with_its_reason() {
        let encrypted = layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").unwrap_err();
        assert!(encrypted.to_string().contains("encrypted"), "{encrypted}");
        let helm = layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip").unwrap_err();
        assert!(matches!(helm, Refusal::UnknownLayer { .. }));
        let foreign = MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(matches!(foreign.plain_layer(false), Err(Refusal::ForeignLayer { .. })));
        assert!(foreign.plain_layer(true).is_ok());
    }

    #[test]
    fn conversion_between_families_keeps_the_compression_and_docker_has_no_zstd() {
        let gzip = MediaType::from_static(DOCKER_LAYER_GZIP);
        assert_eq!(
            gzip.in_family(Family::Oci).unwrap().as_str(),
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        assert_eq!(gzip.in_family(Family::Oci).unwrap().in_family(Family::Docker), Some(gzip));
        assert_eq!(
            MediaType::new("application/vnd.oci.image.layer.v1.tar+zstd").in_family(Family::Docker),
            None
        );
        assert_eq!(
            MediaType::from_static(OCI_CONFIG).in_family(Family::Docker).unwrap().as_str(),
            DOCKER_CONFIG
        );
    }
}
