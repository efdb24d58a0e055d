//! Walking down a path through symlinks, inside the root.

use super::{LayerRules, LinkTarget, NodeId, PathStore, ROOT};
use crate::error::{LayerError, display};
use crate::name::{self, NameError};

/// Most symlinks that one name may lead through, as Linux has it.
pub const MAX_SYMLINKS: usize = 40;

impl LayerRules {
    /// The node of a record's parent directory, and whether a symlink led there.
    pub(super) fn parent_of(
        &mut self,
        paths: &mut impl PathStore,
        raw: &[u8],
        directory: &[&[u8]],
    ) -> Result<(NodeId, bool), LayerError> {
        // Archives list a directory's children one after the other.
        let end = raw.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let simple = !raw.ends_with(b"/") && !raw.ends_with(b"/.") && !raw.ends_with(b"..");
        if simple
            && !self.has_replacements
            && let Some(cached) = self.cached.filter(|_| self.cached_directory == raw[..end])
        {
            return Ok(cached);
        }
        let found = self.walk(paths, raw, directory)?;
        if simple && !self.has_replacements {
            self.cached_directory.clear();
            self.cached_directory.extend_from_slice(&raw[..end]);
            self.cached = Some(found);
        }
        Ok(found)
    }

    /// Walks down `directory` through symlinks of this layer; tells the node and whether there were some.
    /// `raw` is for messages.
    ///
    /// # Errors
    /// A loop of symlinks, and a name that no path can have.
    pub fn walk(
        &mut self,
        paths: &mut impl PathStore,
        raw: &[u8],
        directory: &[&[u8]],
    ) -> Result<(NodeId, bool), LayerError> {
        let refuse = |reason: NameError| LayerError::Name { path: display(raw), reason };
        let mut at = ROOT;
        let mut followed = 0;
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut next = directory.iter();
        loop {
            let owned;
            let part: &[u8] = match pending.pop() {
                Some(part) => {
                    owned = part;
                    &owned
                }
                None => match next.next() {
                    Some(part) => part,
                    None => return Ok((at, followed > 0)),
                },
            };
            match part {
                b"" | b"." => continue,
                // Only a symlink's target still has these; at the root they stay there.
                b".." => {
                    at = paths.parent(at);
                    continue;
                }
                _ => {}
            }
            let aufs = name::is_aufs_directory(part).map_err(refuse)?;
            let node = paths.child(at, part, aufs)?;
            let Some(target) = self.symlink_at(paths, node) else {
                self.go_below(paths, node);
                at = node;
                continue;
            };
            followed += 1;
            if followed > MAX_SYMLINKS {
                return Err(refuse(NameError::SymlinkLoop));
            }
            if target.contains(&0) || target.len() > name::MAX_NAME {
                return Err(refuse(NameError::TooLong));
            }
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            pending.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
    }

    /// A path leads below `node`. Where that is a link to a file of a lower layer, it may be a symlink, as
    /// only that layer can tell.
    fn go_below(&mut self, paths: &impl PathStore, node: NodeId) {
        if self.lower.is_empty() {
            return;
        }
        let Some(entry) = self.standing(paths, node) else { return };
        if let Some((_, LinkTarget::Lower(index))) = self.links.get(&entry.record()) {
            self.lower[*index].led.insert((self.layer, entry.record()));
        }
    }
}

/// Where `target` is when `symlink`, one of its parents, leads to `to`. `None` for a name that no file can
/// have.
///
/// # Errors
/// The store takes no more paths.
pub fn follow(
    paths: &mut impl PathStore,
    symlink: NodeId,
    to: &[u8],
    target: NodeId,
) -> Result<Option<NodeId>, LayerError> {
    let mut rest = Vec::new();
    let mut at = target;
    while at != symlink {
        rest.push(paths.name(at).to_vec());
        at = paths.parent(at);
    }
    rest.reverse();
    let mut at = if to.first() == Some(&b'/') { ROOT } else { paths.parent(symlink) };
    for part in to.split(|byte| *byte == b'/').chain(rest.iter().map(Vec::as_slice)) {
        match part {
            b"" | b"." => {}
            b".." => at = paths.parent(at),
            part if part.contains(&0) => return Ok(None),
            part => match name::is_aufs_directory(part) {
                Ok(aufs) => at = paths.child(at, part, aufs)?,
                Err(_) => return Ok(None),
            },
        }
    }
    Ok(Some(at))
}
