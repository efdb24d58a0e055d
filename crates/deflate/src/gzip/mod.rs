//! Writing one gzip member from pieces: blocks that survive are copied, the rest is encoded on several
//! threads.
//!
//! Which block is copied, and how the rest is cut for encoding, follows from the sequence of bytes and from
//! where they come from alone: not from how the pieces are cut, how fast threads are, how many there are, or
//! how much memory.

mod effort;
mod queue;
mod unit;
mod workers;
mod writer;

pub use writer::{GzipOptions, GzipSummary, GzipWriter, Origin};
