//! Where the merged tar stream goes.

use crate::chunk::Piece;
use crate::error::BoxError;

/// Where the merged tar stream goes.
pub trait Output {
    /// What came so far is void: the stream begins anew. See [`crate::merge`] for when that is.
    ///
    /// # Errors
    /// As [`Output::fresh`].
    fn restart(&mut self) -> Result<(), BoxError>;

    /// Bytes that were made anew: headers, padding, the trailer.
    ///
    /// # Errors
    /// Whatever keeps the stream from being taken; the merge stops.
    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError>;

    /// Bytes that stand in a layer as they are.
    ///
    /// # Errors
    /// As [`Output::fresh`].
    fn copy(&mut self, piece: Piece) -> Result<(), BoxError>;
}
