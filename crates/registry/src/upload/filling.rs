//! Bytes that gather until they are a chunk.

use bytes::{Bytes, BytesMut};

/// Pieces below this are copied together: a request of a million tiny pieces would cost more than the copy.
const SMALL_PIECE: usize = 32 << 10;

/// A chunk that fills.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    pieces: Vec<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Filling {
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Adds bytes until there are `target`; gives back what is beyond.
    pub(crate) fn add(&mut self, mut bytes: Bytes, target: usize) -> Bytes {
        let room = target.saturating_sub(self.bytes);
        let piece = bytes.split_to(room.min(bytes.len()));
        self.bytes += piece.len();
        if piece.len() < SMALL_PIECE {
            self.small.extend_from_slice(&piece);
        } else {
            self.seal_small();
            self.pieces.push(piece);
        }
        bytes
    }

    fn seal_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    /// Everything, to be sent.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.seal_small();
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// `length` bytes of the pieces from `skip` on.
pub(crate) fn range(pieces: &[Bytes], mut skip: u64, mut length: u64) -> Vec<Bytes> {
    let mut out = Vec::new();
    for piece in pieces {
        let size = piece.len() as u64;
        if skip >= size {
            skip -= size;
            continue;
        }
        let take = length.min(size - skip);
        if take == 0 {
            break;
        }
        let first = usize::try_from(skip).unwrap_or(0);
        out.push(piece.slice(first..first + usize::try_from(take).unwrap_or(0)));
        length -= take;
        skip = 0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_the_bytes_in_their_order() {
        let mut filling = Filling::default();
        let large = Bytes::from(vec![7_u8; SMALL_PIECE]);
        for piece in [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"cd")] {
            assert!(filling.add(piece, 1 << 20).is_empty());
        }
        let rest = filling.add(Bytes::from_static(b"efgh"), SMALL_PIECE + 6);
        assert_eq!((&rest[..], filling.len()), (&b"gh"[..], SMALL_PIECE + 6));
        let joined = filling.take().concat();
        assert_eq!((&joined[..2], &joined[2 + SMALL_PIECE..]), (&b"ab"[..], &b"cdef"[..]));
    }

    #[test]
    fn a_range_crosses_pieces() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"def"), Bytes::from_static(b"gh")];
        assert_eq!(range(&pieces, 2, 5).concat(), b"cdefg");
        assert_eq!(range(&pieces, 6, 9).concat(), b"gh");
        assert!(range(&pieces, 3, 0).is_empty());
    }
}
