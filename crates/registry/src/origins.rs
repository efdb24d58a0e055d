//! Where the blobs of an image come from, for a registry that misses them after all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use unbloat_oci::{AnyManifest, Descriptor, Digest};

use crate::source::Source;

/// Where a blob can be had once more.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In the source.
    Source(Source, Descriptor),
    /// In the source, and compressed on its way to so many bytes.
    Packed(Source, Descriptor, u64),
    /// Here.
    Bytes(Bytes),
    /// Here, and a manifest.
    Manifest(Descriptor, Bytes),
}

impl Origin {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Source(_, descriptor) => descriptor.size(),
            Self::Packed(_, _, size) => *size,
            Self::Bytes(bytes) | Self::Manifest(_, bytes) => bytes.len() as u64,
        }
    }
}

/// The origins of what was written, by digest. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<Mutex<HashMap<Digest, Origin>>>);

impl Origins {
    pub(crate) fn remember(&self, digest: &Digest, origin: Origin) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), origin);
    }

    pub(crate) fn of(&self, digest: &Digest) -> Option<Origin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.of(digest).map(|origin| origin.size())
    }
}

/// The digests that a manifest or an index refers to.
pub(crate) fn digests_of(manifest: &[u8]) -> Vec<Digest> {
    let named: Vec<Descriptor> = match AnyManifest::parse(None, manifest) {
        Ok(AnyManifest::Image(image)) => image.layers().iter().chain([image.config()]).cloned().collect(),
        Ok(AnyManifest::Index(index)) => index.manifests().to_vec(),
        Err(_) => Vec::new(),
    };
    named.iter().map(|descriptor| descriptor.digest().clone()).collect()
}
