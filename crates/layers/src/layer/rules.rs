//! The records of one layer so far.

use super::{LinkTarget, LinkedSymlinks, LowerTarget, NodeId, PathStore, ROOT, SymlinkTarget};
use crate::collections::{HashMap, HashSet};
use crate::error::{LayerError, display};
use crate::name::{self, Mark, NameError};
use crate::tar::{Header, Kind};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number in the layer.
    pub record: u32,
    /// The path; for a mark, the one that it acts on.
    pub node: NodeId,
    /// Whether a symlink led there, so that the header names another path.
    pub moved: bool,
    /// What it does there.
    pub subject: Subject,
}

/// What a record does at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// It puts something there.
    Entry,
    /// It removes what lower layers have there.
    Whiteout,
    /// The same, said by a character device 0:0.
    WhiteoutDevice,
    /// It hides what lower layers have below.
    Opaque,
}

/// What an entry is to later records of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// An inode of its own that is no directory.
    Content,
    /// A hard link.
    Link,
}

/// What stands at a path after the records so far.
#[derive(Clone, Copy, Debug)]
pub struct LocalEntry {
    record: u32,
    /// The fingerprint with the kind in the low bits, in halves to keep the alignment at 4.
    fingerprint: [u32; 2],
}

impl LocalEntry {
    fn new(record: u32, kind: EntryKind, fingerprint: u64) -> Self {
        let fingerprint = (fingerprint & !3) | kind as u64;
        Self { record, fingerprint: [fingerprint as u32, (fingerprint >> 32) as u32] }
    }

    /// The number of its record.
    #[must_use]
    pub fn record(self) -> u32 {
        self.record
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> EntryKind {
        match self.fingerprint[0] & 3 {
            0 => EntryKind::Directory,
            1 => EntryKind::Content,
            _ => EntryKind::Link,
        }
    }

    /// Whether it is of this kind and was added with this fingerprint.
    #[must_use]
    pub fn repeats(self, kind: EntryKind, fingerprint: u64) -> bool {
        self.fingerprint == Self::new(self.record, kind, fingerprint).fingerprint
    }
}

/// The records of one layer so far, and what the rules make of the next one.
#[derive(Debug, Default)]
pub struct LayerRules {
    pub(super) layer: u32,
    next_record: u32,
    entries: HashMap<NodeId, LocalEntry>,
    /// Files that a directory of this layer replaced: they hide what this layer had below them before,
    /// nothing else.
    replaced_files: HashMap<NodeId, u32>,
    pub(super) symlinks: HashMap<NodeId, SymlinkTarget>,
    /// Links to symlinks of lower layers, as far as they are known.
    linked_symlinks: LinkedSymlinks,
    /// Directories that paths below them make, with the first record that did, or the latest once there are
    /// replacements.
    parents: HashMap<NodeId, u32>,
    /// Those of them that only marks made so far.
    parents_by_mark: HashSet<NodeId>,
    whiteouts: HashSet<NodeId>,
    opaques: HashSet<NodeId>,
    /// Directories that a mark in them or below them makes exist, in the layer by itself.
    marked: HashSet<NodeId>,
    /// A later record took away what earlier ones made, so short cuts are off.
    pub(super) has_replacements: bool,
    pub(super) links: HashMap<u32, (NodeId, LinkTarget)>,
    pub(super) lower: Vec<LowerTarget>,
    pub(super) lower_by_target: HashMap<NodeId, usize>,
    pub(super) cached_directory: Vec<u8>,
    pub(super) cached: Option<(NodeId, bool)>,
    /// Parents that the last entry made directories, from the lowest up.
    implied: Vec<NodeId>,
    /// Whether the last entry took the place of a file with a directory, its own or one of its parents.
    replaced_a_file: bool,
}

impl LayerRules {
    /// The rules for layer number `layer`, with what is known of where its links to lower layers lead.
    #[must_use]
    pub fn new(layer: u32, linked_symlinks: LinkedSymlinks) -> Self {
        Self { layer, linked_symlinks, ..Self::default() }
    }

