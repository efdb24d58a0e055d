//! Images of a folder or an archive, for reading.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use tokio::task::JoinHandle;
use unbloat_oci::{AnyManifest, Descriptor, Digest, MAX_MANIFEST_BYTES, MediaType, Verifier, VerifyError};

use crate::error::{Error, ErrorKind};
use crate::fetched::{Fetched, announced};
use crate::local::contents::{IMAGE_NAME, REF_NAME, read_layout};
use crate::local::docker_archive;
use crate::local::extents::{Blobs, Members, Stored};
use crate::local::spelling;
use crate::location::{LayoutName, Location};
use crate::names::Names;
use crate::operation::Operation;
use crate::stream::BlobStream;

/// Bytes of one read: large enough for the disk, small enough for memory.
const READ_BYTES: usize = 512 << 10;

/// What a folder or archive holds.
#[derive(Debug)]
pub(crate) struct LocalImages {
    location: Location,
    place: String,
    entries: Vec<Descriptor>,
    blobs: Arc<Blobs>,
    docker_names: Vec<String>,
}

impl LocalImages {
    /// Reads the list of contents.
    pub(crate) fn open(location: &Location) -> Result<Self, Error> {
        let place = location.to_string();
        let fault = |kind: ErrorKind| Error::new(place.clone(), Operation::Opening, "", kind);
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::InvalidData => fault(ErrorKind::Invalid(error.to_string())),
            // A folder that was called an archive, and the other way round.
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::IsADirectory => match spelling::of_wrong_kind(location) {
                Some(words) => fault(ErrorKind::Unsupported(words)),
                None if error.kind() == std::io::ErrorKind::NotFound => {
                    fault(ErrorKind::NotFound { message: String::new() })
                }
                None => fault(error.into()),
            },
            _ => fault(error.into()),
        };
        let mut docker_names = Vec::new();
        let (entries, blobs) = match location {
            Location::Registry(_) => {
                return Err(fault(ErrorKind::Unsupported("a registry is not a local place".to_owned())));
            }
            Location::OciDir { path, name } => {
                let read = |name: &str| read_file(&path.join(name));
                let layout = read("oci-layout").map_err(&io)?;
                // A new layout has no index before its first image is published, which may be read back by
                // digest before.
                let index = match read("index.json") {
                    Err(error)
                        if error.kind() == std::io::ErrorKind::NotFound
                            && matches!(name, Some(LayoutName::Digest(_))) =>
                    {
                        Bytes::from_static(br#"{"schemaVersion": 2, "manifests": []}"#)
                    }
                    index => index.map_err(&io)?,
                };
                (read_layout(&layout, &index).map_err(&fault)?, Blobs::Folder(path.clone()))
            }
            Location::OciArchive { path, .. } => {
                let members = Members::scan(path).map_err(&io)?;
                let read = |name: &str| match members.get(name) {
                    Some(extent) => extent.read_all(MAX_MANIFEST_BYTES).map_err(ErrorKind::from),
                    None if members.get("manifest.json").is_some() => {
                        let words =
                            format!("it is what docker save writes: docker-archive:{}", path.display());
                        Err(ErrorKind::Unsupported(words))
                    }
                    None => Err(ErrorKind::Invalid(format!("it is no OCI archive: it has no {name}"))),
                };
                let layout = read("oci-layout").map_err(&fault)?;
                let index = read("index.json").map_err(&fault)?;
                (read_layout(&layout, &index).map_err(&fault)?, Blobs::Archive(members))
            }
            Location::DockerArchive { path, reference } => {
                let members = Members::scan(path).map_err(&io)?;
                let opened = docker_archive::open(members, reference.as_ref());
                let opened = opened.map_err(|docker_archive::Refused { kind, names }| match names {
                    Some(names) => fault(kind).with_names(names),
                    None => fault(kind),
                })?;
                docker_names = opened.names;
                (opened.entries, opened.blobs)
            }
        };
        Ok(Self { location: location.clone(), place, entries, blobs: Arc::new(blobs), docker_names })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What `docker load` would call the image of a docker archive.
    pub(crate) fn docker_names(&self) -> &[String] {
        &self.docker_names
    }

    /// The same place as it is now.
    pub(crate) fn reopen(&self) -> Result<Self, Error> {
        Self::open(&self.location)
    }

    fn fault(
        &self,
        operation: Operation,
        subject: impl std::fmt::Display,
        kind: impl Into<ErrorKind>,
    ) -> Error {
        Error::new(self.place.clone(), operation, subject, kind)
    }

    pub(crate) fn resolve(&self) -> Result<Fetched, Error> {
        let name = match &self.location {
            Location::OciDir { name, .. } | Location::OciArchive { name, .. } => name.as_ref(),
            _ => None,
        };
        let entry = match name {
            Some(LayoutName::Tag(tag)) => {
                self.entries.iter().find(|entry| entry.annotation(REF_NAME).as_ref() == Some(tag)).cloned()
            }
            Some(LayoutName::Digest(digest)) => {
                let listed = self.entries.iter().find(|entry| entry.digest() == digest).cloned();
                match listed {
                    Some(entry) => Some(entry),
                    None => self.unlisted(digest)?,
                }
            }
            None => {
                let images = self.images();
                if images.len() > 1 {
                    let names = self.tags().join(", ");
                    let reason = format!("it holds {} images; name one of: {names}", images.len());
                    return Err(self.fault(Operation::Resolving, "", ErrorKind::Unsupported(reason)));
                }
                images.first().map(|entry| (*entry).clone())
            }
        };
        let entry = entry.ok_or_else(|| {
            let names = match name {
                Some(LayoutName::Tag(tag)) => Names::near(tag, &self.tags()),
                Some(LayoutName::Digest(_)) | None => Names::near("", &self.tags()),
            };
            let kind = ErrorKind::NotFound { message: String::new() };
            self.fault(Operation::Resolving, "", kind).with_names(names)
        })?;
        self.manifest(&entry)
    }

    /// The entries that are images: what refers to one without a name of its own is listed beside it.
    fn images(&self) -> Vec<&Descriptor> {
        if self.entries.len() < 2 {
            return self.entries.iter().collect();
        }
        let refers =
            |entry: &Descriptor| entry.annotation(REF_NAME).is_none() && self.subject(entry).is_some();
        self.entries.iter().filter(|entry| !refers(entry)).collect()
    }

    /// What an entry refers to.
    fn subject(&self, entry: &Descriptor) -> Option<Digest> {
        let subject = match self.manifest(entry).ok()?.parse().ok()? {
            AnyManifest::Image(image) => image.subject(),
            AnyManifest::Index(index) => index.subject(),
        };
        Some(subject.ok()??.digest().clone())
    }

    /// The manifest of a tag.
    pub(crate) fn tagged(&self, tag: &str) -> Result<Option<Fetched>, Error> {
        let entry = self.entries.iter().find(|entry| entry.annotation(REF_NAME).as_deref() == Some(tag));
        entry.map(|entry| self.manifest(entry)).transpose()
    }

    /// A manifest that the index does not list, such as one image of an index.
    fn unlisted(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let stored =
            self.blobs.open(digest).map_err(|error| self.fault(Operation::Resolving, digest, error))?;
        Ok(stored.map(|stored| Descriptor::new(MediaType::from_static(""), digest.clone(), stored.size())))
    }

    pub(crate) fn manifest(&self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        const OPERATION: Operation = Operation::ReadingManifest;
        let digest = descriptor.digest();
        if descriptor.size() > MAX_MANIFEST_BYTES {
            let kind = ErrorKind::LimitExceeded { what: "the manifest", limit: MAX_MANIFEST_BYTES };
            return Err(self.fault(OPERATION, digest, kind));
        }
        let stored = self.stored(OPERATION, digest)?;
        let length = usize::try_from(descriptor.size()).unwrap_or(0) + 1;
        let bytes = stored.read_at(0, length).map_err(|error| self.fault(OPERATION, digest, error))?;
        let mut verifier = Verifier::new(digest.clone(), descriptor.size());
        let verified = verifier.update(&bytes).and_then(|()| verifier.finish());
        verified.map_err(|error| self.fault(OPERATION, digest, error))?;
        let media_type = match AnyManifest::parse(announced(descriptor), &bytes) {
            Ok(AnyManifest::Image(image)) => image.media_type().clone(),
            Ok(AnyManifest::Index(index)) => index.media_type().clone(),
            // The caller parses too, and says what is wrong.
            Err(_) => descriptor.media_type().clone(),
        };
        Ok(Fetched { descriptor: Descriptor::new(media_type, digest.clone(), bytes.len() as u64), bytes })
    }

    fn stored(&self, operation: Operation, digest: &Digest) -> Result<Stored, Error> {
        self.blobs
            .open(digest)
            .map_err(|error| self.fault(operation, digest, error))?
            .ok_or_else(|| self.fault(operation, digest, ErrorKind::NotFound { message: String::new() }))
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        let name = |entry: &Descriptor| entry.annotation(IMAGE_NAME).filter(|_| self.is_docker());
        self.entries
            .iter()
            .map(|entry| {
                name(entry)
                    .or_else(|| entry.annotation(REF_NAME))
                    .unwrap_or_else(|| format!("@{}", entry.digest()))
            })
            .collect()
    }

    fn is_docker(&self) -> bool {
        matches!(self.location, Location::DockerArchive { .. })
    }

    pub(crate) fn referrers(&self, digest: &Digest) -> Vec<Descriptor> {
        let refers = |entry: &&Descriptor| self.subject(entry).is_some_and(|subject| subject == *digest);
        self.entries.iter().filter(refers).cloned().collect()
    }

    pub(crate) fn blob(self: &Arc<Self>, descriptor: &Descriptor, read: Arc<AtomicU64>) -> BlobStream {
        let state = Reading {
            images: Arc::clone(self),
            descriptor: descriptor.clone(),
            verifier: Some(Verifier::new(descriptor.digest().clone(), descriptor.size())),
            stored: None,
            at: 0,
            ahead: None,
            read,
        };
        let chunks = stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|bytes| (bytes, state)))
        });
        BlobStream::new(descriptor.clone(), chunks)
    }
}

