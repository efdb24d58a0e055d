//! A document that was read.

use bytes::Bytes;
use unbloat_oci::{AnyManifest, Descriptor, MediaType};

/// A manifest, index or config with its bytes, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Media type (as announced), digest and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Bytes,
}

impl Fetched {
    /// Reads it as manifest or index.
    ///
    /// # Errors
    /// As [`AnyManifest::parse`].
    pub fn parse(&self) -> Result<AnyManifest, unbloat_oci::DocumentError> {
        AnyManifest::parse(Some(self.descriptor.media_type()), &self.bytes)
    }
}

/// The media type that a descriptor announces, if it announces one.
pub(crate) fn announced(descriptor: &Descriptor) -> Option<&MediaType> {
    Some(descriptor.media_type()).filter(|media_type| !media_type.as_str().is_empty())
}