    /// Where the next record belongs.
    ///
    /// # Errors
    /// A name that no path can have, or whose parents are a loop of symlinks.
    pub fn place(&mut self, paths: &mut impl PathStore, header: &Header) -> Result<Placed, LayerError> {
        let record = self.next_record;
        self.next_record += 1;
        let refuse = |reason: NameError| LayerError::Name { path: display(&header.path), reason };
        let mut parts = Vec::with_capacity(16);
        name::components(&header.path, &mut parts).map_err(refuse)?;
        let Some((base, directory)) = parts.split_last() else {
            if header.kind != Kind::Directory {
                return Err(refuse(NameError::Root));
            }
            return Ok(Placed { record, node: ROOT, moved: false, subject: Subject::Entry });
        };
        let mark = name::mark(base).map_err(refuse)?;
        let (parent, moved) = self.parent_of(paths, &header.path, directory)?;
        let device = header.kind == Kind::CharDevice && header.device == (0, 0);
        let (node, subject) = match mark {
            Mark::Opaque => (parent, Subject::Opaque),
            Mark::Whiteout(hidden) => (paths.child(parent, hidden, false)?, Subject::Whiteout),
            Mark::None if device => (paths.child(parent, base, false)?, Subject::WhiteoutDevice),
            Mark::None | Mark::Aufs => (paths.child(parent, base, mark == Mark::Aufs)?, Subject::Entry),
        };
        match subject {
            Subject::Opaque => drop(self.opaques.insert(node)),
            Subject::Whiteout | Subject::WhiteoutDevice => drop(self.whiteouts.insert(node)),
            Subject::Entry => {}
        }
        if subject != Subject::Entry {
            let mut at = if subject == Subject::Opaque { node } else { paths.parent(node) };
            while self.marked.insert(at) && at != ROOT {
                at = paths.parent(at);
            }
        }
        Ok(Placed { record, node, moved, subject })
    }

    /// Whether a directory says again what stands there already; saying the same twice is saying it once.
    #[must_use]
    pub fn is_repeated(&self, node: NodeId, fingerprint: u64) -> bool {
        // Archives name directories again and again.
        !self.has_replacements
            && self.entries.get(&node).is_some_and(|entry| entry.repeats(EntryKind::Directory, fingerprint))
    }

    /// Adds the entry that was placed. `leads_to` is where it leads paths below it: a symlink's target, or
    /// that of the symlink of this layer that a link names. [`LayerRules::implied`] and
    /// [`LayerRules::replaced_a_file`] tell what it did.
    pub fn add(
        &mut self,
        paths: &impl PathStore,
        placed: &Placed,
        kind: EntryKind,
        fingerprint: u64,
        leads_to: Option<SymlinkTarget>,
    ) {
        let Placed { record, node, .. } = *placed;
        self.replaced_a_file = false;
        if kind == EntryKind::Directory {
            if let Some(before) = self.entries.get(&node).copied() {
                self.replace_file(node, before);
            }
        } else if self.parents.contains_key(&node) {
            self.has_replacements = true;
        }
        if node == ROOT {
            self.implied.clear();
        } else {
            self.imply_from(paths, paths.parent(node), record, false);
        }
        self.entries.insert(node, LocalEntry::new(record, kind, fingerprint));
        let leads_to = leads_to.or_else(|| {
            let known = self.linked_symlinks.get(&(self.layer, record)).cloned();
            known.filter(|_| kind == EntryKind::Link)
        });
        let led = match leads_to {
            Some(to) => {
                self.symlinks.insert(node, to);
                true
            }
            None => self.symlinks.remove(&node).is_some(),
        };
        if led {
            self.cached = None;
        }
    }

    /// A directory takes the place of a file of the same layer.
    fn replace_file(&mut self, node: NodeId, before: LocalEntry) {
        if before.kind() != EntryKind::Directory {
            self.replaced_files.insert(node, before.record);
            self.has_replacements = true;
            self.replaced_a_file = true;
        }
    }

    /// Adds a mark that makes the directory `node` exist. [`LayerRules::implied`] and
    /// [`LayerRules::replaced_a_file`] tell what it did.
    pub fn imply(&mut self, paths: &impl PathStore, node: NodeId, record: u32) {
        self.replaced_a_file = false;
        self.imply_from(paths, node, record, true);
    }

    /// Makes `at` and the paths above it directories.
    fn imply_from(&mut self, paths: &impl PathStore, mut at: NodeId, record: u32, by_mark: bool) {
        self.implied.clear();
        loop {
            let file = self.entries.get(&at).copied().filter(|entry| entry.kind() != EntryKind::Directory);
            if let Some(file) = file {
                // A file that turns out to be a directory further on.
                self.replace_file(at, file);
                self.entries.remove(&at);
            }
            let before = self.parents.get(&at).copied();
            if by_mark && before.is_none() {
                self.parents_by_mark.insert(at);
            }
            // A path says more of its parents than a mark does.
            let is_news = !by_mark && !self.parents_by_mark.is_empty() && self.parents_by_mark.remove(&at);
            if self.has_replacements || before.is_none() {
                self.parents.insert(at, record);
            } else if before != Some(record) && !is_news {
                return;
            }
            self.implied.push(at);
            if at == ROOT {
                return;
            }
            at = paths.parent(at);
        }
    }

