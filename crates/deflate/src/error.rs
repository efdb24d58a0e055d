//! Errors of reading gzip.

use crate::inflate::Corruption;
use thiserror::Error;

/// Why a gzip stream cannot be read. Offsets are bytes from the start of the compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GzipError {
    /// The stream does not start with gzip's magic bytes.
    #[error("not gzip data: no magic bytes at offset {offset}")]
    NotGzip {
        /// Where a member should start.
        offset: u64,
    },
    /// A member's compression method is not deflate, or reserved flags are set (RFC 1952, 2.3.1).
    #[error("unsupported gzip member at offset {offset}: method {method}, flags {flags:#04x}")]
    Unsupported {
        /// Where the member starts.
        offset: u64,
        /// CM; only 8 is defined.
        method: u8,
        /// FLG.
        flags: u8,
    },
    /// A member's header, with its name and comment, is longer than any writer makes it.
    #[error("the header of the gzip member at offset {offset} is longer than {limit} bytes")]
    HeaderTooLong {
        /// Where the member starts.
        offset: u64,
        /// What is accepted.
        limit: usize,
    },
    /// The CRC of a member's header is wrong.
    #[error("the header of the gzip member at offset {offset} is corrupt: its checksum does not match")]
    HeaderChecksum {
        /// Where the member starts.
        offset: u64,
    },
    /// The stream ends inside a member.
    #[error("gzip data is truncated: it ends inside a member, at offset {offset}")]
    Truncated {
        /// Where the stream ends.
        offset: u64,
    },
    /// The deflate data is invalid.
    #[error("corrupt gzip data near offset {offset}: {cause}")]
    Corrupt {
        /// Near where.
        offset: u64,
        /// What is wrong.
        cause: Corruption,
    },
    /// The CRC-32 of a member's content is wrong.
    #[error(
        "corrupt gzip data: the member that ends at offset {offset} has checksum {found:08x}, expected {expected:08x}"
    )]
    Checksum {
        /// Where the member's trailer starts.
        offset: u64,
        /// From the trailer.
        expected: u32,
        /// Of the content.
        found: u32,
    },
    /// The length of a member's content is wrong.
    #[error(
        "corrupt gzip data: the member that ends at offset {offset} has {found} bytes (modulo 2^32), expected {expected}"
    )]
    Length {
        /// Where the member's trailer starts.
        offset: u64,
        /// From the trailer.
        expected: u32,
        /// Of the content.
        found: u32,
    },
    /// Something other than a member or zero bytes follows the last member.
    #[error("unexpected data after the end of the gzip stream, at offset {offset}")]
    TrailingData {
        /// Its first byte that is neither part of a member nor zero.
        offset: u64,
    },
}

impl GzipError {
    /// Whether reading the same bytes again can help: it cannot. A stream cut short by the network is noticed by
    /// whoever checks its digest.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}
