//! The pipeline: source -> layers -> destination, with progress and one result type.
//!
//! What happens here: one [`SquashRequest`] becomes one [`SquashResult`]; an image is analysed ([`analyze()`]); two images
//! are compared ([`verify()`]); an image
//! gets a whiteout layer or another base. What does not: parsing arguments, Kubernetes, drawing progress bars.
//!
//! Invariants:
//! - the digest of a result depends on the source and the request alone;
//! - nothing is published before all of it was made, read to its verified end, and (if asked) read back;
//! - memory is bounded by [`request::Limits::memory_bytes`] and the number of paths, disk is not used.

mod analyze;
mod base;
mod cache;
mod decode;
mod edit;
mod encode;
mod error;
mod heap;
mod history;
mod image;
mod listing;
mod opened;
mod output;
mod place;
mod progress;
pub mod request;
pub mod result;
mod run;
mod source;
mod verify;
mod windows;

pub use analyze::{AnalyzeRequest, analyze};
pub use decode::LayerStream;
pub use edit::{RebaseRequest, RemoveRequest, rebase, remove};
pub use error::{Error, ErrorKind, registry_exit_code};
pub use heap::share_one_heap;
pub use history::{ImageHistory, Step, history};
pub use listing::Difference;
pub use opened::OpenedImage;
pub use progress::{Progress, Snapshot, Stage};
pub use request::SquashRequest;
pub use result::{PlatformResult, SquashResult};
pub use run::squash;
pub use verify::{VerifyRequest, VerifyResult, verify};
