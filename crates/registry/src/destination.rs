//! Writing an image to wherever it goes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use unbloat_oci::{Descriptor, Digest, Family, MediaType, Reference, Target};

use crate::error::{Error, ErrorKind};
use crate::http::attempts::Attempts;
use crate::http::attempts::Retry;
use crate::local::docker_list::of_several;
use crate::local::layout::LayoutWriter;
use crate::location::Location;
use crate::operation::Operation;
use crate::origins::{self, Origin, Origins};
use crate::packing::{pack, packed_type};
use crate::remote::lists::{merged, referrers_tag};
use crate::remote::reading::READINGS;
use crate::remote::{Presence, Repository};
use crate::source::{self, Source};
use crate::upload::mount::mount;
use crate::upload::{BlobUpload, Remakes, UploadOptions};

/// An image's destination. Cheap to clone; all clones count into the same [`Destination::bytes_written`].
#[derive(Clone, Debug)]
pub struct Destination {
    location: Arc<Location>,
    backend: Backend,
    written: Arc<AtomicU64>,
    origins: Origins,
}

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// A repository, and the image that is written there.
    Remote(Repository, Reference),
    /// A folder, or an archive that is a folder until it is published.
    Layout(Arc<LayoutWriter>),
}

/// What [`Destination::copy_blob`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobCopy {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent; this many bytes.
    Copied(u64),
}

/// A published image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// Where it is, with the digest: can be given to a command again.
    pub reference: String,
}

/// A condition for publishing: this source must still resolve to this digest.
#[derive(Clone, Debug)]
pub struct Unchanged<'a> {
    /// What was read.
    pub source: &'a Source,
    /// The digest that it had.
    pub digest: &'a Digest,
}

