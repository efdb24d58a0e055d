//! Writing what survives, in the order of the result: highest layer first, each layer in the order of its archive.
//!
//! Where in the result a thing stands depends on the layers alone:
//! - an entry whose name survives stands where its record stood; links of higher layers to it follow it;
//! - content whose own name is hidden, but which other names still want, stands behind the rest of its layer under the
//!   first of them;
//! - directories that nobody named, and whiteouts above a kept base, come last, sorted by path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::chunk::Piece;
use crate::collections::HashMap;
use crate::error::{BoxError, Error};
use crate::hardlink::{Belongs, Demand, Override};
use crate::inlayer::{InLayer, Stop};
use crate::name;
use crate::tar::{self, Header, Kind, Meta, Records, Time};
use crate::tree::{NodeId, ROOT, Tree};
use crate::visibility::Standing;
use crate::warning::Warnings;

/// Where the merged tar stream goes.
pub trait Output {
    /// Bytes that were made anew: headers, padding, the trailer.
    ///
    /// # Errors
    /// Whatever keeps the stream from being taken; the merge stops.
    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError>;

    /// Bytes that stand in a layer as they are.
    ///
    /// # Errors
    /// As [`Output::fresh`].
    fn copy(&mut self, piece: Piece) -> Result<(), BoxError>;
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries, links and whiteouts among them.
    pub entries: u64,
    /// Content bytes of regular files, an inode counted once.
    pub content_bytes: u64,
    /// Bytes of the tar stream with headers, padding and trailer.
    pub tar_bytes: u64,
}

/// A failure while writing.
#[derive(Debug)]
pub(crate) enum EmitError {
    Output(BoxError),
    Stop(Stop),
}

impl From<Stop> for EmitError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<crate::error::LayerError> for EmitError {
    fn from(error: crate::error::LayerError) -> Self {
        Self::Stop(Stop::Error(error))
    }
}

/// One entry on its way out.
pub(crate) struct Entry<'a> {
    pub(crate) ord: u32,
    pub(crate) node: NodeId,
    pub(crate) moved: bool,
    pub(crate) header: &'a Header,
    pub(crate) raw: &'a [Piece],
}

/// What has to happen with an entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Skip,
    Copy,
}

/// The one writer of the result. Only the front layer's thread has it.
pub(crate) struct Front<'o> {
    output: &'o mut (dyn Output + Send),
    pub(crate) demands: Vec<Demand>,
    /// Why the result is refused, unless a lower layer shows that paths were taken wrongly.
    pub(crate) refused: Option<Error>,
    pub(crate) warnings: Warnings,
    pub(crate) written: Written,
    used_remove: Vec<bool>,
    used_truncate: Vec<bool>,
    /// Above a kept base: directories below which something is written, and whether their own entry was, before that.
    parents: Option<HashMap<NodeId, bool>>,
    /// Directories whose entries are looked for, to be written first the next time.
    wanted: BTreeSet<Vec<u8>>,
    found: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Directories that are written already.
    first: BTreeSet<Vec<u8>>,
    /// Links to write behind the current content: names, and the file they link to.
    pending: Option<(Header, NodeId, Vec<NodeId>)>,
}

/// A link to write: its path, and the record it may keep.
struct Link<'a> {
    path: Vec<u8>,
    own: Option<(&'a Header, &'a [Piece])>,
}

impl<'o> Front<'o> {
    pub(crate) fn new(output: &'o mut (dyn Output + Send), tree: &Tree, above_base: bool) -> Self {
        let (remove, truncate) = tree.patterns();
        Self {
            output,
            demands: Vec::new(),
            refused: None,
            warnings: Warnings::default(),
            written: Written::default(),
            used_remove: vec![false; remove.len()],
            used_truncate: vec![false; truncate.len()],
            parents: above_base.then(HashMap::default),
            wanted: BTreeSet::new(),
            found: BTreeMap::new(),
            first: BTreeSet::new(),
            pending: None,
        }
    }

    /// Writes the directories that have to stand first, parents before children.
    pub(crate) fn begin_with(
        &mut self,
        wanted: BTreeSet<Vec<u8>>,
        first: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), EmitError> {
        self.wanted = wanted;
        for (path, entry) in first {
            self.fresh(&entry)?;
            self.written.entries += 1;
            self.first.insert(path);
        }
        Ok(())
    }

