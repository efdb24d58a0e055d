//! The pipeline: source -> layers -> destination, with progress and one result type.
//!
//! What happens here: one [`SquashRequest`](unbloat_contract::SquashRequest) becomes one
//! [`SquashResult`](unbloat_contract::SquashResult); an image is analysed ([`analyze()`]); two images
//! are compared ([`verify()`]); an image
//! gets a whiteout layer or another base. What does not: parsing arguments, Kubernetes, drawing progress bars.
//!
//! Invariants:
//! - the digest of a result depends on the source and the request alone;
//! - nothing is published before all of it was made, read to its verified end, and (if asked) read back;
//! - memory is bounded by [`Limits::memory_bytes`](unbloat_contract::Limits::memory_bytes) and the number of paths, disk is not used.

mod analyze;
mod assemble;
mod base;
mod cache;
mod conflicts;
mod decode;
mod diff_ids;
mod encode;
mod error;
mod heap;
mod history;
mod image;
mod listing;
mod open;
mod opened;
mod output;
mod place;
mod progress;
mod rebase;
mod remove;
mod run;
mod source;
mod tree;
mod verify;
mod windows;

pub use analyze::analyze;
pub use decode::LayerStream;
pub use error::{Error, kind_of_registry};
pub use heap::share_one_heap;
pub use history::{ImageHistory, Step, history};
pub use listing::Difference;
pub use opened::OpenedImage;
pub use progress::Progress;
pub use rebase::rebase;
pub use remove::remove;
pub use run::squash;
pub use verify::{VerifyResult, verify};
