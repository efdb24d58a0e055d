//! What is kept of each path and of each inode while layers are applied.
//!
//! A path costs a [`Place`] of 40 bytes beside its node in the tree, an inode 40 bytes while something shows
//! it, and every entry after a path's first one 24 bytes, or nothing where it only repeats what the layer
//! before did.

use super::chunked::Chunked;
use super::content::Ratio;
use super::result::{Attributes, Change, EntryKind};
use unbloat_layers::layer::NodeId;

/// No path, no version.
pub(super) const NONE: u32 = u32::MAX;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Nothing,
    /// A directory that only paths below it speak of.
    Implied,
    Inode(u32),
}

/// A path.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// 0 for nothing, 1 for an implied directory, else an inode's index plus 2.
    standing: u32,
    first_child: u32,
    next_sibling: u32,
    /// The latest version.
    versions: u32,
    pub(super) total: u64,
    pub(super) wasted: u64,
    /// Entries; of more than can be counted there are as many as can be.
    pub(super) copies: u16,
    first_layer: u16,
    first: Tag,
    flags: u8,
}

/// The path is in its parent's list of children.
const LISTED: u8 = 1;
/// The first version stands in the place itself.
const HAS_FIRST: u8 = 2;
/// The content of that first version is wasted.
const FIRST_WASTED: u8 = 4;
/// Versions were dropped to keep memory bounded.
const SHORTENED: u8 = 8;
/// A visible or hidden copy consists of zeros for the most part.
const ZEROS: u8 = 16;

impl Default for Place {
    fn default() -> Self {
        Self {
            standing: 0,
            first_child: NONE,
            next_sibling: NONE,
            versions: NONE,
            total: 0,
            wasted: 0,
            copies: 0,
            first_layer: 0,
            first: Tag::new(Change::Added, None),
            flags: 0,
        }
    }
}

impl Place {
    pub(super) fn standing(&self) -> Standing {
        match self.standing {
            0 => Standing::Nothing,
            1 => Standing::Implied,
            inode => Standing::Inode(inode - 2),
        }
    }

    pub(super) fn is_shortened(&self) -> bool {
        self.flags & SHORTENED != 0
    }

    pub(super) fn has_zeros(&self) -> bool {
        self.flags & ZEROS != 0
    }

    pub(super) fn note_zeros(&mut self) {
        self.flags |= ZEROS;
    }
}

/// A change and a kind in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u8);

const CHANGES: [Change; 8] = [
    Change::Added,
    Change::Changed,
    Change::Metadata,
    Change::Removed,
    Change::Repeated,
    Change::Time,
    Change::Identical,
    Change::Linked,
];
const KINDS: [EntryKind; 6] = [
    EntryKind::File,
    EntryKind::HardLink,
    EntryKind::Symlink,
    EntryKind::Directory,
    EntryKind::Device,
    EntryKind::Fifo,
];

impl Tag {
    pub(super) fn new(change: Change, kind: Option<EntryKind>) -> Self {
        Self((change as u8) << 4 | kind.map_or(15, |kind| kind as u8))
    }

    pub(super) fn change(self) -> Change {
        CHANGES[usize::from(self.0 >> 4)]
    }

    pub(super) fn kind(self) -> Option<EntryKind> {
        KINDS.get(usize::from(self.0 & 15)).copied()
    }
}

/// What one layer did to a path, or several layers in a row.
#[derive(Clone, Copy, Debug)]
struct Stored {
    bytes: u64,
    next: u32,
    attributes: u32,
    layer: u16,
    /// Layers in a row that did the same.
    run: u16,
    /// How many of them brought content that is wasted.
    wasted: u16,
    tag: Tag,
}

/// The same, for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) layer: u32,
    pub(super) tag: Tag,
    pub(super) bytes: u64,
    pub(super) wasted: bool,
    attributes: u32,
}

/// An inode that some name shows.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) size: u64,
    /// Digest of the content, as far as it is kept: enough to tell equal files, and nothing is counted by it.
    pub(super) print: [u32; 3],
    /// The path whose entry brought it.
    pub(super) node: NodeId,
    /// Visible names.
    pub(super) names: u32,
    /// Hash of mode, owner and attributes.
    pub(super) meta: u32,
    /// Hash of the time.
    pub(super) time: u32,
    pub(super) layer: u16,
    /// The kind stands in the upper half.
    pub(super) flags: InodeFlags,
    pub(super) ratio: Ratio,
}