    /// Notes that `node` is written now, and so stands behind or before the entries of its parents.
    fn note_order(&mut self, tree: &Tree, node: NodeId, directory: bool) {
        let Some(parents) = &mut self.parents else { return };
        if directory {
            parents.entry(node).or_insert(true);
        }
        let mut at = node;
        while at != ROOT {
            at = tree.parent(at);
            if parents.contains_key(&at) {
                break;
            }
            parents.insert(at, false);
        }
    }

    /// Directories at and below the places where the kept base has a file, if one of them has its entry behind what is below
    /// it: unpackers then look below the base's file, or through its symlink.
    pub(crate) fn too_late(&self, tree: &Tree, base_layers: u32) -> BTreeSet<Vec<u8>> {
        let Some(parents) = &self.parents else { return BTreeSet::new() };
        let mut replaced = BTreeSet::new();
        let mut late = false;
        for (node, before) in parents {
            // containerd makes a missing parent as the base has it, and stops where the base has no directory on the way.
            if self.is_written_above_base(tree, *node, base_layers)
                && Self::meets_a_file_of_the_base(tree, *node)
            {
                let path = tree.path(*node);
                if !self.first.contains(&path) {
                    late |= !before;
                    replaced.insert(path);
                }
            }
        }
        if late && self.wanted.is_empty() { replaced } else { BTreeSet::new() }
    }

    /// Whether a directory has an entry in the result: one that the base supplies has none.
    fn is_written_above_base(&self, tree: &Tree, node: NodeId, base_layers: u32) -> bool {
        match tree.standing(node) {
            Standing::Directory => tree.events(node).claim.layer() >= Some(base_layers),
            Standing::ImpliedDirectory => self.is_made_above_base(tree, node, base_layers),
            Standing::Absent | Standing::Other => false,
        }
    }

    fn meets_a_file_of_the_base(tree: &Tree, node: NodeId) -> bool {
        let mut at = node;
        while at != ROOT {
            // containerd looks through every layer of the base, not at what they merge to.
            if tree.is_file_in_base(at) {
                return true;
            }
            at = tree.parent(at);
        }
        false
    }

    /// The entries of the directories that were looked for.
    pub(crate) fn found(&mut self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        // Without a new one, another round would be the same again.
        (!self.found.is_empty()).then(|| std::mem::take(&mut self.found))
    }

    pub(crate) fn fresh(&mut self, bytes: &[u8]) -> Result<(), EmitError> {
        self.written.tar_bytes += bytes.len() as u64;
        self.output.fresh(bytes).map_err(EmitError::Output)
    }

    pub(crate) fn copy(&mut self, piece: Piece) -> Result<(), EmitError> {
        self.written.tar_bytes += piece.len() as u64;
        self.output.copy(piece).map_err(EmitError::Output)
    }

    /// Whether the entry's name survives, removals asked for included; notes which patterns matched.
    fn survives(&mut self, tree: &Tree, inlayer: &InLayer, ord: u32, node: NodeId, directory: bool) -> bool {
        if inlayer.is_hidden(tree, node, ord, directory) {
            return false;
        }
        if tree.is_removed(node) {
            for index in tree.remove_patterns(node) {
                self.used_remove[index] = true;
            }
            return false;
        }
        true
    }

    fn wants_truncation(&mut self, tree: &Tree, node: NodeId) -> bool {
        let wanted = tree.is_truncated(node);
        if wanted {
            for index in tree.truncate_patterns(node) {
                self.used_truncate[index] = true;
            }
        }
        wanted
    }

    /// Hands the links that look for files of lower layers to what this layer has at their targets.
    pub(crate) fn bind_all(
        &mut self,
        tree: &Tree,
        inlayer: &mut InLayer,
        complete: bool,
    ) -> Result<(), Stop> {
        for demand in std::mem::take(&mut self.demands) {
            self.demands.extend(inlayer.bind(tree, demand, complete)?);
        }
        Ok(())
    }

