//! What a registry says of an original: its tags, whether its result was made of it; and its deletion.

use std::collections::BTreeSet;

use unbloat_oci::{AnyManifest, Digest, EntryKind, ImageConfig, Index, Manifest, Reference, Target};
use unbloat_policy::image::ImageKey;
use unbloat_policy::retention::{Origin, Original, Tag};
use unbloat_registry::{Error, ErrorKind, Location, Source};

use crate::detector::inspect::{Inspectors, OUR_ANNOTATION};

/// Tags of a repository that are looked at, each with a request: at the default pace 100 seconds.
const MOST_TAGS: usize = 1000;

/// Why a registry's word doesn't help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unclear {
    /// It didn't answer, or said no.
    #[error(transparent)]
    Registry(#[from] Error),
    /// There is too much to be looked at.
    #[error("{repository} has more than {MOST_TAGS} tags")]
    ManyTags {
        /// The repository.
        repository: String,
    },
}

impl Inspectors {
    /// All tags of an image's repository, with what they point at.
    pub(super) async fn tags(&self, image: &ImageKey) -> Result<Vec<Tag>, Unclear> {
        let Ok(reference) = image.reference().parse::<Reference>() else { return Ok(Vec::new()) };
        let host = image.host();
        let names = self.source(&reference).await?.tags().await?;
        if names.len() > MOST_TAGS {
            return Err(Unclear::ManyTags { repository: image.repository.clone() });
        }
        let mut tags = Vec::with_capacity(names.len());
        for name in names {
            let target = Target::Tag(name.clone());
            // A name that is no tag is one that nobody can pull by.
            let Ok(tagged) = Reference::new(host, reference.repository(), &target) else { continue };
            let fetched = match self.source(&tagged).await?.resolve().await {
                Ok(fetched) => fetched,
                // It went meanwhile, or points at nothing.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let manifests = match fetched.parse() {
                Ok(AnyManifest::Index(index)) => {
                    index.manifests().iter().map(|entry| entry.digest().to_string()).collect()
                }
                _ => BTreeSet::new(),
            };
            tags.push(Tag { name, digest: fetched.descriptor.digest().to_string(), manifests });
        }
        Ok(tags)
    }

    /// What a result was made of; `None` where it, or its original, isn't there or can't be read.
    pub(super) async fn origin(&self, original: &Original) -> Result<Option<Origin>, Error> {
        let (Ok(before), Ok(after)) =
            (original.image.reference().parse::<Reference>(), original.result.reference.parse::<Reference>())
        else {
            return Ok(None);
        };
        let mut origin = Origin::default();
        match self.document(&before).await? {
            Some((AnyManifest::Index(index), _)) => origin.original = images(&index),
            Some((AnyManifest::Image(_), _)) => {
                origin.original.insert(original.image.digest.clone());
            }
            None => return Ok(None),
        }
        let Some((document, source)) = self.document(&after).await? else { return Ok(None) };
        match document {
            AnyManifest::Image(manifest) => {
                origin.result.insert(original.result.digest.clone());
                origin
                    .made_of
                    .extend(self.made_of(&source, &manifest, &origin.original, after.registry()).await?);
            }
            AnyManifest::Index(index) => {
                origin.result = images(&index);
                for entry in index.manifests() {
                    if !matches!(entry.kind(), EntryKind::Image(_)) {
                        continue;
                    }
                    self.turn(after.registry()).await;
                    let fetched = source.manifest(entry).await?;
                    let Ok(AnyManifest::Image(manifest)) = fetched.parse() else { continue };
                    // One that was flat is the original's own.
                    if origin.original.contains(entry.digest().as_str()) {
                        continue;
                    }
                    origin
                        .made_of
                        .extend(self.made_of(&source, &manifest, &origin.original, after.registry()).await?);
                }
            }
        }
        Ok(Some(origin))
    }

    /// Deletes an original by its digest; tells whether it was there.
    pub(super) async fn delete(&self, image: &ImageKey) -> Result<bool, Error> {
        let Ok(reference) = image.reference().parse::<Reference>() else { return Ok(false) };
        self.turn(image.host()).await;
        self.client().delete(&reference).await
    }

    /// What a manifest says that it was squashed from: an annotation, or the newest step of its history where
    /// a manifest takes none.
    async fn made_of(
        &self,
        source: &Source,
        manifest: &Manifest,
        original: &BTreeSet<String>,
        host: &str,
    ) -> Result<Option<String>, Error> {
        if let Some(digest) = manifest.annotations().remove(OUR_ANNOTATION) {
            return Ok(Some(digest));
        }
        self.turn(host).await;
        let config = source.config(manifest.config()).await?;
        let Ok(config) = ImageConfig::parse(&config) else { return Ok(None) };
        let newest = config.history().last().map(|entry| entry.raw().get()).unwrap_or_default();
        Ok(original.iter().find(|digest| newest.contains(digest.as_str())).cloned())
    }

    async fn document(&self, reference: &Reference) -> Result<Option<(AnyManifest, Source)>, Error> {
        let source = self.source(reference).await?;
        match source.resolve().await {
            Ok(fetched) => Ok(fetched.parse().ok().map(|document| (document, source))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A place to ask, when its host's turn has come.
    async fn source(&self, reference: &Reference) -> Result<Source, Error> {
        self.turn(reference.registry()).await;
        // A result is what its digest says, wherever its tag points by now.
        let exact = match reference.digest().cloned() {
            Some(digest) => by_digest(reference, digest),
            None => reference.clone(),
        };
        self.client().source(&Location::Registry(exact)).await
    }
}

fn by_digest(reference: &Reference, digest: Digest) -> Reference {
    Reference::new(reference.registry(), reference.repository(), &Target::Digest(digest))
        .unwrap_or_else(|_| reference.clone())
}

/// The images for platforms that an index has; attestations and the like apart.
fn images(index: &Index) -> BTreeSet<String> {
    let images = index.manifests().iter().filter(|entry| matches!(entry.kind(), EntryKind::Image(_)));
    images.map(|entry| entry.digest().to_string()).collect()
}