    /// Parents that the last entry made directories, from the lowest up; those that earlier ones made may be
    /// left out.
    #[must_use]
    pub fn implied(&self) -> &[NodeId] {
        &self.implied
    }

    /// Whether the last entry put a directory, its own or one of its parents, in the place of a file of this
    /// layer.
    #[must_use]
    pub(crate) fn replaced_a_file(&self) -> bool {
        self.replaced_a_file
    }

    /// Whether a mark makes the directory `node` exist, in the layer by itself.
    #[must_use]
    pub(crate) fn has_mark_in(&self, node: NodeId) -> bool {
        self.marked.contains(&node)
    }

    /// Whether a directory of this layer took the place of a file at `node`.
    #[must_use]
    pub(crate) fn replaced_a_file_at(&self, node: NodeId) -> bool {
        self.replaced_files.contains_key(&node)
    }

    /// Whether paths below `node` ever made it a directory.
    #[must_use]
    pub(crate) fn is_parent(&self, node: NodeId) -> bool {
        self.parents.contains_key(&node)
    }

    /// Where the latest entry at `node` leads, if it is a symlink or a link to one.
    #[must_use]
    pub fn symlink_target(&self, node: NodeId) -> Option<&SymlinkTarget> {
        self.symlinks.get(&node)
    }

    /// The target of a symlink that this layer made at `node` and that still stands.
    #[must_use]
    pub(crate) fn symlink_at(&self, paths: &impl PathStore, node: NodeId) -> Option<&[u8]> {
        let target = self.symlinks.get(&node)?;
        let entry = self.entries.get(&node)?;
        self.stands_since(paths, node, entry.record).then_some(&**target)
    }

    /// The entry at `node`, if no later record of this layer took it away.
    #[must_use]
    pub fn standing(&self, paths: &impl PathStore, node: NodeId) -> Option<LocalEntry> {
        self.entries.get(&node).copied().filter(|entry| self.stands_since(paths, node, entry.record))
    }

    /// Whether a path below it makes `node` a directory.
    #[must_use]
    pub fn is_implied(&self, paths: &impl PathStore, node: NodeId) -> bool {
        self.parents.get(&node).is_some_and(|record| self.stands_since(paths, node, *record))
    }

    fn stands_since(&self, paths: &impl PathStore, node: NodeId, record: u32) -> bool {
        if !self.has_replacements {
            return true;
        }
        let mut at = node;
        while at != ROOT {
            at = paths.parent(at);
            let above = self.entries.get(&at);
            if above.is_some_and(|above| above.kind() != EntryKind::Directory && above.record > record) {
                return false;
            }
        }
        !self.is_below_replaced_file(paths, node, record)
    }

    /// Whether record `record` at `node` went when a file took the place of a directory above it, which is a
    /// directory again.
    #[must_use]
    pub(crate) fn is_below_replaced_file(&self, paths: &impl PathStore, node: NodeId, record: u32) -> bool {
        let mut at = node;
        while !self.replaced_files.is_empty() && at != ROOT {
            at = paths.parent(at);
            if self.replaced_files.get(&at).is_some_and(|file| *file > record) {
                return true;
            }
        }
        false
    }

    /// Whether record `record` at `node` is a file that a directory of this layer replaced, or older than
    /// one.
    #[must_use]
    pub(crate) fn is_replaced_file(&self, node: NodeId, record: u32) -> bool {
        self.replaced_files.get(&node).is_some_and(|file| *file >= record)
    }

    /// The latest entry at `node`, whether or not something took it away since.
    #[must_use]
    pub fn latest(&self, node: NodeId) -> Option<LocalEntry> {
        self.entries.get(&node).copied()
    }

    /// Symlinks, and links that lead on as those do.
    pub fn symlinks(&self) -> impl Iterator<Item = NodeId> {
        self.symlinks.keys().copied()
    }

    /// Whether the layer whites `node` out.
    #[must_use]
    pub(crate) fn is_whiteout(&self, node: NodeId) -> bool {
        self.whiteouts.contains(&node)
    }

    /// Whether the layer makes `node` opaque.
    #[must_use]
    pub(crate) fn is_opaque(&self, node: NodeId) -> bool {
        self.opaques.contains(&node)
    }

    /// Paths that the layer whites out, in no order.
    pub fn whiteouts(&self) -> impl Iterator<Item = NodeId> {
        self.whiteouts.iter().copied()
    }

    /// Directories that the layer makes opaque, in no order.
    pub fn opaques(&self) -> impl Iterator<Item = NodeId> {
        self.opaques.iter().copied()
    }

    /// Number of records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.next_record
    }
}
