//! Applies layers one after the other, lowest first, and keeps count of what each adds and hides.
//!
//! What a record means within its layer is the merge's own [`LayerState`], told as for a layer whose names
//! are read first. What it does to lower layers is looked up in the tree as it stands, not in the latest
//! events that the merge keeps: those tell that something is hidden, not since when and by what.
//!
//! A layer is applied when it is at its end: first its whiteouts and opaque marks, which act on lower layers
//! only, then its entries in the order of the archive.

use std::hash::BuildHasher;

use super::chunked::Chunked;
use super::content::Ratio;
use super::feed::Seen;
use super::places::{Inode, InodeFlags, NONE, Place, Places, Standing, Tag};
use super::result::{Attributes, Change, EntryKind, Tally};
use crate::causes::ZEROS_FROM;
use crate::collections::HashMap;
use unbloat_layers::NameError;
use unbloat_layers::layer::{LinkTarget, MAX_SYMLINKS, NodeId, Placed, ROOT, follow};
use unbloat_layers::tar::{Header, Kind};
use unbloat_layers::tree::Tree;
use unbloat_layers::{Error, LayerError, LayerState, MarkedDirectory, Registered, display};
use unbloat_layers::{Warning, WarningKind, Warnings, warnings_of_marks};

/// Whiteouts of a layer that are reported.
const WORST_WHITEOUTS: usize = 5;

/// Zeros are worth a word in large files, and in these of any size: one record for each user number, most of
/// which nobody has (lastlog(8), faillog(5)).
const RECORDS_BY_USER: [&[u8]; 3] = [b"lastlog", b"faillog", b"tallylog"];

/// A whiteout and what it hides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal {
    pub(super) node: NodeId,
    pub(super) opaque: bool,
    pub(super) tally: Tally,
}

/// What one layer brings and hides.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerSums {
    pub(super) tar_bytes: u64,
    pub(super) entries: u64,
    pub(super) unpacked: u64,
    pub(super) wasted: u64,
    pub(super) hides: u64,
    pub(super) added: Tally,
    pub(super) changed: Tally,
    pub(super) metadata_only: Tally,
    pub(super) removed: Tally,
    pub(super) whiteouts: u64,
    pub(super) worst: Vec<Removal>,
    /// Compressed bytes of its hidden content.
    pub(super) wasted_compressed: f64,
}

/// One record of the layer at hand.
#[derive(Clone, Copy, Debug)]
struct Record {
    ord: u32,
    node: NodeId,
    /// The inode that it brought; `NONE` for a hard link.
    inode: u32,
    attributes: u32,
}

/// The layer at hand.
struct Current {
    layer: u32,
    state: LayerState,
    records: Chunked<Record>,
    attributes: Vec<Attributes>,
    /// Inodes of lower layers that lost their last name.
    released: Vec<u32>,
    sums: LayerSums,
}

impl Current {
    fn new(layer: u32) -> Self {
        Self {
            layer,
            state: LayerState::of_names(layer),
            records: Chunked::default(),
            attributes: Vec::new(),
            released: Vec::new(),
            sums: LayerSums::default(),
        }
    }

    /// The inode that record `ord` brought.
    fn inode_of(&self, ord: u32) -> Option<u32> {
        let (mut low, mut high) = (0, self.records.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.records.get(middle).ord < ord { low = middle + 1 } else { high = middle }
        }
        let record = (low < self.records.len()).then(|| self.records.get(low))?;
        (record.ord == ord && record.inode != NONE).then_some(record.inode)
    }
}

/// A hard link that leads to nothing.
#[derive(Debug)]
struct Dangling {
    node: NodeId,
    target: NodeId,
    directory: bool,
}

/// Where a hard link to a lower layer leads.
#[derive(Clone, Copy, Debug)]
enum Target {
    Inode(u32),
    Directory,
    Nothing,
}

/// The image as far as it was applied.
pub(super) struct Applier {
    pub(super) tree: Tree,
    pub(super) places: Places,
    pub(super) sums: Vec<LayerSums>,
    pub(super) warnings: Warnings,
    marked: Vec<MarkedDirectory>,
    /// Targets of visible symlinks, by inode.
    symlinks: HashMap<u32, Box<[u8]>>,
    dangling: HashMap<u32, Dangling>,
    current: Option<Current>,
    detailed: bool,
    hasher: foldhash::fast::RandomState,
}

