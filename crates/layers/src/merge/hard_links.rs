//! Hard links: names of one inode, within a layer and across layers (`docs/layer-semantics.md#rule-12`).
//!
//! Inodes are grouped inside their layer. A link to a file of a lower layer is *pending*: it is handed down
//! from layer to layer until one has something at its target, and its names then join the inode there.

use std::collections::BTreeSet;

use super::layer_state::LayerState;
use super::stop::Stop;
use crate::error::{LayerError, display};
use crate::layer::{EntryKind, LinkEntry, LinkTarget, NodeId};
use crate::tar::{CAPABILITY, Header, Meta, Record, Records};
use crate::tree::Tree;

/// What later link headers say of an inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Mode, owner and time of the last header.
    pub(crate) meta: Option<Meta>,
    /// Attributes that link headers brought, over the inode's own.
    pub(crate) xattrs: Records,
    /// The capability of the last header, if there was one: each link changes the owner, and that takes the
    /// capability away which the inode had.
    capability: Option<Vec<u8>>,
}

impl Overrides {
    /// Takes the word of a later header.
    pub(crate) fn follow(&mut self, header: &Header) {
        self.meta = Some(header.meta);
        self.capability = header.records.get(CAPABILITY).map(<[u8]>::to_vec);
        for Record { key, value } in header.attribute_records().0 {
            if key != CAPABILITY {
                self.xattrs.set(&key, &value);
            }
        }
    }

    /// Takes the word of all later headers.
    pub(crate) fn follow_all(&mut self, later: &Self) {
        if later.meta.is_some() {
            self.meta = later.meta;
            self.capability.clone_from(&later.capability);
        }
        for Record { key, value } in &later.xattrs.0 {
            self.xattrs.set(key, value);
        }
    }

    /// Takes the word of headers that are earlier than those it has.
    pub(crate) fn precede(&mut self, earlier: &Self) {
        if self.meta.is_none() {
            self.meta = earlier.meta;
            self.capability.clone_from(&earlier.capability);
        }
        self.xattrs.complete_with(&earlier.xattrs);
    }

    /// Whether an inode whose own header is `header` is left as it is.
    pub(crate) fn keeps(&self, header: &Header) -> bool {
        let Some(meta) = self.meta else { return true };
        meta == header.meta
            && self.repeats_capability(header)
            && self.xattrs.0.iter().all(|record| header.records.get(&record.key) == Some(&record.value))
    }

    pub(crate) fn has_same_capability(&self, other: &Self) -> bool {
        self.capability == other.capability
    }

    pub(crate) fn repeats_capability(&self, header: &Header) -> bool {
        self.capability.as_deref() == header.records.get(CAPABILITY)
    }

    pub(crate) fn apply(&self, header: &mut Header) {
        let Some(meta) = self.meta else { return };
        header.meta = meta;
        for Record { key, value } in &self.xattrs.0 {
            header.records.set(key, value);
        }
        match &self.capability {
            Some(capability) => header.records.set(CAPABILITY, capability),
            None => header.records.remove(CAPABILITY),
        }
    }
}

/// An inode of one layer that has more than one name, or whose content has to wait.
#[derive(Debug, Default)]
pub(crate) struct Inode {
    /// The name of its content's entry, once a link of the same layer led there.
    pub(crate) first: Option<NodeId>,
    /// What link headers of this layer say.
    pub(crate) own: Overrides,
    /// What link headers of higher layers say, which are later.
    pub(crate) upper: Overrides,
    /// One of its surviving names was asked to be truncated.
    pub(crate) truncated: bool,
    /// The name under which its content was written.
    pub(crate) written: Option<NodeId>,
    /// Surviving names that wait for the content.
    pub(crate) waiting: Vec<NodeId>,
    /// The content's header, where it is known before the content is read again.
    pub(crate) header: Option<Header>,
}

impl Inode {
    pub(crate) fn effective(&self) -> Overrides {
        let mut effective = self.own.clone();
        effective.follow_all(&self.upper);
        effective
    }
}

