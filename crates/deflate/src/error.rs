//! Errors of reading gzip, and of writing gzip and zstd.

use crate::inflate::Corruption;
use std::io;
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
    /// Whether reading the same bytes again can help: it cannot. A stream cut short by the network is noticed
    /// by whoever checks its digest.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// Why compressed output cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A level that does not exist: gzip has 1 to 12, zstd 1 to 19.
    #[error("there is no compression level {level}")]
    Level {
        /// The level asked for.
        level: u8,
    },
    /// An encoder failed. This is a defect of the named library, or a want of memory or threads.
    #[error("the {encoder} encoder failed")]
    Encoder {
        /// Its name.
        encoder: &'static str,
        /// What the library says.
        #[source]
        cause: EncoderCause,
    },
    /// What an encoder made does not decode to what went in. This is a defect.
    #[error("the encoder's output does not decode to what went in")]
    Verification,
    /// The receiver of the output refused it.
    #[error("writing compressed output")]
    Output(#[source] io::Error),
    /// A thread of the encoder is gone.
    #[error("an encoder thread stopped unexpectedly")]
    Thread,
}

/// What a compression library says of its failure.
pub type EncoderCause = Box<dyn std::error::Error + Send + Sync>;

impl EncodeError {
    /// Whether the same work, done again, can succeed: when the receiver's error was a passing one.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Output(error) => matches!(
                error.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
            Self::Level { .. } | Self::Encoder { .. } | Self::Verification | Self::Thread => false,
        }
    }

    /// For `map_err`: a failure of the encoder with this name.
    pub(crate) fn of<E: Into<EncoderCause>>(encoder: &'static str) -> impl Fn(E) -> Self + Copy {
        move |cause| Self::Encoder { encoder, cause: cause.into() }
    }
}