impl Applier {
    pub(super) fn new(tree: Tree, detailed: bool) -> Self {
        let mut places = Places::new(detailed);
        places.grow(tree.paths());
        places.put(ROOT, Standing::Implied);
        Self {
            tree,
            places,
            sums: Vec::new(),
            warnings: Warnings::default(),
            marked: Vec::new(),
            symlinks: HashMap::default(),
            dangling: HashMap::default(),
            current: None,
            detailed,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Takes the next record of `layer`.
    pub(super) fn record(&mut self, layer: usize, seen: &Seen) -> Result<(), Error> {
        let mut current = self.current.take().unwrap_or_else(|| Current::new(layer as u32));
        let registered = current.state.register_name(&mut self.tree, &seen.header);
        self.places.grow(self.tree.paths());
        let registered = registered?;
        if let Registered::Entry(Placed { record: ord, node, .. }) = registered {
            let inode = match seen.header.kind {
                Kind::HardLink => NONE,
                _ => self.add_inode(&mut current, seen, node),
            };
            self.places.count(node, if inode == NONE { 0 } else { self.places.inode(inode).bytes() });
            let attributes = self.attributes(&mut current, &seen.header);
            current.records.push(Record { ord, node, inode, attributes });
        }
        self.current = Some(current);
        Ok(())
    }

    fn add_inode(&mut self, current: &mut Current, seen: &Seen, node: NodeId) -> u32 {
        let Seen { header, content } = seen;
        let mut inode = Inode::new(kind(header), header.size, node, current.layer);
        inode.print = content.print;
        let mut xattrs: Vec<_> = header.xattrs().collect();
        xattrs.sort_unstable();
        let meta = (header.meta.mode, header.meta.uid, header.meta.gid, xattrs);
        inode.meta = self.hasher.hash_one(meta) as u32;
        inode.time = self.hasher.hash_one(header.meta.mtime) as u32;
        inode.ratio = Ratio::of(content.compressed, header.size);
        current.sums.unpacked += inode.bytes();
        let by_user = RECORDS_BY_USER.contains(&self.tree.name(node));
        if (by_user || inode.bytes() >= ZEROS_FROM) && content.zeros > header.size / 2 {
            inode.flags.set(InodeFlags::ZEROS, true);
            self.places.place_mut(node).note_zeros();
        }
        let inode = self.places.add_inode(inode);
        if header.kind == Kind::Symlink {
            self.symlinks.insert(inode, header.link.clone().into());
        }
        inode
    }

    fn attributes(&self, current: &mut Current, header: &Header) -> u32 {
        if !self.detailed {
            return NONE;
        }
        let link = matches!(header.kind, Kind::Symlink | Kind::HardLink).then(|| display(&header.link));
        let unbloat_layers::tar::Meta { mode, uid, gid, mtime: _ } = header.meta;
        current.attributes.push(Attributes { mode, uid, gid, link });
        current.attributes.len() as u32 - 1
    }

    /// The layer is at its end: applies it.
    pub(super) fn end(&mut self, layer: usize, tar_bytes: u64) -> Result<(), Error> {
        let mut current = self.current.take().unwrap_or_else(|| Current::new(layer as u32));
        current.state.complete(&mut self.tree);
        let targets = self.targets(&current)?;
        self.places.grow(self.tree.paths());
        self.apply_marks(&mut current);
        self.make_marked(&mut current)?;
        self.apply_entries(&mut current, &targets)?;
        self.settle(&mut current);
        for warning in current.state.take_warnings() {
            self.warnings.add(warning);
        }
        self.marked.extend(current.state.take_marked(&self.tree));
        current.sums.tar_bytes = tar_bytes;
        current.sums.entries = u64::from(current.state.rules().records());
        self.sums.push(current.sums);
        self.places.prune();
        Ok(())
    }

    /// All layers were applied.
    ///
    /// # Errors
    /// A visible hard link that leads to nothing: no runtime can unpack the image, and no squash can make it
    /// right.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for warning in warnings_of_marks(&self.tree, std::mem::take(&mut self.marked)) {
            self.warnings.add(warning);
        }
        let standing = |(inode, _): &(&u32, &Dangling)| self.places.inode(**inode).names > 0;
        let first = self.dangling.iter().filter(standing).min_by_key(|(_, dangling)| dangling.node);
        let Some((inode, Dangling { node, target, directory })) = first else { return Ok(()) };
        let (path, target) = (display(&self.tree.path(*node)), display(&self.tree.path(*target)));
        let layer = usize::from(self.places.inode(*inode).layer);
        Err(match directory {
            true => LayerError::LinkToDirectory { path, target }.at(layer),
            false => LayerError::LinkTarget { path, target }.at(layer),
        })
    }

