//! An analysis as one page for a browser.
//!
//! What happens here: an [`Analysis`] becomes a self-contained HTML file ([`page`]) that shows the layers, a
//! treemap of the wasted bytes, causes and advice, a table of paths and the tree by layer. What does not:
//! analysing.
//!
//! Invariants:
//! - the page loads nothing and sends nothing: its content security policy allows its own style and script,
//!   by their hashes;
//! - no byte of a name is markup: the data is JSON without a `<`, and the script sets text only as text.
//!
//! # Example
//! ```
//! use unbloat_analysis::{AnalysisOptions, ImageFacts, LayerFacts, analyze};
//! use unbloat_layers::{MemoryLayers, tar};
//!
//! let layer = tar::empty_files(std::iter::once(b"<script>".as_slice()));
//! let layers = MemoryLayers { layers: vec![layer.into()], chunk_bytes: 1 << 20 };
//! let facts = ImageFacts { layers: vec![LayerFacts::default()], ..ImageFacts::default() };
//! let options = AnalysisOptions { detailed: true, top: None, ..AnalysisOptions::default() };
//!
//! let page = unbloat_report::page(&analyze(&layers, &facts, &options)?);
//! assert!(page.starts_with("<!doctype html>"));
//! assert!(!page.contains("/<script>"), "a name is never markup");
//! # Ok::<(), unbloat_layers::Error>(())
//! ```

mod data;
mod file;
mod page;

pub use file::{PageError, PageFile};
pub use page::{PATHS, page};
#[doc(no_inline)]
pub use unbloat_analysis::Analysis;
