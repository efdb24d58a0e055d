//! Decoded bytes of a layer on their way through the merge: never copied, kept alive for as long as they are
//! needed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::BoxError;

/// A stretch of a layer's decoded tar stream.
pub struct Chunk {
    /// The bytes.
    pub data: Bytes,
    /// Where they stand in the decoded stream.
    pub offset: u64,
    /// What the decoder knows of them besides (the compressed blocks they came from); the merge hands it on
    /// unseen.
    pub origin: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes at {})", self.data.len(), self.offset)
    }
}

/// A layer's decoded stream.
pub trait ChunkSource {
    /// The next bytes, `None` at the end. The end is reached only when everything was checked that can be:
    /// the codec's checksums, and the blob's digest and size.
    ///
    /// # Errors
    /// Whatever keeps the stream from going on; the merge reports it with the layer's index.
    fn next(&mut self) -> Result<Option<Chunk>, BoxError>;

    /// How many compressed bytes were taken for what was handed out so far; `None` where nothing is
    /// compressed.
    fn compressed_position(&self) -> Option<u64> {
        None
    }
}

impl<S: ChunkSource + ?Sized> ChunkSource for Box<S> {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        (**self).next()
    }

    fn compressed_position(&self) -> Option<u64> {
        (**self).compressed_position()
    }
}

/// A part of a chunk.
#[derive(Clone, Debug)]
pub struct Piece {
    chunk: Arc<Chunk>,
    layer: u32,
    start: u32,
    end: u32,
}

impl Piece {
    pub(crate) fn new(chunk: &Arc<Chunk>, layer: u32, start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= chunk.data.len());
        // A chunk is a buffer of a decoder, far below 4 GiB (checked where it enters the reader).
        Self { chunk: Arc::clone(chunk), layer, start: start as u32, end: end as u32 }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.chunk.data[self.start as usize..self.end as usize]
    }

    /// The bytes, shared with the chunk.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.chunk.data.slice(self.start as usize..self.end as usize)
    }

    /// The layer they come from, 0 at the lowest.
    #[must_use]
    pub fn layer(&self) -> u32 {
        self.layer
    }

    /// Where they stand in the layer's decoded stream.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.chunk.offset + u64::from(self.start)
    }

    /// The chunk they are a part of.
    #[must_use]
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes `next` in when it follows in the same chunk; tells whether it did.
    pub fn absorb(&mut self, next: &Self) -> bool {
        let follows = Arc::ptr_eq(&self.chunk, &next.chunk) && self.end == next.start;
        if follows {
            self.end = next.end;
        }
        follows
    }
}
