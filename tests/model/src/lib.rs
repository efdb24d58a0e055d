//! What the engine is compared with inside one process: a plain [`model`] of merging and random layer
//! [`stack`]s.
//!
//! Apart from the proof, which runs programs and registries, so that a fuzz target builds in seconds what it
//! needs: this crate has no dependency but the engine's.
//!
//! Invariants: nothing but [`engine`] shares code with the engine's crates; every random input comes from a
//! seed that the failure prints.

pub mod engine;
pub mod model;
pub mod random;
pub mod stack;
