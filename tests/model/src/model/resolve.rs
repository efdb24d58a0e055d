//! Where a path leads, as somebody walks who is inside the image.

use std::collections::VecDeque;

use super::{
    names::{join, parent},
    tree::{Kind, Tree},
};

/// As many links as the kernel follows on one way.
const MOST_LINKS: usize = 40;

impl Tree {
    /// The real path of `path`: links of its parents are followed, and its own with `follow_last`. `None`
    /// where it leads to nothing, or round in a circle.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Option<Vec<u8>> {
        let mut left: VecDeque<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let mut at = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at = parent(&at).unwrap_or_default().to_vec();
                    continue;
                }
                _ => {}
            }
            if !self.is_directory(&at) {
                return None;
            }
            let next = join(&at, &name);
            match &self.get(&next)?.kind {
                Kind::Symlink(target) if follow_last || !left.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        left.push_front(part.to_vec());
                    }
                }
                _ => at = next,
            }
        }
        Some(at)
    }
}