/// Names that want the file at `target` as the layers below `layer` show it.
#[derive(Debug)]
pub(crate) struct PendingLink {
    pub(crate) target: NodeId,
    pub(crate) layer: u32,
    /// The first link, for messages.
    pub(crate) link: NodeId,
    /// Surviving names, in the order of the result.
    pub(crate) names: Vec<NodeId>,
    pub(crate) overrides: Overrides,
    /// What links of still higher layers to these names say.
    pub(crate) upper: Overrides,
    pub(crate) truncated: bool,
    /// Symlinks that the target was led through.
    pub(crate) hops: usize,
    /// Link entries that have paths below them, and lead these paths on if the target is a symlink.
    pub(crate) led: BTreeSet<LinkEntry>,
}

impl PendingLink {
    pub(crate) fn new(layer: u32, target: NodeId, link: NodeId) -> Self {
        Self {
            target,
            layer,
            link,
            names: Vec::new(),
            overrides: Overrides::default(),
            upper: Overrides::default(),
            truncated: false,
            hops: 0,
            led: BTreeSet::new(),
        }
    }

    /// The link and its target, for messages.
    pub(crate) fn paths(&self, tree: &Tree) -> (String, String) {
        (display(&tree.path(self.link)), display(&tree.path(self.target)))
    }

    /// The target does not exist.
    pub(crate) fn dangling(&self, tree: &Tree) -> LayerError {
        let (path, target) = self.paths(tree);
        LayerError::LinkTarget { path, target }
    }
}

/// What becomes of a link's target in a layer that does not have it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Look further down.
    Clear,
    /// It does not exist.
    Gone,
    /// A parent is a symlink.
    Through { symlink: NodeId, to: Vec<u8> },
}

impl LayerState {
    /// Hands a higher layer's links to what this layer has at their target; gives them back when it has
    /// nothing there.
    ///
    /// While the layer is not `complete`, a directory at the target may still be replaced.
    pub(crate) fn bind(
        &mut self,
        tree: &Tree,
        pending: PendingLink,
        complete: bool,
    ) -> Result<Option<PendingLink>, Stop> {
        let target = pending.target;
        let Some(entry) = self.rules.standing(tree, target) else {
            // A directory that only paths below it make is one all the same.
            let directory = complete && self.rules.is_implied(tree, target);
            return if directory { link_to_directory(tree, &pending) } else { Ok(Some(pending)) };
        };
        if entry.kind() == EntryKind::Directory {
            return if complete { link_to_directory(tree, &pending) } else { Ok(Some(pending)) };
        }
        self.links.bound.insert(target);
        if let Some(to) = self.rules.symlink_target(target) {
            self.links.discovered.extend(pending.led.iter().map(|link| (*link, to.clone())));
        }
        match self.rules.link(entry.record()) {
            None => self.bind_to_content(entry.record(), pending),
            Some((_, LinkTarget::Here(content))) => {
                self.bind_to_inode(content, &pending)?;
                self.links.joining.entry(entry.record()).or_default().extend(pending.names);
            }
            Some((_, LinkTarget::Lower(index))) => {
                let lower = &mut self.links.lower[index];
                lower.upper.precede(&pending.overrides);
                lower.truncated |= pending.truncated;
                lower.led.extend(pending.led);
                self.links.joining.entry(entry.record()).or_default().extend(pending.names);
            }
        }
        Ok(None)
    }

    fn bind_to_content(&mut self, content: u32, pending: PendingLink) {
        let inode = self.links.inodes.entry(content).or_default();
        inode.upper.precede(&pending.overrides);
        inode.truncated |= pending.truncated;
        inode.waiting.extend(pending.names);
    }

    fn bind_to_inode(&mut self, content: u32, pending: &PendingLink) -> Result<(), Stop> {
        let written = self.streaming && self.links.inodes[&content].written.is_some();
        let inode = self.links.inodes.entry(content).or_default();
        let says = &pending.overrides;
        let changes = says.meta.is_some_and(|meta| inode.effective().meta != Some(meta))
            || says.meta.is_some_and(|_| !inode.effective().has_same_capability(says))
            || !says.xattrs.is_empty()
            || (pending.truncated && !inode.truncated);
        if written && changes {
            return Err(Stop::Conflict);
        }
        inode.upper.precede(says);
        inode.truncated |= pending.truncated;
        Ok(())
    }
}

fn link_to_directory(tree: &Tree, pending: &PendingLink) -> Result<Option<PendingLink>, Stop> {
    if pending.names.is_empty() {
        return Ok(None);
    }
    let (path, target) = pending.paths(tree);
    Err(Stop::Failed(LayerError::LinkToDirectory { path, target }.at(pending.layer as usize)))
}
