//! What a comparison must leave out: times that no layer says, and link groups that a kept base splits.

use std::collections::BTreeSet;

use super::{
    Mask, Result, add_layer, empty,
    layer::Node,
    merge,
    names::{is_below, parent},
};

/// Directories in which some layer makes, removes or marks a name without an entry for the directory itself,
/// and that no layer above names again.
pub fn invented_times<L: AsRef<[u8]>>(layers: &[L]) -> Result<BTreeSet<Vec<u8>>> {
    let mut invented = BTreeSet::from([Vec::new()]);
    let mut tree = empty();
    for tar in layers {
        let layer = add_layer(&mut tree, tar.as_ref())?;
        let marked = layer
            .whiteouts
            .iter()
            .filter_map(|path| parent(path))
            .chain(layer.opaque.iter().map(Vec::as_slice));
        for path in layer.nodes.keys().filter_map(|path| parent(path)).chain(marked) {
            let mut above = Some(path);
            while let Some(directory) = above {
                invented.insert(directory.to_vec());
                above = parent(directory);
            }
        }
        for (path, node) in &layer.nodes {
            if matches!(node, Node::Directory(_)) {
                invented.remove(path);
            }
        }
        // Making an implied directory changes the time of the one above it, whose own entry may have come
        // before.
        let implied = layer.nodes.iter().filter(|(_, node)| **node == Node::Implied);
        let made_on_the_way = implied.map(|(path, _)| path).chain(&layer.late);
        invented.extend(made_on_the_way.filter_map(|path| parent(path)).map(<[u8]>::to_vec));
        // An opaque mark that comes after directories empties them again.
        let emptied = layer.nodes.keys().filter(|path| layer.opaque.iter().any(|mark| is_below(path, mark)));
        invented.extend(emptied.cloned());
    }
    // Nobody sets the root's time once everything is in it.
    invented.insert(Vec::new());
    Ok(invented)
}

/// Fills in what changes when the lowest `kept` layers are kept: a link from above to a file of the base that
/// is still the same file is written as a copy (`docs/layer-semantics.md#section-4`).
pub fn mask_split_links<L: AsRef<[u8]>>(mask: &mut Mask, layers: &[L], kept: usize) -> Result<()> {
    let (base, above) = layers.split_at(kept);
    let base = merge(base)?;
    let mut merged = base.clone();
    let mut split = BTreeSet::new();
    for tar in above {
        let layer = add_layer(&mut merged, tar.as_ref())?;
        let numbers = layer.nodes.into_values().filter_map(|node| match node {
            Node::Other(number) if number < base.next => Some(number),
            _ => None,
        });
        split.extend(numbers);
    }
    for (path, _) in merged.paths.iter().filter(|(_, number)| split.contains(*number)) {
        mask.groups.insert(path.clone());
    }
    for (path, number) in merged.paths.iter().filter(|(path, number)| base.paths.get(*path) == Some(number)) {
        if base.inodes[number].metadata != merged.inodes[number].metadata {
            // Its header lies in the base, where that of a later link cannot change it.
            mask.metadata.insert(path.clone());
        }
    }
    Ok(())
}
