//! What the operator's tests on a real cluster share: the operator as a process with just its own rights, the
//! worker's image, layered images to squash, and words for ImageSquashJobs.

mod binaries;
mod gates;
pub mod helm;
mod image;
mod jobs;
mod operator;
mod policies;
pub mod reach;

pub use binaries::{are_quick, command, product_image};
pub use gates::{Gates, Stage};
pub use image::{Layered, digest, list_tree_script, manifest_of};
pub use jobs::{Jobs, job, reason};
pub use operator::{CA_CONFIG_MAP, Ground, Operator, WORKER_IMAGE, fresh};
pub use policies::{LONG, deployment, image_of, patch_policy, policy, ready, report};
