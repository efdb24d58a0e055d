//! What the merge hands to the codec.

use bytes::Bytes;
use unbloat_layers::Piece;

/// A part of the merged stream.
pub(crate) enum Segment {
    /// Made anew.
    Fresh(Vec<u8>),
    /// Bytes of a layer as they stand.
    Copy(Piece),
}

impl Segment {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Copy(piece) => piece.bytes(),
        }
    }

    pub(crate) fn piece(&self) -> Option<&Piece> {
        match self {
            Self::Fresh(_) => None,
            Self::Copy(piece) => Some(piece),
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Fresh(bytes) => bytes.into(),
            Self::Copy(piece) => piece.to_bytes(),
        }
    }
}
