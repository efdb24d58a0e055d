//! Writing what survives, in the order of the result: highest layer first, each layer in the order of its
//! archive.
//!
//! Where in the result a thing stands depends on the layers alone:
//! - an entry whose name survives stands where its record stood; links of higher layers to it follow it;
//! - content whose own name is hidden, but which other names still want, stands behind the rest of its layer
//!   under the first of them;
//! - directories that nobody named, and whiteouts above a kept base, come last, sorted by path.

use std::sync::Mutex;

use super::directories::DirectoryOrder;
use super::directory_attributes::InheritedAttributes;
use super::hard_links::{Inode, PendingLink};
use super::layer_end::is_emptied;
use super::layer_state::{LayerState, MarkedDirectory};
use super::output::Output;
use super::stop::Stop;
use super::summary::Written;
use crate::chunk::Piece;
use crate::error::Error;
use crate::layer::{LinkTarget, NodeId, Placed};
use crate::lock::lock;
use crate::name;
use crate::tar::{self, CAPABILITY, Header, Kind};
use crate::tree::Tree;
use crate::warning::{WarningKind, Warnings};

/// One entry on its way out.
pub(crate) struct Entry<'a> {
    pub(crate) placed: Placed,
    pub(crate) header: &'a Header,
    pub(crate) raw: &'a [Piece],
}

/// What has to happen with an entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Skip,
    Copy,
}

/// Links to write behind the current content.
struct Following {
    /// What they and the file say.
    header: Header,
    file: NodeId,
    names: Vec<NodeId>,
}

/// A record that may stand in the output as it is.
#[derive(Clone, Copy)]
struct OwnRecord<'a> {
    header: &'a Header,
    raw: &'a [Piece],
}

/// Which patterns matched something.
struct UsedPatterns {
    remove: Vec<bool>,
    truncate: Vec<Truncation>,
}

/// What a pattern of `--truncate` matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Truncation {
    Nothing,
    /// A directory or another entry that has no content.
    NoFile,
    File,
}

