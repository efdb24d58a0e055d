//! What the operator's tests on a real cluster share: the operator as a process with just its own rights, the worker's
//! image, layered images to squash, and words for ImageSquashJobs.

mod binaries;
mod image;
mod jobs;
mod operator;

pub use binaries::binary;
pub use image::{Layered, program_image, unpack_digest_script};
pub use jobs::{Jobs, job, reason};
pub use operator::{Ground, Operator, WORKER_IMAGE};
