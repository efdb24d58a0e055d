//! Hard links: names of one inode, within a layer and across layers (`layer-semantics` rule 12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::display;
use crate::tar::{Header, Meta, Record, Records};
use crate::tree::{NodeId, Tree};

/// What later link headers say of an inode.
#[derive(Clone, Debug, Default)]
pub struct Override {
    /// Mode, owner and time of the last header.
    pub meta: Option<Meta>,
    /// Attributes that link headers brought, over the inode's own.
    pub xattrs: Records,
}

impl Override {
    /// Takes the word of a later header.
    pub fn follow(&mut self, header: &Header) {
        self.meta = Some(header.meta);
        for (key, value) in header.xattrs() {
            let key = [crate::tar::XATTR, key].concat();
            self.xattrs.set(&key, value);
        }
    }

    /// Takes the word of all later headers.
    pub fn follow_all(&mut self, later: &Self) {
        self.meta = later.meta.or(self.meta);
        for Record { key, value } in &later.xattrs.0 {
            self.xattrs.set(key, value);
        }
    }

    /// Takes the word of headers that are earlier than those it has.
    pub fn precede(&mut self, earlier: &Self) {
        self.meta = self.meta.or(earlier.meta);
        for Record { key, value } in &earlier.xattrs.0 {
            if self.xattrs.get(key).is_none() {
                self.xattrs.set(key, value);
            }
        }
    }

    /// Whether an inode whose own header is `header` is left as it is.
    pub fn keeps(&self, header: &Header) -> bool {
        self.meta.is_none_or(|meta| meta == header.meta)
            && self.xattrs.0.iter().all(|record| header.records.get(&record.key) == Some(&record.value))
    }

    pub fn apply(&self, header: &mut Header) {
        header.meta = self.meta.unwrap_or(header.meta);
        for Record { key, value } in &self.xattrs.0 {
            header.records.set(key, value);
        }
    }
}

/// An inode of one layer that has more than one name, or whose content has to wait.
#[derive(Debug, Default)]
pub struct Inode {
    /// The name of its content's entry, once a link of the same layer led there.
    pub first: Option<NodeId>,
    /// What link headers of this layer say.
    pub own: Override,
    /// What link headers of higher layers say, which are later.
    pub upper: Override,
    /// One of its surviving names was asked to be truncated.
    pub truncated: bool,
    /// The name under which its content was written.
    pub written: Option<NodeId>,
    /// Surviving names that wait for the content.
    pub waiting: Vec<NodeId>,
    /// The content's header, where it is known before the content is read again.
    pub header: Option<Header>,
}

impl Inode {
    pub fn effective(&self) -> Override {
        let mut effective = self.own.clone();
        effective.follow_all(&self.upper);
        effective
    }
}

/// What a link entry of a layer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To the inode whose content is entry number N of the same layer.
    Here(u32),
    /// To a file that a lower layer has: index into the layer's list.
    Lower(usize),
}

/// Names that want the file at `target` as the layers below `layer` show it.
#[derive(Debug)]
pub struct Demand {
    pub target: NodeId,
    pub layer: u32,
    /// The first link, for messages.
    pub link: NodeId,
    /// Surviving names, in the order of the result.
    pub names: Vec<NodeId>,
    pub says: Override,
    /// What links of still higher layers to these names say.
    pub upper: Override,
    pub truncated: bool,
    /// Symlinks that the target was led through.
    pub hops: u32,
    /// Link entries that have paths below them, and lead these paths on if the target is a symlink.
    pub led: BTreeSet<LinkEntry>,
}

/// A link entry: its layer, and its number there.
pub type LinkEntry = (u32, u32);

/// Where a symlink leads, as written. The hard links to it share it.
pub type Target = Arc<[u8]>;

/// Where hard links to symlinks of lower layers lead.
pub type Leads = BTreeMap<LinkEntry, Target>;

impl Demand {
    pub fn paths(&self, tree: &Tree) -> (String, String) {
        (display(&tree.path(self.link)), display(&tree.path(self.target)))
    }
}
