//! The plain model of merging: layers applied one after the other, bottom up, to a tree in memory.
//!
//! What happens here: `docs/layer-semantics.md` said as directly as it can be said, with a tar reader of its
//! own. Nothing is streamed, skipped or remembered cleverly: the tree is what a reader of the rules would
//! draw on paper. What does not: speed, memory bounds, compression, writing. No code is shared with the
//! engine, so that one misunderstanding cannot hide in both.
//!
//! Invariants: every name in a [`Tree`] has its parents in it as directories; a [`Tree`] never holds a
//! whiteout.

mod apply;
mod diff;
mod layer;
mod listing;
mod missing_parents;
mod names;
mod pax;
mod resolve;
mod tar_reader;
mod touched;
mod tree;

pub use apply::{add_layer, empty, merge};
pub use diff::{Mask, diff, diff_masked};
pub use layer::{LayerTree, Node, read_layer};
pub use listing::listing;
pub use missing_parents::refused_parent;
pub use names::{display, parent};
pub use tar_reader::{Entry, EntryKind, TarReader};
pub use touched::{invented_times, mask_split_links};
pub use tree::{Inode, Kind, Metadata, Tree};

/// Why a stack of layers has no merged tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Shorthand of the model's own results.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error(reason.into()))
}
