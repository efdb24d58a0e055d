//! The bytes of one blob: as an async stream, or as `Read` for a thread that decodes.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use unbloat_oci::Descriptor;

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

type Inner = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The bytes of a blob, checked against its descriptor: the stream ends without an error only if size and
/// digest are right.
///
/// Nothing is requested before the first poll. Retries, resumption and new tokens happen inside. After an
/// error the stream is over.
pub struct BlobStream {
    descriptor: Descriptor,
    inner: Inner,
}

impl BlobStream {
    pub(crate) fn new(
        descriptor: Descriptor,
        inner: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Self {
        Self { descriptor, inner: Box::pin(inner) }
    }

    /// What is being read.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The next bytes; `None` at the verified end.
    ///
    /// # Errors
    /// Any [`Error`]; the text names the blob.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.inner.next().await.transpose()
    }

    /// The whole blob in memory.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] before anything is read if the descriptor says more than `limit` bytes.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes, Error> {
        let size = self.descriptor.size();
        if size > limit {
            let kind = ErrorKind::LimitExceeded { what: "the blob", limit };
            return Err(Error::new("the source", Operation::ReadingBlob, self.descriptor.digest(), kind));
        }
        let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        while let Some(bytes) = self.chunk().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.into())
    }

    /// Starts reading now, in a task, at most about `bytes` ahead of the consumer. This is how several
    /// requests are kept going before the blob that is needed next. Has to be called inside a tokio runtime.
    #[must_use]
    pub fn prefetch(self, bytes: usize) -> Self {
        let Self { descriptor, mut inner } = self;
        // Permits count kibibytes, because a semaphore has fewer than 2^61 permits but acquires only u32 at
        // once.
        let budget = std::sync::Arc::new(tokio::sync::Semaphore::new((bytes / 1024).max(1)));
        let most = u32::try_from((bytes / 1024).max(1)).unwrap_or(u32::MAX);
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(item) = inner.next().await {
                let length = item.as_ref().map_or(0, Bytes::len);
                let cost = u32::try_from(length.div_ceil(1024)).unwrap_or(most).clamp(1, most);
                let Ok(permit) = std::sync::Arc::clone(&budget).acquire_many_owned(cost).await else {
                    return;
                };
                if sender.send((item, permit)).is_err() {
                    return;
                }
            }
        });
        let state = (receiver, AbortOnDrop(task));
        let ahead = futures::stream::unfold(state, |(mut receiver, task)| async move {
            let (item, _permit) = receiver.recv().await?;
            Some((item, (receiver, task)))
        });
        Self::new(descriptor, ahead)
    }

    /// The stream as `Read`, for a thread of its own: never to be read on a thread of the runtime.
    ///
    /// Errors come as [`io::Error`] around this crate's [`Error`] (`error.get_ref()` and downcast gives it
    /// back).
    #[must_use]
    pub fn into_reader(self, runtime: Handle) -> BlobReader {
        BlobReader { stream: self, runtime, current: Bytes::new(), done: false }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(context)
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStream({})", self.descriptor.digest())
    }
}

/// A [`BlobStream`] as `Read`. Hashing happens on the reading thread.
#[derive(Debug)]
pub struct BlobReader {
    stream: BlobStream,
    runtime: Handle,
    current: Bytes,
    done: bool,
}

impl BlobReader {
    /// The next bytes without a copy; `None` at the verified end.
    ///
    /// # Errors
    /// As [`BlobStream::chunk`].
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.current.is_empty() {
            return Ok(Some(std::mem::take(&mut self.current)));
        }
        if self.done {
            return Ok(None);
        }
        let next = self.runtime.block_on(self.stream.chunk());
        self.done = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.next_chunk() {
                Ok(Some(bytes)) => self.current = bytes,
                Ok(None) => return Ok(0),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