    /// The same for one entry that was just registered.
    pub(crate) fn bind_one(&mut self, tree: &Tree, inlayer: &mut InLayer, node: NodeId) -> Result<(), Stop> {
        if self.demands.iter().any(|demand| demand.target == node) {
            self.bind_all(tree, inlayer, false)?;
        }
        Ok(())
    }

    /// Settles what has to be known of a layer, or of its beginning, before any of it is written.
    pub(crate) fn settle(&mut self, tree: &Tree, inlayer: &mut InLayer, complete: bool) -> Result<(), Stop> {
        self.bind_all(tree, inlayer, complete)?;
        let mut truncated: Vec<(u32, u32, NodeId)> = inlayer
            .links
            .iter()
            .filter_map(|(ord, (node, belongs))| match belongs {
                Belongs::Here(content) if tree.is_truncated(*node) => Some((*ord, *content, *node)),
                _ => None,
            })
            .collect();
        truncated.sort_unstable();
        for (ord, content, node) in truncated {
            if self.survives(tree, inlayer, ord, node, false) && self.wants_truncation(tree, node) {
                inlayer.inodes.entry(content).or_default().truncated = true;
            }
        }
        Ok(())
    }

    /// Writes an entry's header if it survives and tells what to do with its content.
    pub(crate) fn begin(
        &mut self,
        tree: &Mutex<Tree>,
        inlayer: &mut InLayer,
        entry: &Entry<'_>,
    ) -> Result<Body, EmitError> {
        if entry.header.kind == Kind::HardLink {
            return self.link_entry(tree, inlayer, entry).map(|()| Body::Skip);
        }
        let directory = entry.header.kind == Kind::Directory;
        let locked = lock(tree);
        if !self.survives(&locked, inlayer, entry.ord, entry.node, directory) || inlayer.in_base {
            return Ok(Body::Skip);
        }
        let regular = entry.header.kind == Kind::Regular;
        let wanted = regular && self.wants_truncation(&locked, entry.node);
        let mut header = None;
        let mut truncated = wanted;
        let mut waiting = Vec::new();
        if let Some(inode) = inlayer.inodes.get_mut(&entry.ord) {
            inode.truncated |= wanted;
            truncated = regular && inode.truncated;
            inode.written = Some(entry.node);
            waiting = std::mem::take(&mut inode.waiting);
            let says = inode.effective();
            if !says.keeps(entry.header) {
                let mut changed = entry.header.clone();
                says.apply(&mut changed);
                header = Some(changed);
            }
        }
        if directory && !(self.first.is_empty() && self.wanted.is_empty()) {
            let path = locked.path(entry.node);
            if self.first.contains(&path) {
                return Ok(Body::Skip);
            }
            if self.wanted.contains(&path) {
                let effective = header.as_ref().unwrap_or(entry.header);
                self.found.insert(path.clone(), encode(effective, &path, Kind::Directory, b"", 0));
            }
        }
        self.note_order(&locked, entry.node, directory);
        let verbatim = entry.header.verbatim && !entry.moved && !truncated && header.is_none();
        let path = if verbatim { Vec::new() } else { locked.path(entry.node) };
        drop(locked);
        let size = if truncated { 0 } else { entry.header.size };
        let effective = header.as_ref().unwrap_or(entry.header);
        if verbatim {
            for piece in entry.raw {
                self.copy(piece.clone())?;
            }
        } else {
            self.fresh(&encode(effective, &path, effective.kind, b"", size))?;
        }
        self.written.entries += 1;
        self.written.content_bytes += size;
        if !waiting.is_empty() {
            self.pending = Some((effective.clone(), entry.node, waiting));
        }
        Ok(if regular && size > 0 { Body::Copy } else { Body::Skip })
    }

    /// After an entry's content: the links that follow it.
    pub(crate) fn end(&mut self, tree: &Mutex<Tree>) -> Result<(), EmitError> {
        let Some((header, file, names)) = self.pending.take() else { return Ok(()) };
        let locked = lock(tree);
        let target = locked.path(file);
        let paths: Vec<_> = names.iter().map(|name| locked.path(*name)).collect();
        for name in names {
            self.note_order(&locked, name, false);
        }
        drop(locked);
        for path in paths {
            self.write_link(&Link { path, own: None }, &target, &header)?;
        }
        Ok(())
    }

