//! What one round of a merge tells the next.

use std::collections::{BTreeMap, BTreeSet};

use super::directory_attributes::AttributesByPath;
use crate::error::{Error, LayerError};
use crate::layer::LinkedSymlinks;

/// Most rounds that only find out where links lead: each may show more of them, and no runtime unpacks such
/// layers.
const MAX_LINK_ROUNDS: usize = 40;

/// What a round has to know before it begins, found out by those that came to nothing. Empty at first.
///
/// Each layer is put down once at most, links 40 times, and directories in two rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discoveries {
    /// Layers that are read for their names before they are read for their content.
    pub(crate) names_first: BTreeSet<usize>,
    /// Directories to write before all else, whose entries have to be found yet.
    pub(crate) wanted_directories: BTreeSet<Vec<u8>>,
    /// Their entries, by path.
    pub(crate) first_directories: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Hard links that turned out to be symlinks with paths below them.
    pub(crate) linked_symlinks: LinkedSymlinks,
    /// Attributes that directories have from lower ones.
    pub(crate) directory_attributes: AttributesByPath,
    /// How often some were found.
    link_rounds: usize,
}

impl Discoveries {
    /// The same, and a layer that contradicted what was written of it.
    pub(crate) fn with_names_first(mut self, layer: usize) -> Result<Self, Error> {
        // A layer whose names are known first has nothing to contradict; if it does, it is not the same
        // layer.
        if self.names_first.insert(layer) { Ok(self) } else { Err(LayerError::Changed.at(layer)) }
    }

    /// The same, and where links lead.
    pub(crate) fn with_linked_symlinks(mut self, discovered: LinkedSymlinks) -> Result<Self, Error> {
        let layer = discovered.keys().next().map_or(0, |(layer, _)| *layer as usize);
        let before = self.linked_symlinks.len();
        self.linked_symlinks.extend(discovered);
        self.link_rounds += 1;
        if self.linked_symlinks.len() == before {
            return Err(LayerError::Changed.at(layer));
        }
        if self.link_rounds > MAX_LINK_ROUNDS {
            return Err(LayerError::LinksToSymlinks.at(layer));
        }
        Ok(self)
    }

    /// The same, and directories whose entries have to be found.
    pub(crate) fn with_wanted_directories(self, wanted: BTreeSet<Vec<u8>>) -> Self {
        Self { wanted_directories: wanted, ..self }
    }

    /// The same, and what directories have from lower ones.
    pub(crate) fn with_directory_attributes(self, found: AttributesByPath) -> Self {
        Self { directory_attributes: found, ..self }
    }

    /// The same, and the entries of the directories that were looked for.
    pub(crate) fn with_first_directories(mut self, found: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        self.wanted_directories = BTreeSet::new();
        self.first_directories.extend(found);
        self
    }
}
