//! A blob on its way to a destination, written piece by piece while it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::LOCATION;
use unbloat_oci::{Digest, Hasher, VerifyError};
use url::Url;

use crate::chunked_upload::{Chunked, Written};
use crate::error::{Error, ErrorKind};
use crate::layout::{LayoutWriter, PartialBlob};
use crate::options::UploadMode;
use crate::remote::Repository;
use crate::single_upload::Single;

/// How a blob is uploaded.
#[derive(Clone, Copy, Debug)]
pub struct UploadOptions {
    /// Whether the digest is computed here. A caller that hashes anyway saves that time and gives the digest to
    /// [`BlobUpload::finish`]; registries check it.
    pub hash: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self { hash: true }
    }
}

/// A blob that is being written. Nothing of it can be seen before [`BlobUpload::finish`]; dropping it cancels it.
///
/// For a registry at most two chunks ([`crate::UploadPolicy::chunk_bytes`]) are in memory: one that is under way and kept
/// until the server has acknowledged it, and one that fills. Writing waits when both are full.
#[derive(Debug)]
pub struct BlobUpload {
    place: String,
    hasher: Option<Hasher>,
    size: u64,
    written: Arc<AtomicU64>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Chunked(Box<Chunked>),
    Single(Box<Single>),
    File(Box<PartialBlob>),
    /// After a failure: every further call fails.
    Broken,
}

impl BlobUpload {
    pub(crate) async fn remote(
        repository: Repository,
        options: UploadOptions,
        written: Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let place = repository.registry().to_owned();
        let single = repository.transport.options().upload.mode == UploadMode::Single
            || repository.host.refuses_chunks.load(Ordering::Relaxed);
        let sink = if single {
            Sink::Single(Box::new(Single::new(repository)?))
        } else {
            Sink::Chunked(Box::new(Chunked::begin(repository).await?))
        };
        Ok(Self::new(place, options, written, sink))
    }

    pub(crate) async fn file(
        writer: Arc<LayoutWriter>,
        options: UploadOptions,
        written: Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let place = writer.place().to_owned();
        let sink = Sink::File(Box::new(writer.begin()?));
        Ok(Self::new(place, options, written, sink))
    }

    fn new(place: String, options: UploadOptions, written: Arc<AtomicU64>, sink: Sink) -> Self {
        Self { place, hasher: options.hash.then(Hasher::default), size: 0, written, sink }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes. Large pieces (32 KiB and more) are sent without a copy, so they should not be small windows of large
    /// buffers.
    ///
    /// # Errors
    /// What remains after retries; then the upload is cancelled, and further calls fail.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        self.size += length;
        let outcome = match &mut self.sink {
            Sink::Chunked(chunked) => match chunked.write(bytes).await {
                Ok(Written::Taken) => Ok(()),
                Ok(Written::Refused(pieces)) => self.change_to_single(pieces).await,
                Err(error) => Err(error),
            },
            Sink::Single(single) => single.write(bytes).await,
            Sink::File(partial) => partial.write(bytes).await,
            Sink::Broken => Err(self.broken()),
        };
        if outcome.is_err() {
            self.cancel().await;
        } else {
            self.written.fetch_add(length, Ordering::Relaxed);
        }
        outcome
    }

    /// Ends the blob and makes it available under its digest.
    ///
    /// `expected` is the digest if the caller knows it; where both are known they have to agree.
    ///
    /// # Errors
    /// [`ErrorKind::Verify`] if they do not, [`ErrorKind::Unsupported`] if neither is known, and what remains after
    /// retries. Nothing is published then.
    pub async fn finish(mut self, expected: Option<Digest>) -> Result<(Digest, u64), Error> {
        let computed = self.hasher.take().map(Hasher::finish);
        let digest = match (computed, expected) {
            (Some(found), Some(expected)) if found != expected => {
                self.cancel().await;
                let kind = VerifyError::DigestMismatch { expected: expected.clone(), found };
                return Err(Error::new(self.place.clone(), "uploading blob", expected, kind));
            }
            (Some(digest), _) | (None, Some(digest)) => digest,
            (None, None) => {
                self.cancel().await;
                let kind = ErrorKind::Unsupported("the digest is neither computed nor given".to_owned());
                return Err(Error::new(self.place.clone(), "uploading blob", "", kind));
            }
        };
        let outcome = self.commit(&digest).await;
        if outcome.is_err() {
            self.cancel().await;
        }
        outcome.map(|()| (digest, self.size))
    }

    async fn commit(&mut self, digest: &Digest) -> Result<(), Error> {
        if let Sink::Chunked(chunked) = &mut self.sink {
            match chunked.finish(digest).await? {
                Written::Taken => return Ok(()),
                Written::Refused(pieces) => self.change_to_single(pieces).await?,
            }
        }
        match &mut self.sink {
            Sink::Single(single) => single.finish(digest).await,
            Sink::File(partial) => partial.finish(digest).await,
            Sink::Chunked(_) | Sink::Broken => Err(self.broken()),
        }
    }

    /// Gives the upload up: the server's session is closed, files are removed.
    pub async fn abort(mut self) {
        self.cancel().await;
    }

    async fn cancel(&mut self) {
        if let Sink::Chunked(chunked) = std::mem::replace(&mut self.sink, Sink::Broken) {
            chunked.cancel().await;
        }
    }

    /// The server takes no chunks: what it refused and all that follows goes to scratch space.
    async fn change_to_single(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        let Sink::Chunked(chunked) = std::mem::replace(&mut self.sink, Sink::Broken) else {
            return Err(self.broken());
        };
        let repository = chunked.repository().clone();
        repository.host.refuses_chunks.store(true, Ordering::Relaxed);
        chunked.cancel().await;
        let mut single = Single::new(repository)?;
        for piece in pieces {
            single.write(piece).await?;
        }
        self.sink = Sink::Single(Box::new(single));
        Ok(())
    }

    fn broken(&self) -> Error {
        let kind = ErrorKind::Unsupported("this upload has already failed".to_owned());
        Error::new(self.place.clone(), "uploading blob", "", kind)
    }
}

/// Where an upload goes on: `Location`, absolute or relative, its query as it is.
pub(crate) fn session_location(base: &Url, response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = base.join(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}
