//! What is known of one deflate block after it was decoded.

use std::ops::Range;

/// How a block is encoded (RFC 1951, 3.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Bytes as they are, aligned to a byte.
    Stored,
    /// With the fixed Huffman codes.
    Fixed,
    /// With Huffman codes of its own.
    Dynamic,
}

/// One block of a stream: where it is, what it makes, and what it needs to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How it is encoded.
    pub kind: BlockKind,
    /// Whether it is its member's last (BFINAL).
    pub is_final: bool,
    /// Its bits in the compressed stream, from the three of its header to its last; a bit is counted from the
    /// start of the stream, the lowest bit of a byte first.
    pub bits: Range<u64>,
    /// Its bytes in the uncompressed stream (of all members one after the other).
    pub output: Range<u64>,
    /// How many bytes before `output.start` its matches refer to: 0 to 32,768.
    pub reach: u32,
}