    fn write_link(&mut self, link: &Link<'_>, target: &[u8], group: &Header) -> Result<(), EmitError> {
        self.written.entries += 1;
        if let Some((own, raw)) = link.own {
            let mut parts = Vec::new();
            let same_target = name::components(&own.link, &mut parts).is_ok()
                && parts.join(&b'/') == target
                && name::is_plain(&own.link, false);
            if own.verbatim && same_target && own.meta == group.meta {
                for piece in raw {
                    self.copy(piece.clone())?;
                }
                return Ok(());
            }
        }
        let mut header = group.clone();
        header.records = Records::default();
        self.fresh(&encode(&header, &link.path, Kind::HardLink, target, 0))
    }

    fn link_entry(
        &mut self,
        tree: &Mutex<Tree>,
        inlayer: &mut InLayer,
        entry: &Entry<'_>,
    ) -> Result<(), EmitError> {
        let locked = lock(tree);
        let Some((node, belongs)) = inlayer.links.get(&entry.ord).copied() else { return Ok(()) };
        let survives = self.survives(&locked, inlayer, entry.ord, node, false) && !inlayer.in_base;
        let truncated = survives && self.wants_truncation(&locked, node);
        let mut names: Vec<NodeId> = survives.then_some(node).into_iter().collect();
        names.extend(inlayer.joining.remove(&entry.ord).unwrap_or_default());
        let content = match belongs {
            Belongs::Lower(index) => {
                let demand = &mut inlayer.lower[index];
                demand.names.extend(names);
                demand.truncated |= truncated;
                return Ok(());
            }
            Belongs::Here(content) => content,
        };
        // A layer that streams learns of an inode only at its first link, when the content may be out already.
        let mut inode = inlayer.inodes.remove(&content).unwrap_or_default();
        if let (None, Some(first)) = (inode.written, inode.first)
            && !inlayer.in_base
            && self.survives(&locked, inlayer, content, first, false)
        {
            inode.written = Some(first);
            inode.truncated |= locked.is_truncated(first);
        }
        if truncated && !inode.truncated {
            if inode.written.is_some() {
                return Err(Stop::Conflict.into());
            }
            inode.truncated = true;
        }
        let Some(file) = inode.written else {
            inode.waiting.extend(names);
            inlayer.inodes.insert(content, inode);
            return Ok(());
        };
        let mut group = entry.header.clone();
        inode.effective().apply(&mut group);
        let target = locked.path(file);
        let own = (survives && !entry.moved).then_some((entry.header, entry.raw));
        for name in &names {
            self.note_order(&locked, *name, false);
        }
        let links: Vec<_> = names
            .into_iter()
            .map(|name| Link { path: locked.path(name), own: own.filter(|_| name == node) })
            .collect();
        drop(locked);
        inlayer.inodes.insert(content, inode);
        for link in links {
            self.write_link(&link, &target, &group)?;
        }
        Ok(())
    }

    /// Writes content whose own name is hidden under the first of the names that want it.
    pub(crate) fn begin_waiting(
        &mut self,
        tree: &Mutex<Tree>,
        header: &Header,
        says: &Override,
        truncated: bool,
        names: &[NodeId],
    ) -> Result<Body, EmitError> {
        let Some((first, rest)) = names.split_first() else { return Ok(Body::Skip) };
        let mut header = header.clone();
        says.apply(&mut header);
        let locked = lock(tree);
        self.note_order(&locked, *first, false);
        let path = locked.path(*first);
        drop(locked);
        let size = if truncated { 0 } else { header.size };
        self.fresh(&encode(&header, &path, header.kind, b"", size))?;
        self.written.entries += 1;
        self.written.content_bytes += size;
        if !rest.is_empty() {
            self.pending = Some((header, *first, rest.to_vec()));
        }
        Ok(if size > 0 { Body::Copy } else { Body::Skip })
    }

