//! Marks in directories that their layer does not have, where runtimes show something else
//! (`docs/layer-semantics.md#section-3`).

use super::layer_state::MarkedDirectory;
use super::writer::Writer;
use crate::tree::Tree;
use crate::visibility::Moment;
use crate::warning::{Warning, WarningKind};

impl Writer<'_> {
    pub(super) fn warn_of_marks(&mut self, tree: &Tree) {
        for warning in warnings_of_marks(tree, std::mem::take(&mut self.marked)) {
            self.warnings.add(warning);
        }
    }
}

/// Warnings of marks below what is no directory, when all layers are in the tree; as far as it can still be
/// told: what later layers did hides it.
pub fn warnings_of_marks(tree: &Tree, marked: Vec<MarkedDirectory>) -> impl Iterator<Item = Warning> {
    marked.into_iter().filter_map(|mark| {
        let kind = what_is_marked(tree, mark)?;
        Some(Warning { layer: Some(mark.layer as usize), path: tree.path(mark.node), kind })
    })
}

fn what_is_marked(tree: &Tree, mark: MarkedDirectory) -> Option<WarningKind> {
    let MarkedDirectory { layer, node, opaque } = mark;
    let events = tree.events(node);
    let moment = Moment::mark(layer);
    if events.claim.layer() > Some(layer) || tree.is_cut(node, moment) {
        return None;
    }
    let stands = events.claim.is_entry() && !tree.is_cut(node, events.claim);
    let by_paths = tree.is_directory_anywhere(node) && events.implied > events.claim;
    match (opaque, stands) {
        (_, true) if events.claim.is_directory() || by_paths => None,
        (true, true) => Some(WarningKind::OpaqueBelowFile),
        (false, true) => Some(WarningKind::WhiteoutBelowFile),
        (_, false) if by_paths => None,
        (true, false) => Some(WarningKind::OpaqueBelowNothing),
        (false, false) => Some(WarningKind::WhiteoutBelowNothing),
    }
}
