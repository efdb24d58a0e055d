//! How a result is stored: the codec of its new layers, the family of its documents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

// In JSON as the custom resource spells it; what an older release wrote, in small letters, is read too.

/// Compression of the new layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Compression {
    /// As the source's layers: gzip unless all of them are zstd, or all plain.
    #[default]
    #[serde(alias = "keep")]
    Keep,
    /// gzip, which every runtime reads.
    #[serde(alias = "gzip")]
    Gzip,
    /// zstd, for OCI manifests only.
    #[serde(alias = "zstd")]
    Zstd,
    /// Plain tar.
    #[serde(alias = "none")]
    None,
}

/// Family of media types of the result's manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Format {
    /// As the source's manifest.
    #[default]
    #[serde(alias = "keep")]
    Keep,
    /// OCI image manifest.
    #[serde(rename = "OCI", alias = "oci")]
    Oci,
    /// Docker image manifest, version 2, schema 2.
    #[serde(alias = "docker")]
    Docker,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keep, Self::Gzip, Self::Zstd, Self::None];

    /// As a flag's value: small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Keep => "As the source's layers",
            Self::Gzip => "gzip, which every runtime reads",
            Self::Zstd => "zstd; OCI manifests only",
            Self::None => "Plain tar",
        }
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Oci, Self::Docker];

    /// As a flag's value: small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Oci => "oci",
            Self::Docker => "docker",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Keep => "As the source's manifest",
            Self::Oci => "OCI image manifest",
            Self::Docker => "Docker image manifest, version 2, schema 2",
        }
    }
}

/// A name that no compression or format has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is not known", self.0)
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Compression {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| UnknownName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_documents_of_both_spellings_mean_the_same() {
        for compression in Compression::ALL {
            assert_eq!(compression.name().parse(), Ok(compression));
            let small: Compression = serde_json::from_str(&format!("{:?}", compression.name())).unwrap();
            assert_eq!(small, compression);
        }
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            let small: Format = serde_json::from_str(&format!("{:?}", format.name())).unwrap();
            assert_eq!(small, format);
        }
        assert_eq!(serde_json::to_string(&Format::Oci).unwrap(), r#""OCI""#);
        assert!("brotli".parse::<Compression>().is_err());
    }
}