/// A blob that is being read, one piece ahead.
struct Reading {
    images: Arc<LocalImages>,
    descriptor: Descriptor,
    verifier: Option<Verifier>,
    stored: Option<Stored>,
    at: u64,
    ahead: Option<JoinHandle<std::io::Result<Bytes>>>,
    read: Arc<AtomicU64>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        const OPERATION: Operation = Operation::ReadingBlob;
        let Some(verifier) = &mut self.verifier else { return Ok(None) };
        let digest = self.descriptor.digest();
        let stored = match &self.stored {
            Some(stored) => stored.clone(),
            None => {
                let stored = self.images.stored(OPERATION, digest)?;
                if stored.size() > self.descriptor.size() {
                    let kind = VerifyError::TooLong { digest: digest.clone(), size: self.descriptor.size() };
                    return Err(self.images.fault(OPERATION, digest, kind));
                }
                self.stored.insert(stored).clone()
            }
        };
        let request = |at: u64| {
            let stored = stored.clone();
            tokio::task::spawn_blocking(move || stored.read_at(at, READ_BYTES))
        };
        let reading = self.ahead.take().unwrap_or_else(|| request(self.at));
        let bytes = match reading.await {
            Ok(read) => read.map_err(|error| self.images.fault(OPERATION, digest, error))?,
            Err(panic) => {
                return Err(self.images.fault(OPERATION, digest, ErrorKind::Internal(panic.to_string())));
            }
        };
        if bytes.is_empty() {
            if let Some(verifier) = self.verifier.take() {
                verifier.finish().map_err(|error| {
                    let kind = match error {
                        error @ VerifyError::Truncated { .. } => ErrorKind::CutShort(error),
                        error => ErrorKind::Verify(error),
                    };
                    self.images.fault(OPERATION, digest, kind)
                })?;
            }
            return Ok(None);
        }
        self.at += bytes.len() as u64;
        if bytes.len() == READ_BYTES {
            self.ahead = Some(request(self.at));
        }
        verifier.update(&bytes).map_err(|error| self.images.fault(OPERATION, digest, error))?;
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(bytes))
    }
}

fn read_file(path: &Path) -> std::io::Result<Bytes> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_MANIFEST_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{} has {size} bytes; at most {MAX_MANIFEST_BYTES} are read", path.display()),
        ));
    }
    Ok(std::fs::read(path)?.into())
}
