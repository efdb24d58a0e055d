//! What the parts tell each other: what is asked for, how far it is, what came of it, why it failed.
//!
//! What happens here: types that are written and read as JSON, and the arithmetic that belongs to them. What
//! does not: I/O, parsing of image references, anything of Kubernetes or of the engine. So the operator can
//! ask for a squash without being able to do one.
//!
//! Invariants:
//! - a thing has one type: command, engine, worker and operator use the same request, figures and exit codes;
//! - what an older release wrote can be read: fields are added with a default, and names stay.
//!
//! # Example
//! ```
//! use unbloat_contract::{Compression, SquashRequest};
//!
//! let request = SquashRequest {
//!     truncate: vec!["/var/log/btmp".into()],
//!     ..SquashRequest::new("registry.example/devbox:today", "registry.example/devbox:flat")
//! };
//! let sent = serde_json::to_string(&request)?;
//! assert!(sent.contains(r#""truncate":["/var/log/btmp"]"#));
//!
//! // Fields that an older writer did not know have defaults.
//! let read: SquashRequest = serde_json::from_str(r#"{"source": "a.example/b:c", "destination": "oci:here:c"}"#)?;
//! assert_eq!(read.compression, Compression::Keep);
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod analysis;
pub mod exit;
pub mod failure;
pub mod figures;
pub mod format;
pub mod limits;
pub mod progress;
pub mod request;
pub mod shape;
pub mod worker;

pub use failure::{Access, Failure, FailureKind};
pub use figures::{Figures, NothingToDo, PlatformFigures, SquashResult};
pub use format::{Compression, Format, UnknownName};
pub use limits::Limits;
pub use progress::{ProgressReport, Snapshot, Stage};
pub use request::{AnalyzeRequest, Base, RebaseRequest, RemoveRequest, SquashRequest, VerifyRequest};
pub use shape::{Condition, Shape};