    /// Where the layer's links to lower layers lead, before anything of the layer is applied.
    fn targets(&mut self, current: &Current) -> Result<Vec<(Target, NodeId)>, Error> {
        let wanted: Vec<NodeId> = current.state.rules().lower().iter().map(|lower| lower.target).collect();
        wanted
            .into_iter()
            .map(|node| {
                let target = self.target(node).map_err(|error| error.at(current.layer as usize))?;
                Ok((target, node))
            })
            .collect()
    }

    fn target(&mut self, node: NodeId) -> Result<Target, LayerError> {
        let mut at = node;
        for _ in 0..MAX_SYMLINKS {
            match self.standing(at) {
                Standing::Inode(inode) if !self.places.inode(inode).is_directory() => {
                    return Ok(Target::Inode(inode));
                }
                Standing::Inode(_) | Standing::Implied => return Ok(Target::Directory),
                Standing::Nothing => {}
            }
            let Some((symlink, to)) = self.symlink_above(at) else { return Ok(Target::Nothing) };
            let Some(next) = follow(&mut self.tree, symlink, &to, at)? else { return Ok(Target::Nothing) };
            at = next;
        }
        Ok(Target::Nothing)
    }

    /// What stands at `node`, which may be too new to have a place.
    fn standing(&self, node: NodeId) -> Standing {
        if node < self.places.len() { self.places.place(node).standing() } else { Standing::Nothing }
    }

    fn symlink_above(&self, node: NodeId) -> Option<(NodeId, Box<[u8]>)> {
        let mut at = node;
        while at != ROOT {
            at = self.tree.parent(at);
            if let Standing::Inode(inode) = self.standing(at)
                && let Some(to) = self.symlinks.get(&inode)
            {
                return Some((at, to.clone()));
            }
        }
        None
    }

    fn apply_marks(&mut self, current: &mut Current) {
        // A parent is always older than its children, so a whiteout of it comes first and has all that it
        // hides.
        let whiteouts = current.state.rules().whiteouts().map(|node| (node, false));
        let mut marks: Vec<_> =
            whiteouts.chain(current.state.rules().opaques().map(|node| (node, true))).collect();
        marks.sort_unstable();
        for (node, opaque) in marks {
            let mut tally = Tally::default();
            self.remove_below(current, node, &mut tally);
            if !opaque {
                self.vacate(current, node, &mut tally);
            }
            let sums = &mut current.sums;
            sums.removed.paths += tally.paths;
            sums.removed.bytes += tally.bytes;
            sums.whiteouts += 1;
            sums.worst.push(Removal { node, opaque, tally });
            if sums.worst.len() > 2 * WORST_WHITEOUTS {
                keep_worst(&mut sums.worst);
            }
        }
        keep_worst(&mut current.sums.worst);
    }

    /// Directories that marks make (`docs/layer-semantics.md#section-3`): an opaque one makes its own, and a
    /// whiteout makes one of a lower layer's file above it, and nothing where nothing is.
    fn make_marked(&mut self, current: &mut Current) -> Result<(), Error> {
        let rules = current.state.rules();
        let is_made = |node: &NodeId| {
            rules.standing(&self.tree, *node).is_none() && rules.is_implied(&self.tree, *node)
        };
        let mut made: Vec<NodeId> = rules.opaques().filter(is_made).collect();
        for whiteout in rules.whiteouts() {
            let mut at = whiteout;
            while at != ROOT {
                at = self.tree.parent(at);
                let is_file = self.standing(at) != Standing::Nothing && !self.places.is_directory(at);
                if is_file && rules.standing(&self.tree, at).is_none() {
                    made.push(at);
                }
            }
        }
        // In the order of paths, whatever that of the rules' sets.
        made.sort_unstable();
        for node in made {
            self.make_directory(current, node)?;
            self.make_parents(current, node)?;
        }
        Ok(())
    }

    /// Takes away all below `node`.
    fn remove_below(&mut self, current: &mut Current, node: NodeId, tally: &mut Tally) {
        let mut pending = Vec::new();
        self.places.take_children(node, &mut pending);
        while let Some(node) = pending.pop() {
            self.places.take_children(node, &mut pending);
            self.vacate(current, node, tally);
        }
    }

