//! Every path that any layer names, with the latest events at it: the one structure that grows with the
//! image.
//!
//! A path costs a node of 40 bytes, its last component, and its share of the index: near 70 bytes for the
//! paths of a usual image. Storage grows by chunks, so that growing never doubles it.

use hashbrown::HashTable;

use crate::collections::HashMap;
use crate::error::LayerError;
use crate::layer::PathStore;
pub use crate::layer::{NodeId, ROOT};
use crate::pattern::Patterns;
use crate::visibility::{Events, Moment, Standing};

#[derive(Clone, Copy, Debug)]
struct Node {
    events: Events,
    parent: NodeId,
    name_at: u32,
    name_len: u16,
    flags: u16,
}

/// The path, or one above it, was asked to be removed.
const REMOVED: u16 = 1;
/// The path was asked to be truncated.
const TRUNCATED: u16 = 2;
/// AUFS bookkeeping.
const INVISIBLE: u16 = 4;
/// Some layer of the kept base has a whiteout here, or something that is no directory.
const REPLACED_IN_BASE: u16 = 8;
/// Some layer has a whiteout below the path.
const MARKED: u16 = 16;
/// Some layer makes the path a directory by a path below it, or names it as one.
const DIRECTORY: u16 = 32;
/// Some layer of the kept base has a directory with attributes here.
const ATTRIBUTES_IN_BASE: u16 = 64;

const NODES_PER_CHUNK: usize = 1 << 14;
/// Twice the longest name, so that a name never lies in two chunks and little is left unused.
const NAME_CHUNK: usize = 1 << 17;

/// All paths.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Vec<Node>>,
    len: u32,
    names: Vec<Vec<u8>>,
    index: HashTable<NodeId>,
    hasher: foldhash::fast::RandomState,
    max_paths: u64,
    remove: Patterns,
    truncate: Patterns,
    /// Events of the kept base alone, when there is one.
    base: Option<Vec<Vec<Events>>>,
    /// The latest whiteouts below paths: where a file stands then, it becomes an empty directory.
    marks_below: HashMap<NodeId, Moment>,
    /// The same of the kept base alone.
    base_marks_below: HashMap<NodeId, Moment>,
}

