//! Directories whose attributes add up (`docs/layer-semantics.md#rule-11`): with those of an earlier entry of
//! their layer, and, where only paths below them or marks in them made them exist before their entry, with
//! those of the lower directory.
//!
//! What a lower directory has is known when its layer is read, after the upper entry was written. If it has
//! attributes, the round is void, and the next one knows them. So the rare case costs a second round, and
//! every other costs nothing.

use std::collections::BTreeMap;

use super::layer_state::LayerState;
use crate::collections::HashMap;
use crate::layer::{EntryKind, NodeId};
use crate::tar::{Header, Records};
use crate::tree::Tree;

/// Attributes by path.
pub(crate) type AttributesByPath = BTreeMap<Vec<u8>, Records>;

/// What a directory of one layer has besides what its last entry says.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryAttributes {
    /// Those of its entries.
    records: Records,
    /// Whether those of the lower directory come to them.
    inherits: bool,
}

/// The directories of one layer that have attributes, or that were named late.
#[derive(Debug, Default)]
pub(crate) struct LayerDirectories(HashMap<NodeId, DirectoryAttributes>);

/// How a directory exists in its layer before an entry of its own comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Not at all.
    Nothing,
    /// By paths below it or marks in it.
    Implied,
    /// By an entry.
    Named,
}

impl LayerDirectories {
    /// A directory's entry comes.
    pub(crate) fn note(&mut self, node: NodeId, header: &Header, before: Before) {
        let own = header.attribute_records();
        match before {
            Before::Nothing if own.is_empty() => drop(self.0.remove(&node)),
            Before::Nothing => {
                self.0.insert(node, DirectoryAttributes { records: own, inherits: false });
            }
            Before::Implied => {
                self.0.insert(node, DirectoryAttributes { records: own, inherits: true });
            }
            Before::Named if own.is_empty() => {}
            Before::Named => {
                let gathered = self.0.entry(node).or_default();
                let earlier = std::mem::replace(&mut gathered.records, own);
                gathered.records.complete_with(&earlier);
            }
        }
    }
}

/// A directory whose lower one is looked for.
#[derive(Debug)]
struct Open {
    node: NodeId,
    layer: u32,
    /// What was found so far.
    found: Records,
    /// Whether more can come.
    looking: bool,
}

/// Directories of the result whose attributes come from lower layers too.
#[derive(Debug, Default)]
pub(crate) struct InheritedAttributes {
    /// What an earlier round found.
    pub(super) known: AttributesByPath,
    open: Vec<Open>,
}

impl InheritedAttributes {
    /// What a directory that is written now has besides what its entry says. `None` for all usual ones.
    pub(super) fn of_entry(&mut self, tree: &Tree, state: &LayerState, node: NodeId) -> Option<Records> {
        let DirectoryAttributes { records, inherits } = state.directories.0.get(&node)?;
        let mut records = records.clone();
        if *inherits && !state.rules.is_whiteout(node) {
            let layer = state.layer;
            self.open.push(Open { node, layer, found: Records::default(), looking: true });
            if let Some(known) = self.known.get(&tree.path(node)) {
                records.complete_with(known);
            }
        }
        Some(records)
    }

    /// A layer was read to its end: that of open directories, or one below.
    pub(super) fn look_at(&mut self, tree: &Tree, state: &LayerState) {
        for open in self.open.iter_mut().filter(|open| open.looking) {
            let node = open.node;
            if open.layer == state.layer {
                // Its own layer may have whited out the lower one behind the entry.
                open.looking = !state.rules.is_whiteout(node);
                continue;
            }
            if let Some(entry) = state.rules.latest(node) {
                let directory = entry.kind() == EntryKind::Directory;
                let shown = directory && !tree.is_cut(node, state.moment(entry.record(), directory));
                let attributes = state.directories.0.get(&node).filter(|_| shown);
                if let Some(DirectoryAttributes { records, .. }) = attributes {
                    open.found.complete_with(records);
                }
                // Named first, hidden, or no directory: nothing comes from further down.
                open.looking = attributes.is_some_and(|attributes| attributes.inherits);
            }
            open.looking &= !state.rules.is_whiteout(node);
        }
    }

    /// What was found, if that is not what was known.
    pub(super) fn discovered(&mut self, tree: &Tree) -> Option<AttributesByPath> {
        let found = std::mem::take(&mut self.open).into_iter().filter(|open| !open.found.is_empty());
        let found: AttributesByPath = found.map(|open| (tree.path(open.node), open.found)).collect();
        (found != self.known).then_some(found)
    }
}