    /// Takes away what stands at `node` itself.
    fn vacate(&mut self, current: &mut Current, node: NodeId, tally: &mut Tally) {
        let standing = self.places.place(node).standing();
        self.places.put(node, Standing::Nothing);
        if let Standing::Inode(inode) = standing {
            tally.paths += 1;
            tally.bytes += self.release(current, node, inode);
            self.places.note(node, current.layer, Tag::new(Change::Removed, None), 0, None);
        }
    }

    /// `node` leads to `inode` no more. The content that is hidden by that.
    fn release(&mut self, current: &mut Current, node: NodeId, at: u32) -> u64 {
        if self.tree.is_invisible(node) {
            return 0;
        }
        let inode = self.places.inode_mut(at);
        inode.names -= 1;
        if inode.names > 0 {
            return 0;
        }
        if u32::from(inode.layer) < current.layer && !inode.flags.has(InodeFlags::RELEASED) {
            inode.flags.set(InodeFlags::RELEASED, true);
            current.released.push(at);
        }
        inode.bytes()
    }

    fn apply_entries(&mut self, current: &mut Current, targets: &[(Target, NodeId)]) -> Result<(), Error> {
        let links = names_by_content(current);
        for index in 0..current.records.len() {
            let record = *current.records.get(index);
            let Record { ord, node, inode, attributes } = record;
            let link = inode == NONE;
            let kind = if link { EntryKind::HardLink } else { self.places.inode(inode).kind() };
            let directory = kind == EntryKind::Directory;
            let attributes =
                (attributes != NONE).then(|| std::mem::take(&mut current.attributes[attributes as usize]));
            let stands = match self.tree.is_invisible(node) {
                true => current.state.rules().latest(node).is_some_and(|entry| entry.record() == ord),
                false => !current.state.is_hidden(&self.tree, node, ord, directory),
            };
            let bytes = if link { 0 } else { self.places.inode(inode).bytes() };
            if !stands {
                let tag = Tag::new(Change::Repeated, Some(kind));
                self.places.note(node, current.layer, tag, bytes, attributes);
                continue;
            }
            let inode = if link { self.linked(current, ord, node, targets) } else { inode };
            self.make_parents(current, node)?;
            let names = links.get(&ord).map_or(&[][..], Vec::as_slice);
            let change = self.attach(current, node, inode, directory, bytes, names);
            self.places.note(node, current.layer, Tag::new(change, Some(kind)), bytes, attributes);
        }
        Ok(())
    }

    /// The inode that a hard link leads to; one that stands for nothing if there is none.
    fn linked(&mut self, current: &Current, ord: u32, node: NodeId, targets: &[(Target, NodeId)]) -> u32 {
        let (directory, target) = match current.state.rules().link(ord).map(|(_, target)| target) {
            Some(LinkTarget::Here(content)) => match current.inode_of(content) {
                Some(inode) => return inode,
                None => (false, node),
            },
            Some(LinkTarget::Lower(index)) => match targets[index] {
                (Target::Inode(inode), _) => return inode,
                (Target::Directory, target) => (true, target),
                (Target::Nothing, target) => (false, target),
            },
            None => (false, node),
        };
        let inode = self.places.add_inode(Inode::new(EntryKind::HardLink, 0, node, current.layer));
        self.dangling.insert(inode, Dangling { node, target, directory });
        inode
    }

    /// Makes the parents of `node` directories.
    fn make_parents(&mut self, current: &mut Current, node: NodeId) -> Result<(), Error> {
        let mut child = node;
        while child != ROOT {
            let parent = self.tree.parent(child);
            self.places.list_below(parent, child);
            if !self.make_directory(current, parent)? {
                return Ok(());
            }
            child = parent;
        }
        Ok(())
    }

    /// Makes `node` a directory, and tells whether it was none.
    fn make_directory(&mut self, current: &mut Current, node: NodeId) -> Result<bool, Error> {
        if self.places.is_directory(node) {
            return Ok(false);
        }
        if let Standing::Inode(inode) = self.places.place(node).standing() {
            // A layer that names the directory, further on in its archive, does not need what the symlink
            // leads to.
            if current.state.rules().latest(node).is_none() {
                self.warn_of_replaced_symlink(current.layer, node, inode)?;
            }
            let mut tally = Tally::default();
            self.vacate(current, node, &mut tally);
            current.sums.removed.paths += tally.paths;
            current.sums.removed.bytes += tally.bytes;
        }
        self.places.put(node, Standing::Implied);
        Ok(true)
    }

