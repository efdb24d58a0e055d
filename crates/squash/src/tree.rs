//! The merged tree of an image as somebody walks it: what a path leads to, through the links on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use unbloat_layers::tar::Kind;
use unbloat_layers::{Options, Summary};
use unbloat_oci::Descriptor;
use unbloat_registry::Source;

use unbloat_contract::Limits;

use crate::diff_ids::DiffIds;
use crate::error::{Error, layer_error};
use crate::listing::{self, Item, Listing};
use crate::progress::Progress;
use crate::source::Layers;

/// Links on one way; as the kernel's limit.
const MAX_LINKS: usize = 40;

/// A merged tree without content.
pub(crate) struct Tree(Listing);

/// What a name of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// Nothing has this name.
    Nothing,
    Directory,
    /// With its target.
    Symlink(&'a [u8]),
    /// Content, a device, a fifo.
    Other,
}

impl Node<'_> {
    /// In a sentence.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Directory => "a directory".to_owned(),
            Self::Symlink(target) => format!("a symlink to {}", String::from_utf8_lossy(target)),
            Self::Other => "a file".to_owned(),
        }
    }
}

impl Tree {
    #[cfg(test)]
    pub(crate) fn new(listing: Listing) -> Self {
        Self(listing)
    }

    /// Reads layers for their names; content is skipped as soon as it is decoded.
    pub(crate) async fn read(
        layers: Layers,
        descriptors: &[Descriptor],
        limits: &Limits,
        progress: &Arc<Progress>,
    ) -> Result<(Self, Summary), Error> {
        // Without content, a file is its header.
        let options = Options { truncate: vec!["**".to_owned()], ..plain_options(limits) };
        let count = descriptors.len();
        let listed = tokio::task::spawn_blocking(move || listing::list(&layers, count, &options)).await;
        let listed = listed.map_err(|panic| Error::Internal(panic.to_string()))?;
        let (listing, summary) = listed.map_err(|error| layer_error(error, descriptors, progress))?;
        Ok((Self(listing), summary))
    }

    /// All paths, without those of directories that no layer names.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice).filter(|path| !path.is_empty())
    }

    pub(crate) fn item(&self, path: &[u8]) -> Option<&Item> {
        self.0.get(path)
    }

    /// What stands at a path, no link followed.
    pub(crate) fn at(&self, path: &[u8]) -> Node<'_> {
        match self.0.get(path) {
            Some(item) => match item.kind {
                Kind::Directory => Node::Directory,
                Kind::Symlink => Node::Symlink(&item.content),
                _ => Node::Other,
            },
            None if path.is_empty() || self.has_below(path) => Node::Directory,
            None => Node::Nothing,
        }
    }

    /// Whether something is below a path, so that there is a directory though no layer names it.
    fn has_below(&self, path: &[u8]) -> bool {
        let prefix = [path, b"/"].concat();
        self.0.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
    }

    /// Where a path leads, links of its parents followed, and its own where `follow_last` is set; `None` if
    /// it leads to nothing. Links never lead out of the root.
    pub(crate) fn resolve(&self, path: &[u8], follow_last: bool) -> Option<Vec<u8>> {
        let mut left: VecDeque<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
        let mut at: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = if at.is_empty() { name } else { [&at[..], b"/", &name].concat() };
            match self.at(&next) {
                Node::Nothing => return None,
                Node::Symlink(target) if follow_last || !left.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(part.to_vec());
                    }
                }
                Node::Directory => at = next,
                Node::Symlink(_) | Node::Other if left.is_empty() => at = next,
                Node::Symlink(_) | Node::Other => return None,
            }
        }
        Some(at)
    }
}

/// Options of a merge that only looks.
pub(crate) fn plain_options(limits: &Limits) -> Options {
    Options {
        jobs: limits.threads(),
        hold_bytes: limits.hold_bytes(),
        max_unpacked_bytes: limits.max_unpacked_bytes,
        max_paths: limits.max_paths,
        ..Options::default()
    }
}

/// A path's names.
pub(crate) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// The layers of an image whose bytes can be had, and the numbers of those that cannot.
pub(crate) fn readable(layers: &[Descriptor]) -> (Vec<Descriptor>, Vec<usize>) {
    let missing: Vec<usize> =
        (0..layers.len()).filter(|at| crate::assemble::is_elsewhere(&layers[*at])).collect();
    let there = layers.iter().filter(|layer| !crate::assemble::is_elsewhere(layer)).cloned().collect();
    (there, missing)
}

/// Names of a source's layers in their merged order.
pub(crate) async fn read_image(
    source: &Source,
    descriptors: &[Descriptor],
    diff_ids: &DiffIds,
    limits: &Limits,
    progress: &Arc<Progress>,
) -> Result<(Tree, Summary), Error> {
    progress.expect(descriptors.len() as u64, descriptors.iter().map(Descriptor::size).sum());
    let layers = Layers::new(source, descriptors, false, limits.prefetch_bytes(), progress)
        .with_windows(limits.memory_bytes)
        .with_diff_ids(diff_ids);
    Tree::read(layers, descriptors, limits, progress).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests_support::{directory, file, symlink};

    fn merged_usr() -> Tree {
        Tree::new(
            [
                (&b"bin"[..], symlink(b"usr/bin")),
                (b"usr/bin/ls", file()),
                (b"lib", symlink(b"/usr/lib")),
                (b"usr/lib/x", file()),
                (b"etc", directory()),
                (b"loop", symlink(b"loop")),
                (b"up", symlink(b"../../etc")),
            ]
            .map(|(path, item)| (path.to_vec(), item))
            .into(),
        )
    }

    #[test]
    fn a_path_is_where_its_parents_links_lead() {
        let tree = merged_usr();
        let real =
            |path: &str| tree.resolve(path.as_bytes(), false).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(real("/bin/ls").as_deref(), Some("usr/bin/ls"));
        assert_eq!(real("lib/x").as_deref(), Some("usr/lib/x"));
        assert_eq!(real("bin").as_deref(), Some("bin"), "its own link is not followed");
        assert_eq!(tree.resolve(b"bin", true).as_deref(), Some(&b"usr/bin"[..]));
        assert_eq!(tree.resolve(b"up", true).as_deref(), Some(&b"etc"[..]), "never out of the root");
        assert_eq!(real("usr").as_deref(), Some("usr"), "a directory that no layer names");
        for nothing in ["etc/nope.d/x", "usr/bin/ls/x", "loop/x"] {
            assert_eq!(real(nothing), None, "{nothing}");
        }
    }
}
