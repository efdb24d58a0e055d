//! Images whose results are written down: what moves code about must not move a digest.
//!
//! What happens here: some 200 [`cases()`], each an image, a place that it is read from, one that its result
//! goes to, and options of `unbloat squash`; and the [`table`] of what came out. What does not: saying what
//! would be right. The table was written by a program that the rest of the proof had found right, and a
//! change of the rules changes it on purpose: `UNBLOAT_GOLDEN=write cargo test -p unbloat-proof --test
//! golden` writes it anew, and the commit says why.
//!
//! Invariant: the images are the same for ever. Random stacks are kept as the bytes that they were
//! (`stacks.json.zst`), so that a generator that learns more does not make others of them.

mod cases;
pub mod table;

pub use cases::{Case, Input, Place, cases, pack};
