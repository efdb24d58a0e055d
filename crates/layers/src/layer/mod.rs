//! The rules within one layer (`docs/layer-semantics.md#rule-11`): which path each record is about, and what
//! it does to earlier records.
//!
//! Records come in the order of the archive. Paths and link targets are resolved through symlinks that the
//! same layer made before, never through those of other layers; a later record at a path wins.
//!
//! What happens here: [`LayerRules`] knows the records of one layer so far, whatever stores the paths
//! ([`PathStore`]). What does not: what a record does to lower layers (`merge::layer_state`), and what is
//! written when (`merge::writer`).
//!
//! # Example
//! ```
//! use unbloat_layers::layer::{EntryKind, LayerRules, Subject};
//! # use unbloat_layers::{layer::{NodeId, PathStore}, LayerError, tar::{Header, Kind, Meta}};
//! # #[derive(Default)] struct Paths(Vec<(NodeId, Vec<u8>)>);
//! # impl PathStore for Paths {
//! #     fn parent(&self, node: NodeId) -> NodeId { if node == 0 { 0 } else { self.0[node as usize - 1].0 } }
//! #     fn name(&self, node: NodeId) -> &[u8] { if node == 0 { b"" } else { &self.0[node as usize - 1].1 } }
//! #     fn child(&mut self, parent: NodeId, name: &[u8], _: bool) -> Result<NodeId, LayerError> {
//! #         let found = self.0.iter().position(|(above, known)| *above == parent && known == name);
//! #         Ok(found.unwrap_or_else(|| { self.0.push((parent, name.to_vec())); self.0.len() - 1 }) as NodeId + 1)
//! #     }
//! # }
//! # let (mut lib, mut file) = (Header::made(Kind::Symlink, Meta::default()), Header::made(Kind::Regular, Meta::default()));
//! # (lib.path, lib.link, file.path) = (b"lib".to_vec(), b"usr/lib".to_vec(), b"lib/libc.so".to_vec());
//! # let mut paths = Paths::default();
//! let mut layer = LayerRules::default();
//! // `lib -> usr/lib`, and then `lib/libc.so`: the file is about `usr/lib/libc.so`.
//! let placed = layer.place(&mut paths, &lib)?;
//! layer.add(&paths, &placed, EntryKind::Content, 0, Some(b"usr/lib".as_slice().into()));
//! let placed = layer.place(&mut paths, &file)?;
//! assert_eq!((placed.subject, placed.moved), (Subject::Entry, true));
//! # Ok::<_, LayerError>(())
//! ```
mod links;
mod rules;
mod walk;

pub use links::{LinkTarget, LowerTarget, ResolvedLink};
pub use rules::{EntryKind, LayerRules, LocalEntry, Placed, Subject};
pub use walk::{MAX_SYMLINKS, follow};

use crate::error::LayerError;

/// Index of a path in a [`PathStore`].
pub type NodeId = u32;

/// The root of the image in every [`PathStore`].
pub const ROOT: NodeId = 0;

/// Where paths are stored.
pub trait PathStore {
    /// The node above `node`; the root is above itself.
    fn parent(&self, node: NodeId) -> NodeId;

    /// The last component of a path; empty for the root.
    fn name(&self, node: NodeId) -> &[u8];

    /// The node of `name` below `parent`, made when it is new. `invisible` tells that it is AUFS bookkeeping.
    ///
    /// # Errors
    /// The store takes no more paths.
    fn child(&mut self, parent: NodeId, name: &[u8], invisible: bool) -> Result<NodeId, LayerError>;
}

/// Where a symlink leads, as written. The hard links to it share it.
pub type SymlinkTarget = std::sync::Arc<[u8]>;

/// A link entry: its layer, and its record's number there.
pub type LinkEntry = (u32, u32);

/// Where hard links to symlinks of lower layers lead.
pub type LinkedSymlinks = std::collections::BTreeMap<LinkEntry, SymlinkTarget>;
