//! What layers use of what is below them, and where two bases disagree about it.

mod uses;

use std::collections::BTreeMap;

use unbloat_text::printable;

use crate::tree::{Node, Tree, parts};

pub(crate) use uses::Uses;

impl Uses {
    /// Where the bases disagree, a sentence for each path; of paths below one another the topmost.
    pub(crate) fn conflicts(&self, before: &Tree, after: &Tree) -> Vec<String> {
        let mut found: BTreeMap<&[u8], String> = BTreeMap::new();
        for (path, is_named) in &self.folders {
            let (old, new) = (before.at(path), after.at(path));
            if !folder_means_the_same(old, new, *is_named) {
                found.insert(path, format!("is used as a directory: {}", change(old, new)));
            }
        }
        for path in &self.replaced {
            let (old, new) = (before.at(path), after.at(path));
            if new == Node::Directory && old != Node::Directory {
                found.insert(path, format!("is replaced or removed: {}", change(old, new)));
            }
        }
        for path in &self.linked {
            let (old, new) = (before.at(path), after.at(path));
            if std::mem::discriminant(&old) != std::mem::discriminant(&new) {
                found.insert(path, format!("is the target of a hard link: {}", change(old, new)));
            }
        }
        let is_topmost = |path: &[u8]| {
            let names: Vec<&[u8]> = parts(path).collect();
            (1..names.len()).all(|depth| !found.contains_key(&names[..depth].join(&b'/')[..]))
        };
        found
            .iter()
            .filter(|(path, _)| is_topmost(path))
            .map(|(path, words)| format!("/{} {words}", printable(path)))
            .collect()
    }
}

/// Symlinks of the upper layers that lead to another kind of thing, or to nothing, above the new base.
pub(crate) fn of_symlinks(uses: &Uses, before: &Tree, after: &Tree) -> Vec<String> {
    let leads_to = |tree: &Tree, path: &[u8]| match tree.resolve(path, true) {
        Some(real) => match tree.at(&real) {
            Node::Directory => "a directory",
            _ => "a file",
        },
        None => "nothing",
    };
    let mut found = Vec::new();
    for path in &uses.symlinks {
        // Only what the image shows.
        if !matches!(before.at(path), Node::Symlink(_)) || !matches!(after.at(path), Node::Symlink(_)) {
            continue;
        }
        let (old, new) = (leads_to(before, path), leads_to(after, path));
        if old != "nothing" && old != new {
            found.push(format!(
                "/{} is a symlink to {old}, and leads to {new} on the new base",
                printable(path)
            ));
        }
    }
    found
}

fn folder_means_the_same(old: Node<'_>, new: Node<'_>, is_named: bool) -> bool {
    match (old, new) {
        (Node::Directory, Node::Directory) => true,
        // Its owner and mode are in the old base, unless the layers say them themselves.
        (Node::Directory, Node::Nothing) => is_named,
        (_, Node::Nothing) | (Node::Nothing, Node::Directory) => true,
        // It replaces a link or a file in both.
        (Node::Symlink(_), Node::Symlink(_)) | (Node::Other, Node::Other) => true,
        _ => false,
    }
}

fn change(old: Node<'_>, new: Node<'_>) -> String {
    format!("{} in the old base, {} in the new one", old.words(), new.words())
}

#[cfg(test)]
mod tests {
    use unbloat_layers::layer::{LayerRules, LinkedSymlinks};
    use unbloat_layers::tar::{Header, Kind, Meta};

    use super::*;
    use crate::listing::Item;
    use crate::listing::tests_support::{directory, file, symlink};

    fn tree(items: Vec<(&str, Item)>) -> Tree {
        Tree::new(items.into_iter().map(|(path, item)| (path.as_bytes().to_vec(), item)).collect())
    }

    fn uses(entries: &[(&str, Kind, &str)]) -> Uses {
        let (mut uses, mut paths) = (Uses::default(), uses::Paths::new(100));
        let mut rules = LayerRules::new(0, LinkedSymlinks::new());
        for (path, kind, link) in entries {
            let mut header = Header::made(*kind, Meta::default());
            (header.path, header.link) = (path.as_bytes().to_vec(), link.as_bytes().to_vec());
            uses.note(&mut rules, &mut paths, &header).expect("a layer");
        }
        uses
    }

