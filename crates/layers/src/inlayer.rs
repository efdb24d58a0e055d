//! One layer by itself: which path each record is about, and what it does to lower layers and to earlier records.
//!
//! Records are registered in the order of the archive. Paths and link targets are resolved through symlinks that the same
//! layer made before (`layer-semantics` rule 11), never through those of other layers.
//!
//! A layer may be registered while its earlier entries are already on their way out ("streaming"). A record that would
//! change what is out is then a [`Stop::Conflict`]: the merge starts anew and reads this layer twice.
//!
//! So is a directory at a path where the same layer put something else before: overlayfs shows the directory merged with
//! what lower layers have there, so the first record must hide nothing, and what was told to other layers cannot be taken
//! back. When its names are read first, a layer tells what its entries hide only at its end.

use std::collections::BTreeSet;

use crate::collections::{HashMap, HashSet};

use crate::error::{LayerError, display};
use crate::hardlink::{Belongs, Demand, Inode, Leads, Override, Target};
use crate::name::{self, Mark, NameError};
use crate::tar::{Header, Kind};
use crate::tree::{Event, NodeId, ROOT, Tree};
use crate::visibility::Moment;
use crate::warning::{Warning, WarningKind};

/// Why a record cannot be registered.
#[derive(Debug)]
pub enum Stop {
    Error(LayerError),
    /// A record of a higher layer turns out to be wrong.
    At(u32, LayerError),
    /// What was written of this layer has to be written otherwise.
    Conflict,
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Error(error)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// A whiteout or opaque mark, or a directory said twice: nothing to write.
    Nothing,
    /// An entry.
    Entry {
        ord: u32,
        node: NodeId,
        /// Whether the name was reached through a symlink, so that the header names another path.
        moved: bool,
    },
}

/// Most symlinks that one name may lead through, as Linux has it.
const MAX_SYMLINKS: usize = 40;

/// What stands at a path after the records so far.
#[derive(Clone, Copy, Debug)]
struct Local {
    ord: u32,
    /// Hash of the metadata with the sort in the low bits, in halves to keep the alignment at 4.
    print: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Directory,
    Content,
    Link,
}

impl Local {
    fn new(ord: u32, sort: Sort, print: u64) -> Self {
        let print = (print & !3) | sort as u64;
        Self { ord, print: [print as u32, (print >> 32) as u32] }
    }

    fn sort(self) -> Sort {
        match self.print[0] & 3 {
            0 => Sort::Directory,
            1 => Sort::Content,
            _ => Sort::Link,
        }
    }

    fn same_print(self, other: Self) -> bool {
        self.print == other.print
    }
}

/// The state of one layer.
#[derive(Debug)]
pub struct InLayer {
    pub layer: u32,
    /// Whether the layer is part of the kept base.
    pub in_base: bool,
    /// Whether entries go out as soon as they are registered.
    pub streaming: bool,
    /// With the names read first: the entries so far, whose effect is told at the end.
    deferred: Option<Vec<(NodeId, u32, bool)>>,
    /// Files that a directory of this layer replaced: they hide what this layer had below them before, nothing else.
    superseded: HashMap<NodeId, u32>,
    next_ord: u32,
    names: HashMap<NodeId, Local>,
    symlinks: HashMap<NodeId, Target>,
    /// Links to symlinks of lower layers, as far as they are known from a merge before.
    leads: Leads,
    /// The same of higher layers' links, as this layer tells it.
    pub learnt: Leads,
    /// Directories that paths below them make, with the first record that did, or the latest since short cuts are off.
    parents: HashMap<NodeId, u32>,
    whiteouts: HashSet<NodeId>,
    opaques: HashSet<NodeId>,
    /// A later record took away what earlier ones made, so short cuts are off.
    careful: bool,
    /// Inodes by the number of their content's entry.
    pub inodes: HashMap<u32, Inode>,
    /// What each link entry belongs to.
    pub links: HashMap<u32, (NodeId, Belongs)>,
    /// Links to files of lower layers.
    pub lower: Vec<Demand>,
    lower_by_target: HashMap<NodeId, usize>,
    /// Names that join at a link entry, from links of higher layers to it.
    pub joining: HashMap<u32, Vec<NodeId>>,
    /// Entries that a higher layer's link was bound to.
    bound: HashSet<NodeId>,
    /// Attributes of entries that have some, to tell whether a link changes them.
    xattrs: HashMap<u32, u64>,
    /// Names in the base that were asked to be truncated.
    pub flagged: Vec<(u32, NodeId, Header)>,
    pub warnings: Vec<Warning>,
    hasher: foldhash::quality::RandomState,
    cached_dir: Vec<u8>,
    cached: Option<(NodeId, bool)>,
}