/// The one writer of the result. Only the front layer's thread has it.
pub(crate) struct Writer<'o> {
    output: &'o mut (dyn Output + Send),
    /// Links to files of layers below those that are written.
    pub(crate) pending_links: Vec<PendingLink>,
    /// Why the result is refused, unless a lower layer shows that paths were taken wrongly.
    pub(crate) refused: Option<Error>,
    pub(crate) warnings: Warnings,
    pub(crate) written: Written,
    used: UsedPatterns,
    pub(super) directories: DirectoryOrder,
    /// Directories whose attributes add up with those of lower layers.
    pub(super) attributes: InheritedAttributes,
    /// Directories that layers mark without having them.
    pub(super) marked: Vec<MarkedDirectory>,
    following: Option<Following>,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(output: &'o mut (dyn Output + Send), tree: &Tree, above_base: bool) -> Self {
        let (remove, truncate) = tree.patterns();
        let used = UsedPatterns {
            remove: vec![false; remove.len()],
            truncate: vec![Truncation::Nothing; truncate.len()],
        };
        Self {
            output,
            pending_links: Vec::new(),
            refused: None,
            warnings: Warnings::default(),
            written: Written::default(),
            used,
            directories: DirectoryOrder::new(above_base),
            attributes: InheritedAttributes::default(),
            marked: Vec::new(),
            following: None,
        }
    }

    pub(crate) fn fresh(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.written.tar_bytes += bytes.len() as u64;
        self.output.fresh(bytes).map_err(Stop::output)
    }

    pub(crate) fn copy(&mut self, piece: Piece) -> Result<(), Stop> {
        self.written.tar_bytes += piece.len() as u64;
        self.output.copy(piece).map_err(Stop::output)
    }

    /// Whether entry `record` at `node` survives, removals asked for included; notes which patterns matched.
    pub(super) fn survives(
        &mut self,
        tree: &Tree,
        state: &LayerState,
        record: u32,
        node: NodeId,
        directory: bool,
    ) -> bool {
        if state.is_hidden(tree, node, record, directory) {
            return false;
        }
        if tree.is_removed(node) {
            for index in tree.remove_patterns(node) {
                self.used.remove[index] = true;
            }
            return false;
        }
        true
    }

    pub(super) fn wants_truncation(&mut self, tree: &Tree, node: NodeId) -> bool {
        let wanted = tree.is_truncated(node);
        if wanted {
            for index in tree.truncate_patterns(node) {
                self.used.truncate[index] = Truncation::File;
            }
        }
        wanted
    }

    /// Notes that an entry was asked to be truncated which is no file.
    pub(super) fn cannot_truncate(&mut self, tree: &Tree, node: NodeId) {
        for index in tree.truncate_patterns(node) {
            let used = &mut self.used.truncate[index];
            *used = (*used).max(Truncation::NoFile);
        }
    }

    /// Hands the links that look for files of lower layers to what this layer has at their targets.
    pub(crate) fn bind_all(
        &mut self,
        tree: &Tree,
        state: &mut LayerState,
        complete: bool,
    ) -> Result<(), Stop> {
        for pending in std::mem::take(&mut self.pending_links) {
            self.pending_links.extend(state.bind(tree, pending, complete)?);
        }
        Ok(())
    }

    /// The same for one entry that was just registered.
    pub(crate) fn bind_one(&mut self, tree: &Tree, state: &mut LayerState, node: NodeId) -> Result<(), Stop> {
        if self.pending_links.iter().any(|pending| pending.target == node) {
            self.bind_all(tree, state, false)?;
        }
        Ok(())
    }

    /// Writes an entry's header if it survives and tells what to do with its content.
    pub(crate) fn begin(
        &mut self,
        tree: &Mutex<Tree>,
        state: &mut LayerState,
        entry: &Entry<'_>,
    ) -> Result<Body, Stop> {
        if entry.header.kind == Kind::HardLink {
            return self.link_entry(tree, state, entry).map(|()| Body::Skip);
        }
        let Placed { record, node, moved, .. } = entry.placed;
        let directory = entry.header.kind == Kind::Directory;
        let locked = lock(tree);
        if !self.survives(&locked, state, record, node, directory) || state.in_base {
            return Ok(Body::Skip);
        }
        let regular = entry.header.kind == Kind::Regular;
        let wanted = regular && self.wants_truncation(&locked, node);
        if !regular && locked.is_truncated(node) {
            self.cannot_truncate(&locked, node);
        }
        let mut changed = None;
        let mut truncated = wanted;
        let mut names = Vec::new();
        if let Some(inode) = state.links.inodes.get_mut(&record) {
            inode.truncated |= wanted;
            truncated = regular && inode.truncated;
            inode.written = Some(node);
            names = std::mem::take(&mut inode.waiting);
            let overrides = inode.effective();
            if !overrides.keeps(entry.header) {
                let mut header = entry.header.clone();
                overrides.apply(&mut header);
                changed = Some(header);
            }
        }
        if directory && let Some(gathered) = self.attributes.of_entry(&locked, state, node) {
            let mut header = entry.header.clone();
            header.records.complete_with(&gathered);
            changed = (header.records != entry.header.records).then_some(header);
        }
        let header = changed.as_ref().unwrap_or(entry.header);
        if directory && self.directories.stands_first(&locked, node, header) {
            return Ok(Body::Skip);
        }
        self.directories.note(&locked, node, directory);
        let verbatim = entry.header.verbatim && !moved && !truncated && changed.is_none();
        let path = if verbatim { Vec::new() } else { locked.path(node) };
        drop(locked);
        let size = if truncated { 0 } else { entry.header.size };
        if verbatim {
            for piece in entry.raw {
                self.copy(piece.clone())?;
            }
        } else {
            self.fresh(&encode(header, &path, header.kind, b"", size))?;
        }
        self.written.entries += 1;
        self.written.content_bytes += size;
        if !names.is_empty() {
            self.following = Some(Following { header: header.clone(), file: node, names });
        }
        Ok(if regular && size > 0 { Body::Copy } else { Body::Skip })
    }

    /// After an entry's content: the links that follow it.
    pub(crate) fn end(&mut self, tree: &Mutex<Tree>) -> Result<(), Stop> {
        let Some(Following { header, file, names }) = self.following.take() else { return Ok(()) };
        let locked = lock(tree);
        let target = locked.path(file);
        let paths: Vec<_> = names.iter().map(|name| locked.path(*name)).collect();
        for name in names {
            self.directories.note(&locked, name, false);
        }
        drop(locked);
        for path in paths {
            self.write_link(&path, None, &target, &header)?;
        }
        Ok(())
    }

    /// Writes a link at `path`; its own record stands as it is where it says the same.
    fn write_link(
        &mut self,
        path: &[u8],
        own: Option<OwnRecord<'_>>,
        target: &[u8],
        group: &Header,
    ) -> Result<(), Stop> {
        self.written.entries += 1;
        if let Some(OwnRecord { header, raw }) = own {
            let mut parts = Vec::new();
            let same_target = name::components(&header.link, &mut parts).is_ok()
                && parts.join(&b'/') == target
                && name::is_plain(&header.link, false);
            let same = same_target && header.meta == group.meta && header.repeats_attributes_of(group);
            if header.verbatim && same {
                for piece in raw {
                    self.copy(piece.clone())?;
                }
                return Ok(());
            }
        }
        let mut header = group.clone();
        // Whoever makes the link changes the owner, which takes the capability away
        // (`docs/layer-semantics.md#rule-12`).
        header.records.0.retain(|record| record.key == CAPABILITY);
        self.fresh(&encode(&header, path, Kind::HardLink, target, 0))
    }

    fn link_entry(
        &mut self,
        tree: &Mutex<Tree>,
        state: &mut LayerState,
        entry: &Entry<'_>,
    ) -> Result<(), Stop> {
        let record = entry.placed.record;
        let Some((node, leads_to)) = state.rules.link(record) else { return Ok(()) };
        let locked = lock(tree);
        let survives = self.survives(&locked, state, record, node, false) && !state.in_base;
        let truncated = survives && self.wants_truncation(&locked, node);
        let mut names: Vec<NodeId> = survives.then_some(node).into_iter().collect();
        names.extend(state.links.joining.remove(&record).unwrap_or_default());
        let content = match leads_to {
            LinkTarget::Lower(index) => {
                let pending = &mut state.links.lower[index];
                pending.names.extend(names);
                pending.truncated |= truncated;
                return Ok(());
            }
            LinkTarget::Here(content) => content,
        };
        // A layer that streams learns of an inode only at its first link, when the content may be out
        // already.
        let mut inode = state.links.inodes.remove(&content).unwrap_or_default();
        if let (None, Some(first)) = (inode.written, inode.first)
            && !state.in_base
            && self.survives(&locked, state, content, first, false)
        {
            inode.written = Some(first);
            inode.truncated |= locked.is_truncated(first);
        }
        if truncated && !inode.truncated {
            if inode.written.is_some() {
                return Err(Stop::Conflict);
            }
            inode.truncated = true;
        }
        let Some(file) = inode.written else {
            inode.waiting.extend(names);
            state.links.inodes.insert(content, inode);
            return Ok(());
        };
        let mut group = entry.header.clone();
        inode.effective().apply(&mut group);
        state.links.inodes.insert(content, inode);
        let target = locked.path(file);
        let own =
            (survives && !entry.placed.moved).then_some(OwnRecord { header: entry.header, raw: entry.raw });
        for name in &names {
            self.directories.note(&locked, *name, false);
        }
        let links: Vec<_> =
            names.into_iter().map(|name| (locked.path(name), own.filter(|_| name == node))).collect();
        drop(locked);
        for (path, own) in links {
            self.write_link(&path, own, &target, &group)?;
        }
        Ok(())
    }

    /// Writes content whose own name is hidden under the first of the names that want it.
    pub(crate) fn begin_waiting(
        &mut self,
        tree: &Mutex<Tree>,
        header: &Header,
        inode: &Inode,
    ) -> Result<Body, Stop> {
        let Some((first, rest)) = inode.waiting.split_first() else { return Ok(Body::Skip) };
        let mut header = header.clone();
        inode.effective().apply(&mut header);
        let locked = lock(tree);
        self.directories.note(&locked, *first, false);
        let path = locked.path(*first);
        drop(locked);
        let size = if is_emptied(&header, inode) { 0 } else { header.size };
        self.fresh(&encode(&header, &path, header.kind, b"", size))?;
        self.written.entries += 1;
        self.written.content_bytes += size;
        if !rest.is_empty() {
            self.following = Some(Following { header, file: *first, names: rest.to_vec() });
        }
        Ok(if size > 0 { Body::Copy } else { Body::Skip })
    }

    /// Patterns that matched nothing, and those of `--truncate` that matched no file.
    pub(crate) fn unmatched(&self, tree: &Tree) -> Vec<(String, WarningKind)> {
        let (remove, truncate) = tree.patterns();
        let removals = remove.iter().zip(&self.used.remove);
        let removals =
            removals.filter(|(_, used)| !**used).map(|(text, _)| (text, WarningKind::PatternUnmatched));
        let truncations = truncate.iter().zip(&self.used.truncate).filter_map(|(text, used)| match used {
            Truncation::Nothing => Some((text, WarningKind::PatternUnmatched)),
            Truncation::NoFile => Some((text, WarningKind::TruncatedNoFile)),
            Truncation::File => None,
        });
        removals.chain(truncations).map(|(text, kind)| (text.clone(), kind)).collect()
    }
}

/// The blocks of an entry at `path`.
pub(super) fn encode(header: &Header, path: &[u8], kind: Kind, link: &[u8], size: u64) -> Vec<u8> {
    let link = if kind == Kind::Symlink { &header.link } else { link };
    tar::encode(header, if path.is_empty() { b"." } else { path }, kind, link, size)
}
