//! The merged file system.

use std::{collections::BTreeMap, sync::Arc};

use super::names::{is_below, parent};

/// What an inode is, with what only that type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file and its content.
    File(Arc<Vec<u8>>),
    /// A symbolic link and its target, byte for byte.
    Symlink(Vec<u8>),
    /// A character device (major, minor).
    Character(u64, u64),
    /// A block device (major, minor).
    Block(u64, u64),
    /// A named pipe.
    Fifo,
}

/// What every inode has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time: seconds since the epoch, and nanoseconds above them.
    pub mtime: (i64, u32),
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// What a directory has that no layer names (`docs/layer-semantics.md#rule-10`).
    pub fn implied() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: BTreeMap::new() }
    }
}

/// One inode: several names may hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Type and content.
    pub kind: Kind,
    /// Mode, owner, time, attributes.
    pub metadata: Metadata,
}

/// A merged tree: each path holds an inode by its number.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Path to the inode's number. The root is the empty path.
    pub paths: BTreeMap<Vec<u8>, usize>,
    /// Inodes by number; those that no path holds are left behind.
    pub inodes: BTreeMap<usize, Inode>,
    /// The next free inode number.
    pub next: usize,
}

impl Tree {
    /// The inode at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Inode> {
        self.paths.get(path).map(|number| &self.inodes[number])
    }

    /// True for a directory at this path.
    pub fn is_directory(&self, path: &[u8]) -> bool {
        self.get(path).is_some_and(|inode| inode.kind == Kind::Directory)
    }

    /// Adds an inode that no path holds yet.
    pub fn add(&mut self, inode: Inode) -> usize {
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, inode);
        number
    }

    /// Removes everything strictly below a path.
    pub fn remove_below(&mut self, directory: &[u8]) {
        self.paths.retain(|path, _| !is_below(path, directory));
    }

    /// Removes a path and everything below it. The root itself stays.
    pub fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        if !path.is_empty() {
            self.paths.remove(path);
        }
    }

    /// For each non-directory the least path that holds the same inode.
    pub fn leaders(&self) -> BTreeMap<&[u8], &[u8]> {
        let mut first: BTreeMap<usize, &[u8]> = BTreeMap::new();
        let mut leaders = BTreeMap::new();
        for (path, number) in &self.paths {
            leaders.insert(path.as_slice(), *first.entry(*number).or_insert(path));
        }
        leaders
    }

    /// Number of names of each inode.
    pub fn link_counts(&self) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for number in self.paths.values() {
            *counts.entry(*number).or_insert(0) += 1;
        }
        counts
    }

    /// Panics when a name's parent is not a directory: the model's own check on itself.
    pub fn assert_sound(&self) {
        for path in self.paths.keys() {
            if let Some(above) = parent(path) {
                assert!(self.is_directory(above), "{} has no parent directory", super::display(path));
            }
        }
    }
}