    #[test]
    fn a_directory_that_is_a_symlink_in_the_new_base_is_named() {
        let before = tree(vec![("lib", directory()), ("lib/libc.so", file())]);
        let after = tree(vec![("lib", symlink(b"usr/lib")), ("usr/lib/libc.so", file())]);
        for entries in [
            &[("lib/x", Kind::Regular, "")][..],
            &[("./lib/", Kind::Directory, "")],
            &[("lib/.wh.libc.so", Kind::Regular, "")],
            &[("lib/a/b/c", Kind::Regular, ""), ("lib/a", Kind::Directory, "")],
        ] {
            let found = uses(entries).conflicts(&before, &after);
            assert_eq!(found.len(), 1, "{entries:?}: {found:?}");
            assert!(
                found[0].starts_with("/lib is used as a directory: a directory in the old base"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_is_alike_in_both_or_only_added_is_no_conflict() {
        let before = tree(vec![("etc", directory()), ("etc/motd", file())]);
        let after = tree(vec![("etc", directory()), ("etc/motd", file()), ("opt", directory())]);
        let entries = [
            ("etc/motd", Kind::Regular, ""),
            ("opt/app/run", Kind::Regular, ""),
            ("srv/new", Kind::Regular, ""),
            ("etc/link", Kind::HardLink, "etc/motd"),
        ];
        assert_eq!(uses(&entries).conflicts(&before, &after), [""; 0]);
    }

    #[test]
    fn paths_are_where_the_symlinks_of_their_own_layer_lead() {
        let before = tree(vec![("lib", directory()), ("lib/d", file())]);
        let after = tree(vec![("lib", directory()), ("lib/d", directory()), ("lib/d/c", file())]);
        let link = ("c", Kind::Symlink, "lib");
        for entry in [
            ("c/d", Kind::Regular, ""),
            ("c/.wh.d", Kind::Regular, ""),
            ("c/d", Kind::HardLink, "c/other"),
            ("c/./x/../d", Kind::Symlink, "elsewhere"),
        ] {
            let found = uses(&[link, entry]).conflicts(&before, &after);
            let words = "/lib/d is replaced or removed: a file in the old base, a directory in the new one";
            assert_eq!(found, [words], "{entry:?}");
        }
        let links = uses(&[link, ("h", Kind::HardLink, "c/d")]).conflicts(&before, &after);
        let words = "/lib/d is the target of a hard link: a file in the old base, a directory in the new one";
        assert_eq!(links, [words]);
        // A symlink of another layer leads nothing here.
        assert_eq!(uses(&[("c/d", Kind::Regular, "")]).conflicts(&before, &after), [""; 0]);
    }

    #[test]
    fn a_mark_that_hid_nothing_must_not_hide_what_the_new_base_has() {
        let before = tree(vec![("lib", directory())]);
        let after = tree(vec![("lib", directory()), ("lib/d", directory()), ("lib/d/c", file())]);
        let found = uses(&[("lib/d", Kind::Directory, ""), ("lib/d/.wh..wh..opq", Kind::Regular, "")])
            .conflicts(&before, &after);
        let words = "/lib/d is replaced or removed: nothing in the old base, a directory in the new one";
        assert_eq!(found, [words]);
        // What was hidden on purpose is hidden again.
        assert_eq!(uses(&[("lib/d/.wh..wh..opq", Kind::Regular, "")]).conflicts(&after, &after), [""; 0]);
    }

    #[test]
    fn link_targets_and_removed_names_have_to_be_the_same_kind() {
        let before = tree(vec![("a", file()), ("b", file()), ("home", directory()), ("c", file())]);
        let after = tree(vec![("b", directory()), ("c", directory())]);
        let entries = [
            ("l", Kind::HardLink, "a"),
            (".wh.b", Kind::Regular, ""),
            ("home/x", Kind::Regular, ""),
            ("c", Kind::Regular, ""),
        ];
        let found = uses(&entries).conflicts(&before, &after);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn a_symlink_that_leads_to_nothing_on_the_new_base_is_named() {
        let link = |to: &[u8]| symlink(to);
        let before =
            tree(vec![("bin/python", link(b"python3.9")), ("bin/python3.9", file()), ("bad", link(b"x"))]);
        let after =
            tree(vec![("bin/python", link(b"python3.9")), ("bin/python3.11", file()), ("bad", link(b"x"))]);
        let uses = uses(&[("bin/python", Kind::Symlink, "python3.9"), ("bad", Kind::Symlink, "x")]);
        let found = of_symlinks(&uses, &before, &after);
        assert_eq!(found, ["/bin/python is a symlink to a file, and leads to nothing on the new base"]);
    }
}
