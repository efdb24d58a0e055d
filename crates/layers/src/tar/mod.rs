//! The tar codec: every dialect that a layer may be written in, read as a stream of records; ustar with PAX
//! written.
//!
//! It is our own because the common ones split PAX values at newlines, pass global headers through as
//! entries, and refuse names that a layer may hold. Names, link targets and PAX values are bytes throughout.
//! Sources: POSIX.1-2017 `pax`, the GNU tar manual ("Basic Tar Format", "Storing Sparse Files").

mod field;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub(crate) use header::CAPABILITY;
pub use header::{Header, Kind, Meta, Time};
pub use pax::{Record, Records};
pub use reader::{Meter, TarReader};
pub use writer::{TRAILER, empty_files, encode, simple_header};

/// Size of a tar block, in bytes.
pub const BLOCK: usize = 512;

/// Bytes from `size` up to the next block.
#[must_use]
pub fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}
