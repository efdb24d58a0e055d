//! An analysis as one page for a browser.
//!
//! What happens here: an [`Analysis`] becomes a self-contained HTML file ([`page`]) that shows the layers, a treemap of the
//! wasted bytes, causes and advice, a table of paths and the tree by layer. What does not: analysing.
//!
//! Invariants:
//! - the page loads nothing and sends nothing: its content security policy allows its own style and script, by their hashes;
//! - no byte of a name is markup: the data is JSON without a `<`, and the script sets text only as text.

mod data;
mod file;
mod page;

pub use file::{PageError, PageFile};
pub use page::{PATHS, page};
#[doc(no_inline)]
pub use unbloat_analysis::Analysis;
