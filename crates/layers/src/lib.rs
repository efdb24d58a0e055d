//! Reading, merging and writing the layers of a container image.
//!
//! What happens here: decoded layers come in as streams of chunks, every tar dialect that a layer may have is
//! read ([`tar`]), layers are merged by the rules of the OCI image spec ("Applying Changesets") as containerd
//! on overlayfs applies them ([`merge`]), and one tar stream goes out, entry by entry, while the layers are
//! still being read. What does not: opening blobs, codecs, digests, manifests, networks. A layer is a
//! [`LayerSource`], the result an [`Output`]; where bytes come from and go to is their matter.
//!
//! # Invariants
//! - No path of the result leads outside its root, and no entry is dropped silently: it survives, is hidden,
//!   or is an error.
//! - The result depends on the layers and the options alone: not on threads, chunk sizes, memory or time.
//! - Memory is [`Options::hold_bytes`], a few chunks for each thread, and at most 150 bytes a path.
//! - Content is never copied: a [`Piece`] is a part of the decoder's own buffer.
//!
//! # Where to look
//! - which name is a whiteout or an opaque mark: [`name`]; which path a record or a mark is about, and what
//!   it does within its layer: [`layer`] (`LayerRules::place`);
//! - what a whiteout or an entry does to lower layers: `merge::layer_state` (`LayerState::whiteout`); whether
//!   something is hidden in the end: `Tree::is_hidden` in `tree`, by the moments of `visibility`, to which
//!   `LayerState::is_hidden` adds the layer's own records; removals that were asked for: `Tree::is_removed`;
//! - a new warning: [`WarningKind`], raised in `merge::layer_state` and `merge::mark_warnings`, or for the
//!   whole image in `merge::round`; told in `docs/layer-semantics.md` and the table of `docs/merging.md`;
//! - who reads which layer, and what is written when: `merge::scheduler`, `merge::writer`; hard links:
//!   `merge::hard_links`;
//! - the rules by number: `docs/layer-semantics.md`.
//!
//! # Example
//! ```
//! use unbloat_layers::{MemoryLayers, Options, flatten, tar};
//!
//! // Two files, and a layer above that takes one of them away.
//! let lower = tar::empty_files([b"kept".as_slice(), b"gone"].into_iter());
//! let upper = tar::empty_files([b".wh.gone".as_slice()].into_iter());
//! let layers = MemoryLayers { layers: vec![lower.into(), upper.into()], chunk_bytes: 1 << 20 };
//!
//! let (merged, _summary) = flatten(&layers, &Options::default())?;
//! assert!(merged.starts_with(b"kept\0"));
//! assert!(!merged.windows(4).any(|bytes| bytes == b"gone"));
//! # Ok::<(), unbloat_layers::Error>(())
//! ```
mod chunk;
mod collections;
mod error;
pub mod layer;
mod lock;
mod memory;
mod merge;
pub mod name;
mod pattern;
pub mod tar;
#[doc(hidden)]
pub mod tree;
mod visibility;
mod warning;
pub use chunk::{Chunk, ChunkSource, Piece};
pub use error::{BoxError, Error, LayerError, display};
pub use memory::{MemoryLayers, MemoryStream, flatten};
pub use merge::{
    HeaderSink, Known, LayerSource, LayerState, MarkedDirectory, Options, Output, Registered, Summary,
    Written, merge, warnings_of_marks,
};
pub use name::{MAX_NAME, NameError};
#[doc(hidden)]
pub use pattern::Patterns;
pub use visibility::MAX_LAYERS;
pub use warning::{Warning, WarningKind, Warnings};