impl InLayer {
    pub fn new(layer: u32, in_base: bool, names_first: bool, leads: &Leads) -> Self {
        Self {
            layer,
            in_base,
            streaming: false,
            deferred: names_first.then(Vec::new),
            superseded: HashMap::default(),
            next_ord: 0,
            names: HashMap::default(),
            symlinks: HashMap::default(),
            leads: leads.range((layer, 0)..=(layer, u32::MAX)).map(|(at, to)| (*at, to.clone())).collect(),
            learnt: Leads::new(),
            parents: HashMap::default(),
            whiteouts: HashSet::default(),
            opaques: HashSet::default(),
            careful: false,
            inodes: HashMap::default(),
            links: HashMap::default(),
            lower: Vec::new(),
            lower_by_target: HashMap::default(),
            joining: HashMap::default(),
            bound: HashSet::default(),
            xattrs: HashMap::default(),
            flagged: Vec::new(),
            warnings: Vec::new(),
            hasher: foldhash::quality::RandomState::default(),
            cached_dir: Vec::new(),
            cached: None,
        }
    }

    /// When entry `ord` happens.
    pub fn moment(&self, ord: u32, directory: bool) -> Moment {
        Moment::entry(self.layer, ord, directory)
    }

    /// Registers the next record.
    pub fn register(&mut self, tree: &mut Tree, header: &Header) -> Result<Registered, Stop> {
        let ord = self.next_ord;
        self.next_ord += 1;
        let refuse = |reason: NameError| LayerError::Name { path: display(&header.path), reason };
        let mut parts = Vec::with_capacity(16);
        name::components(&header.path, &mut parts).map_err(refuse)?;
        let Some((base, dir)) = parts.split_last() else {
            if header.kind != Kind::Directory {
                return Err(refuse(NameError::Root).into());
            }
            return self.directory(tree, header, ord, ROOT, false);
        };
        let mark = name::mark(base).map_err(refuse)?;
        let (parent, moved) = self.parent_of(tree, &header.path, dir)?;
        let device = header.kind == Kind::CharDevice && header.device == (0, 0);
        match mark {
            Mark::Opaque => {
                if parent == ROOT {
                    self.warn(tree, ROOT, WarningKind::OpaqueRoot);
                }
                self.opaques.insert(parent);
                tree.raise(parent, self.in_base, Event::Opaque, Moment::mark(self.layer));
                Ok(Registered::Nothing)
            }
            Mark::Whiteout(name) => {
                let node = tree.child(parent, name, false)?;
                self.whiteout(tree, node);
                Ok(Registered::Nothing)
            }
            Mark::None if device => {
                let node = tree.child(parent, base, false)?;
                self.warn(tree, node, WarningKind::WhiteoutDevice);
                self.whiteout(tree, node);
                Ok(Registered::Nothing)
            }
            Mark::None | Mark::Aufs => {
                let node = tree.child(parent, base, mark == Mark::Aufs)?;
                if header.kind == Kind::Directory {
                    self.directory(tree, header, ord, node, moved)
                } else {
                    self.other(tree, header, ord, node, moved)
                }
            }
        }
    }

    fn warn(&mut self, tree: &Tree, node: NodeId, kind: WarningKind) {
        self.warnings.push(Warning { layer: Some(self.layer as usize), path: tree.path(node), kind });
    }