impl Tree {
    pub fn new(max_paths: u64, remove: Patterns, truncate: Patterns, with_base: bool) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            len: 0,
            names: Vec::new(),
            index: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            max_paths: max_paths.min(u64::from(u32::MAX)),
            remove,
            truncate,
            base: with_base.then(Vec::new),
            marks_below: HashMap::default(),
            base_marks_below: HashMap::default(),
        };
        tree.push(Node { events: Events::default(), parent: ROOT, name_at: 0, name_len: 0, flags: 0 });
        tree
    }

    /// Number of paths, the root among them: never 0.
    pub fn paths(&self) -> u32 {
        self.len
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize / NODES_PER_CHUNK][id as usize % NODES_PER_CHUNK]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize / NODES_PER_CHUNK][id as usize % NODES_PER_CHUNK]
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = self.len;
        if (id as usize).is_multiple_of(NODES_PER_CHUNK) {
            self.nodes.push(Vec::with_capacity(NODES_PER_CHUNK));
            if let Some(base) = &mut self.base {
                base.push(vec![Events::default(); NODES_PER_CHUNK]);
            }
        }
        self.nodes[id as usize / NODES_PER_CHUNK].push(node);
        self.len += 1;
        id
    }

    fn name_of(&self, node: &Node) -> &[u8] {
        let at = node.name_at as usize;
        &self.names.get(at / NAME_CHUNK).map_or(&[][..], Vec::as_slice)[at % NAME_CHUNK..]
            [..usize::from(node.name_len)]
    }

    /// Last component of the path.
    pub fn name(&self, id: NodeId) -> &[u8] {
        self.name_of(self.node(id))
    }

    pub fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).parent
    }

    /// The path below the root; empty for the root itself.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        let mut nodes = Vec::new();
        let mut at = id;
        while at != ROOT {
            nodes.push(at);
            at = self.parent(at);
        }
        let mut path = Vec::new();
        for id in nodes.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(self.name(id));
        }
        path
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one((parent, name))
    }

    fn known(&self, hash: u64, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let is_it = |id: &NodeId| {
            let node = self.node(*id);
            node.parent == parent && self.name_of(node) == name
        };
        self.index.find(hash, is_it).copied()
    }

    /// The node of a plain path below the root, if any layer named it.
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|byte| *byte == b'/').try_fold(ROOT, |at, name| self.known(self.hash(at, name), at, name))
    }

    /// The node of `name` below `parent`, made when it is new.
    pub fn child(&mut self, parent: NodeId, name: &[u8], invisible: bool) -> Result<NodeId, LayerError> {
        let hash = self.hash(parent, name);
        if let Some(id) = self.known(hash, parent, name) {
            return Ok(id);
        }
        if u64::from(self.len) >= self.max_paths {
            return Err(LayerError::PathLimit { limit: self.max_paths });
        }
        let room = self.names.last().is_some_and(|chunk| chunk.len() + name.len() <= NAME_CHUNK);
        if !room {
            self.names.push(Vec::with_capacity(NAME_CHUNK));
        }
        let chunk = self.names.len() - 1;
        let name_at = u32::try_from(chunk * NAME_CHUNK + self.names[chunk].len())
            .map_err(|_| LayerError::PathLimit { limit: self.max_paths })?;
        self.names[chunk].extend_from_slice(name);
        let mut flags = self.node(parent).flags & (REMOVED | INVISIBLE);
        if invisible {
            flags |= INVISIBLE;
        }
        let id = self.push(Node {
            events: Events::default(),
            parent,
            name_at,
            // A component is part of a name, and names are at most MAX_NAME bytes.
            name_len: name.len() as u16,
            flags,
        });
        if !self.remove.is_empty() || !self.truncate.is_empty() {
            let path = self.path(id);
            if self.remove.is_match(&path) {
                self.node_mut(id).flags |= REMOVED;
            }
            if self.truncate.is_match(&path) {
                self.node_mut(id).flags |= TRUNCATED;
            }
        }
        use std::hash::BuildHasher;
        let (nodes, names, hasher) = (&self.nodes, &self.names, &self.hasher);
        self.index.insert_unique(hash, id, |id| {
            let node = &nodes[*id as usize / NODES_PER_CHUNK][*id as usize % NODES_PER_CHUNK];
            let at = node.name_at as usize;
            let name = &names[at / NAME_CHUNK][at % NAME_CHUNK..][..usize::from(node.name_len)];
            hasher.hash_one((node.parent, name))
        });
        Ok(id)
    }

    /// The remove patterns, and those of them that hit `id` or a path above it.
    pub(crate) fn remove_patterns(&self, id: NodeId) -> Vec<usize> {
        let mut hits = Vec::new();
        let mut at = id;
        while at != ROOT {
            hits.extend(self.remove.matches(&self.path(at)));
            at = self.parent(at);
        }
        hits
    }

    /// The truncate patterns that hit `id`.
    pub(crate) fn truncate_patterns(&self, id: NodeId) -> Vec<usize> {
        self.truncate.matches(&self.path(id))
    }

    pub fn patterns(&self) -> (&[String], &[String]) {
        (self.remove.texts(), self.truncate.texts())
    }

    /// Whether it is AUFS bookkeeping, or below it.
    pub fn is_invisible(&self, id: NodeId) -> bool {
        self.node(id).flags & INVISIBLE != 0
    }

    pub(crate) fn is_removed(&self, id: NodeId) -> bool {
        self.node(id).flags & REMOVED != 0
    }

    pub(crate) fn is_truncated(&self, id: NodeId) -> bool {
        self.node(id).flags & TRUNCATED != 0
    }

    /// Whether a layer of the kept base has a whiteout here or something that is no directory, whatever
    /// other layers make of it.
    pub(crate) fn is_replaced_in_base(&self, id: NodeId) -> bool {
        self.node(id).flags & REPLACED_IN_BASE != 0
    }

    pub fn events(&self, id: NodeId) -> &Events {
        &self.node(id).events
    }

    /// Notes an event. `in_base` keeps it also for the view of the base alone.
    pub fn raise(&mut self, id: NodeId, in_base: bool, event: Event, moment: Moment) {
        event.raise(&mut self.node_mut(id).events, moment);
        if in_base && event == Event::Replace {
            self.node_mut(id).flags |= REPLACED_IN_BASE;
        }
        if matches!(event, Event::Directory | Event::Imply) {
            self.node_mut(id).flags |= DIRECTORY;
        }
        if in_base && let Some(base) = &mut self.base {
            event.raise(&mut base[id as usize / NODES_PER_CHUNK][id as usize % NODES_PER_CHUNK], moment);
        }
    }

    /// Notes that a layer has a whiteout in `id`: a file there, or above, becomes an empty directory.
    pub(crate) fn mark_below(&mut self, id: NodeId, in_base: bool, moment: Moment) {
        let mut at = id;
        loop {
            let raise = |marks: &mut HashMap<NodeId, Moment>| {
                let latest = marks.entry(at).or_default();
                let later = *latest < moment;
                *latest = moment.max(*latest);
                later
            };
            let mut later = raise(&mut self.marks_below);
            if in_base {
                later |= raise(&mut self.base_marks_below);
            }
            self.node_mut(at).flags |= MARKED;
            if at == ROOT || !later {
                return;
            }
            at = self.parent(at);
        }
    }

    /// The latest whiteout below `id`, its own apart.
    pub(crate) fn latest_mark_below(&self, id: NodeId) -> Moment {
        if self.node(id).flags & MARKED == 0 {
            return Moment::default();
        }
        self.marks_below.get(&id).copied().unwrap_or_default()
    }

    /// Since when an implied directory is one.
    pub(crate) fn implied_since(&self, id: NodeId) -> Moment {
        let Events { claim, implied, cut: _ } = *self.events(id);
        if implied > claim { implied } else { self.latest_mark_below(id) }
    }

    /// Whether any layer has a directory at `id`, by an entry or by a path below.
    pub(crate) fn is_directory_anywhere(&self, id: NodeId) -> bool {
        self.node(id).flags & DIRECTORY != 0
    }

    /// A layer of the kept base has a directory with attributes.
    pub(crate) fn note_attributes_in_base(&mut self, id: NodeId) {
        self.node_mut(id).flags |= ATTRIBUTES_IN_BASE;
    }

    pub(crate) fn has_attributes_in_base(&self, id: NodeId) -> bool {
        self.node(id).flags & ATTRIBUTES_IN_BASE != 0
    }

    /// Whether the entry of `moment` at `id` is hidden by something later. With remove patterns left out, it
    /// tells what the image shows.
    pub fn is_hidden(&self, id: NodeId, moment: Moment, directory: bool) -> bool {
        let node = self.node(id);
        node.events.claim != moment
            || node.flags & INVISIBLE != 0
            || (!directory && (node.events.implied > moment || self.latest_mark_below(id) > moment))
            || self.is_cut(id, moment)
    }

    /// Whether something above `id` hides what was there at `moment`.
    pub fn is_cut(&self, id: NodeId, moment: Moment) -> bool {
        let mut at = id;
        while at != ROOT {
            at = self.parent(at);
            if self.node(at).events.cut > moment {
                return true;
            }
        }
        false
    }

    /// What the merged image has at `id`, removals asked for included.
    pub fn standing(&self, id: NodeId) -> Standing {
        let node = self.node(id);
        if node.flags & (REMOVED | INVISIBLE) != 0 {
            return Standing::Absent;
        }
        node.events.standing(self.latest_mark_below(id), |moment| self.is_cut(id, moment))
    }

    /// What the kept base alone has at `id`.
    pub(crate) fn base_standing(&self, id: NodeId) -> Standing {
        let Some(base) = &self.base else { return Standing::Absent };
        if self.node(id).flags & INVISIBLE != 0 {
            return Standing::Absent;
        }
        let events = |id: NodeId| &base[id as usize / NODES_PER_CHUNK][id as usize % NODES_PER_CHUNK];
        let mark = self.base_marks_below.get(&id).copied().unwrap_or_default();
        events(id).standing(mark, |moment| {
            let mut at = id;
            while at != ROOT {
                at = self.parent(at);
                if events(at).cut > moment {
                    return true;
                }
            }
            false
        })
    }
}

impl PathStore for Tree {
    fn parent(&self, node: NodeId) -> NodeId {
        Self::parent(self, node)
    }

    fn name(&self, node: NodeId) -> &[u8] {
        Self::name(self, node)
    }

    fn child(&mut self, parent: NodeId, name: &[u8], invisible: bool) -> Result<NodeId, LayerError> {
        Self::child(self, parent, name, invisible)
    }
}

/// The kinds of event that are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry that is a directory.
    Directory,
    /// Any other entry, or a whiteout.
    Replace,
    /// An opaque mark.
    Opaque,
    /// A path below.
    Imply,
    /// An opaque mark in it, or below.
    ImplyByMark,
}

impl Event {
    fn raise(self, events: &mut Events, moment: Moment) {
        let raise = |slot: &mut Moment| *slot = moment.max(*slot);
        match self {
            Self::Directory => raise(&mut events.claim),
            Self::Replace => {
                raise(&mut events.claim);
                raise(&mut events.cut);
            }
            Self::Opaque => raise(&mut events.cut),
            Self::Imply | Self::ImplyByMark => raise(&mut events.implied),
        }
    }
}
