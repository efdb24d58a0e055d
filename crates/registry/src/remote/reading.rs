//! Reading a blob: whether its bytes are the right ones, and reading them again where they are not.
//!
//! A connection, a cache or a disk that changes a byte now and then is no corrupt blob. Small blobs are
//! checked as a whole before any byte is handed out. A large one streams, and is wrong only once it has been
//! used; whoever used it begins again and reads it [checked](Repository::checked_blob): once as a whole to
//! learn its beginnings (unless they are known from a reading that was right), then piece by piece, each held
//! until it is right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures::stream;
use unbloat_oci::{Descriptor, Digest, Verifier, VerifyError};

use super::fetching::Fetching;
use crate::error::{Error, ErrorKind};
use crate::http::attempts::Attempts;
use crate::readings::{self, Beginnings, Running, Shared};
use crate::remote::Repository;
use crate::stream::BlobStream;

/// Blobs up to this many bytes are held until they are known to be right: less than what is read ahead of a
/// decoder.
const HELD: u64 = 256 << 10;
/// How often bytes are read before they are called corrupt.
pub(crate) const READINGS: u32 = 3;

impl Repository {
    /// A blob as it comes; its end is an error if it was not the right one.
    pub(crate) fn blob(&self, descriptor: &Descriptor, read: &Arc<AtomicU64>) -> BlobStream {
        let fetching = Fetching::new(self, descriptor, read);
        if descriptor.size() <= HELD {
            let held = Held { fetching, ready: None };
            let chunks = stream::try_unfold(held, |mut held| async move {
                Ok(held.next().await?.map(|bytes| (bytes, held)))
            });
            return BlobStream::new(descriptor.clone(), chunks);
        }
        // Begun with the first byte: a stream that nobody polls reads nothing.
        let streaming = Streaming { fetching, running: None, ended: false };
        let chunks = stream::try_unfold(streaming, |mut streaming| async move {
            Ok(streaming.next().await?.map(|bytes| (bytes, streaming)))
        });
        BlobStream::new(descriptor.clone(), chunks)
    }

    /// A blob of which no byte is handed out before it is known to be right.
    pub(crate) fn checked_blob(&self, descriptor: &Descriptor, read: &Arc<AtomicU64>) -> BlobStream {
        if descriptor.size() <= HELD {
            return self.blob(descriptor, read);
        }
        let checked = Checked {
            fetching: Fetching::new(self, descriptor, read),
            verifier: Verifier::new(descriptor.digest().clone(), descriptor.size()),
            beginnings: None,
            ready: VecDeque::new(),
            attempts: self.few_attempts(),
            read: Arc::clone(read),
        };
        let chunks = stream::try_unfold(checked, |mut checked| async move {
            Ok(checked.next().await?.map(|bytes| (bytes, checked)))
        });
        BlobStream::new(descriptor.clone(), chunks)
    }

