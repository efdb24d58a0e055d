//! Copying what refers to an image: signatures, attestations, SBOMs.
//!
//! They are found by the referrers API, by the tag of the specification's fallback, and by the tags that
//! cosign writes. What refers to a referrer is copied as well. A destination without the API gets the
//! fallback's tag.

use std::collections::HashSet;

use serde::Deserialize;
use unbloat_oci::{Descriptor, Digest, MediaType};

use crate::destination::{BlobCopy, Destination};
use crate::error::{Error, ErrorKind};
use crate::fetched::Fetched;
use crate::operation::Operation;
use crate::source::Source;

/// Referrers of referrers that are followed: a signature of an attestation of an image is the third.
const MAX_DEPTH: usize = 8;
/// The ends of the tags `ALGORITHM-HEX.END` that cosign writes.
const COSIGN: &[&str] = &["sig", "att", "sbom"];

/// What was copied besides the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// Manifests.
    pub manifests: u64,
    /// Bytes of blobs that were sent for them.
    pub bytes: u64,
}

/// A copy of referrers under way.
pub(crate) struct Copying<'a> {
    source: &'a Source,
    destination: &'a Destination,
    done: HashSet<Digest>,
    counts: Referrers,
}

impl<'a> Copying<'a> {
    pub(crate) fn new(source: &'a Source, destination: &'a Destination) -> Self {
        Self { source, destination, done: HashSet::new(), counts: Referrers::default() }
    }

    pub(crate) fn counts(&self) -> Referrers {
        self.counts
    }

    /// Copies everything that refers to this manifest of the source.
    pub(crate) async fn of(&mut self, digest: &Digest) -> Result<(), Error> {
        self.below(digest, 0).await
    }

    async fn below(&mut self, digest: &Digest, depth: usize) -> Result<(), Error> {
        let found = self.source.referrers(digest).await?;
        let mut listed = Vec::new();
        for descriptor in found {
            if self.done.insert(descriptor.digest().clone()) {
                let fetched = self.source.manifest(&descriptor).await?;
                self.manifest(&fetched, None).await?;
                if depth < MAX_DEPTH {
                    Box::pin(self.below(descriptor.digest(), depth + 1)).await?;
                }
            }
            listed.push(descriptor);
        }
        if !listed.is_empty() {
            self.destination.list_referrers(digest, &listed).await?;
        }
        for end in COSIGN {
            let tag = format!("{}-{}.{end}", digest.algorithm().name(), digest.hex());
            if let Some(fetched) = self.source.tagged(&tag).await? {
                self.manifest(&fetched, Some(&tag)).await?;
            }
        }
        Ok(())
    }

    /// One manifest of any kind with everything that it names.
    async fn manifest(&mut self, fetched: &Fetched, tag: Option<&str>) -> Result<(), Error> {
        let named = Named::parse(&fetched.bytes).map_err(|reason| {
            let subject = fetched.descriptor.digest();
            Error::new(self.source.place(), Operation::Copying, subject, ErrorKind::Invalid(reason))
        })?;
        for child in named.manifests {
            let child = self.source.manifest(&child).await?;
            Box::pin(self.manifest(&child, None)).await?;
        }
        for blob in named.blobs {
            if let BlobCopy::Copied(bytes) = self.destination.copy_blob(self.source, &blob).await? {
                self.counts.bytes += bytes;
            }
        }
        self.counts.manifests += 1;
        let media_type = fetched.descriptor.media_type();
        self.destination.put_referrer(media_type, fetched.bytes.clone(), tag).await
    }
}

/// What a manifest names, whether it is an image's, an index or one of the old artifact manifests.
#[derive(Default)]
struct Named {
    manifests: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
}

impl Named {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Item {
            #[serde(rename = "mediaType", default)]
            media_type: String,
            digest: Digest,
            size: u64,
        }
        #[derive(Deserialize)]
        struct Document {
            config: Option<Item>,
            #[serde(default)]
            layers: Vec<Item>,
            #[serde(default)]
            blobs: Vec<Item>,
            #[serde(default)]
            manifests: Vec<Item>,
        }
        let Document { config, layers, blobs, manifests } =
            serde_json::from_slice(bytes).map_err(|error| format!("a referrer cannot be read: {error}"))?;
        let of = |item: Item| Descriptor::new(MediaType::new(&item.media_type), item.digest, item.size);
        let all = config.into_iter().chain(layers).chain(blobs).map(of);
        let mut named = Self { manifests: manifests.into_iter().map(of).collect(), blobs: Vec::new() };
        for blob in all {
            if !named.blobs.iter().any(|other| other.digest() == blob.digest()) {
                named.blobs.push(blob);
            }
        }
        Ok(named)
    }
}
