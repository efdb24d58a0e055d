//! Layers that are already in memory as tar: for tests, benches, fuzzing and small tools.

use bytes::Bytes;

use crate::chunk::{Chunk, ChunkSource, Piece};
use crate::error::{BoxError, Error};
use crate::merge::{LayerSource, Options, Output, Summary, merge};

/// Layers as tar bytes, lowest first, handed out in chunks of a chosen size.
#[derive(Clone, Debug)]
pub struct MemoryLayers {
    /// The layers.
    pub layers: Vec<Bytes>,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: usize,
}

/// One of them, being read.
#[derive(Debug)]
pub struct MemoryStream {
    rest: Bytes,
    offset: u64,
    chunk_bytes: usize,
}

impl LayerSource for MemoryLayers {
    type Stream = MemoryStream;

    fn open(&self, layer: usize) -> Result<MemoryStream, BoxError> {
        let rest = self.layers.get(layer).cloned().ok_or("no such layer")?;
        Ok(MemoryStream { rest, offset: 0, chunk_bytes: self.chunk_bytes.max(1) })
    }
}

impl ChunkSource for MemoryStream {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let data = self.rest.split_to(self.chunk_bytes.min(self.rest.len()));
        let offset = self.offset;
        self.offset += data.len() as u64;
        Ok(Some(Chunk { data, offset, origin: None }))
    }
}

struct Collect(Vec<u8>);

impl Output for Collect {
    fn restart(&mut self) -> Result<(), BoxError> {
        self.0.clear();
        Ok(())
    }

    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn copy(&mut self, piece: Piece) -> Result<(), BoxError> {
        self.0.extend_from_slice(piece.bytes());
        Ok(())
    }
}

/// Merges layers in memory into one tar.
///
/// # Errors
/// See [`Error`].
pub fn flatten(layers: &MemoryLayers, options: &Options) -> Result<(Vec<u8>, Summary), Error> {
    let mut collect = Collect(Vec::new());
    let summary = merge(layers, layers.layers.len(), options, &mut collect)?;
    Ok((collect.0, summary))
}