    /// A symlink of a lower layer that has to become a directory.
    ///
    /// # Errors
    /// It leads to itself: no runtime can go through it, and the layer at hand needs it to.
    fn warn_of_replaced_symlink(&mut self, layer: u32, node: NodeId, inode: u32) -> Result<(), Error> {
        let Inode { layer: made, .. } = *self.places.inode(inode);
        if !self.symlinks.contains_key(&inode) || u32::from(made) >= layer {
            return Ok(());
        }
        if self.leads_to_itself(node, made).map_err(|error| error.at(usize::from(made)))? {
            let path = display(&self.tree.path(node));
            let error = LayerError::Name { path, reason: NameError::SymlinkLoop };
            return Err(error.at(usize::from(made)));
        }
        let (layer, path) = (Some(usize::from(made)), self.tree.path(node));
        self.warnings.add(Warning { layer, path, kind: WarningKind::SymlinkReplaced });
        Ok(())
    }

    /// Whether the symlinks of layer `made` lead from `node` on and on.
    fn leads_to_itself(&mut self, node: NodeId, made: u16) -> Result<bool, LayerError> {
        let mut at = node;
        for _ in 0..=MAX_SYMLINKS {
            let own = match self.standing(at) {
                Standing::Inode(inode) => self.symlinks.get(&inode).map(|to| (at, inode, to.clone())),
                _ => None,
            };
            let found = own.or_else(|| {
                let (symlink, to) = self.symlink_above(at)?;
                let Standing::Inode(inode) = self.standing(symlink) else { return None };
                Some((symlink, inode, to))
            });
            let Some((symlink, inode, to)) = found else { return Ok(false) };
            if self.places.inode(inode).layer != made {
                return Ok(false);
            }
            let Some(next) = follow(&mut self.tree, symlink, &to, at)? else { return Ok(false) };
            self.places.grow(self.tree.paths());
            at = next;
        }
        Ok(true)
    }

    /// Puts `inode` at `node` in the place of what stands there.
    fn attach(
        &mut self,
        current: &mut Current,
        node: NodeId,
        at: u32,
        directory: bool,
        bytes: u64,
        names: &[NodeId],
    ) -> Change {
        let before = self.places.place(node).standing();
        let change = match before {
            Standing::Inode(old) if self.is_same_content(old, at) => self.difference(old, at, names),
            Standing::Inode(_) => Change::Changed,
            Standing::Implied if !directory => Change::Changed,
            Standing::Implied | Standing::Nothing => Change::Added,
        };
        if !directory && self.places.is_directory(node) {
            let mut tally = Tally::default();
            self.remove_below(current, node, &mut tally);
            current.sums.removed.paths += tally.paths;
            current.sums.removed.bytes += tally.bytes;
        }
        self.places.put(node, Standing::Inode(at));
        self.add_name(node, at);
        let sums = &mut current.sums;
        let count = |tally: &mut Tally| {
            tally.paths += 1;
            tally.bytes += bytes;
        };
        match (change, before) {
            (Change::Added, _) => count(&mut sums.added),
            // Archives name the parents of what they bring; a directory that stays as it is was not changed.
            (Change::Time | Change::Identical, _) if directory => {}
            (change, _) if change.keeps_content() => {
                count(&mut sums.changed);
                count(&mut sums.metadata_only);
            }
            _ => count(&mut sums.changed),
        }
        if let Standing::Inode(old) = before {
            self.release(current, node, old);
        }
        change
    }

    fn add_name(&mut self, node: NodeId, at: u32) {
        let invisible = self.tree.is_invisible(node);
        let inode = self.places.inode_mut(at);
        if invisible {
            inode.flags.set(InodeFlags::KEPT, true);
            return;
        }
        inode.names += 1;
        if inode.flags.has(InodeFlags::WASTED) {
            self.waste(at, false);
        }
    }

    fn is_same_content(&self, old: u32, new: u32) -> bool {
        let (old, new) = (self.places.inode(old), self.places.inode(new));
        old.kind() == new.kind() && old.bytes() == new.bytes() && old.print == new.print
    }

