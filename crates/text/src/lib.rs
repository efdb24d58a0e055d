//! What people read, the same wherever it is shown: sizes ([`bytes`]), names from an image ([`printable`],
//! [`terminal`]), words of a shell's command line ([`quote`]), a command that is ready to run
//! ([`SquashCommand`]), and text that has to fit ([`fit`]).
//!
//! What does not happen here: markup of pages and reports, which is the matter of who writes them.
//!
//! ```
//! assert_eq!(unbloat_text::bytes(221_000_000), "210.8 MiB");
//! assert_eq!(unbloat_text::terminal("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
//! assert_eq!(unbloat_text::quote("/a b"), "'/a b'");
//! ```
//!
//! # Invariants
//! - Nothing that [`printable`], [`terminal`] or [`quote`] gives holds a character that a terminal acts on.
//! - A shell gives back the text of [`quote`] as one word.

mod escape;
mod fit;
mod number;
mod sanitize;
mod shell;
mod squash_command;

pub use escape::{is_unsafe, printable, terminal};
pub use fit::{bounded, fit, fit_end, wrap};
pub use number::{bytes, bytes_in_column, count, parse_bytes, signed_bytes};
pub use sanitize::sanitize;
pub use shell::{pattern, quote};
pub use squash_command::SquashCommand;
