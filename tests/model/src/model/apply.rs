//! Layers on a tree, lowest first (rules 7 to 13).

use super::{
    Result, display,
    layer::{LayerTree, Node, read_layer},
    names::{join, parent},
    refuse,
    tree::{Inode, Kind, Metadata, Tree},
};

/// As many links as containerd follows when it looks for a directory's metadata in a lower layer.
const MOST_LINKS_FOLLOWED: usize = 255;

/// The merged tree of tars without compression, lowest layer first.
pub fn merge<L: AsRef<[u8]>>(layers: &[L]) -> Result<Tree> {
    let mut tree = empty();
    for layer in layers {
        add_layer(&mut tree, layer.as_ref())?;
    }
    Ok(tree)
}

/// A root directory and nothing else.
pub fn empty() -> Tree {
    let mut tree = Tree::default();
    let root = tree.add(Inode { kind: Kind::Directory, metadata: Metadata::implied() });
    tree.paths.insert(Vec::new(), root);
    tree
}

/// One more layer on top. After an error the tree is of no use.
pub fn add_layer(tree: &mut Tree, tar: &[u8]) -> Result<LayerTree> {
    let layer = read_layer(tar, tree)?;
    apply(tree, &layer)?;
    tree.assert_sound();
    Ok(layer)
}

fn apply(tree: &mut Tree, layer: &LayerTree) -> Result<()> {
    for (path, node) in &layer.nodes {
        if *node == Node::Implied {
            refuse_symlink_loop(tree, path)?;
        }
    }
    // Rule 7: marks act on lower layers only, so they come first wherever they stand.
    for path in &layer.whiteouts {
        tree.remove(path);
    }
    for path in &layer.opaque {
        tree.remove_below(path);
    }
    // A whiteout below what is no directory makes it an empty one; where nothing is, it makes nothing.
    for path in &layer.whiteouts {
        let above: Vec<&[u8]> = std::iter::successors(parent(path), |path| parent(path)).collect();
        for directory in above.into_iter().rev() {
            if tree.get(directory).is_some_and(|inode| inode.kind != Kind::Directory) {
                tree.remove(directory);
                let number = tree.add(Inode { kind: Kind::Directory, metadata: Metadata::implied() });
                tree.paths.insert(directory.to_vec(), number);
            }
        }
    }
    for (path, node) in &layer.nodes {
        match *node {
            Node::Implied if tree.is_directory(path) => {}
            Node::Implied => {
                tree.remove(path);
                let number = tree.add(Inode { kind: Kind::Directory, metadata: Metadata::implied() });
                tree.paths.insert(path.clone(), number);
            }
            Node::Directory(number) => {
                if !tree.is_directory(path) {
                    tree.remove(path);
                } else if layer.adding.contains(path) {
                    let mut both =
                        tree.get(path).map(|lower| lower.metadata.xattrs.clone()).unwrap_or_default();
                    let named = tree.inodes.get_mut(&number).expect("the layer made it");
                    both.append(&mut named.metadata.xattrs);
                    named.metadata.xattrs = both;
                }
                tree.paths.insert(path.clone(), number);
            }
            Node::Other(number) => {
                tree.remove(path);
                tree.paths.insert(path.clone(), number);
            }
        }
    }
    Ok(())
}

/// A directory that is implied over a lower symbolic link replaces it; over a loop of links runtimes fail.
fn refuse_symlink_loop(tree: &Tree, path: &[u8]) -> Result<()> {
    let mut at = path.to_vec();
    for _ in 0..MOST_LINKS_FOLLOWED {
        let Some(Kind::Symlink(target)) = tree.get(&at).map(|inode| &inode.kind) else {
            return Ok(());
        };
        let start =
            if target.starts_with(b"/") { Vec::new() } else { parent(&at).unwrap_or_default().to_vec() };
        at = target.split(|byte| *byte == b'/').fold(start, |above, part| match part {
            b"" | b"." => above,
            b".." => parent(&above).unwrap_or_default().to_vec(),
            name => join(&above, name),
        });
    }
    refuse(format!("symbolic links loop at {}", display(path)))
}
