//! What layers use of what is below them: the directories that they write into, the names that they take, the
//! targets of their links. Each where the rules within a layer put it, so that `c/x` above a symlink `c` of
//! the same layer is about where the symlink leads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use unbloat_contract::Limits;
use unbloat_layers::layer::{
    EntryKind, LayerRules, LinkTarget, LinkedSymlinks, NodeId, PathStore, ROOT, Subject,
};
use unbloat_layers::tar::{Header, Kind, Meter, TarReader};
use unbloat_layers::{BoxError, LayerError};
use unbloat_oci::Descriptor;
use unbloat_registry::Source;

use crate::error::{Error, layer_error};
use crate::progress::Progress;
use crate::source::Layers;

/// What some layers use, by path.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Directories that they write into, and whether they name each themselves.
    pub(super) folders: BTreeMap<Vec<u8>, bool>,
    /// Names that they give to something that is no directory, or take away.
    pub(super) replaced: BTreeSet<Vec<u8>>,
    /// Targets of hard links.
    pub(super) linked: BTreeSet<Vec<u8>>,
    pub(super) symlinks: BTreeSet<Vec<u8>>,
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
        let mut paths = Paths::new(limits.max_paths);
        let reading = tokio::task::spawn_blocking(move || {
            let meter = Arc::new(Meter::new(most));
            let mut uses = Self::default();
            for layer in 0..count {
                let failed = |source: LayerError| unbloat_layers::Error::Layer { layer, source };
                let stream =
                    layers.open_one(layer).map_err(|error: BoxError| failed(LayerError::Stream(error)))?;
                let mut reader = TarReader::new(stream, layer, Arc::clone(&meter));
                let mut rules = LayerRules::new(layer as u32, LinkedSymlinks::new());
                let mut raw = Vec::new();
                while let Some(header) = reader.next(&mut raw).map_err(failed)? {
                    uses.note(&mut rules, &mut paths, &header).map_err(failed)?;
                }
            }
            Ok(uses)
        });
        let read = reading.await.map_err(|panic| Error::Internal(panic.to_string()))?;
        read.map_err(|error| layer_error(error, descriptors, progress))
    }

    pub(super) fn note(
        &mut self,
        rules: &mut LayerRules,
        paths: &mut Paths,
        header: &Header,
    ) -> Result<(), LayerError> {
        let placed = rules.place(paths, header)?;
        // Bookkeeping of AUFS, which no runtime shows.
        if paths.is_invisible(placed.node) {
            return Ok(());
        }
        let path = paths.path(placed.node);
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            self.folders.entry(path[..at].to_vec()).or_insert(false);
        }
        match placed.subject {
            Subject::Opaque => {
                rules.imply(paths, placed.node, placed.record);
                self.folders.entry(path.clone()).or_insert(false);
                // It hides whatever a directory there holds.
                self.replaced.insert(path);
                return Ok(());
            }
            Subject::Whiteout | Subject::WhiteoutDevice => {
                self.replaced.insert(path);
                return Ok(());
            }
            Subject::Entry => {}
        }
        let mut leads_to = None;
        let kind = match header.kind {
            Kind::Directory => {
                self.folders.insert(path, true);
                EntryKind::Directory
            }
            Kind::HardLink => {
                let resolved = rules.resolve_link(paths, header, placed.node)?;
                rules.note_link(placed.record, placed.node, resolved.leads_to);
                if let LinkTarget::Lower(index) = resolved.leads_to {
                    let target = paths.path(rules.lower()[index].target);
                    // Not what a layer between brought.
                    if !self.replaced.contains(&target) {
                        self.linked.insert(target);
                    }
                }
                self.replaced.insert(path);
                leads_to = resolved.symlink;
                EntryKind::Link
            }
            Kind::Symlink => {
                self.symlinks.insert(path.clone());
                self.replaced.insert(path);
                leads_to = Some(header.link.as_slice().into());
                EntryKind::Content
            }
            Kind::Regular | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.replaced.insert(path);
                EntryKind::Content
            }
        };
        rules.add(paths, &placed, kind, 0, leads_to);
        Ok(())
    }

    pub(crate) fn has_symlinks(&self) -> bool {
        !self.symlinks.is_empty()
    }
}

/// Every path that the layers name.
#[derive(Debug)]
pub(super) struct Paths {
    /// Of each, the one above it, its name, and whether it is AUFS bookkeeping.
    nodes: Vec<(NodeId, Box<[u8]>, bool)>,
    index: HashMap<(NodeId, Box<[u8]>), NodeId>,
    most: u64,
}

impl Paths {
    pub(super) fn new(most: u64) -> Self {
        let root = (ROOT, Box::default(), false);
        Self { nodes: vec![root], index: HashMap::new(), most: most.min(u64::from(u32::MAX) - 1) }
    }

    fn is_invisible(&self, node: NodeId) -> bool {
        self.nodes[node as usize].2
    }

    /// From the root, without a slash at its beginning.
    fn path(&self, node: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(self.name(at));
            at = self.parent(at);
        }
        names.reverse();
        names.join(&b'/')
    }
}

impl PathStore for Paths {
    fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].0
    }

    fn name(&self, node: NodeId) -> &[u8] {
        &self.nodes[node as usize].1
    }

    fn child(&mut self, parent: NodeId, name: &[u8], invisible: bool) -> Result<NodeId, LayerError> {
        let key = (parent, Box::from(name));
        if let Some(found) = self.index.get(&key) {
            return Ok(*found);
        }
        if self.nodes.len() as u64 >= self.most {
            return Err(LayerError::PathLimit { limit: self.most });
        }
        let id = self.nodes.len() as NodeId;
        self.nodes.push((parent, Box::from(name), invisible || self.is_invisible(parent)));
        self.index.insert(key, id);
        Ok(id)
    }
}