impl Destination {
    pub(crate) fn new(location: Location, backend: Backend) -> Self {
        Self { location: Arc::new(location), backend, written: Arc::default(), origins: Origins::default() }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
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
            Backend::Layout(writer) => writer.place().to_owned(),
        }
    }

    /// That an index of so many images can be written here.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for several in a docker archive.
    pub fn require_room_for(&self, images: usize) -> Result<(), Error> {
        match &self.backend {
            Backend::Layout(writer) if writer.holds_one_image() && images != 1 => {
                let kind = ErrorKind::Unsupported(of_several(images));
                Err(Error::new(self.place(), Operation::Preparing, "", kind))
            }
            _ => Ok(()),
        }
    }

    /// Whether what is written can be read again: not where it goes through a pipe or to a device.
    #[must_use]
    pub fn can_be_read_back(&self) -> bool {
        match &self.backend {
            Backend::Remote(..) => true,
            Backend::Layout(writer) => writer.can_be_read_back(),
        }
    }

    /// Bytes of blobs and manifests sent so far, by all clones.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the blob is there already; its size in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`], network failures.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match &self.backend {
            Backend::Remote(repository, _) => repository.has_blob(digest).await,
            Backend::Layout(writer) => writer.has_blob(digest),
        }
    }

    /// Takes a blob from another repository of the same registry without moving bytes. `false` if that cannot
    /// be done.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`], network failures.
    pub async fn mount(&self, from: &Source, descriptor: &Descriptor) -> Result<bool, Error> {
        match (&self.backend, from.backend()) {
            (Backend::Remote(to, _), source::Backend::Remote(from, _)) if to.same_registry(from) => {
                Ok(mount(to, from.repository(), descriptor.digest()).await)
            }
            _ => Ok(false),
        }
    }

    /// Makes a blob of the source be here too: skipped if present, mounted if the registry is the same, else
    /// streamed.
    ///
    /// # Errors
    /// Those of reading and of writing.
    pub async fn copy_blob(&self, from: &Source, descriptor: &Descriptor) -> Result<BlobCopy, Error> {
        self.origins.remember(descriptor.digest(), Origin::Source(from.clone(), descriptor.clone()));
        if let Some(size) = self.has_blob(descriptor.digest()).await?
            && size == descriptor.size()
        {
            return Ok(BlobCopy::Present);
        }
        if self.mount(from, descriptor).await? {
            return Ok(BlobCopy::Mounted);
        }
        let size = self.send(descriptor.digest(), &Origin::Source(from.clone(), descriptor.clone())).await?;
        Ok(BlobCopy::Copied(size))
    }

    /// Makes a layer of the source be here too, as [`Destination::copy_blob`] does. What a docker archive has
    /// plain is compressed on its way to a registry, and another blob then: the descriptor is that of the
    /// layer here.
    ///
    /// # Errors
    /// Those of reading and of writing.
    pub async fn copy_layer(
        &self,
        from: &Source,
        layer: &Descriptor,
    ) -> Result<(BlobCopy, Descriptor), Error> {
        let Some(media_type) = packed_type(from, self, layer) else {
            return Ok((self.copy_blob(from, layer).await?, layer.clone()));
        };
        let mut remakes = self.remakes();
        let (digest, size) = loop {
            match self.send_packed(from, layer).await {
                Err(error) if remakes.again(&error).await => {
                    tracing::info!(%error, "the layer is compressed and sent once more");
                }
                outcome => break outcome?,
            }
        };
        self.origins.remember(&digest, Origin::Packed(from.clone(), layer.clone(), size));
        let mut packed = layer.clone();
        packed.set_media_type(media_type);
        packed.set_content(digest, size);
        Ok((BlobCopy::Copied(size), packed))
    }

    async fn send_packed(&self, from: &Source, layer: &Descriptor) -> Result<(Digest, u64), Error> {
        let mut upload = self.upload(UploadOptions::default()).await?;
        write_packed(&mut upload, from, layer).await?;
        upload.finish(None).await
    }

    /// Sends a blob from where it comes from, as often as the registry makes it necessary.
    async fn send(&self, digest: &Digest, origin: &Origin) -> Result<u64, Error> {
        let mut remakes = self.remakes();
        // Bytes that came wrong from the source are read again before its blob is called corrupt.
        let mut readings = Attempts::new(Retry::default()).at_most(READINGS);
        loop {
            let error = match self.send_once(digest, origin).await {
                Err(error) if remakes.again(&error).await => error,
                Err(error) if matches!(error.kind(), ErrorKind::Verify(_)) && readings.again(None).await => {
                    error
                }
                outcome => return outcome,
            };
            tracing::info!(%error, "the blob is read and sent once more");
            // A commit that was not answered may have been done meanwhile.
            if self.has_blob(digest).await? == Some(origin.size()) {
                return Ok(origin.size());
            }
        }
    }

    async fn send_once(&self, digest: &Digest, origin: &Origin) -> Result<u64, Error> {
        let mut upload = self.upload(UploadOptions { hash: false }).await?;
        match origin {
            Origin::Packed(from, layer, _) => write_packed(&mut upload, from, layer).await?,
            Origin::Source(from, descriptor) => {
                let mut stream = from.blob(descriptor);
                while let Some(bytes) = stream.chunk().await? {
                    upload.write(bytes).await?;
                }
            }
            Origin::Bytes(bytes) | Origin::Manifest(_, bytes) => upload.write(bytes.clone()).await?,
        }
        upload.finish(Some(digest.clone())).await.map(|(_, size)| size)
    }

    /// For a caller that makes the bytes of an upload: how often it makes them again.
    #[must_use]
    pub fn remakes(&self) -> Remakes {
        match &self.backend {
            Backend::Remote(repository, _) => Remakes::new(repository.transport.options().retry),
            Backend::Layout(_) => Remakes::none(),
        }
    }

    /// Begins a blob whose bytes are still being made.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`], network failures, [`ErrorKind::Io`].
    pub async fn upload(&self, options: UploadOptions) -> Result<BlobUpload, Error> {
        let written = Arc::clone(&self.written);
        match &self.backend {
            Backend::Remote(repository, _) => BlobUpload::remote(repository.clone(), options, written).await,
            Backend::Layout(writer) => BlobUpload::file(Arc::clone(writer), options, written).await,
        }
    }

    /// Writes a blob that is in memory, such as a config, unless it is there.
    ///
    /// # Errors
    /// As [`Destination::upload`].
    pub async fn put_blob(&self, media_type: MediaType, bytes: Bytes) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.origins.remember(descriptor.digest(), Origin::Bytes(bytes.clone()));
        if self.has_blob(descriptor.digest()).await? == Some(descriptor.size()) {
            return Ok(descriptor);
        }
        self.send(descriptor.digest(), &Origin::Bytes(bytes)).await?;
        Ok(descriptor)
    }

    /// Writes a manifest under its digest alone: the images of an index, before the index.
    ///
    /// # Errors
    /// As [`Destination::upload`]; a registry also refuses a manifest whose blobs it lacks.
    pub async fn put_manifest(&self, media_type: &MediaType, bytes: Bytes) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type.clone(), &bytes);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match &self.backend {
            Backend::Remote(repository, _) => {
                let target = Target::Digest(descriptor.digest().clone());
                let origin = Origin::Manifest(descriptor.clone(), bytes.clone());
                self.origins.remember(descriptor.digest(), origin);
                self.write_manifest(repository, &target, &descriptor, bytes).await?;
            }
            Backend::Layout(writer) => writer.put_manifest(&descriptor, &bytes)?,
        }
        Ok(descriptor)
    }

    /// Writes a manifest that refers to an image, under its digest or a tag of its own.
    pub(crate) async fn put_referrer(
        &self,
        media_type: &MediaType,
        bytes: Bytes,
        tag: Option<&str>,
    ) -> Result<(), Error> {
        let descriptor = Descriptor::of(media_type.clone(), &bytes);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match (&self.backend, tag) {
            (Backend::Layout(writer), tag) => writer.list(&descriptor, &bytes, tag),
            (Backend::Remote(..), None) => self.put_manifest(media_type, bytes).await.map(|_| ()),
            (Backend::Remote(repository, _), Some(tag)) => {
                self.write_manifest(repository, &Target::Tag(tag.to_owned()), &descriptor, bytes).await
            }
        }
    }

    /// Makes what refers to a manifest be found where a registry does not list it by itself: by the tag of
    /// the specification's fallback.
    pub(crate) async fn list_referrers(&self, digest: &Digest, listed: &[Descriptor]) -> Result<(), Error> {
        let Backend::Remote(repository, _) = &self.backend else { return Ok(()) };
        if repository.lists_referrers(digest).await? {
            return Ok(());
        }
        let tag = referrers_tag(digest);
        let existing = match repository.manifest(&tag).await {
            Ok(fetched) => Some(fetched.bytes),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(bytes) = merged(existing.as_ref(), listed) else { return Ok(()) };
        let descriptor = Descriptor::of(Family::Oci.index(), &bytes);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.write_manifest(repository, &tag, &descriptor, bytes.into()).await
    }

    /// Writes the image's manifest or index under the location's own name. This is the last step, and the
    /// only one that a reader can see. An archive is complete after it and takes nothing more.
    ///
    /// With `unchanged`, the source is asked once more just before. Registries have no compare-and-swap for
    /// tags: a push by someone else between that question and this answer, some milliseconds, is overwritten.
    ///
    /// # Errors
    /// [`ErrorKind::SourceChanged`]: then the manifest is here under its digest and the tag was not moved. If
    /// the location names a digest, [`ErrorKind::Verify`] unless it is that of the bytes.
    pub async fn publish(
        &self,
        media_type: &MediaType,
        bytes: Bytes,
        unchanged: Option<Unchanged<'_>>,
    ) -> Result<Published, Error> {
        let descriptor = Descriptor::of(media_type.clone(), &bytes);
        if let Some(condition) = unchanged {
            self.require_unchanged(&condition, media_type, &bytes).await?;
        }
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let reference = match &self.backend {
            Backend::Remote(repository, reference) => {
                self.write_manifest(repository, &reference.target(), &descriptor, bytes).await?;
                let tagged = match reference.target() {
                    Target::Tag(tag) => reference.with_tag(&tag).unwrap_or_else(|_| reference.clone()),
                    Target::Digest(_) => reference.clone(),
                };
                tagged.with_digest(descriptor.digest().clone()).to_string()
            }
            Backend::Layout(writer) => {
                let writer = Arc::clone(writer);
                let (descriptor, bytes) = (descriptor.clone(), bytes.clone());
                let place = writer.place().to_owned();
                tokio::task::spawn_blocking(move || writer.publish(&descriptor, &bytes)).await.map_err(
                    |panic| {
                        Error::new(place, Operation::Publishing, "", ErrorKind::Internal(panic.to_string()))
                    },
                )??
            }
        };
        Ok(Published { descriptor, reference })
    }

    /// Writes a manifest. A registry that misses blobs of it, which it has confirmed or was said to have,
    /// gets a moment to show them, and then those that it names once more.
    async fn write_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let mut attempts = repository.transport.attempts();
        let mut waited = false;
        let mut mended = HashSet::new();
        loop {
            let error = match repository.put_manifest(target, descriptor, bytes.clone()).await {
                Err(error) if error.is_about_blobs_of_a_manifest() => error,
                outcome => return outcome,
            };
            // Servers name all that they miss, or one after the other.
            if waited && self.send_missing(repository, &error, &bytes, &mut mended).await? {
                continue;
            }
            if !attempts.again_for(&error).await {
                return Err(error);
            }
            waited = true;
        }
    }

    /// Sends what a refused manifest misses: what the registry names, else what it does not show. Each once;
    /// whether there was something to send.
    async fn send_missing(
        &self,
        repository: &Repository,
        error: &Error,
        manifest: &Bytes,
        mended: &mut HashSet<Digest>,
    ) -> Result<bool, Error> {
        let mut missing: Vec<Digest> = error.named_digests().to_vec();
        if missing.is_empty() {
            for digest in origins::digests_of(manifest) {
                let size = self.origins.size(&digest);
                let shown = match repository.presence(&digest).await {
                    // Of what the caller made only the caller knows the size.
                    Presence::There(found) => size.is_none() || found == size,
                    Presence::Absent | Presence::Unknown => false,
                };
                if !shown {
                    missing.push(digest);
                }
            }
        }
        if missing.is_empty() {
            // It shows them all, and still misses one.
            missing = origins::digests_of(manifest);
        }
        let mut sent = false;
        for digest in missing {
            // What has no origin was made by the caller, who alone can make it again.
            let Some(origin) = self.origins.of(&digest).filter(|_| mended.insert(digest.clone())) else {
                continue;
            };
            tracing::info!(%digest, "the registry misses it: sent once more");
            sent = true;
            if let Origin::Manifest(descriptor, bytes) = origin {
                repository.put_manifest(&Target::Digest(digest), &descriptor, bytes).await?;
            } else {
                self.send(&digest, &origin).await?;
            }
        }
        Ok(sent)
    }

    async fn require_unchanged(
        &self,
        condition: &Unchanged<'_>,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<(), Error> {
        let found = condition.source.current_digest(Some(condition.digest)).await?;
        if found.as_ref() == Some(condition.digest) {
            return Ok(());
        }
        // The work is not thrown away: it stays under its digest.
        self.put_manifest(media_type, bytes.clone()).await?;
        let tag = condition.source.location().to_string();
        let kind = ErrorKind::SourceChanged { tag, expected: condition.digest.clone(), found };
        Err(Error::new(self.place(), Operation::Publishing, self.location.to_string(), kind))
    }

    /// The digest that the location names now; `None` if nothing is there.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`], network failures.
    pub async fn current_digest(&self) -> Result<Option<Digest>, Error> {
        match &self.backend {
            Backend::Remote(repository, reference) => repository.current(&reference.target(), None).await,
            Backend::Layout(writer) => writer.current_digest(),
        }
    }
}

async fn write_packed(upload: &mut BlobUpload, from: &Source, layer: &Descriptor) -> Result<(), Error> {
    let mut packed = pack(from, layer);
    while let Some(bytes) = packed.chunk().await? {
        upload.write(bytes).await?;
    }
    Ok(())
}
