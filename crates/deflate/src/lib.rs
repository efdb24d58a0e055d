//! Deflate as an image's layers need it: inflating with the boundaries of blocks, and output that copies
//! blocks.
//!
//! - [`GzipDecoder`] inflates gzip that arrives piece by piece, and says of every block where it is and how
//!   far back it reaches. [`ZstdDecoder`] does the same for zstd, without blocks.
//! - [`GzipWriter`] makes one gzip member of pieces: blocks whose surroundings survive are copied bit for
//!   bit, the rest is encoded on several threads. [`ZstdWriter`] makes one zstd frame on several threads.
//!
//! Not here: network, files, tar, digests. Everything is synchronous, and memory is bounded whatever the
//! input. The output depends on content and options alone: never on threads, timing or how the input was cut.
//! `unsafe` is in `inflate/hot.rs` alone, with its proof.
//!
//! # Example
//! ```
//! use std::sync::{Arc, Mutex};
//! use unbloat_deflate::{BufferPool, GzipDecoder, GzipOptions, GzipWriter};
//!
//! let content = b"what a layer holds ".repeat(1000);
//! let member = Arc::new(Mutex::new(Vec::new()));
//! let sink = Arc::clone(&member);
//! let mut writer = GzipWriter::new(GzipOptions::default(), move |bytes| {
//!     sink.lock().expect("one thread").extend_from_slice(&bytes);
//!     Ok(())
//! })?;
//! writer.write(content.clone().into(), None)?;
//! assert_eq!(writer.finish()?.uncompressed, 19_000);
//!
//! let member = member.lock().expect("one thread");
//! let (mut input, mut found) = (member.as_slice(), Vec::new());
//! let mut decoder = GzipDecoder::new(&BufferPool::new(1), false);
//! while !input.is_empty() {
//!     if let Some(chunk) = decoder.decode(&mut input)? {
//!         found.extend_from_slice(&chunk.data);
//!     }
//! }
//! while let Some(chunk) = decoder.finish()? {
//!     found.extend_from_slice(&chunk.data);
//! }
//! assert_eq!(found, content);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use decoder::{Chunk, ChunkBlocks, GzipDecoder};
pub use error::{EncodeError, EncoderCause, GzipError};
pub use gzip::{GzipOptions, GzipSummary, GzipWriter, Origin};
pub use inflate::{Corruption, backend};
pub use pool::BufferPool;
pub use zstd::{ZstdDecoder, ZstdError, ZstdOptions, ZstdSummary, ZstdWriter};