    /// Whether what was handed out of a blob by readings that did not end well is other than what the blob
    /// holds.
    ///
    /// # Errors
    /// What keeps the blob from being read; that it is corrupt is none.
    pub(crate) async fn was_misread(
        &self,
        descriptor: &Descriptor,
        read: &Arc<AtomicU64>,
    ) -> Result<bool, Error> {
        let readings = self.transport.readings().take_open(descriptor.digest());
        if readings.is_empty() {
            return Ok(false);
        }
        match self.learn(descriptor, read, &readings).await {
            Ok(agrees) => Ok(!agrees),
            Err(error) if matches!(error.kind(), ErrorKind::Verify(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob to know its beginnings, again where it is wrong. Tells whether these earlier readings
    /// agree with it.
    async fn learn(
        &self,
        descriptor: &Descriptor,
        read: &Arc<AtomicU64>,
        earlier: &[(u64, Digest)],
    ) -> Result<bool, Error> {
        let mut attempts = self.few_attempts();
        loop {
            let mut fetching = Fetching::new(self, descriptor, read);
            let mut running = Running::new(descriptor);
            match pass(&mut fetching, &mut running, earlier).await? {
                Ok(agrees) => {
                    let beginnings = running.finish().map_err(|error| fetching.fault(error))?;
                    self.transport.readings().learn(descriptor.digest(), beginnings);
                    return Ok(agrees);
                }
                Err(wrong) if !attempts.again(None).await => return Err(fetching.fault(wrong)),
                Err(_) => {}
            }
        }
    }

    fn few_attempts(&self) -> Attempts {
        self.transport.attempts().at_most(READINGS)
    }
}

/// One pass over all bytes of a blob. Bytes that are wrong are the inner error.
async fn pass(
    fetching: &mut Fetching,
    running: &mut Running,
    earlier: &[(u64, Digest)],
) -> Result<Result<bool, VerifyError>, Error> {
    let mut agrees = true;
    while let Some(mut bytes) = fetching.next().await? {
        while !bytes.is_empty() {
            // Stops where an earlier reading stopped, to compare.
            let seen = running.seen();
            let stops = earlier.iter().map(|(end, _)| *end).filter(|end| *end > seen);
            let room = stops.map(|end| end - seen).min().unwrap_or(u64::MAX).min(bytes.len() as u64);
            let now = bytes.split_to(usize::try_from(room).unwrap_or(bytes.len()));
            if let Err(wrong) = running.update(&now) {
                return Ok(Err(wrong));
            }
            let here = running.seen();
            if let Some((_, digest)) = earlier.iter().find(|(end, _)| *end == here) {
                agrees &= running.so_far() == *digest;
            }
        }
    }
    Ok(running.finish().map(|_| agrees))
}

/// A small blob.
struct Held {
    fetching: Fetching,
    ready: Option<VecDeque<Bytes>>,
}

impl Held {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.ready.is_none() {
            self.ready = Some(self.read().await?);
        }
        Ok(self.ready.as_mut().and_then(VecDeque::pop_front))
    }

    async fn read(&mut self) -> Result<VecDeque<Bytes>, Error> {
        let mut attempts = self.fetching.repository.few_attempts();
        loop {
            let mut verifier =
                Verifier::new(self.fetching.descriptor.digest().clone(), self.fetching.descriptor.size());
            let mut pieces = VecDeque::new();
            let wrong = loop {
                match self.fetching.next().await? {
                    Some(bytes) => match verifier.update(&bytes) {
                        Ok(()) => pieces.push_back(bytes),
                        Err(wrong) => break wrong,
                    },
                    None => match verifier.finish() {
                        Ok(()) => return Ok(pieces),
                        Err(wrong) => break wrong,
                    },
                }
            };
            if !attempts.again(None).await {
                return Err(self.fetching.fault(wrong));
            }
            self.fetching.restart(0);
        }
    }
}

/// A large blob, handed out as it comes.
struct Streaming {
    fetching: Fetching,
    running: Option<Shared>,
    ended: bool,
}

impl Streaming {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.ended {
            return Ok(None);
        }
        let readings = self.fetching.repository.transport.readings();
        let running = match &self.running {
            Some(running) => Arc::clone(running),
            None => {
                let running = readings.begin(&self.fetching.descriptor);
                self.running = Some(Arc::clone(&running));
                running
            }
        };
        match self.fetching.next().await? {
            Some(bytes) => {
                let updated = readings::lock(&running).update(&bytes);
                updated.map_err(|error| self.fetching.fault(error))?;
                Ok(Some(bytes))
            }
            None => {
                self.ended = true;
                let readings = self.fetching.repository.transport.readings();
                let ended = readings.end(self.fetching.descriptor.digest(), &running);
                ended.map_err(|error| self.fetching.fault(error))?;
                Ok(None)
            }
        }
    }
}

/// A large blob, checked before it is handed out.
struct Checked {
    fetching: Fetching,
    /// Over what was found right.
    verifier: Verifier,
    beginnings: Option<Arc<Beginnings>>,
    ready: VecDeque<Bytes>,
    attempts: Attempts,
    read: Arc<AtomicU64>,
}

impl Checked {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(bytes) = self.ready.pop_front() {
            return Ok(Some(bytes));
        }
        if self.verifier.remaining() == 0 {
            return Ok(None);
        }
        let beginnings = self.beginnings().await?;
        loop {
            let end = beginnings.end_of_piece(self.verifier.seen());
            let (piece, verifier) = self.piece(end).await?;
            let found = verifier.so_far();
            if verifier.seen() == end && beginnings.confirms(end, &found) {
                self.attempts.progressed();
                (self.verifier, self.ready) = (verifier, piece);
                return Ok(self.ready.pop_front());
            }
            if !self.attempts.again(None).await {
                let expected = self.fetching.descriptor.digest().clone();
                return Err(self.fetching.fault(VerifyError::DigestMismatch { expected, found }));
            }
            self.fetching.restart(self.verifier.seen());
        }
    }

    async fn beginnings(&mut self) -> Result<Arc<Beginnings>, Error> {
        let repository = self.fetching.repository.clone();
        let digest = self.fetching.descriptor.digest().clone();
        loop {
            if let Some(known) = &self.beginnings {
                return Ok(Arc::clone(known));
            }
            self.beginnings = repository.transport.readings().known(&digest);
            if self.beginnings.is_none() {
                repository.learn(&self.fetching.descriptor, &self.read, &[]).await?;
            }
        }
    }

    /// The bytes up to `end`, with the hash over them.
    async fn piece(&mut self, end: u64) -> Result<(VecDeque<Bytes>, Verifier), Error> {
        let mut verifier = self.verifier.clone();
        let mut piece = VecDeque::new();
        while verifier.seen() < end {
            let Some(mut bytes) = self.fetching.next().await? else { break };
            let room = usize::try_from(end - verifier.seen()).unwrap_or(usize::MAX);
            if bytes.len() > room {
                let rest = bytes.split_off(room);
                self.fetching.give_back(rest);
            }
            verifier.update(&bytes).map_err(|error| self.fetching.fault(error))?;
            piece.push_back(bytes);
        }
        Ok((piece, verifier))
    }
}
