//! Hard links of one layer: what each leads to when its record comes.

use std::collections::BTreeSet;

use super::{EntryKind, LayerRules, LinkEntry, LocalEntry, NodeId, PathStore, SymlinkTarget};
use crate::error::{LayerError, display};
use crate::name;
use crate::tar::Header;

/// What a link entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// The inode whose content is record number N of the same layer.
    Here(u32),
    /// A file that a lower layer has: index into [`LayerRules::lower`].
    Lower(usize),
}

/// A path of a lower layer that links of this layer lead to.
#[derive(Debug)]
pub struct LowerTarget {
    /// The path, as this layer's symlinks lead to it.
    pub target: NodeId,
    /// The first link to it, for messages.
    pub link: NodeId,
    /// Link entries that have paths below them, and lead these paths on if the target is a symlink.
    pub led: BTreeSet<LinkEntry>,
}

/// A link that was resolved.
#[derive(Debug)]
pub struct ResolvedLink {
    /// What it leads to.
    pub leads_to: LinkTarget,
    /// The entry that it names, where this layer has it.
    pub named: Option<(NodeId, LocalEntry)>,
    /// Where it leads paths below it, when it is a link to a symlink of this layer.
    pub symlink: Option<SymlinkTarget>,
}

impl LayerRules {
    /// What the hard link `header` at `node` leads to, as the layer stands now: before the link takes its own
    /// name.
    ///
    /// # Errors
    /// A link to a directory or to itself, and a target that no path can be.
    pub fn resolve_link(
        &mut self,
        paths: &mut impl PathStore,
        header: &Header,
        node: NodeId,
    ) -> Result<ResolvedLink, LayerError> {
        let refuse = |reason| LayerError::Name { path: display(&header.link), reason };
        let names = || (display(&header.path), display(&header.link));
        let to_directory = || {
            let (path, target) = names();
            LayerError::LinkToDirectory { path, target }
        };
        let mut parts = Vec::with_capacity(16);
        name::components(&header.link, &mut parts).map_err(refuse)?;
        let (base, directory) = parts.split_last().ok_or_else(to_directory)?;
        let aufs = name::is_aufs_directory(base).map_err(refuse)?;
        let (parent, _) = self.walk(paths, &header.link, directory)?;
        let target = paths.child(parent, base, aufs)?;
        if target == node {
            let (path, target) = names();
            return Err(LayerError::LinkTarget { path, target });
        }
        let Some(entry) = self.standing(paths, target) else {
            if self.is_implied(paths, target) {
                return Err(to_directory());
            }
            let leads_to = LinkTarget::Lower(self.lower_target(target, node));
            return Ok(ResolvedLink { leads_to, named: None, symlink: None });
        };
        let leads_to = match entry.kind() {
            EntryKind::Directory => return Err(to_directory()),
            EntryKind::Content => LinkTarget::Here(entry.record()),
            EntryKind::Link => self.links[&entry.record()].1,
        };
        let symlink = self.symlinks.get(&target).cloned();
        Ok(ResolvedLink { leads_to, named: Some((target, entry)), symlink })
    }

    fn lower_target(&mut self, target: NodeId, link: NodeId) -> usize {
        *self.lower_by_target.entry(target).or_insert_with(|| {
            self.lower.push(LowerTarget { target, link, led: BTreeSet::new() });
            self.lower.len() - 1
        })
    }

    /// The paths of lower layers that links lead to, as [`LinkTarget::Lower`] counts them.
    #[must_use]
    pub fn lower(&self) -> &[LowerTarget] {
        &self.lower
    }

    /// What link record number `record` leads to, with the link's path.
    #[must_use]
    pub fn link(&self, record: u32) -> Option<(NodeId, LinkTarget)> {
        self.links.get(&record).copied()
    }

    /// All of them, in no order.
    pub fn links(&self) -> impl Iterator<Item = (u32, NodeId, LinkTarget)> {
        self.links.iter().map(|(record, (node, target))| (*record, *node, *target))
    }

    /// Keeps what link record number `record` at `node` leads to, as [`LayerRules::resolve_link`] told: later
    /// links may name it.
    pub fn note_link(&mut self, record: u32, node: NodeId, leads_to: LinkTarget) {
        self.links.insert(record, (node, leads_to));
    }

    pub(crate) fn lower_mut(&mut self, index: usize) -> &mut LowerTarget {
        &mut self.lower[index]
    }
}
