//! A blob on its way to a destination, written piece by piece while it is made.
//!
//! What happens here: the ways of sending a blob, from the first session to the look at what was committed.
//! What does not: making the bytes, and making them again when a registry loses them (their maker does, with
//! [`Remakes`]).
//!
//! `remote` chooses the way and changes it; `chunked`, `streaming` and `spool` are the ways; `session` has
//! the requests, `commit` the last one and what follows it; `mount` sends nothing. What a refusal means is
//! decided in `failure`; chunks are gathered in `filling`; who makes the bytes again is asked by way of
//! `remakes`. What was learned of a registry is in `transport::way`.
//!
//! Invariants:
//! - nothing is a blob before its commit, and no commit is believed before a look;
//! - at most two chunks of an upload are in memory; nothing is on the disk unless a registry takes nothing
//!   but whole blobs;
//! - an upload whose session is known is closed when it is given up.

mod chunked;
mod commit;
mod failure;
mod filling;
pub(crate) mod mount;
mod remakes;
mod remote;
mod session;
mod spool;
mod streaming;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use unbloat_oci::{Digest, Hasher, VerifyError};

use crate::error::{Error, ErrorKind};
use crate::local::layout::{LayoutWriter, PartialBlob};
use crate::operation::Operation;
use crate::remote::Repository;
use crate::upload::remote::RemoteUpload;

pub use remakes::Remakes;

/// How a blob is uploaded.
#[derive(Clone, Copy, Debug)]
pub struct UploadOptions {
    /// Whether the digest is computed here. A caller that hashes anyway saves that time and gives the digest
    /// to [`BlobUpload::finish`]; registries check it.
    pub hash: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self { hash: true }
    }
}

/// A blob that is being written. Nothing of it can be seen before [`BlobUpload::finish`]; dropping it cancels
/// it.
///
/// For a registry at most two chunks ([`crate::UploadPolicy::chunk_bytes`]) are in memory: one that is under
/// way and kept until the server has acknowledged it, and one that fills. Writing waits when both are full.
///
/// A registry that refuses the way that is under way is sent the blob by the next. Where some bytes are
/// already gone, that is [`ErrorKind::UploadLost`]: begin again and write the same bytes, as often as
/// [`Remakes`] allows.
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
    Remote(Box<RemoteUpload>),
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
        let sink = Sink::Remote(Box::new(RemoteUpload::begin(repository).await?));
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

    /// Adds bytes. Large pieces (32 KiB and more) are sent without a copy, so they should not be small
    /// windows of large buffers.
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
            Sink::Remote(remote) => remote.write(bytes).await,
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
    /// [`ErrorKind::Verify`] if they do not, [`ErrorKind::Unsupported`] if neither is known, and what remains
    /// after retries. Nothing is published then.
    pub async fn finish(mut self, expected: Option<Digest>) -> Result<(Digest, u64), Error> {
        let computed = self.hasher.take().map(Hasher::finish);
        let digest = match (computed, expected) {
            (Some(found), Some(expected)) if found != expected => {
                self.cancel().await;
                let kind = VerifyError::DigestMismatch { expected: expected.clone(), found };
                return Err(Error::new(self.place.clone(), Operation::UploadingBlob, expected, kind));
            }
            (Some(digest), _) | (None, Some(digest)) => digest,
            (None, None) => {
                self.cancel().await;
                let kind = ErrorKind::Unsupported("the digest is neither computed nor given".to_owned());
                return Err(Error::new(self.place.clone(), Operation::UploadingBlob, "", kind));
            }
        };
        let outcome = match &mut self.sink {
            Sink::Remote(remote) => remote.finish(&digest).await,
            Sink::File(partial) => partial.finish(&digest).await,
            Sink::Broken => Err(self.broken()),
        };
        if outcome.is_err() {
            self.cancel().await;
        }
        outcome.map(|()| (digest, self.size))
    }

    /// Gives the upload up: the server's session is closed, files are removed.
    pub async fn abort(mut self) {
        self.cancel().await;
    }

    async fn cancel(&mut self) {
        if let Sink::Remote(remote) = std::mem::replace(&mut self.sink, Sink::Broken) {
            remote.cancel().await;
        }
    }

    fn broken(&self) -> Error {
        let kind = ErrorKind::Unsupported("this upload has already failed".to_owned());
        Error::new(self.place.clone(), Operation::UploadingBlob, "", kind)
    }
}
