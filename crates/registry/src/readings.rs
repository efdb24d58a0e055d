//! What is known of blobs' bytes before and after they were read as a whole.
//!
//! A blob's digest tells that its bytes are right only with the last of them, when they have been used
//! already. So the digest of what came so far is kept at regular places. Once the whole was right, all of
//! these are: a later reading is checked piece by piece, before the pieces are handed out, and only a piece
//! that is wrong is read again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unbloat_oci::{Descriptor, Digest, Verifier, VerifyError};

/// Fewest bytes between two places, and most places of a blob: below 200 KiB of memory whatever its size.
const SMALLEST_STEP: u64 = 1 << 20;
const MOST_PLACES: u64 = 2048;

/// The digests of a blob's beginnings: of the first `step` bytes, the first `2 * step`, …, and of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginnings {
    step: u64,
    size: u64,
    digests: Vec<Digest>,
}

impl Beginnings {
    fn step_of(size: u64) -> u64 {
        size.div_ceil(MOST_PLACES).max(SMALLEST_STEP)
    }

    /// Where the piece that begins at `seen` ends.
    pub(crate) fn end_of_piece(&self, seen: u64) -> u64 {
        ((seen / self.step + 1) * self.step).min(self.size)
    }

    /// Whether a reading up to `end`, which is the end of a piece, has this digest.
    pub(crate) fn confirms(&self, end: u64, digest: &Digest) -> bool {
        let index = usize::try_from(end.div_ceil(self.step).saturating_sub(1)).unwrap_or(usize::MAX);
        self.digests.get(index) == Some(digest)
    }
}

/// A reading under way: the hash of what came, with its beginnings.
#[derive(Debug)]
pub(crate) struct Running {
    verifier: Verifier,
    beginnings: Beginnings,
}

impl Running {
    pub(crate) fn new(descriptor: &Descriptor) -> Self {
        let size = descriptor.size();
        Self {
            verifier: Verifier::new(descriptor.digest().clone(), size),
            beginnings: Beginnings { step: Beginnings::step_of(size), size, digests: Vec::new() },
        }
    }

    pub(crate) fn seen(&self) -> u64 {
        self.verifier.seen()
    }

    /// The digest of what came.
    pub(crate) fn so_far(&self) -> Digest {
        self.verifier.so_far()
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) -> Result<(), VerifyError> {
        while !bytes.is_empty() {
            let seen = self.verifier.seen();
            let end = self.beginnings.end_of_piece(seen);
            let room = usize::try_from(end.saturating_sub(seen)).unwrap_or(usize::MAX);
            // Past the size there is no room: the verifier says so.
            let (now, later) = bytes.split_at(if room == 0 { bytes.len() } else { room.min(bytes.len()) });
            self.verifier.update(now)?;
            if self.verifier.seen() == end {
                self.beginnings.digests.push(self.verifier.so_far());
            }
            bytes = later;
        }
        Ok(())
    }

    /// The end of the bytes: the beginnings, which are right if the whole is.
    pub(crate) fn finish(&self) -> Result<Beginnings, VerifyError> {
        self.verifier.clone().finish()?;
        Ok(self.beginnings.clone())
    }
}

/// A reading that others can look at while it goes on.
pub(crate) type Shared = Arc<Mutex<Running>>;

pub(crate) fn lock(running: &Shared) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All readings of a client.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    known: Mutex<HashMap<Digest, Arc<Beginnings>>>,
    /// Those that have not ended, or not well.
    open: Mutex<HashMap<Digest, Vec<Shared>>>,
}

impl Readings {
    /// Begins to read a blob.
    pub(crate) fn begin(&self, descriptor: &Descriptor) -> Shared {
        let running = Arc::new(Mutex::new(Running::new(descriptor)));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(descriptor.digest().clone()).or_default().push(Arc::clone(&running));
        running
    }

    /// A reading ended: what it learned, if it was right.
    pub(crate) fn end(&self, digest: &Digest, running: &Shared) -> Result<(), VerifyError> {
        let beginnings = lock(running).finish()?;
        self.learn(digest, beginnings);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = open.get_mut(digest) {
            list.retain(|other| !Arc::ptr_eq(other, running));
            if list.is_empty() {
                open.remove(digest);
            }
        }
        Ok(())
    }

    pub(crate) fn learn(&self, digest: &Digest, beginnings: Beginnings) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest.clone()).or_insert_with(|| Arc::new(beginnings));
    }

    pub(crate) fn known(&self, digest: &Digest) -> Option<Arc<Beginnings>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// How far the readings of a blob came that did not end well, and the digests of what came. They are
    /// forgotten.
    pub(crate) fn take_open(&self, digest: &Digest) -> Vec<(u64, Digest)> {
        let taken = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
        let state = |running: &Shared| {
            let running = lock(running);
            (running.seen(), running.so_far())
        };
        taken.unwrap_or_default().iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbloat_oci::MediaType;

    #[test]
    fn beginnings_are_those_of_the_whole_whatever_the_pieces_were() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n >> 3) as u8).collect();
        let descriptor = Descriptor::of(MediaType::from_static("x"), &bytes);
        let read = |piece: usize| {
            let mut running = Running::new(&descriptor);
            bytes.chunks(piece).for_each(|chunk| running.update(chunk).unwrap());
            running.finish().unwrap()
        };
        let beginnings = read(5_000_000);
        assert_eq!(beginnings, read(65_521));
        assert_eq!(beginnings.digests.len(), 5);
        let end = beginnings.end_of_piece(0);
        assert!(beginnings.confirms(end, &Digest::sha256_of(&bytes[..end as usize])));
        assert!(!beginnings.confirms(2 * end, &Digest::sha256_of(&bytes[..end as usize])));
        assert_eq!(beginnings.end_of_piece(4 * end), 5_000_000);
        assert!(beginnings.confirms(5_000_000, descriptor.digest()));
    }

    #[test]
    fn more_bytes_than_the_descriptor_says_are_an_error() {
        let descriptor = Descriptor::of(MediaType::from_static("x"), b"abc");
        let mut running = Running::new(&descriptor);
        assert!(matches!(running.update(b"abcd"), Err(VerifyError::TooLong { .. })));
    }
}
