//! Where layers come from.

use super::known::{HeaderSink, Known};
use crate::chunk::ChunkSource;
use crate::error::{BoxError, LayerError};

/// Where layers come from.
pub trait LayerSource: Sync {
    /// A decoded layer.
    type Stream: ChunkSource;

    /// Opens layer `layer`, 0 at the lowest. Layers are opened from the highest down.
    ///
    /// # Errors
    /// Whatever keeps the layer from being read.
    fn open(&self, layer: usize) -> Result<Self::Stream, BoxError>;

    /// What is known of a layer of a kept base, which is then not opened.
    ///
    /// # Errors
    /// Whatever keeps what is known from being read.
    fn known(&self, _layer: usize) -> Result<Option<Known>, BoxError> {
        Ok(None)
    }

    /// Whether the bytes that a layer gave were not its own, although they are wrong now: a connection or a
    /// cache changed them. Asked when a round ends with an error of that layer. If so, the round is made
    /// again, and the source reads with care from now on; it never says so twice.
    fn misread(&self, _layer: usize, _cause: &LayerError) -> bool {
        false
    }

    /// Somebody who wants to know a layer of a kept base that is about to be read.
    fn learn(&self, _layer: usize) -> Option<Box<dyn HeaderSink>> {
        None
    }
}
