//! One layer as a tree of its own: what it names, implies, whites out and makes opaque.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Result, TarReader, display,
    names::{base, is_below, join, normalise, parent},
    refuse,
    tar_reader::{Entry, EntryKind},
    tree::{Inode, Kind, Tree},
};

/// As many symbolic links as Linux follows in one path before it answers ELOOP.
const MOST_LINKS_FOLLOWED: usize = 40;

/// What one layer holds at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory that only a longer path makes exist (`docs/layer-semantics.md#rule-10`).
    Implied,
    /// A directory with an entry; its inode's number.
    Directory(usize),
    /// Anything else; its inode's number.
    Other(usize),
}

/// One layer, its entries in place.
#[derive(Clone, Debug, Default)]
pub struct LayerTree {
    /// Everything that the layer makes exist.
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// Paths of lower layers that the layer removes.
    pub whiteouts: BTreeSet<Vec<u8>>,
    /// Directories whose lower children the layer removes.
    pub opaque: BTreeSet<Vec<u8>>,
    /// Directories whose entry stands behind the first path below them.
    pub late: BTreeSet<Vec<u8>>,
    /// Directories whose entry adds to the attributes of the lower directory
    /// (`docs/layer-semantics.md#rule-11`).
    pub adding: BTreeSet<Vec<u8>>,
    /// Directories that a mark in them or further down makes exist, in the layer by itself.
    marked: BTreeSet<Vec<u8>>,
    /// Directories that stand where this layer had something else before.
    instead: BTreeSet<Vec<u8>>,
    /// AUFS metadata: not visible, but links to it resolve (`docs/layer-semantics.md#rule-6`).
    hidden: BTreeMap<Vec<u8>, usize>,
}

/// Reads one layer above `lower`. New inodes are added to `lower`'s, where hard links to lower names find
/// theirs.
pub fn read_layer(tar: &[u8], lower: &mut Tree) -> Result<LayerTree> {
    let mut layer = LayerTree::default();
    let mut reader = TarReader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        layer.place(entry, lower)?;
    }
    Ok(layer)
}

impl LayerTree {
    fn place(&mut self, entry: Entry, lower: &mut Tree) -> Result<()> {
        let path = self.resolve_parents(&normalise(&entry.name)?, lower)?;
        let name = base(&path).to_vec();
        let above = parent(&path).unwrap_or_default().to_vec();
        if name == b".wh..wh..opq" {
            self.imply_parents(visible(&path));
            self.mark(&above);
            self.opaque.insert(above);
            return Ok(());
        }
        if is_bookkeeping(&path) {
            self.imply_parents(visible(&path));
            if let Some(number) = self.inode(entry, lower)? {
                self.hidden.insert(path, number);
            }
            return Ok(());
        }
        if let Some(removed) = name.strip_prefix(b".wh.") {
            if matches!(removed, b"" | b"." | b"..") {
                return refuse(format!("whiteout of no name: {}", display(&path)));
            }
            self.mark(&above);
            self.whiteouts.insert(join(&above, removed));
            return Ok(());
        }
        if entry.kind == EntryKind::Character(0, 0) {
            self.mark(&above);
            self.whiteouts.insert(path);
            return Ok(());
        }
        let is_directory = entry.kind == EntryKind::Directory;
        if path.is_empty() && !is_directory {
            return refuse("the root is not a directory");
        }
        let Some(number) = self.inode(entry, lower)? else {
            return refuse(format!("hard link {} to a directory", display(&path)));
        };
        self.imply_parents(&path);
        if is_directory {
            if self.nodes.get(&path) == Some(&Node::Implied) {
                self.late.insert(path.clone());
            }
            match self.nodes.get(&path) {
                Some(Node::Directory(before)) => {
                    let mut both = lower.inodes[before].metadata.xattrs.clone();
                    let named = lower.inodes.get_mut(&number).expect("just made");
                    both.append(&mut named.metadata.xattrs);
                    named.metadata.xattrs = both;
                }
                Some(Node::Other(_)) => drop(self.adding.remove(&path)),
                implied => {
                    let there = implied.is_some() || self.marked.contains(&path);
                    if there && !self.instead.contains(&path) {
                        self.adding.insert(path.clone());
                    }
                }
            }
            if matches!(self.nodes.get(&path), Some(Node::Other(_))) {
                self.instead.insert(path.clone());
            }
            self.nodes.insert(path, Node::Directory(number));
        } else {
            self.adding.retain(|other| *other != path && !is_below(other, &path));
            // Later wins (`docs/layer-semantics.md#rule-11`): with a directory goes what this layer put below
            // it.
            self.nodes.retain(|other, _| !is_below(other, &path));
            self.nodes.insert(path, Node::Other(number));
        }
        Ok(())
    }

