//! Random stacks of layers, decided by a seed.
//!
//! What happens here: a stack is a list of layers, a layer a list of [`Record`]s, a record one tar entry as
//! somebody could have written it; [`generate`] makes them, [`tarball`] writes them in four dialects,
//! [`shrink`] makes a failing one small. What does not: deciding what must come out; that is the model's.
//!
//! Invariants: the same seed and profile give the same bytes for ever; each stack is valid by the model; a
//! [`Profile::Portable`] stack uses nothing on which containerd, umoci and the rules disagree.

mod draw;
mod generate;
mod record;
mod shrink;
pub mod tarball;
mod widen;

pub use generate::generate;
pub use record::{Body, Dialect, Record, Stack};
pub use shrink::shrink;

/// How many stacks a test draws: `usual`, or what `UNBLOAT_STACKS` says. The long form of all random proofs
/// is `UNBLOAT_STACKS=1000 cargo xtask test --only proof`.
///
/// # Panics
/// The variable is no number.
pub fn count(usual: u64) -> u64 {
    match std::env::var("UNBLOAT_STACKS") {
        Ok(text) => text.parse().expect("UNBLOAT_STACKS is a number"),
        Err(_) => usual,
    }
}

/// What a stack may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Only what containerd on overlayfs, umoci and the rules agree on.
    Portable,
    /// Every rule.
    Full,
    /// As portable, with capabilities on hard links, directories named late and twice, opaque marks where no
    /// directory is, and global headers: what containerd and the rules agree on, and umoci does otherwise.
    Runtime,
    /// Every rule, with those kinds and whiteouts below files, content below AUFS's names, negative owners.
    Wide,
}

impl Profile {
    /// Whether only what runtimes agree on is drawn.
    pub fn is_portable(self) -> bool {
        matches!(self, Self::Portable | Self::Runtime)
    }

    /// Whether the rarer kinds are drawn as well.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::Runtime | Self::Wide)
    }
}
