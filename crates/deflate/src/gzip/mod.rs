//! Writing one gzip member from pieces: blocks that survive are copied, the rest is encoded on several threads.
//!
//! Which block is copied, and how the rest is cut for encoding, follows from the sequence of bytes and from where they
//! come from alone: not from how the pieces are cut, how fast threads are, how many there are, or how much memory.

mod effort;
mod queue;
mod unit;
mod workers;
mod writer;

pub use writer::{GzipOptions, GzipSummary, GzipWriter, Origin};

use std::io;
use thiserror::Error;

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
    /// An encoder failed, or what it made does not decode to what went in. This is a defect of the named part.
    #[error("the {0} encoder failed")]
    Encoder(&'static str),
    /// The receiver of the output refused it.
    #[error("writing compressed output")]
    Output(#[source] io::Error),
    /// A thread of the encoder is gone.
    #[error("an encoder thread stopped unexpectedly")]
    Thread,
}

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
            Self::Level { .. } | Self::Encoder(_) | Self::Thread => false,
        }
    }
}
