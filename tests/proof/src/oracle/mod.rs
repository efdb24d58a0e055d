//! Unpackers that no one here wrote, and the walk over what they unpacked.
//!
//! What happens here: an image goes through containerd's overlayfs snapshotter or through `umoci raw unpack`,
//! and the result is read with system calls into the model's [`Tree`](crate::model::Tree). What does not: any
//! judgement on how layers merge.
//!
//! Invariants: each daemon has its own root, state and socket in a temporary folder and ends with its value.

mod containerd;
mod docker;
mod umoci;
mod walk;

pub use containerd::Containerd;
pub use docker::Docker;
pub use umoci::unpack;
pub use walk::{trees_differ, walk};