    /// In what two inodes of equal content differ. `names` are the further names that the layer gives to the
    /// new one.
    fn difference(&self, old: u32, new: u32, names: &[NodeId]) -> Change {
        let (before, after) = (self.places.inode(old), self.places.inode(new));
        let is_new = |name: &NodeId| self.standing(*name) != Standing::Inode(old);
        if before.meta != after.meta {
            Change::Metadata
        } else if old != new && names.iter().any(is_new) {
            Change::Linked
        } else if before.time != after.time {
            Change::Time
        } else {
            Change::Identical
        }
    }

    /// Counts the content of an inode as wasted, or as shown after all.
    fn waste(&mut self, at: u32, wasted: bool) {
        let inode = self.places.inode_mut(at);
        inode.flags.set(InodeFlags::WASTED, wasted);
        let (bytes, node, layer, ratio) = (inode.bytes(), inode.node, inode.layer, inode.ratio);
        if bytes == 0 {
            return;
        }
        let sign = if wasted { 1.0 } else { -1.0 };
        // Its own layer may be the one at hand, whose sums are added when it is settled.
        if let Some(sums) = self.sums.get_mut(usize::from(layer)) {
            sums.wasted = if wasted { sums.wasted + bytes } else { sums.wasted - bytes };
            sums.wasted_compressed += sign * ratio.compressed(bytes);
        }
        self.places.mark(node, layer, bytes, wasted);
    }

    /// What has no name at the end of the layer is wasted.
    fn settle(&mut self, current: &mut Current) {
        for index in 0..current.records.len() {
            let at = current.records.get(index).inode;
            if at == NONE || self.places.inode(at).names > 0 {
                continue;
            }
            let (bytes, ratio) = (self.places.inode(at).bytes(), self.places.inode(at).ratio);
            self.waste(at, true);
            current.sums.wasted += bytes;
            current.sums.wasted_compressed += ratio.compressed(bytes);
            self.forget(at);
        }
        for at in std::mem::take(&mut current.released) {
            self.places.inode_mut(at).flags.set(InodeFlags::RELEASED, false);
            if self.places.inode(at).names == 0 {
                current.sums.hides += self.places.inode(at).bytes();
                self.waste(at, true);
                self.forget(at);
            }
        }
    }

    fn forget(&mut self, at: u32) {
        if self.places.inode(at).flags.has(InodeFlags::KEPT) {
            return;
        }
        self.symlinks.remove(&at);
        self.dangling.remove(&at);
        self.places.forget_inode(at);
    }

    /// What the image shows at `node`.
    pub(super) fn shown(&self, node: NodeId) -> Option<&Inode> {
        if self.tree.is_invisible(node) {
            return None;
        }
        match self.places.place(node).standing() {
            Standing::Inode(inode) => Some(self.places.inode(inode)),
            Standing::Nothing | Standing::Implied => None,
        }
    }

    /// Whether the image shows anything at `node`.
    pub(super) fn is_shown(&self, node: NodeId) -> bool {
        !self.tree.is_invisible(node) && self.places.place(node).standing() != Standing::Nothing
    }

    /// Paths that have an entry, with their places.
    pub(super) fn named(&self) -> impl Iterator<Item = (NodeId, &Place)> {
        (0..self.places.len())
            .map(|node| (node, self.places.place(node)))
            .filter(|(_, place)| place.copies > 0)
    }
}

/// The hard links of the layer at hand, by the record whose content they name.
fn names_by_content(current: &Current) -> HashMap<u32, Vec<NodeId>> {
    let mut names: HashMap<u32, Vec<NodeId>> = HashMap::default();
    for Record { ord, node, inode, attributes: _ } in current.records.iter() {
        if *inode == NONE
            && let Some((_, LinkTarget::Here(content))) = current.state.rules().link(*ord)
        {
            names.entry(content).or_default().push(*node);
        }
    }
    names
}

fn keep_worst(worst: &mut Vec<Removal>) {
    worst.sort_unstable_by_key(|removal| {
        (std::cmp::Reverse((removal.tally.bytes, removal.tally.paths)), removal.node)
    });
    worst.truncate(WORST_WHITEOUTS);
}

fn kind(header: &Header) -> EntryKind {
    match header.kind {
        Kind::Regular => EntryKind::File,
        Kind::HardLink => EntryKind::HardLink,
        Kind::Symlink => EntryKind::Symlink,
        Kind::CharDevice | Kind::BlockDevice => EntryKind::Device,
        Kind::Directory => EntryKind::Directory,
        Kind::Fifo => EntryKind::Fifo,
    }
}
