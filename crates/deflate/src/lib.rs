//! Deflate as an image's layers need it: inflating with the boundaries of blocks, and output that copies blocks.
//!
//! - [`GzipDecoder`] inflates gzip that arrives piece by piece, and says of every block where it is and how far back it
//!   reaches. [`ZstdDecoder`] does the same for zstd, without blocks.
//! - [`GzipWriter`] makes one gzip member of pieces: blocks whose surroundings survive are copied bit for bit, the rest is
//!   encoded on several threads. [`ZstdWriter`] makes one zstd frame on several threads.
//!
//! Not here: network, files, tar, digests. Everything is synchronous, and memory is bounded whatever the input.
//! The output depends on content and options alone: never on threads, timing or how the input was cut.
//! `unsafe` is in `inflate/hot.rs` alone, with its proof.

mod bits;
mod block;
mod decoder;
mod error;
mod gzip;
mod inflate;
mod member;
mod pool;
mod zstd;

pub use block::{Block, BlockKind};
pub use decoder::{Chunk, ChunkBlocks, GzipDecoder, MAX_RECORDED_COMPRESSED, MAX_RECORDED_OUTPUT};
pub use error::GzipError;
pub use gzip::{EncodeError, GzipOptions, GzipSummary, GzipWriter, Origin};
pub use inflate::{Corruption, WINDOW, backend};
pub use pool::{BufferPool, CHUNK_SIZE};
pub use zstd::{ZstdDecoder, ZstdError, ZstdOptions, ZstdSummary, ZstdWriter};
