//! A browser for the layers of an image, in a terminal.
//!
//! What happens here: all layers become one compact [`Catalogue`] in one pass ([`read`]); a [`View`] of it is a list of lines;
//! an [`App`] turns keys into views and views into a screen; [`run`] does that on the process's terminal. What does not:
//! finding the image and opening its layers, which come as a [`unbloat_layers::LayerSource`].
//!
//! Invariants:
//! - nothing is read after the catalogue is made, but for a file that is extracted;
//! - no byte of a name reaches the terminal but through [`printable`].

mod app;
mod catalogue;
mod command;
mod escape;
mod extract;
mod human;
mod terminal;
mod view;

pub use app::{App, Effect, Image, Layer};
pub use catalogue::{Catalogue, Content, LayerTotals, Limits, Sort, Status, Version, read};
pub use command::{Mark, Marks, SquashCommand};
pub use escape::{is_unsafe, printable};
pub use extract::{ExtractError, Extraction, copy_content};
pub use terminal::{Ended, NotATerminal, require_terminal, run};
pub use view::{Order, Row, Scope, Sign, View};
