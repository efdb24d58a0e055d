//! One layer in the merge: what its records do to other layers, and what is known of its inodes.
//!
//! A layer may be registered while its earlier entries are already on their way out ("streaming"). A record
//! that would change what is out is then a [`Stop::Conflict`]: the merge starts anew and reads this layer
//! twice.
//!
//! So is a directory at a path where the same layer put something else before: overlayfs shows the directory
//! merged with what lower layers have there, so the first record must hide nothing, and what was told to
//! other layers cannot be taken back. When its names are read first, a layer tells what its entries hide only
//! at its end.

use std::hash::BuildHasher;

use super::directory_attributes::{Before, LayerDirectories};
use super::hard_links::{Inode, Passage, PendingLink};
use super::stop::Stop;
use crate::collections::{HashMap, HashSet};
use crate::error::{Error, LayerError};
use crate::layer::{
    EntryKind, LayerRules, LinkTarget, LinkedSymlinks, LocalEntry, NodeId, Placed, ROOT, Subject,
};
use crate::name;
use crate::tar::{Header, Kind};
use crate::tree::{Event, Tree};
use crate::visibility::Moment;
use crate::warning::{Warning, WarningKind};

/// What a record is to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// A whiteout or opaque mark, or a directory said twice: nothing to write.
    Nothing,
    /// An entry.
    Entry(Placed),
}

/// What an entry hides, told at the end of a layer whose names are read first.
#[derive(Clone, Copy, Debug)]
struct Deferred {
    node: NodeId,
    record: u32,
    effect: Effect,
}

/// What a record does to other layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Directory,
    Other,
    /// Its directory exists.
    OpaqueMark,
}

/// A directory in which a layer has a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkedDirectory {
    pub(crate) layer: u32,
    pub(crate) node: NodeId,
    pub(crate) opaque: bool,
}

/// A name in a kept base that was asked to be truncated.
#[derive(Debug)]
pub(crate) struct Flagged {
    pub(crate) record: u32,
    pub(crate) node: NodeId,
    pub(crate) header: Header,
}

/// The inodes and links of one layer.
#[derive(Debug, Default)]
pub(crate) struct LayerLinks {
    /// Inodes by the number of their content's record.
    pub(crate) inodes: HashMap<u32, Inode>,
    /// Links to files of lower layers, as [`LinkTarget::Lower`] counts them.
    pub(crate) lower: Vec<PendingLink>,
    /// Names that join at a link entry, from links of higher layers to it.
    pub(crate) joining: HashMap<u32, Vec<NodeId>>,
    /// Entries that a higher layer's link was bound to.
    pub(super) bound: HashSet<NodeId>,
    /// Fingerprints of the attributes of entries that have some, to tell whether a link changes them.
    attributes: HashMap<u32, u64>,
    /// Entries that have a capability.
    privileged: HashSet<u32>,
    /// Where links of higher layers lead that turned out to be symlinks.
    pub(crate) discovered: LinkedSymlinks,
}

/// The state of one layer.
#[derive(Debug)]
pub struct LayerState {
    pub(crate) layer: u32,
    /// Whether the layer is part of the kept base.
    pub(crate) in_base: bool,
    /// Whether entries go out as soon as they are registered.
    pub(crate) streaming: bool,
    pub(crate) rules: LayerRules,
    pub(crate) links: LayerLinks,
    pub(crate) directories: LayerDirectories,
    /// Marks in directories that the layer may not have itself.
    marked: Vec<MarkedDirectory>,
    /// With the names read first: the entries so far, whose effect is told at the end.
    deferred: Option<Vec<Deferred>>,
    pub(crate) flagged: Vec<Flagged>,
    pub(crate) warnings: Vec<Warning>,
    hasher: foldhash::quality::RandomState,
}

