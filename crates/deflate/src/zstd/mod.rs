//! Zstandard (RFC 8878) for layers: reading every frame, and writing one on several threads.
//!
//! The codec is the reference library; here are the rules that layers need on top of it.

mod decoder;
mod frame;
mod writer;

pub use decoder::{ZstdDecoder, ZstdError};
pub use writer::{ZstdOptions, ZstdSummary, ZstdWriter};