    /// The inode of an entry: a new one, or that of a link's target with the link's metadata
    /// (`docs/layer-semantics.md#rule-12`).
    fn inode(&self, entry: Entry, lower: &mut Tree) -> Result<Option<usize>> {
        let kind = match entry.kind {
            EntryKind::File(content) => Kind::File(content.into()),
            EntryKind::Symlink(target) => Kind::Symlink(target),
            EntryKind::Character(major, minor) => Kind::Character(major, minor),
            EntryKind::Block(major, minor) => Kind::Block(major, minor),
            EntryKind::Directory => Kind::Directory,
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::HardLink(target) => {
                let target = self.resolve_parents(&normalise(&target)?, lower)?;
                let number = match self.nodes.get(&target) {
                    Some(Node::Other(number)) => *number,
                    Some(_) => return Ok(None),
                    None if self.is_below_other(&target) => {
                        return refuse(format!("hard link below what is no directory: {}", display(&target)));
                    }
                    None => match self.hidden.get(&target).or_else(|| lower.paths.get(&target)) {
                        Some(number) => *number,
                        None => return refuse(format!("hard link to nothing: {}", display(&target))),
                    },
                };
                let inode = lower.inodes.get_mut(&number).expect("numbers come from this tree");
                if inode.kind == Kind::Directory {
                    return Ok(None);
                }
                let mut xattrs = std::mem::take(&mut inode.metadata.xattrs);
                // Whoever makes the link sets the owner again, and the kernel then drops the capability.
                xattrs.remove(&b"security.capability"[..]);
                xattrs.extend(entry.metadata.xattrs.clone());
                inode.metadata = entry.metadata;
                inode.metadata.xattrs = xattrs;
                return Ok(Some(number));
            }
        };
        Ok(Some(lower.add(Inode { kind, metadata: entry.metadata })))
    }

    /// True when this layer put something else in the place of a directory above the path.
    fn is_below_other(&self, path: &[u8]) -> bool {
        let above = std::iter::successors(parent(path), |path| parent(path));
        above.into_iter().any(|directory| matches!(self.nodes.get(directory), Some(Node::Other(_))))
    }

    /// A mark stands in this directory.
    fn mark(&mut self, directory: &[u8]) {
        let all = std::iter::successors(Some(directory), |path| parent(path));
        self.marked.extend(all.map(<[u8]>::to_vec));
    }

    fn imply_parents(&mut self, path: &[u8]) {
        let mut above = parent(path);
        while let Some(directory) = above {
            match self.nodes.get(directory) {
                Some(Node::Implied | Node::Directory(_)) => {}
                Some(Node::Other(_)) => {
                    self.instead.insert(directory.to_vec());
                    self.nodes.insert(directory.to_vec(), Node::Implied);
                }
                None => drop(self.nodes.insert(directory.to_vec(), Node::Implied)),
            }
            above = parent(directory);
        }
    }

    /// Replaces parents that this layer made symbolic links by what they point to, inside the root
    /// (`docs/layer-semantics.md#rule-11`).
    fn resolve_parents(&self, path: &[u8], inodes: &Tree) -> Result<Vec<u8>> {
        let mut waiting: Vec<Vec<u8>> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .rev()
            .map(<[u8]>::to_vec)
            .collect();
        let mut resolved: Vec<u8> = Vec::new();
        let mut followed = 0;
        while let Some(part) = waiting.pop() {
            match part.as_slice() {
                b"." | b"" => continue,
                b".." => {
                    resolved = parent(&resolved).unwrap_or_default().to_vec();
                    continue;
                }
                _ => {}
            }
            let here = join(&resolved, &part);
            let node = if waiting.is_empty() { None } else { self.nodes.get(&here) };
            let Some(Node::Other(number)) = node else {
                resolved = here;
                continue;
            };
            let Kind::Symlink(target) = &inodes.inodes[number].kind else {
                resolved = here;
                continue;
            };
            followed += 1;
            if followed > MOST_LINKS_FOLLOWED {
                return refuse(format!("symbolic links loop above {}", display(path)));
            }
            if target.starts_with(b"/") {
                resolved.clear();
            }
            waiting.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(resolved)
    }
}

/// A path up to its first component that is AUFS metadata, that one included; its parents exist like any
/// others.
fn visible(path: &[u8]) -> &[u8] {
    let parents = std::iter::successors(Some(path), |path| parent(path));
    parents
        .filter(|path| base(path).starts_with(b".wh..wh.") && base(path) != b".wh..wh..opq")
        .last()
        .unwrap_or(path)
}

/// Whether a path is AUFS metadata, or below it.
fn is_bookkeeping(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh..wh."))
}
