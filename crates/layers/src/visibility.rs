//! When something happened, and what that hides.
//!
//! Applying layers one after the other is a sequence of events. What an event does depends on later events
//! alone:
//!
//! - an entry at P is replaced by a later entry at P, and removed by a whiteout of P from a higher layer;
//! - it is removed when an ancestor is whited out by a higher layer, opaque in a higher layer, or later a
//!   non-directory;
//! - a non-directory at P is also removed by a later path below P, which makes P a directory, and so by an
//!   opaque mark in P or further down; a whiteout below P makes it an empty directory where it was there
//!   (kept apart, in `tree`: it makes nothing out of nothing).
//!
//! So an entry survives exactly when no later event hides it, and it is enough to keep for each path the
//! *latest* event of each sort. A maximum does not depend on the order in which events are learnt, which is
//! why layers can be read side by side, and why what is hidden once stays hidden whatever is learnt later.

/// Most layers of one image.
pub const MAX_LAYERS: usize = 65_000;

/// A point in the sequence of events. Larger is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

const LAYER_SHIFT: u32 = 40;

impl Moment {
    /// Entry number `ord` of layer `layer`; `directory` is remembered for whoever finds it.
    pub fn entry(layer: u32, ord: u32, directory: bool) -> Self {
        Self(((u64::from(layer) + 1) << LAYER_SHIFT) | ((u64::from(ord) + 1) << 1) | u64::from(directory))
    }

    /// Whiteouts and opaque marks act on lower layers only, wherever in their layer they stand: before all
    /// entries.
    pub fn mark(layer: u32) -> Self {
        Self((u64::from(layer) + 1) << LAYER_SHIFT)
    }

    /// Whether it is an entry, not a mark and not "never".
    pub(crate) fn is_entry(self) -> bool {
        self.0 & ((1 << LAYER_SHIFT) - 1) != 0
    }

    /// Whether it is a directory's entry.
    pub fn is_directory(self) -> bool {
        self.0 & 1 == 1
    }

    /// The layer, if it ever happened.
    pub fn layer(self) -> Option<u32> {
        ((self.0 >> LAYER_SHIFT) as u32).checked_sub(1)
    }
}

/// The latest events at one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Entry or whiteout of the path itself.
    pub claim: Moment,
    /// What hides everything below: a non-directory, a whiteout, an opaque mark.
    pub cut: Moment,
    /// A path below that makes this one a directory.
    pub implied: Moment,
}

/// What stands at a path in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// Something that is no directory.
    Other,
    /// A directory with an entry of its own.
    Directory,
    /// A directory that only paths below it speak of.
    ImpliedDirectory,
}

impl Events {
    /// What these events leave; `is_cut` tells whether something above hides what was there at a moment.
    /// `mark_below` is the latest whiteout below the path, which makes a file an empty directory and nothing
    /// out of nothing.
    pub fn standing(&self, mark_below: Moment, is_cut: impl Fn(Moment) -> bool) -> Standing {
        let Self { claim, implied, cut: _ } = *self;
        if claim.is_entry() && claim.is_directory() && !is_cut(claim) {
            Standing::Directory
        } else if implied > claim && !is_cut(implied) {
            Standing::ImpliedDirectory
        } else if claim.is_entry() && !claim.is_directory() && claim > implied && !is_cut(claim) {
            if mark_below > claim { Standing::ImpliedDirectory } else { Standing::Other }
        } else {
            Standing::Absent
        }
    }
}
