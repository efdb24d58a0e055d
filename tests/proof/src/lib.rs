//! Proof from outside: that a squashed image is the same file system as its original.
//!
//! What happens here: the plain [`model`] and random layer [`stack`]s (of `tests/model`) against [`image`]s
//! on disk, unpackers that no one here wrote ([`oracle`]), real registries ([`registry`]), the incident at
//! full size ([`incident`]), and the built command as a user runs it ([`command`]). What does not: anything
//! that the product needs; no product crate depends on this.
//!
//! Invariants: nothing but [`engine`] shares code with the engine's crates; every random input comes from a
//! seed that the failure prints.

pub mod bench;
pub mod browser;
pub mod command;
pub mod golden;
pub mod image;
pub mod incident;
pub mod oracle;
pub mod proxy;
pub mod ready;
pub mod registry;
pub mod terminal;
pub mod tools;

pub use unbloat_model::{engine, model, random, stack};
