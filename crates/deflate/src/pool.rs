//! Output buffers that come back when the last reference to them is dropped.

use crate::inflate::{OUTPUT_MARGIN, WINDOW};
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Uncompressed bytes in a full chunk, give or take one match: small enough to stay in a core's second-level
/// cache while it is decoded, summed and looked at, large enough that the 32 KiB of history carried over cost
/// 1 %.
pub(crate) const CHUNK_SIZE: usize = 256 * 1024;

/// One buffer: the history, a chunk, the hot loop's margin.
const BUFFER_SIZE: usize = WINDOW + CHUNK_SIZE + OUTPUT_MARGIN;

/// A store of free buffers that decoders share. Cloning shares the store.
#[derive(Clone, Debug)]
pub struct BufferPool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    keep: usize,
}

impl BufferPool {
    /// A pool that keeps at most `keep` free buffers of 288 KiB. It limits no more than that: what is in use
    /// is the caller's to bound.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { free: Arc::default(), keep }
    }

    pub(crate) fn take(&self) -> Buffer {
        let bytes = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; BUFFER_SIZE]), pool: self.clone() }
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: BufferPool,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// A part of the buffer as shared bytes; the buffer returns to its pool with the last of them.
    pub(crate) fn share(self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self).slice(range)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.keep {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
