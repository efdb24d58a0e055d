//! Directories that have to stand elsewhere than where their records stood, and what a kept base must lose.

use std::collections::{BTreeMap, BTreeSet};

use super::discoveries::Discoveries;
use super::stop::Stop;
use super::writer::{Writer, encode};
use crate::collections::HashMap;
use crate::layer::{NodeId, ROOT};
use crate::tar::{self, Header, Kind, Meta, Time};
use crate::tree::Tree;
use crate::visibility::Standing;

/// In which order directories and what is below them are written.
pub(super) struct DirectoryOrder {
    /// Above a kept base: directories below which something is written, and whether their own entry was,
    /// before that.
    parents: Option<HashMap<NodeId, bool>>,
    /// Directories whose entries are looked for, to be written first in the next round.
    wanted: BTreeSet<Vec<u8>>,
    found: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Directories that are written already.
    first: BTreeSet<Vec<u8>>,
}

impl DirectoryOrder {
    pub(super) fn new(above_base: bool) -> Self {
        Self {
            parents: above_base.then(HashMap::default),
            wanted: BTreeSet::new(),
            found: BTreeMap::new(),
            first: BTreeSet::new(),
        }
    }

    /// Notes that `node` is written now, and so stands behind or before the entries of its parents.
    pub(super) fn note(&mut self, tree: &Tree, node: NodeId, directory: bool) {
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

    /// Whether the directory's entry was written before all else. One that is looked for is found here.
    pub(super) fn stands_first(&mut self, tree: &Tree, node: NodeId, header: &Header) -> bool {
        if self.first.is_empty() && self.wanted.is_empty() {
            return false;
        }
        let path = tree.path(node);
        if self.first.contains(&path) {
            return true;
        }
        if self.wanted.contains(&path) {
            let entry = encode(header, &path, Kind::Directory, b"", 0);
            self.found.insert(path, entry);
        }
        false
    }
}

impl Writer<'_> {
    /// Takes what is known from earlier rounds, and writes the directories that have to stand first, parents
    /// before children.
    pub(super) fn begin_with(&mut self, discoveries: &Discoveries) -> Result<(), Stop> {
        let Discoveries { wanted_directories, first_directories, directory_attributes, .. } = discoveries;
        self.directories.wanted.clone_from(wanted_directories);
        self.attributes.known.clone_from(directory_attributes);
        for (path, entry) in first_directories {
            self.fresh(entry)?;
            self.written.entries += 1;
            self.directories.first.insert(path.clone());
        }
        Ok(())
    }

    /// Directories at and below the places where a layer of the kept base has a file or a whiteout, or at
    /// those of directories with attributes, if one of them has its entry behind what is below it: unpackers
    /// then look below the base's file, or through its symlink, or bring its attributes back.
    pub(super) fn too_late(&self, tree: &Tree, base_layers: u32) -> BTreeSet<Vec<u8>> {
        let DirectoryOrder { parents: Some(parents), wanted, first, .. } = &self.directories else {
            return BTreeSet::new();
        };
        let mut replaced = BTreeSet::new();
        let mut late = false;
        for (node, before) in parents {
            // containerd makes a missing parent as the base has it, and stops where a layer of the base has
            // no directory on the way: a whiteout is a device in that layer's folder. It also gives a missing
            // parent the attributes that it has there, which an entry adds to.
            let differs = tree.has_attributes_in_base(*node) || is_below_a_replacement(tree, *node);
            if is_written_above_base(tree, *node, base_layers) && differs {
                let path = tree.path(*node);
                if !first.contains(&path) {
                    late |= !before;
                    replaced.insert(path);
                }
            }
        }
        if late && wanted.is_empty() { replaced } else { BTreeSet::new() }
    }

    /// The entries of the directories that were looked for.
    pub(super) fn found(&mut self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        // Without a new one, another round would be the same again.
        let found = &mut self.directories.found;
        (!found.is_empty()).then(|| std::mem::take(found))
    }

    /// Directories that nobody named, what a kept base must lose, and the trailer.
    pub(super) fn finish(&mut self, tree: &Tree, base_layers: u32) -> Result<(), Stop> {
        let mut last: Vec<(Vec<u8>, Kind)> = Vec::new();
        for node in 1..tree.paths() {
            match tree.standing(node) {
                Standing::ImpliedDirectory if is_made_above_base(tree, node, base_layers) => {
                    last.push((tree.path(node), Kind::Directory));
                }
                Standing::Absent if base_layers > 0 && tree.base_standing(node) != Standing::Absent => {
                    last.extend(whiteout(tree, node).map(|path| (path, Kind::Regular)));
                }
                _ => {}
            }
        }
        last.retain(|(path, _)| !self.directories.first.contains(path));
        last.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in last {
            let mode = if kind == Kind::Directory { 0o755 } else { 0o600 };
            let entry = encode(&plain_header(kind, mode), &path, kind, b"", 0);
            self.fresh(&entry)?;
            if self.directories.wanted.contains(&path) {
                self.directories.found.insert(path, entry);
            }
            self.written.entries += 1;
        }
        self.fresh(&tar::TRAILER)
    }
}

/// The name of the whiteout that `node` needs; none where it goes with what is above it.
fn whiteout(tree: &Tree, node: NodeId) -> Option<Vec<u8>> {
    let parent = tree.parent(node);
    let directory = matches!(tree.standing(parent), Standing::Directory | Standing::ImpliedDirectory);
    if parent != ROOT && !directory {
        return None;
    }
    let mut path = tree.path(parent);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(b".wh.");
    path.extend_from_slice(tree.name(node));
    Some(path)
}

/// Whether a directory has an entry in the result: one that the base supplies has none.
fn is_written_above_base(tree: &Tree, node: NodeId, base_layers: u32) -> bool {
    match tree.standing(node) {
        Standing::Directory => tree.events(node).claim.layer() >= Some(base_layers),
        Standing::ImpliedDirectory => is_made_above_base(tree, node, base_layers),
        Standing::Absent | Standing::Other => false,
    }
}

/// Whether a directory that only paths below it speak of has to be written: always in a full squash; above a
/// base only where the base does not already show the same.
fn is_made_above_base(tree: &Tree, node: NodeId, base_layers: u32) -> bool {
    if base_layers == 0 {
        return true;
    }
    let above = tree.implied_since(node).layer() >= Some(base_layers);
    above && tree.base_standing(node) != Standing::ImpliedDirectory
}

fn is_below_a_replacement(tree: &Tree, node: NodeId) -> bool {
    let mut at = node;
    while at != ROOT {
        // containerd looks through every layer of the base, not at what they merge to.
        if tree.is_replaced_in_base(at) {
            return true;
        }
        at = tree.parent(at);
    }
    false
}

fn plain_header(kind: Kind, mode: u32) -> Header {
    Header::made(kind, Meta { mode, uid: 0, gid: 0, mtime: Time::default() })
}
