//! Why bytes are wasted: a table of rules, tried in order for each path; the first that fits is the path's
//! cause.
//!
//! A rule is a row of [`TABLE`]: names that it looks for, a condition on what the layers did to the path, and
//! what to say. To add a cause, add a row; `docs/causes.md` is made from the table. A row stands before those
//! that it is more specific than; the last ones take every path, so that the bytes of all causes together are
//! the wasted bytes of the image.

mod names;
mod past;
mod table;

pub(super) use names::Names;
pub(super) use past::{Past, Upgrades, ZEROS_FROM, upgrades};
pub(super) use table::{DUPLICATES, SECRETS, Scope};
pub use table::{Rule, TABLE};