    /// The names in a kept base that were asked to be truncated become entries above it.
    pub(crate) fn truncate_in_base(&mut self, tree: &Tree, inlayer: &mut InLayer) {
        for (ord, node, header) in std::mem::take(&mut inlayer.flagged) {
            if !self.survives(tree, inlayer, ord, node, false) || !self.wants_truncation(tree, node) {
                continue;
            }
            let content = match inlayer.links.get(&ord) {
                None => ord,
                Some((_, Belongs::Here(content))) => *content,
                Some((_, Belongs::Lower(index))) => {
                    // The content lies further down: the name joins those that want it.
                    let demand = &mut inlayer.lower[*index];
                    demand.truncated = true;
                    demand.names.push(node);
                    continue;
                }
            };
            let inode = inlayer.inodes.entry(content).or_default();
            if inode.truncated && inode.waiting.contains(&node) {
                continue;
            }
            inode.truncated = true;
            let mut names = vec![];
            names.extend(inode.first.or((content == ord).then_some(node)).map(|first| (content, first)));
            let mut links: Vec<_> = inlayer
                .links
                .iter()
                .filter(|(_, (_, belongs))| *belongs == Belongs::Here(content))
                .map(|(ord, (node, _))| (*ord, *node))
                .collect();
            links.sort_unstable();
            names.extend(links);
            names.retain(|(ord, node)| self.survives(tree, inlayer, *ord, *node, false));
            let inode = inlayer.inodes.entry(content).or_default();
            for (_, name) in names {
                if !inode.waiting.contains(&name) {
                    inode.waiting.push(name);
                }
            }
            if header.kind == Kind::Regular {
                inode.header = Some(header);
            }
        }
    }

    /// Directories that nobody named, and what a kept base must lose.
    pub(crate) fn finish(&mut self, tree: &Tree, base_layers: u32) -> Result<(), EmitError> {
        let mut last: Vec<(Vec<u8>, Kind)> = Vec::new();
        for node in 1..tree.len() {
            match tree.standing(node) {
                Standing::ImpliedDirectory if self.is_made_above_base(tree, node, base_layers) => {
                    last.push((tree.path(node), Kind::Directory));
                }
                Standing::Absent if base_layers > 0 && tree.base_standing(node) != Standing::Absent => {
                    let parent = tree.standing(tree.parent(node));
                    let root = tree.parent(node) == ROOT;
                    if root || matches!(parent, Standing::Directory | Standing::ImpliedDirectory) {
                        let mut path = tree.path(tree.parent(node));
                        if !path.is_empty() {
                            path.push(b'/');
                        }
                        path.extend_from_slice(b".wh.");
                        path.extend_from_slice(tree.name(node));
                        last.push((path, Kind::Regular));
                    }
                }
                _ => {}
            }
        }
        last.retain(|(path, _)| !self.first.contains(path));
        last.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in last {
            let mode = if kind == Kind::Directory { 0o755 } else { 0o600 };
            let entry = encode(&plain_header(kind, mode), &path, kind, b"", 0);
            self.fresh(&entry)?;
            if self.wanted.contains(&path) {
                self.found.insert(path, entry);
            }
            self.written.entries += 1;
        }
        self.fresh(&tar::TRAILER)
    }

    /// Whether a directory that only paths below it speak of has to be written: always in a full squash; above a base only
    /// where the base does not already show the same.
    fn is_made_above_base(&self, tree: &Tree, node: NodeId, base_layers: u32) -> bool {
        if base_layers == 0 {
            return true;
        }
        let above = tree.events(node).implied.layer() >= Some(base_layers);
        above && tree.base_standing(node) != Standing::ImpliedDirectory
    }

    /// Patterns that matched nothing.
    pub(crate) fn unmatched(&self, tree: &Tree) -> Vec<String> {
        let (remove, truncate) = tree.patterns();
        let unused = |texts: &[String], used: &[bool]| -> Vec<String> {
            texts.iter().zip(used).filter(|(_, used)| !**used).map(|(text, _)| text.clone()).collect()
        };
        [unused(remove, &self.used_remove), unused(truncate, &self.used_truncate)].concat()
    }
}

fn encode(header: &Header, path: &[u8], kind: Kind, link: &[u8], size: u64) -> Vec<u8> {
    let link = if kind == Kind::Symlink { &header.link } else { link };
    tar::encode(header, if path.is_empty() { b"." } else { path }, kind, link, size)
}

fn plain_header(kind: Kind, mode: u32) -> Header {
    Header::made(kind, Meta { mode, uid: 0, gid: 0, mtime: Time::default() })
}

/// A poisoned lock means that a thread panicked; the panic is what should be seen, not this.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