    fn whiteout(&mut self, tree: &mut Tree, node: NodeId) {
        if self.names.get(&node).is_some_and(|local| local.sort() == Sort::Directory) {
            self.warn(tree, node, WarningKind::WhiteoutAndDirectory);
        }
        self.whiteouts.insert(node);
        tree.raise(node, self.in_base, Event::Replace, Moment::mark(self.layer));
    }

    fn print(&self, header: &Header) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one(header.meta)
    }

    fn directory(
        &mut self,
        tree: &mut Tree,
        header: &Header,
        ord: u32,
        node: NodeId,
        moved: bool,
    ) -> Result<Registered, Stop> {
        use std::hash::BuildHasher;
        let print = self.hasher.hash_one((header.meta, &header.records));
        let local = Local::new(ord, Sort::Directory, print);
        let before = self.names.get(&node).copied();
        // Archives name directories again and again; saying the same twice is saying it once.
        if !self.careful && before.is_some_and(|before| before.same_print(local)) {
            return Ok(Registered::Nothing);
        }
        self.check_replaced(tree, node, before)?;
        if let Some(before) = before.filter(|before| before.sort() != Sort::Directory) {
            self.supersede(node, before)?;
        }
        if self.whiteouts.contains(&node) {
            self.warn(tree, node, WarningKind::WhiteoutAndDirectory);
        }
        self.imply_parents(tree, node, ord)?;
        self.symlinks.remove(&node);
        self.names.insert(node, local);
        self.tell(tree, node, ord, true);
        Ok(Registered::Entry { ord, node, moved })
    }

    fn other(
        &mut self,
        tree: &mut Tree,
        header: &Header,
        ord: u32,
        node: NodeId,
        moved: bool,
    ) -> Result<Registered, Stop> {
        let before = self.names.get(&node).copied();
        self.check_replaced(tree, node, before)?;
        if self.parents.contains_key(&node) {
            if self.streaming {
                return Err(Stop::Conflict);
            }
            self.careful = true;
        }
        let link = header.kind == Kind::HardLink;
        // A link is resolved before its own name is taken.
        let resolved = if link { Some(self.resolve_link(tree, header, node)?) } else { None };
        let (belongs, linked) = resolved.unzip();
        self.imply_parents(tree, node, ord)?;
        let sort = if link { Sort::Link } else { Sort::Content };
        self.names.insert(node, Local::new(ord, sort, self.print(header)));
        // A link to a symlink is one itself, and leads paths below it where that one would from here.
        let leads_to = match header.kind {
            Kind::Symlink => Some(header.link.as_slice().into()),
            Kind::HardLink => linked.flatten().or_else(|| self.leads.get(&(self.layer, ord)).cloned()),
            _ => None,
        };
        if let Some(to) = leads_to {
            self.symlinks.insert(node, to);
            self.cached = None;
        } else if self.symlinks.remove(&node).is_some() {
            self.cached = None;
        }
        if let Some(print) = self.xattr_print(header) {
            self.xattrs.insert(ord, print);
        }
        if let Some(belongs) = belongs {
            self.links.insert(ord, (node, belongs));
        }
        self.tell(tree, node, ord, false);
        Ok(Registered::Entry { ord, node, moved })
    }

    /// Tells what an entry hides, or notes it for the end.
    fn tell(&mut self, tree: &mut Tree, node: NodeId, ord: u32, directory: bool) {
        match &mut self.deferred {
            Some(deferred) => deferred.push((node, ord, directory)),
            None => {
                let event = if directory { Event::Directory } else { Event::Replace };
                tree.raise(node, self.in_base, event, self.moment(ord, directory));
            }
        }
    }

    /// A directory takes the place of a file of the same layer.
    fn supersede(&mut self, node: NodeId, file: Local) -> Result<(), Stop> {
        if self.deferred.is_none() {
            return Err(Stop::Conflict);
        }
        self.superseded.insert(node, file.ord);
        self.careful = true;
        Ok(())
    }

    /// All records are registered: tells what entries hide, where that had to wait.
    pub fn complete(&mut self, tree: &mut Tree) {
        for (node, ord, directory) in self.deferred.take().unwrap_or_default() {
            let replaced = self.superseded.get(&node).is_some_and(|file| *file >= ord);
            if replaced || self.is_below_superseded(tree, node, ord) {
                continue;
            }
            let moment = self.moment(ord, true);
            let mut at = node;
            while at != ROOT {
                at = tree.parent(at);
                tree.raise(at, self.in_base, Event::Imply, moment);
            }
            self.tell(tree, node, ord, directory);
        }
    }

    /// Whether entry `ord` at `node` is hidden, by other layers or its own.
    pub fn is_hidden(&self, tree: &Tree, node: NodeId, ord: u32, directory: bool) -> bool {
        tree.is_hidden(node, self.moment(ord, directory), directory)
            || self.is_below_superseded(tree, node, ord)
    }

    fn is_below_superseded(&self, tree: &Tree, node: NodeId, ord: u32) -> bool {
        let mut at = node;
        while !self.superseded.is_empty() && at != ROOT {
            at = tree.parent(at);
            if self.superseded.get(&at).is_some_and(|file| *file > ord) {
                return true;
            }
        }
        false
    }

    fn xattr_print(&self, header: &Header) -> Option<u64> {
        use std::hash::BuildHasher;
        let mut attributes: Vec<_> = header.xattrs().collect();
        attributes.sort_unstable();
        (!attributes.is_empty()).then(|| self.hasher.hash_one(attributes))
    }

    /// A record at a path that already has one: what was written of the first must not have to be taken back.
    fn check_replaced(&self, tree: &Tree, node: NodeId, before: Option<Local>) -> Result<(), Stop> {
        let Some(before) = before.filter(|_| self.streaming) else { return Ok(()) };
        let directory = before.sort() == Sort::Directory;
        let hidden = self.is_hidden(tree, node, before.ord, directory);
        if !hidden || self.bound.contains(&node) { Err(Stop::Conflict) } else { Ok(()) }
    }

    /// Makes the parents of `node` directories, as its path says they are.
    fn imply_parents(&mut self, tree: &mut Tree, node: NodeId, ord: u32) -> Result<(), Stop> {
        let mut at = node;
        while at != ROOT {
            at = tree.parent(at);
            if let Some(local) = self.names.get(&at).copied().filter(|local| local.sort() != Sort::Directory)
            {
                // A file that turns out to be a directory further on.
                self.check_replaced(tree, at, Some(local))?;
                self.supersede(at, local)?;
                self.names.remove(&at);
            }
            let known = match self.careful {
                true => self.parents.insert(at, ord).is_some(),
                false => *self.parents.entry(at).or_insert(ord) != ord,
            };
            if known && !self.careful {
                break;
            }
            if self.deferred.is_none() {
                tree.raise(at, self.in_base, Event::Imply, self.moment(ord, true));
            }
        }
        Ok(())
    }

    /// The node of a record's parent directory, and whether a symlink led there.
    fn parent_of(
        &mut self,
        tree: &mut Tree,
        raw: &[u8],
        dir: &[&[u8]],
    ) -> Result<(NodeId, bool), LayerError> {
        // Archives list a directory's children one after the other.
        let end = raw.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let simple = !raw.ends_with(b"/") && !raw.ends_with(b"/.") && !raw.ends_with(b"..");
        if simple
            && !self.careful
            && let Some(cached) = self.cached.filter(|_| self.cached_dir == raw[..end])
        {
            return Ok(cached);
        }
        let found = self.walk(tree, raw, dir)?;
        if simple && !self.careful {
            self.cached_dir.clear();
            self.cached_dir.extend_from_slice(&raw[..end]);
            self.cached = Some(found);
        }
        Ok(found)
    }

    /// Walks down `dir` through symlinks of this layer. `raw` is for messages.
    fn walk(&mut self, tree: &mut Tree, raw: &[u8], dir: &[&[u8]]) -> Result<(NodeId, bool), LayerError> {
        let refuse = |reason: NameError| LayerError::Name { path: display(raw), reason };
        let mut at = ROOT;
        let mut followed = 0;
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut next = dir.iter();
        loop {
            let owned;
            let part: &[u8] = match pending.pop() {
                Some(part) => {
                    owned = part;
                    &owned
                }
                None => match next.next() {
                    Some(part) => part,
                    None => return Ok((at, followed > 0)),
                },
            };
            match part {
                b"" | b"." => continue,
                // Only a symlink's target still has these; at the root they stay there.
                b".." => {
                    at = tree.parent(at);
                    continue;
                }
                _ => {}
            }
            let aufs = name::is_aufs_directory(part).map_err(refuse)?;
            let node = tree.child(at, part, aufs)?;
            let Some(target) = self.symlink_at(tree, node) else {
                self.go_below(tree, node);
                at = node;
                continue;
            };
            followed += 1;
            if followed > MAX_SYMLINKS {
                return Err(refuse(NameError::SymlinkLoop));
            }
            if target.contains(&0) || target.len() > name::MAX_NAME {
                return Err(refuse(NameError::TooLong));
            }
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            pending.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
    }

    /// A path leads below `node`. Where that is a link to a file of a lower layer, it may be a symlink, as only that layer
    /// can tell.
    fn go_below(&mut self, tree: &Tree, node: NodeId) {
        if self.lower.is_empty() {
            return;
        }
        let Some(local) = self.names.get(&node).copied().filter(|local| self.stands(tree, node, *local))
        else {
            return;
        };
        if let Some((_, Belongs::Lower(index))) = self.links.get(&local.ord) {
            self.lower[*index].led.insert((self.layer, local.ord));
        }
    }

    /// The target of a symlink that this layer made at `node` and that still stands.
    fn symlink_at(&self, tree: &Tree, node: NodeId) -> Option<&[u8]> {
        let target = self.symlinks.get(&node)?;
        let local = self.names.get(&node)?;
        self.stands(tree, node, *local).then_some(&**target)
    }

    /// Whether no later record of this layer took away what `local` is.
    fn stands(&self, tree: &Tree, node: NodeId, local: Local) -> bool {
        self.stands_since(tree, node, local.ord)
    }

    /// Whether a path below it makes `node` a directory.
    fn is_implied(&self, tree: &Tree, node: NodeId) -> bool {
        self.parents.get(&node).is_some_and(|ord| self.stands_since(tree, node, *ord))
    }

    fn stands_since(&self, tree: &Tree, node: NodeId, ord: u32) -> bool {
        if !self.careful {
            return true;
        }
        let mut at = node;
        while at != ROOT {
            at = tree.parent(at);
            let above = self.names.get(&at);
            if above.is_some_and(|above| above.sort() != Sort::Directory && above.ord > ord) {
                return false;
            }
        }
        !self.is_below_superseded(tree, node, ord)
    }

    /// What a hard link belongs to, and where it leads when it is one to a symlink of this layer.
    fn resolve_link(
        &mut self,
        tree: &mut Tree,
        header: &Header,
        node: NodeId,
    ) -> Result<(Belongs, Option<Target>), Stop> {
        let mut parts = Vec::with_capacity(16);
        name::components(&header.link, &mut parts)
            .map_err(|reason| LayerError::Name { path: display(&header.link), reason })?;
        let names = || (display(&header.path), display(&header.link));
        let Some((base, dir)) = parts.split_last() else {
            let (path, target) = names();
            return Err(LayerError::LinkToDirectory { path, target }.into());
        };
        let aufs = name::is_aufs_directory(base)
            .map_err(|reason| LayerError::Name { path: display(&header.link), reason })?;
        let (parent, _) = self.walk(tree, &header.link, dir)?;
        let target = tree.child(parent, base, aufs)?;
        if target == node {
            let (path, target) = names();
            return Err(LayerError::LinkTarget { path, target }.into());
        }
        let standing = self.names.get(&target).copied().filter(|local| self.stands(tree, target, *local));
        let Some(local) = standing else {
            if self.is_implied(tree, target) {
                let (path, target) = names();
                return Err(LayerError::LinkToDirectory { path, target }.into());
            }
            return Ok((self.link_to_lower(tree, header, node, target), None));
        };
        let belongs = match local.sort() {
            Sort::Directory => {
                let (path, target) = names();
                Err(LayerError::LinkToDirectory { path, target }.into())
            }
            Sort::Content => self.link_here(header, target, local),
            Sort::Link => match self.links[&local.ord].1 {
                Belongs::Here(content) => {
                    let inode = &mut self.inodes.entry(content).or_default();
                    let changes = inode.own.meta != Some(header.meta) || header.xattrs().next().is_some();
                    if self.streaming && changes && !self.same_as_written(content, header) {
                        return Err(Stop::Conflict);
                    }
                    self.inodes.entry(content).or_default().own.follow(header);
                    Ok(Belongs::Here(content))
                }
                Belongs::Lower(index) => {
                    self.lower[index].says.follow(header);
                    Ok(Belongs::Lower(index))
                }
            },
        }?;
        Ok((belongs, self.symlinks.get(&target).cloned()))
    }

    /// Whether a link's header repeats what is known of an inode that may already be written.
    fn same_as_written(&self, content: u32, header: &Header) -> bool {
        let inode = &self.inodes[&content];
        let attributes = self.xattr_print(header);
        inode.own.meta == Some(header.meta)
            && (attributes.is_none() || attributes == self.xattrs.get(&content).copied())
    }

    fn link_here(&mut self, header: &Header, target: NodeId, local: Local) -> Result<Belongs, Stop> {
        let content = local.ord;
        let same_meta = Local::new(content, Sort::Content, self.print(header)).same_print(local);
        let attributes = self.xattr_print(header);
        let same = same_meta && (attributes.is_none() || attributes == self.xattrs.get(&content).copied());
        if self.streaming && !same {
            return Err(Stop::Conflict);
        }
        let inode = self.inodes.entry(content).or_default();
        inode.first = Some(target);
        inode.own.follow(header);
        Ok(Belongs::Here(content))
    }

    fn link_to_lower(&mut self, tree: &Tree, header: &Header, node: NodeId, target: NodeId) -> Belongs {
        self.warn(tree, node, WarningKind::LinkToLowerLayer);
        let index = *self.lower_by_target.entry(target).or_insert_with(|| {
            self.lower.push(Demand {
                target,
                layer: self.layer,
                link: node,
                names: Vec::new(),
                says: Override::default(),
                upper: Override::default(),
                truncated: false,
                hops: 0,
                led: BTreeSet::new(),
            });
            self.lower.len() - 1
        });
        self.lower[index].says.follow(header);
        Belongs::Lower(index)
    }

    /// Hands a higher layer's links to what this layer has at their target; gives them back when it has nothing there.
    ///
    /// While the layer is not `complete`, a directory at the target may still be replaced.
    pub fn bind(&mut self, tree: &Tree, demand: Demand, complete: bool) -> Result<Option<Demand>, Stop> {
        let target = demand.target;
        let standing = self.names.get(&target).copied().filter(|local| self.stands(tree, target, *local));
        let Some(local) = standing else {
            // A directory that only paths below it make is one all the same.
            let directory = complete && self.is_implied(tree, target);
            return if directory { link_to_directory(tree, &demand) } else { Ok(Some(demand)) };
        };
        if local.sort() == Sort::Directory && !complete {
            return Ok(Some(demand));
        }
        self.bound.insert(target);
        if let Some(to) = self.symlinks.get(&target) {
            self.learnt.extend(demand.led.iter().map(|link| (*link, to.clone())));
        }
        match local.sort() {
            Sort::Directory => return link_to_directory(tree, &demand),
            Sort::Content => {
                let inode = self.inodes.entry(local.ord).or_default();
                inode.upper.precede(&demand.says);
                inode.truncated |= demand.truncated;
                inode.waiting.extend(demand.names);
            }
            Sort::Link => match self.links[&local.ord].1 {
                Belongs::Here(content) => {
                    let written = self.streaming && self.inodes[&content].written.is_some();
                    let inode = self.inodes.entry(content).or_default();
                    let changes = demand.says.meta.is_some_and(|meta| inode.effective().meta != Some(meta))
                        || !demand.says.xattrs.is_empty()
                        || (demand.truncated && !inode.truncated);
                    if written && changes {
                        return Err(Stop::Conflict);
                    }
                    inode.upper.precede(&demand.says);
                    inode.truncated |= demand.truncated;
                    self.joining.entry(local.ord).or_default().extend(demand.names);
                }
                Belongs::Lower(index) => {
                    let lower = &mut self.lower[index];
                    lower.upper.precede(&demand.says);
                    lower.truncated |= demand.truncated;
                    lower.led.extend(demand.led);
                    self.joining.entry(local.ord).or_default().extend(demand.names);
                }
            },
        }
        Ok(None)
    }

    /// What this layer does to a higher layer's links whose target it does not have: takes the target away, replaces a
    /// parent by a symlink that has to be followed, or nothing.
    pub fn passes(&self, tree: &Tree, target: NodeId) -> Passage {
        if self.whiteouts.contains(&target) {
            return Passage::Gone;
        }
        let mut at = target;
        while at != ROOT {
            at = tree.parent(at);
            if let Some(link) = self.symlink_at(tree, at) {
                return Passage::Through { symlink: at, to: link.to_vec() };
            }
            let local = self.names.get(&at).filter(|local| local.sort() != Sort::Directory);
            let blocked = local.is_some_and(|local| self.stands(tree, at, *local));
            if blocked || self.whiteouts.contains(&at) || self.opaques.contains(&at) {
                return Passage::Gone;
            }
        }
        Passage::Clear
    }

    /// Symlinks of this layer that higher layers turn into directories by having paths below them.
    ///
    /// # Errors
    /// A symlink that leads to itself: no runtime can go through it, and the layer above needs it to.
    pub fn warn_of_replaced_symlinks(&mut self, tree: &mut Tree) -> Result<(), LayerError> {
        let replaced: Vec<NodeId> = self
            .symlinks
            .keys()
            .filter(|node| {
                let Some(local) = self.names.get(*node) else { return false };
                let moment = self.moment(local.ord, false);
                let events = tree.events(**node);
                events.claim == moment
                    && events.implied.layer() > Some(self.layer)
                    && events.implied > moment
                    && !tree.is_cut(**node, moment)
            })
            .copied()
            .collect();
        for node in replaced {
            let path = tree.path(node);
            let mut parts = Vec::new();
            if name::components(&path, &mut parts).is_ok() {
                self.walk(tree, &path, &parts)?;
            }
            self.warn(tree, node, WarningKind::SymlinkReplaced);
        }
        Ok(())
    }

    /// Paths that the layer whites out.
    pub fn whiteouts(&self) -> impl Iterator<Item = NodeId> {
        self.whiteouts.iter().copied()
    }

    /// Directories that the layer makes opaque.
    pub fn opaques(&self) -> impl Iterator<Item = NodeId> {
        self.opaques.iter().copied()
    }

    /// Number of records so far.
    pub fn records(&self) -> u32 {
        self.next_ord
    }

    /// The number of the entry that stands at `node` after the whole layer.
    pub fn latest(&self, node: NodeId) -> Option<u32> {
        self.names.get(&node).map(|local| local.ord)
    }
}

/// What becomes of a link's target in a layer that does not have it.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// Look further down.
    Clear,
    /// It does not exist.
    Gone,
    /// A parent is a symlink.
    Through { symlink: NodeId, to: Vec<u8> },
}

fn link_to_directory(tree: &Tree, demand: &Demand) -> Result<Option<Demand>, Stop> {
    if demand.names.is_empty() {
        return Ok(None);
    }
    let (path, target) = demand.paths(tree);
    Err(Stop::At(demand.layer, LayerError::LinkToDirectory { path, target }))
}
