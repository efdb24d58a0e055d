//! A browser for the layers of an image, in a terminal.
//!
//! What happens here: all layers become one compact [`Catalogue`] in one pass ([`read`]); a [`View`] of it is
//! a list of lines; an [`App`] turns keys into views and views into a screen; [`run`] does that on the
//! process's terminal. What does not: finding the image and opening its layers, which come as a
//! [`unbloat_layers::LayerSource`].
//!
//! Invariants:
//! - nothing is read after the catalogue is made, but for a file that is extracted;
//! - no byte of a name reaches the terminal but through [`unbloat_text::printable`].
//!
//! # Example
//! ```
//! use unbloat_explore::{Limits, View, read};
//! use unbloat_layers::{MemoryLayers, tar};
//!
//! let lower = tar::empty_files([b"etc/hosts".as_slice(), b"etc/motd"].into_iter());
//! let upper = tar::empty_files([b"etc/.wh.motd".as_slice()].into_iter());
//! let layers = MemoryLayers { layers: vec![lower.into(), upper.into()], chunk_bytes: 1 << 20 };
//!
//! let catalogue = read(&layers, 2, &Limits::default())?;
//! let motd = catalogue.find(b"/etc/motd").expect("a layer had it");
//! assert_eq!(catalogue.versions(motd).len(), 2, "brought by one layer, taken away by the next");
//! assert!(!View::new(&catalogue).rows().is_empty());
//! # Ok::<(), unbloat_layers::Error>(())
//! ```

mod app;
mod catalogue;
mod command;
mod extract;
mod permissions;
mod terminal;
mod view;

pub use app::{App, Effect, Image, Layer};
pub use catalogue::{Catalogue, Content, LayerTotals, Limits, Sort, Status, Version, read};
pub use command::{Mark, Marks};
pub use extract::{ExtractError, Extraction, copy_content};
pub use terminal::{Ended, NotATerminal, require_terminal, run};
pub use view::{Order, Row, Scope, Sign, View};
