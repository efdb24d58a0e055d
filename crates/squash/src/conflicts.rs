//! What layers use of what is below them, and where two bases disagree about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use unbloat_contract::Limits;
use unbloat_layers::tar::{Kind, Meter, TarReader};
use unbloat_layers::{BoxError, LayerError};
use unbloat_oci::Descriptor;
use unbloat_registry::Source;
use unbloat_text::printable;

use crate::error::{Error, layer_error};
use crate::progress::Progress;
use crate::source::Layers;
use crate::tree::{Node, Tree, parts};

/// What some layers use, by path.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Directories that they write into, and whether they name each themselves.
    folders: BTreeMap<Vec<u8>, bool>,
    /// Names that they give to something that is no directory, or take away.
    replaced: BTreeSet<Vec<u8>>,
    /// Targets of hard links.
    linked: BTreeSet<Vec<u8>>,
    symlinks: BTreeSet<Vec<u8>>,
}

impl Uses {
    /// Reads the headers of layers, lowest first.
    pub(crate) async fn read(
        source: &Source,
        descriptors: &[Descriptor],
        limits: &Limits,
        progress: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let layers = Layers::new(source, descriptors, false, limits.prefetch_bytes(), progress);
        let (count, most) = (descriptors.len(), limits.max_unpacked_bytes);
        let reading = tokio::task::spawn_blocking(move || {
            let meter = Arc::new(Meter::new(most));
            let mut uses = Self::default();
            for layer in 0..count {
                let failed = |source: LayerError| unbloat_layers::Error::Layer { layer, source };
                let stream =
                    layers.open_one(layer).map_err(|error: BoxError| failed(LayerError::Stream(error)))?;
                let mut reader = TarReader::new(stream, layer, Arc::clone(&meter));
                let mut raw = Vec::new();
                while let Some(header) = reader.next(&mut raw).map_err(failed)? {
                    uses.note(&header.path, header.kind, &header.link);
                }
            }
            Ok(uses)
        });
        let read = reading.await.map_err(|panic| Error::Internal(panic.to_string()))?;
        read.map_err(|error| layer_error(error, descriptors, progress))
    }

    fn note(&mut self, path: &[u8], kind: Kind, link: &[u8]) {
        let names = plain(path);
        let Some((last, above)) = names.split_last() else { return };
        for depth in 1..=above.len() {
            self.folders.entry(above[..depth].join(&b'/')).or_insert(false);
        }
        if let Some(hidden) = last.strip_prefix(b".wh.") {
            if !hidden.starts_with(b".wh.") && !hidden.is_empty() {
                self.replaced.insert([above, &[hidden]].concat().join(&b'/'));
            }
            return;
        }
        let path = names.join(&b'/');
        match kind {
            Kind::Directory => {
                self.folders.insert(path, true);
            }
            Kind::HardLink => {
                let target = plain(link).join(&b'/');
                if !self.replaced.contains(&target) {
                    self.linked.insert(target);
                }
                self.replaced.insert(path);
            }
            Kind::Symlink => {
                self.symlinks.insert(path.clone());
                self.replaced.insert(path);
            }
            _ => {
                self.replaced.insert(path);
            }
        }
    }

    pub(crate) fn has_symlinks(&self) -> bool {
        !self.symlinks.is_empty()
    }

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

/// A name of a layer as the merge takes it: without `.` and `..`.
fn plain(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for part in parts(path) {
        if part == b".." {
            names.pop();
        } else {
            names.push(part);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::Item;
    use crate::listing::tests_support::{directory, file, symlink};

    fn tree(items: Vec<(&str, Item)>) -> Tree {
        Tree::new(items.into_iter().map(|(path, item)| (path.as_bytes().to_vec(), item)).collect())
    }

    fn uses(entries: &[(&str, Kind, &str)]) -> Uses {
        let mut uses = Uses::default();
        for (path, kind, link) in entries {
            uses.note(path.as_bytes(), *kind, link.as_bytes());
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
