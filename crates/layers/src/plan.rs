//! What one round of a merge tells the next.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, LayerError};
use crate::hardlink::Leads;

/// Most rounds that only find out where links lead: each may show more of them, and no runtime unpacks such layers.
const MAX_LEADS_ROUNDS: usize = 40;

/// What a merge has to know before it begins, learnt from one that came to nothing. Empty at first.
///
/// Each layer is put down once at most, links 40 times, and directories in two rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Layers that are read for their names before they are read for their content.
    pub names_first: BTreeSet<usize>,
    /// Directories to write before all else, whose entries have to be found yet.
    pub(crate) wanted: BTreeSet<Vec<u8>>,
    /// Their entries, by path.
    pub(crate) directories_first: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Hard links that turned out to be symlinks with paths below them.
    pub(crate) leads: Leads,
    /// How often some were found.
    pub(crate) leads_rounds: usize,
}

impl Plan {
    /// The same, and a layer that contradicted what was written of it.
    pub(crate) fn with_names_first(&self, layer: usize) -> Result<Self, Error> {
        let mut plan = self.clone();
        // A layer whose names are known first has nothing to contradict; if it does, it is not the same layer.
        if plan.names_first.insert(layer) { Ok(plan) } else { Err(LayerError::Changed.at(layer)) }
    }

    /// The same, and where links lead.
    pub(crate) fn with_leads(&self, learnt: Leads) -> Result<Self, Error> {
        let mut plan = self.clone();
        let layer = learnt.keys().next().map_or(0, |(layer, _)| *layer as usize);
        plan.leads.extend(learnt);
        plan.leads_rounds += 1;
        if plan.leads.len() == self.leads.len() {
            return Err(LayerError::Changed.at(layer));
        }
        if plan.leads_rounds > MAX_LEADS_ROUNDS {
            return Err(LayerError::LinksToSymlinks.at(layer));
        }
        Ok(plan)
    }
}
