//! Reading an image from wherever it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use unbloat_oci::{Descriptor, Digest, MAX_CONFIG_BYTES, Target};

use crate::error::{Error, ErrorKind};
use crate::fetched::Fetched;
use crate::local::images::LocalImages;
use crate::location::Location;
use crate::names::Names;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::stream::BlobStream;

/// How long a list of tags may take that nobody asked for.
const TAGS_IN_TIME: Duration = Duration::from_secs(5);

/// An image's source. Cheap to clone; all clones count into the same [`Source::bytes_read`].
#[derive(Clone, Debug)]
pub struct Source {
    location: Arc<Location>,
    backend: Backend,
    read: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// A repository, and which image of it.
    Remote(Repository, Target),
    Local(Arc<LocalImages>),
}

impl Source {
    pub(crate) fn new(location: Location, backend: Backend) -> Self {
        Self { location: Arc::new(location), backend, read: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Registry host, folder or archive, as errors name it.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.backend {
            Backend::Remote(repository, _) => repository.registry().to_owned(),
            Backend::Local(images) => images.place().to_owned(),
        }
    }

    /// What `docker load` would call the image; nothing where it is in no docker archive.
    pub(crate) fn docker_names(&self) -> &[String] {
        match &self.backend {
            Backend::Remote(..) => &[],
            Backend::Local(images) => images.docker_names(),
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Bytes of blobs, manifests and configs read so far, repeated ones included, by all clones.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The manifest or index that the location names.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unauthorized`], network failures, [`ErrorKind::Verify`] if the
    /// location has a digest and the answer another.
    pub async fn resolve(&self) -> Result<Fetched, Error> {
        let fetched = match &self.backend {
            Backend::Remote(repository, target) => match repository.manifest(target).await {
                Err(error) => return Err(with_tags(error, repository, target).await),
                Ok(fetched) => fetched,
            },
            Backend::Local(images) => images.resolve()?,
        };
        self.count(&fetched.bytes);
        Ok(fetched)
    }

    /// Another manifest of the same place, by the descriptor in an index.
    ///
    /// # Errors
    /// As [`Source::resolve`].
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let fetched = match &self.backend {
            Backend::Remote(repository, _) => repository.manifest_by_descriptor(descriptor).await?,
            Backend::Local(images) => images.manifest(descriptor)?,
        };
        self.count(&fetched.bytes);
        Ok(fetched)
    }

    /// A config, verified, of at most [`MAX_CONFIG_BYTES`].
    ///
    /// # Errors
    /// As [`Source::blob`], and [`ErrorKind::LimitExceeded`].
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        if descriptor.size() > MAX_CONFIG_BYTES {
            let kind = ErrorKind::LimitExceeded { what: "the config", limit: MAX_CONFIG_BYTES };
            return Err(Error::new(self.place(), Operation::ReadingConfig, descriptor.digest(), kind));
        }
        self.checked_blob(descriptor).collect(MAX_CONFIG_BYTES).await
    }

    /// A blob from its beginning. It may be read again: each call is a new request.
    #[must_use]
    pub fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        match &self.backend {
            Backend::Remote(repository, _) => repository.blob(descriptor, &self.read),
            Backend::Local(images) => images.blob(descriptor, Arc::clone(&self.read)),
        }
    }

    /// A blob of which no byte is handed out before it is known to be right. It costs a second reading of a
    /// large blob that was never read to a right end before.
    #[must_use]
    pub fn checked_blob(&self, descriptor: &Descriptor) -> BlobStream {
        match &self.backend {
            Backend::Remote(repository, _) => repository.checked_blob(descriptor, &self.read),
            Backend::Local(_) => self.blob(descriptor),
        }
    }

    /// Whether bytes of a blob were handed out that are not its bytes: what was made of them is to be made
    /// again, from [`Source::checked_blob`]. Asks the registry for the whole blob.
    ///
    /// # Errors
    /// What keeps the blob from being read.
    pub async fn was_misread(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        match &self.backend {
            Backend::Remote(repository, _) => repository.was_misread(descriptor, &self.read).await,
            Backend::Local(_) => Ok(false),
        }
    }

    /// The digest that the location names now; `None` when it is gone. A digest names itself.
    ///
    /// `expected` saves a request where a server answers HEAD with it.
    ///
    /// # Errors
    /// As [`Source::resolve`], without `NotFound`.
    pub async fn current_digest(&self, expected: Option<&Digest>) -> Result<Option<Digest>, Error> {
        match &self.backend {
            Backend::Remote(_, Target::Digest(digest)) => Ok(Some(digest.clone())),
            Backend::Remote(repository, target) => repository.current(target, expected).await,
            Backend::Local(images) => match images.reopen()?.resolve() {
                Ok(fetched) => Ok(Some(fetched.descriptor.digest().clone())),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// All tags of the repository, layout or archive, sorted as the registry gives them.
    ///
    /// # Errors
    /// As [`Source::resolve`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        match &self.backend {
            Backend::Remote(repository, _) => repository.tags().await,
            Backend::Local(images) => Ok(images.tags()),
        }
    }

    /// What refers to this digest: signatures, attestations, SBOMs. Empty where a registry knows no
    /// referrers.
    ///
    /// # Errors
    /// As [`Source::resolve`].
    pub async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        match &self.backend {
            Backend::Remote(repository, _) => repository.referrers(digest).await,
            Backend::Local(images) => Ok(images.referrers(digest)),
        }
    }

    /// The manifest of another tag of the same repository or layout, if there is one.
    pub(crate) async fn tagged(&self, tag: &str) -> Result<Option<Fetched>, Error> {
        let found = match &self.backend {
            Backend::Remote(repository, _) => {
                repository.manifest(&Target::Tag(tag.to_owned())).await.map(Some)
            }
            Backend::Local(images) => images.tagged(tag),
        };
        match found {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => Ok(None),
            found => found,
        }
    }

    fn count(&self, bytes: &Bytes) {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

/// An error about a tag that is not there, with those that are, where that is wished and told in time.
async fn with_tags(error: Error, repository: &Repository, target: &Target) -> Error {
    let (Target::Tag(wanted), ErrorKind::NotFound { .. }) = (target, error.kind()) else { return error };
    if !repository.transport.options().tell_tags {
        return error;
    }
    match tokio::time::timeout(TAGS_IN_TIME, repository.tags()).await {
        Ok(Ok(tags)) if !tags.is_empty() => {
            let names = Names::near(wanted, &tags);
            error.with_names(names)
        }
        // That the tag is not there is what counts.
        _ => error,
    }
}