impl LayerState {
    pub(crate) fn new(
        layer: u32,
        in_base: bool,
        names_first: bool,
        linked_symlinks: &LinkedSymlinks,
    ) -> Self {
        let own = linked_symlinks.range((layer, 0)..=(layer, u32::MAX));
        Self {
            layer,
            in_base,
            streaming: false,
            rules: LayerRules::new(layer, own.map(|(at, to)| (*at, to.clone())).collect()),
            links: LayerLinks::default(),
            directories: LayerDirectories::default(),
            marked: Vec::new(),
            deferred: names_first.then(Vec::new),
            flagged: Vec::new(),
            warnings: Vec::new(),
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    /// For somebody who reads names only, and asks what is hidden at the layer's end.
    #[must_use]
    pub fn of_names(layer: u32) -> Self {
        Self::new(layer, false, true, &LinkedSymlinks::new())
    }

    /// Registers the next record of a layer that is [of names](Self::of_names).
    ///
    /// # Errors
    /// A name or a link that no layer can have.
    pub fn register_name(&mut self, tree: &mut Tree, header: &Header) -> Result<Registered, Error> {
        self.register(tree, header).map_err(|stop| stop.at(self.layer as usize))
    }

    /// The rules within the layer.
    #[must_use]
    pub fn rules(&self) -> &LayerRules {
        &self.rules
    }

    /// What was found so far that a user should know.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// When entry `record` happens.
    pub(crate) fn moment(&self, record: u32, directory: bool) -> Moment {
        Moment::entry(self.layer, record, directory)
    }

    /// Registers the next record.
    pub(crate) fn register(&mut self, tree: &mut Tree, header: &Header) -> Result<Registered, Stop> {
        let placed = self.rules.place(tree, header)?;
        let node = placed.node;
        if header.ignored_global {
            self.warn(tree, node, WarningKind::GlobalHeader);
        }
        if header.negative_owner {
            self.warn(tree, node, WarningKind::NegativeOwner);
        }
        match placed.subject {
            Subject::Opaque => self.opaque(tree, &placed)?,
            Subject::Whiteout => self.whiteout(tree, node),
            Subject::WhiteoutDevice => {
                self.warn(tree, node, WarningKind::WhiteoutDevice);
                self.whiteout(tree, node);
            }
            Subject::Entry if header.kind == Kind::Directory => return self.directory(tree, header, placed),
            Subject::Entry => return self.other(tree, header, placed),
        }
        Ok(Registered::Nothing)
    }

    fn warn(&mut self, tree: &Tree, node: NodeId, kind: WarningKind) {
        self.warnings.push(Warning { layer: Some(self.layer as usize), path: tree.path(node), kind });
    }

    /// An opaque mark is a path below its directory, and makes it exist.
    fn opaque(&mut self, tree: &mut Tree, placed: &Placed) -> Result<(), Stop> {
        let node = placed.node;
        if node == ROOT {
            self.warn(tree, ROOT, WarningKind::OpaqueRoot);
        }
        tree.raise(node, self.in_base, Event::Opaque, Moment::mark(self.layer));
        self.rules.imply(tree, node, placed.record);
        self.marked.push(MarkedDirectory { layer: self.layer, node, opaque: true });
        self.tell_parents(tree, placed.record, Event::ImplyByMark)?;
        if let Some(deferred) = &mut self.deferred {
            deferred.push(Deferred { node, record: placed.record, effect: Effect::OpaqueMark });
        }
        Ok(())
    }

    fn whiteout(&mut self, tree: &mut Tree, node: NodeId) {
        let parent = tree.parent(node);
        tree.mark_below(parent, self.in_base, Moment::mark(self.layer));
        let mark = MarkedDirectory { layer: self.layer, node: parent, opaque: false };
        if parent != ROOT && self.marked.last() != Some(&mark) {
            self.marked.push(mark);
        }
        if self.rules.latest(node).is_some_and(|entry| entry.kind() == EntryKind::Directory) {
            self.warn(tree, node, WarningKind::WhiteoutAndDirectory);
        }
        tree.raise(node, self.in_base, Event::Replace, Moment::mark(self.layer));
    }

    fn directory(&mut self, tree: &mut Tree, header: &Header, placed: Placed) -> Result<Registered, Stop> {
        let node = placed.node;
        let fingerprint = self.hasher.hash_one((header.meta, &header.records));
        if self.rules.is_repeated(node, fingerprint) {
            return Ok(Registered::Nothing);
        }
        self.check_replaced(tree, node)?;
        if self.rules.is_whiteout(node) {
            self.warn(tree, node, WarningKind::WhiteoutAndDirectory);
        }
        self.warn_of_invisible(tree, header, node);
        self.directories.note(node, header, self.before(tree, node));
        if self.in_base && header.xattrs().next().is_some() {
            tree.note_attributes_in_base(node);
        }
        self.rules.add(tree, &placed, EntryKind::Directory, fingerprint, None);
        self.tell_parents(tree, placed.record, Event::Imply)?;
        self.tell(tree, node, placed.record, true);
        Ok(Registered::Entry(placed))
    }

    fn other(&mut self, tree: &mut Tree, header: &Header, placed: Placed) -> Result<Registered, Stop> {
        let Placed { record, node, .. } = placed;
        self.check_replaced(tree, node)?;
        self.warn_of_invisible(tree, header, node);
        if self.streaming && self.rules.is_parent(node) {
            return Err(Stop::Conflict);
        }
        let fingerprint = self.hasher.hash_one(header.meta);
        // A link to a symlink is one itself, and leads paths below it where that one would from here.
        let (kind, leads_to) = match header.kind {
            Kind::HardLink => (EntryKind::Link, self.link(tree, header, &placed)?),
            Kind::Symlink => (EntryKind::Content, Some(header.link.as_slice().into())),
            _ => (EntryKind::Content, None),
        };
        self.rules.add(tree, &placed, kind, fingerprint, leads_to);
        self.tell_parents(tree, record, Event::Imply)?;
        if let Some(attributes) = self.attributes_fingerprint(header) {
            self.links.attributes.insert(record, attributes);
            if header.is_privileged() {
                self.links.privileged.insert(record);
            }
        }
        self.tell(tree, node, record, false);
        Ok(Registered::Entry(placed))
    }

    /// How a directory exists before the entry that comes now.
    fn before(&self, tree: &Tree, node: NodeId) -> Before {
        match self.rules.standing(tree, node) {
            Some(entry) if entry.kind() == EntryKind::Directory => Before::Named,
            Some(_) => Before::Nothing,
            None if self.rules.replaced_a_file_at(node) => Before::Nothing,
            None if self.rules.is_implied(tree, node) || self.rules.has_mark_in(node) => Before::Implied,
            None => Before::Nothing,
        }
    }

    /// Content under the names of AUFS's bookkeeping is not visible.
    fn warn_of_invisible(&mut self, tree: &Tree, header: &Header, node: NodeId) {
        if !tree.is_invisible(node) {
            return;
        }
        let is_bookkeeping = match header.kind {
            Kind::Directory => true,
            Kind::Regular => header.size == 0,
            _ => false,
        };
        if !is_bookkeeping || tree.is_invisible(tree.parent(node)) {
            self.warn(tree, node, WarningKind::AufsContent);
        }
    }

    /// Directories that the layer marks and does not have itself: what lower layers have there decides what
    /// they are.
    pub fn take_marked(&mut self, tree: &Tree) -> Vec<MarkedDirectory> {
        let mut marked = std::mem::take(&mut self.marked);
        marked.retain(|mark| {
            let named = self.rules.standing(tree, mark.node).is_some();
            !named && (mark.opaque || !self.rules.is_implied(tree, mark.node))
        });
        marked
    }

    /// Tells that the parents of the entry at hand are directories. A directory in the place of a file of the
    /// same layer can only be told by a layer whose names are read first.
    fn tell_parents(&self, tree: &mut Tree, record: u32, event: Event) -> Result<(), Stop> {
        if self.deferred.is_some() {
            return Ok(());
        }
        if self.rules.replaced_a_file() {
            return Err(Stop::Conflict);
        }
        for parent in self.rules.implied() {
            tree.raise(*parent, self.in_base, event, self.moment(record, true));
        }
        Ok(())
    }

    /// Tells what an entry hides, or notes it for the end.
    fn tell(&mut self, tree: &mut Tree, node: NodeId, record: u32, directory: bool) {
        match &mut self.deferred {
            Some(deferred) => {
                let effect = if directory { Effect::Directory } else { Effect::Other };
                deferred.push(Deferred { node, record, effect });
            }
            None => {
                let event = if directory { Event::Directory } else { Event::Replace };
                tree.raise(node, self.in_base, event, self.moment(record, directory));
            }
        }
    }

    /// All records are registered: tells what entries hide, where that had to wait.
    pub fn complete(&mut self, tree: &mut Tree) {
        for Deferred { node, record, effect } in self.deferred.take().unwrap_or_default() {
            if self.rules.is_replaced_file(node, record)
                || self.rules.is_below_replaced_file(tree, node, record)
            {
                continue;
            }
            let moment = self.moment(record, true);
            let mark = effect == Effect::OpaqueMark;
            let event = if mark { Event::ImplyByMark } else { Event::Imply };
            if mark {
                tree.raise(node, self.in_base, event, moment);
            }
            let mut at = node;
            while at != ROOT {
                at = tree.parent(at);
                tree.raise(at, self.in_base, event, moment);
            }
            match effect {
                Effect::Directory => self.tell(tree, node, record, true),
                Effect::Other => self.tell(tree, node, record, false),
                Effect::OpaqueMark => {}
            }
        }
    }

    /// Whether entry `record` at `node` is hidden, by other layers or its own.
    #[must_use]
    pub fn is_hidden(&self, tree: &Tree, node: NodeId, record: u32, directory: bool) -> bool {
        tree.is_hidden(node, self.moment(record, directory), directory)
            || self.rules.is_below_replaced_file(tree, node, record)
    }

    fn attributes_fingerprint(&self, header: &Header) -> Option<u64> {
        let mut attributes: Vec<_> = header.xattrs().collect();
        attributes.sort_unstable();
        (!attributes.is_empty()).then(|| self.hasher.hash_one(attributes))
    }

    /// A record at a path that already has one: what was written of the first must not have to be taken back.
    fn check_replaced(&self, tree: &Tree, node: NodeId) -> Result<(), Stop> {
        let Some(before) = self.rules.latest(node).filter(|_| self.streaming) else { return Ok(()) };
        let hidden = self.is_hidden(tree, node, before.record(), before.kind() == EntryKind::Directory);
        if !hidden || self.links.bound.contains(&node) { Err(Stop::Conflict) } else { Ok(()) }
    }

    /// Resolves a link and notes what its header says of the inode. What is returned leads the paths below
    /// it.
    fn link(
        &mut self,
        tree: &mut Tree,
        header: &Header,
        placed: &Placed,
    ) -> Result<Option<crate::layer::SymlinkTarget>, Stop> {
        let resolved = self.rules.resolve_link(tree, header, placed.node)?;
        match (resolved.leads_to, resolved.named) {
            (LinkTarget::Here(content), Some((target, entry))) if entry.record() == content => {
                self.link_to_content(header, target, entry)?;
            }
            (LinkTarget::Here(content), _) => self.link_to_link(header, content)?,
            (LinkTarget::Lower(index), named) => {
                if named.is_none() {
                    self.warn(tree, placed.node, WarningKind::LinkToLowerLayer);
                }
                if index == self.links.lower.len() {
                    let lower = &self.rules.lower()[index];
                    self.links.lower.push(PendingLink::new(self.layer, lower.target, lower.link));
                }
                self.links.lower[index].overrides.follow(header);
            }
        }
        self.rules.note_link(placed.record, placed.node, resolved.leads_to);
        Ok(resolved.symlink)
    }

    fn link_to_content(&mut self, header: &Header, target: NodeId, entry: LocalEntry) -> Result<(), Stop> {
        let content = entry.record();
        let same_meta = entry.repeats(EntryKind::Content, self.hasher.hash_one(header.meta));
        let privileged = self.links.privileged.contains(&content);
        let same = same_meta && privileged == header.is_privileged();
        if self.streaming && !(same && self.has_same_attributes(content, header)) {
            return Err(Stop::Conflict);
        }
        let inode = self.links.inodes.entry(content).or_default();
        inode.first = Some(target);
        inode.own.follow(header);
        Ok(())
    }

    fn link_to_link(&mut self, header: &Header, content: u32) -> Result<(), Stop> {
        if self.streaming {
            let own = &self.links.inodes[&content].own;
            let same = own.meta == Some(header.meta) && own.repeats_capability(header);
            if !(same && self.has_same_attributes(content, header)) {
                return Err(Stop::Conflict);
            }
        }
        self.links.inodes.entry(content).or_default().own.follow(header);
        Ok(())
    }

    /// Whether a link's header leaves the attributes of an inode as they are, which may already be written.
    fn has_same_attributes(&self, content: u32, header: &Header) -> bool {
        let attributes = self.attributes_fingerprint(header);
        attributes.is_none() || attributes == self.links.attributes.get(&content).copied()
    }

    /// What this layer does to a higher layer's links whose target it does not have: takes the target away,
    /// replaces a parent by a symlink that has to be followed, or nothing.
    pub(crate) fn passage(&self, tree: &Tree, target: NodeId) -> Passage {
        if self.rules.is_whiteout(target) {
            return Passage::Gone;
        }
        let mut at = target;
        while at != ROOT {
            at = tree.parent(at);
            if let Some(link) = self.rules.symlink_at(tree, at) {
                return Passage::Through { symlink: at, to: link.to_vec() };
            }
            let blocked =
                self.rules.standing(tree, at).is_some_and(|entry| entry.kind() != EntryKind::Directory);
            if blocked || self.rules.is_whiteout(at) || self.rules.is_opaque(at) {
                return Passage::Gone;
            }
        }
        Passage::Clear
    }

    /// Symlinks of this layer that higher layers turn into directories by having paths below them.
    ///
    /// # Errors
    /// A symlink that leads to itself: no runtime can go through it, and the layer above needs it to.
    pub(crate) fn warn_of_replaced_symlinks(&mut self, tree: &mut Tree) -> Result<(), LayerError> {
        let is_replaced = |node: &NodeId| {
            let Some(entry) = self.rules.latest(*node) else { return false };
            let moment = self.moment(entry.record(), false);
            let events = tree.events(*node);
            events.claim == moment
                && events.implied.layer() > Some(self.layer)
                && events.implied > moment
                && !tree.is_cut(*node, moment)
        };
        let replaced: Vec<NodeId> = self.rules.symlinks().filter(is_replaced).collect();
        for node in replaced {
            let path = tree.path(node);
            let mut parts = Vec::new();
            if name::components(&path, &mut parts).is_ok() {
                self.rules.walk(tree, &path, &parts)?;
            }
            // Where only an opaque mark makes the directory, that is what is said.
            if tree.is_directory_anywhere(node) {
                self.warn(tree, node, WarningKind::SymlinkReplaced);
            }
        }
        Ok(())
    }

    /// The links to lower layers, with the link entries that lead paths on if their target is a symlink.
    pub(crate) fn take_lower_links(&mut self) -> Vec<PendingLink> {
        let mut lower = std::mem::take(&mut self.links.lower);
        for (index, link) in lower.iter_mut().enumerate() {
            link.led.append(&mut self.rules.lower_mut(index).led);
            let upper = std::mem::take(&mut link.upper);
            link.overrides.follow_all(&upper);
        }
        lower
    }
}
