//! `--follow-symlinked-parents`: a path below a lower layer's symlink goes through the link, as a runtime
//! that applies layers to one folder does, instead of replacing it (`docs/layer-semantics.md#section-3`).
//!
//! Which symlinks a path meets depends on the layers below it, so this one option costs a read of all headers
//! first, from the lowest layer up. What comes out is a list of records with other paths; the merge itself is
//! the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::options::Options;
use super::source::LayerSource;
use crate::chunk::ChunkSource;
use crate::collections::HashMap;
use crate::error::{Error, LayerError, display};
use crate::layer::MAX_SYMLINKS;
use crate::name::{self, Mark, NameError};
use crate::tar::{Header, Kind, Meter, TarReader};

/// A record's path and link target as they are after the symlinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    path: Vec<u8>,
    link: Vec<u8>,
}

/// Records to rewrite, by layer and number.
pub(crate) type Rewrites = HashMap<(u32, u32), Rewrite>;

/// Reads all headers from the lowest layer up for the symlinks that paths of higher layers lead through.
pub(super) fn read_symlinks<S: LayerSource>(
    source: &S,
    layers: usize,
    options: &Options,
) -> Result<Rewrites, Error> {
    let meter = Arc::new(Meter::new(options.max_unpacked_bytes));
    let mut follower = Follower::default();
    for layer in 0..layers {
        let stream = source.open(layer).map_err(|error| LayerError::Stream(error).at(layer))?;
        let mut reader = TarReader::new(stream, layer, Arc::clone(&meter));
        follower.layer(layer as u32, &mut reader).map_err(|error| error.at(layer))?;
    }
    Ok(follower.rewrites)
}

/// The symlinks that the layers so far show.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    symlinks: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
    rewrites: Rewrites,
}

impl Follower {
    /// Takes the next layer up.
    ///
    /// # Errors
    /// Those of reading it, and a symlink loop.
    pub(crate) fn layer<S: ChunkSource>(
        &mut self,
        layer: u32,
        reader: &mut TarReader<S>,
    ) -> Result<(), LayerError> {
        let mut raw = Vec::new();
        let mut ord = 0;
        while let Some(header) = reader.next(&mut raw)? {
            self.record(layer, ord, &header)?;
            ord += 1;
        }
        Ok(())
    }

    fn record(&mut self, layer: u32, ord: u32, header: &Header) -> Result<(), LayerError> {
        let path = self.resolve(&header.path)?;
        let link = match header.kind {
            Kind::HardLink => self.resolve(&header.link)?,
            _ => header.link.clone(),
        };
        let moved =
            path != plain(&header.path)? || (header.kind == Kind::HardLink && link != plain(&header.link)?);
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let parent = &path[..path.len() - base.len()];
        match name::mark(base) {
            Ok(Mark::Opaque) => self.forget_below(parent, Some(layer)),
            Ok(Mark::Whiteout(hidden)) => {
                let target = [parent, hidden].concat();
                if self.symlinks.get(&target).is_some_and(|(made, _)| *made < layer) {
                    self.symlinks.remove(&target);
                }
                self.forget_below(&[&target[..], b"/"].concat(), Some(layer));
            }
            _ => {
                self.symlinks.remove(&path);
                if header.kind != Kind::Directory {
                    self.forget_below(&[&path[..], b"/"].concat(), None);
                }
                if header.kind == Kind::Symlink {
                    self.symlinks.insert(path.clone(), (layer, header.link.clone()));
                }
            }
        }
        if moved {
            self.rewrites.insert((layer, ord), Rewrite { path, link });
        }
        Ok(())
    }

    /// Forgets symlinks below a prefix that ends in a slash; those of lower layers only, for a mark of layer
    /// `before`.
    fn forget_below(&mut self, prefix: &[u8], before: Option<u32>) {
        let below: Vec<_> = self
            .symlinks
            .range(prefix.to_vec()..)
            .take_while(|(path, _)| path.starts_with(prefix))
            .filter(|(_, (made, _))| before.is_none_or(|before| *made < before))
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.symlinks.remove(&path);
        }
    }

    /// The path with all its parents followed; its last component stays.
    fn resolve(&self, raw: &[u8]) -> Result<Vec<u8>, LayerError> {
        let refuse = |reason| LayerError::Name { path: display(raw), reason };
        let mut parts = Vec::new();
        name::components(raw, &mut parts).map_err(refuse)?;
        let mut pending: Vec<Vec<u8>> = parts.iter().rev().map(|part| part.to_vec()).collect();
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut followed = 0;
        while let Some(part) = pending.pop() {
            match part.as_slice() {
                b"" | b"." => {}
                b".." => {
                    at.pop();
                }
                _ => {
                    at.push(part);
                    if pending.is_empty() {
                        break;
                    }
                    let Some((_, target)) = self.symlinks.get(&at.join(&b'/')) else { continue };
                    followed += 1;
                    if followed > MAX_SYMLINKS {
                        return Err(refuse(NameError::SymlinkLoop));
                    }
                    at.pop();
                    if target.first() == Some(&b'/') {
                        at.clear();
                    }
                    pending.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
            }
        }
        let path = at.join(&b'/');
        if path.len() > name::MAX_NAME { Err(refuse(NameError::TooLong)) } else { Ok(path) }
    }
}

impl Rewrite {
    pub(crate) fn apply(&self, header: &mut Header) {
        header.path.clone_from(&self.path);
        header.link.clone_from(&self.link);
        header.verbatim = false;
    }
}

fn plain(raw: &[u8]) -> Result<Vec<u8>, LayerError> {
    let mut parts = Vec::new();
    name::components(raw, &mut parts).map_err(|reason| LayerError::Name { path: display(raw), reason })?;
    Ok(parts.join(&b'/'))
}
