//! The custom resources of `unbloat.dev`: types, defaults, rules, conditions and reasons.
//!
//! What happens here: the shape of each resource, the schema and CEL rules that the API server enforces, the
//! reasons a condition may carry. What does not: no client, no decision, no registry; what operator and
//! worker tell each other is `unbloat-contract`.
//!
//! Invariants: every string and list of a resource is bounded; a field that a running squash depends on is
//! immutable, and the refusal names it; a reason is one of [`Reason`] and says what to do.
//!
//! # Where to look
//! Each resource has a folder. Reasons of a job with what to do: `reason`; those of reports and policies:
//! `finding`; both make the pages of the same name in `docs/operator` (`cargo xtask generate`).
//!
//! # Example
//! ```
//! use unbloat_api::{ImageSquashJob, Reason};
//!
//! let job: ImageSquashJob = serde_json::from_str(
//!     r#"{"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob", "metadata": {"name": "today"},
//!         "spec": {"source": {"image": "registry.example/devbox:today"}, "target": {"moveTag": true}}}"#,
//! )?;
//! assert!(job.spec.target.move_tag && !job.spec.suspend);
//! for reason in Reason::ALL {
//!     assert!(!reason.what_to_do().is_empty(), "{reason} says what to do");
//! }
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod condition;
pub mod finding;
pub mod image_report;
pub mod labels;
pub mod quantity;
pub mod reason;
pub mod squash_job;
pub mod squash_policy;

pub use finding::Finding;
pub use image_report::{ImageReport, ImageReportSpec, ImageReportStatus};
pub use reason::Reason;
pub use squash_job::{ImageSquashJob, ImageSquashJobSpec, ImageSquashJobStatus};
pub use squash_policy::{ImageSquashPolicy, ImageSquashPolicySpec, ImageSquashPolicyStatus};

/// API group of every resource here.
pub const GROUP: &str = "unbloat.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