/// What else is known of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeFlags(u8);

impl InodeFlags {
    /// A name that no runtime shows leads to it: a link may still bring it back.
    pub(super) const KEPT: Self = Self(1);
    /// Its content was counted as wasted.
    pub(super) const WASTED: Self = Self(2);
    /// More than half of its content are zeros.
    pub(super) const ZEROS: Self = Self(4);
    /// It waits for the end of the layer.
    pub(super) const RELEASED: Self = Self(8);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn set(&mut self, other: Self, on: bool) {
        self.0 = if on { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

impl Inode {
    pub(super) fn new(kind: EntryKind, size: u64, node: NodeId, layer: u32) -> Self {
        Self {
            size,
            print: [0; 3],
            node,
            names: 0,
            meta: 0,
            time: 0,
            // At most `MAX_LAYERS`.
            layer: layer as u16,
            flags: InodeFlags((kind as u8) << 4),
            ratio: Ratio::default(),
        }
    }

    pub(super) fn kind(&self) -> EntryKind {
        KINDS[usize::from(self.flags.0 >> 4)]
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == EntryKind::Directory
    }

    /// Content, of a regular file.
    pub(super) fn bytes(&self) -> u64 {
        if self.kind() == EntryKind::File { self.size } else { 0 }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Chunked<Place>,
    inodes: Chunked<Inode>,
    free: Vec<u32>,
    versions: Chunked<Stored>,
    attributes: Chunked<Attributes>,
    /// Keep every version, with its attributes.
    detailed: bool,
}

/// Memory for versions that any image may use, and what each path adds.
const VERSION_BYTES: usize = 16 << 20;
const VERSION_BYTES_PER_PATH: usize = 24;

impl Places {
    pub(super) fn new(detailed: bool) -> Self {
        Self { detailed, ..Self::default() }
    }

    /// Makes a place for each of `paths` nodes.
    pub(super) fn grow(&mut self, paths: u32) {
        while self.places.len() < paths {
            self.places.push(Place::default());
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.places.len()
    }

    pub(super) fn place(&self, node: NodeId) -> &Place {
        self.places.get(node)
    }

    pub(super) fn place_mut(&mut self, node: NodeId) -> &mut Place {
        self.places.get_mut(node)
    }

    pub(super) fn inode(&self, inode: u32) -> &Inode {
        self.inodes.get(inode)
    }

    pub(super) fn inode_mut(&mut self, inode: u32) -> &mut Inode {
        self.inodes.get_mut(inode)
    }

    /// Visible inodes: the slots that are in use and have a name.
    pub(super) fn visible(&self) -> impl Iterator<Item = (u32, &Inode)> {
        (0..).zip(self.inodes.iter()).filter(|(_, inode)| inode.names > 0)
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> u32 {
        match self.free.pop() {
            Some(at) => {
                *self.inodes.get_mut(at) = inode;
                at
            }
            None => self.inodes.push(inode),
        }
    }

    /// Gives back an inode that nothing leads to.
    pub(super) fn forget_inode(&mut self, inode: u32) {
        debug_assert_eq!(self.inode(inode).names, 0);
        self.free.push(inode);
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        match self.place(node).standing() {
            Standing::Nothing => false,
            Standing::Implied => true,
            Standing::Inode(inode) => self.inode(inode).is_directory(),
        }
    }

    pub(super) fn put(&mut self, node: NodeId, standing: Standing) {
        self.place_mut(node).standing = match standing {
            Standing::Nothing => 0,
            Standing::Implied => 1,
            Standing::Inode(inode) => inode + 2,
        };
    }

    /// Puts `node` into its parent's list, once.
    pub(super) fn list_below(&mut self, parent: NodeId, node: NodeId) {
        if parent == node || self.place(node).flags & LISTED != 0 {
            return;
        }
        let first = std::mem::replace(&mut self.place_mut(parent).first_child, node);
        let place = self.place_mut(node);
        place.next_sibling = first;
        place.flags |= LISTED;
    }

    /// Empties the list of children of `node` into `into`.
    pub(super) fn take_children(&mut self, node: NodeId, into: &mut Vec<NodeId>) {
        let mut child = std::mem::replace(&mut self.place_mut(node).first_child, NONE);
        while child != NONE {
            into.push(child);
            let place = self.place_mut(child);
            place.flags &= !LISTED;
            child = std::mem::replace(&mut place.next_sibling, NONE);
        }
    }

    /// Notes what `layer` did to `node`.
    pub(super) fn note(
        &mut self,
        node: NodeId,
        layer: u32,
        tag: Tag,
        bytes: u64,
        attributes: Option<Attributes>,
    ) {
        let attributes = attributes.map_or(NONE, |attributes| self.attributes.push(attributes));
        let detailed = self.detailed;
        let place = self.places.get_mut(node);
        let layer = layer as u16;
        let empty = place.versions == NONE && place.flags & (HAS_FIRST | SHORTENED) == 0;
        if empty && !detailed {
            place.first_layer = layer;
            place.first = tag;
            place.flags |= HAS_FIRST;
            return;
        }
        if place.versions != NONE && !detailed {
            let latest = self.versions.get_mut(place.versions);
            let follows = u32::from(latest.layer) + u32::from(latest.run) == u32::from(layer);
            if follows && latest.tag == tag && latest.bytes == bytes && latest.run < u16::MAX {
                latest.run += 1;
                return;
            }
        }
        let next = place.versions;
        place.versions =
            self.versions.push(Stored { bytes, next, attributes, layer, run: 1, wasted: 0, tag });
    }

    /// Counts an entry of `node` with so much content.
    pub(super) fn count(&mut self, node: NodeId, bytes: u64) {
        let place = self.place_mut(node);
        place.copies = place.copies.saturating_add(1);
        place.total += bytes;
    }

    /// Marks the content that `layer` brought to `node` as wasted, or as shown again.
    pub(super) fn mark(&mut self, node: NodeId, layer: u16, bytes: u64, wasted: bool) {
        let place = self.places.get_mut(node);
        place.wasted = if wasted { place.wasted + bytes } else { place.wasted - bytes };
        let mut at = place.versions;
        while at != NONE {
            let stored = self.versions.get_mut(at);
            let inside =
                stored.layer <= layer && u32::from(layer) < u32::from(stored.layer) + u32::from(stored.run);
            let has_content = stored.tag.kind() == Some(EntryKind::File) && stored.bytes == bytes;
            let room = if wasted { stored.wasted < stored.run } else { stored.wasted > 0 };
            if inside && has_content && room {
                stored.wasted = if wasted { stored.wasted + 1 } else { stored.wasted - 1 };
                return;
            }
            at = stored.next;
        }
        let place = self.places.get_mut(node);
        if place.flags & HAS_FIRST != 0 && place.first_layer == layer {
            place.flags = if wasted { place.flags | FIRST_WASTED } else { place.flags & !FIRST_WASTED };
        }
    }

    /// What each layer did to `node`, lowest first.
    pub(super) fn versions(&self, node: NodeId) -> Vec<Version> {
        let place = self.place(node);
        let mut runs = Vec::new();
        let mut at = place.versions;
        while at != NONE {
            let stored = self.versions.get(at);
            runs.push(*stored);
            at = stored.next;
        }
        let mut versions = Vec::with_capacity(runs.len() + 1);
        if place.flags & HAS_FIRST != 0 {
            let others: u64 = runs.iter().map(|stored| stored.bytes * u64::from(stored.run)).sum();
            let bytes = if place.is_shortened() { 0 } else { place.total.saturating_sub(others) };
            let (layer, tag) = (u32::from(place.first_layer), place.first);
            let wasted = place.flags & FIRST_WASTED != 0;
            versions.push(Version { layer, tag, bytes, wasted, attributes: NONE });
        }
        for stored in runs.into_iter().rev() {
            let Stored { bytes, attributes, tag, layer, run, wasted, next: _ } = stored;
            versions.extend((0..run).map(|step| Version {
                layer: u32::from(layer) + u32::from(step),
                tag,
                bytes,
                wasted: step < wasted,
                attributes,
            }));
        }
        versions
    }

    pub(super) fn attributes(&self, version: &Version) -> Option<&Attributes> {
        (version.attributes != NONE).then(|| self.attributes.get(version.attributes))
    }

    /// Drops the versions of the paths that waste least when there are too many for the memory that is
    /// promised. All counts stay exact; a path that loses its versions and still ends among the worst says
    /// so.
    pub(super) fn prune(&mut self) {
        let bound = VERSION_BYTES + VERSION_BYTES_PER_PATH * self.places.len() as usize;
        if self.detailed || self.versions.bytes() <= bound {
            return;
        }
        let mut holders: Vec<(u64, NodeId)> = (0..)
            .zip(self.places.iter())
            .filter(|(_, place)| place.versions != NONE)
            .map(|(node, place)| (place.wasted, node))
            .collect();
        holders.sort_unstable_by(|a, b| b.cmp(a));
        let old = std::mem::take(&mut self.versions);
        let room = (bound / 2 / size_of::<Stored>()) as u32;
        for (_, node) in holders {
            let place = self.places.get_mut(node);
            let mut at = std::mem::replace(&mut place.versions, NONE);
            if self.versions.len() >= room {
                place.flags |= SHORTENED;
                continue;
            }
            let mut kept = Vec::new();
            while at != NONE {
                kept.push(*old.get(at));
                at = old.get(at).next;
            }
            for mut stored in kept.into_iter().rev() {
                stored.next = place.versions;
                place.versions = self.versions.push(stored);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_path_and_of_an_inode_stays_small() {
        assert!(size_of::<Place>() <= 40 && size_of::<Inode>() <= 40 && size_of::<Stored>() <= 24);
    }

    #[test]
    fn a_tag_gives_back_what_it_was_made_of() {
        for change in CHANGES {
            for kind in KINDS.map(Some).into_iter().chain([None]) {
                let tag = Tag::new(change, kind);
                assert_eq!((tag.change(), tag.kind()), (change, kind));
            }
        }
    }

    #[test]
    fn layers_in_a_row_that_do_the_same_are_one_version_and_read_as_many() {
        let mut places = Places::new(false);
        places.grow(1);
        let tag = Tag::new(Change::Metadata, Some(EntryKind::File));
        places.note(0, 0, Tag::new(Change::Added, Some(EntryKind::File)), 10, None);
        places.count(0, 10);
        for layer in 1..=200 {
            places.note(0, layer, tag, 10, None);
            places.count(0, 10);
            places.mark(0, layer as u16 - 1, 10, true);
        }
        assert_eq!(places.versions.len(), 1);
        let versions = places.versions(0);
        assert_eq!(
            versions.iter().map(|version| version.layer).collect::<Vec<_>>(),
            (0..=200).collect::<Vec<_>>()
        );
        assert!(versions.iter().all(|version| version.bytes == 10));
        assert_eq!(
            versions
                .iter()
                .filter(|version| !version.wasted)
                .map(|version| version.layer)
                .collect::<Vec<_>>(),
            [200]
        );
    }

    #[test]
    fn where_there_are_too_many_versions_the_worst_paths_keep_theirs_and_all_counts_stay() {
        let mut places = Places::new(false);
        places.grow(3);
        let tag = Tag::new(Change::Changed, Some(EntryKind::File));
        let per_path = 2 * VERSION_BYTES / size_of::<Stored>() / 3;
        for node in [1, 2] {
            for index in 0..per_path as u64 {
                places.note(node, (index / 20) as u32, tag, index + 1, None);
                places.count(node, index + 1);
            }
            places.place_mut(node).wasted = u64::from(node);
        }
        let total = places.place(1).total;
        places.prune();
        assert!(places.versions.bytes() <= VERSION_BYTES + VERSION_BYTES_PER_PATH * 3);
        assert!(places.place(1).is_shortened() && !places.place(2).is_shortened());
        assert_eq!(places.versions(2).len(), per_path);
        assert_eq!((places.place(1).total, places.place(1).copies), (total, u16::MAX));
        assert!(places.versions(2).iter().map(|version| version.bytes).eq(1..=per_path as u64));
    }
}
