//! `--truncate`: an inode is emptied if one of its surviving names asks for it.

use super::layer_state::{Flagged, LayerState};
use super::stop::Stop;
use super::writer::Writer;
use crate::layer::{LinkTarget, NodeId};
use crate::tar::Kind;
use crate::tree::Tree;

/// A link and the record that holds its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    record: u32,
    content: u32,
    node: NodeId,
}

impl Writer<'_> {
    /// Settles what has to be known of a layer, or of its beginning, before any of it is written.
    pub(crate) fn settle(&mut self, tree: &Tree, state: &mut LayerState, complete: bool) -> Result<(), Stop> {
        self.bind_all(tree, state, complete)?;
        let mut truncated = links_of_this_layer(state, |node| tree.is_truncated(node));
        truncated.sort_unstable();
        for Link { record, content, node } in truncated {
            if self.survives(tree, state, record, node, false) && self.wants_truncation(tree, node) {
                state.links.inodes.entry(content).or_default().truncated = true;
            }
        }
        Ok(())
    }

    /// The names in a kept base that were asked to be truncated become entries above it.
    pub(crate) fn truncate_in_base(&mut self, tree: &Tree, state: &mut LayerState) {
        for Flagged { record, node, header } in std::mem::take(&mut state.flagged) {
            let directory = header.kind == Kind::Directory;
            if !matches!(header.kind, Kind::Regular | Kind::HardLink) {
                if self.survives(tree, state, record, node, directory) {
                    self.cannot_truncate(tree, node);
                }
                continue;
            }
            if !self.survives(tree, state, record, node, false) || !self.wants_truncation(tree, node) {
                continue;
            }
            let content = match state.rules.link(record) {
                None => record,
                Some((_, LinkTarget::Here(content))) => content,
                Some((_, LinkTarget::Lower(index))) => {
                    // The content lies further down: the name joins those that want it.
                    let pending = &mut state.links.lower[index];
                    pending.truncated = true;
                    pending.names.push(node);
                    continue;
                }
            };
            let inode = state.links.inodes.entry(content).or_default();
            if inode.truncated && inode.waiting.contains(&node) {
                continue;
            }
            inode.truncated = true;
            let first = inode.first.or((content == record).then_some(node));
            let first = first.map(|node| Link { record: content, content, node });
            let mut links = links_of_this_layer(state, |_| true);
            links.retain(|link| link.content == content);
            links.sort_unstable();
            let mut names: Vec<_> = first.into_iter().chain(links).collect();
            names.retain(|link| self.survives(tree, state, link.record, link.node, false));
            let inode = state.links.inodes.entry(content).or_default();
            for Link { node, .. } in names {
                if !inode.waiting.contains(&node) {
                    inode.waiting.push(node);
                }
            }
            if header.kind == Kind::Regular {
                inode.header = Some(header);
            }
        }
    }
}

fn links_of_this_layer(state: &LayerState, wanted: impl Fn(NodeId) -> bool) -> Vec<Link> {
    let links = state.rules.links().filter_map(|(record, node, target)| match target {
        LinkTarget::Here(content) if wanted(node) => Some(Link { record, content, node }),
        _ => None,
    });
    links.collect()
}
