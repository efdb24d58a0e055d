//! `ImageSquashPolicy`: which images, when it is too much, and what to do about it.
//!
//! Cluster-scoped: only the platform says what is squashed without being asked for. A policy's jobs run in
//! one namespace of its choice with the secrets there; what it finds is told in the namespace where the image
//! is used.

mod actions;
mod limits;
mod selector;
mod spec;
mod status;
mod template;

#[cfg(test)]
pub(crate) mod tests;

pub use actions::{PolicyTarget, Retention, Rollout, RolloutStrategy};
pub use limits::{FailureLimits, Limits, Stability, ThresholdMatch, Thresholds, Window};
pub use selector::{ImagePatterns, LabelExpression, LabelOperator, LabelSelector, Selector, SourceKind};
pub use spec::{Analysis, CredentialSource, ImageSquashPolicy, ImageSquashPolicySpec, Mode};
pub use status::{ImageCounts, ImageSquashPolicyStatus, Reclaimable, Spent};
pub use template::{JobTemplate, JobTemplateMetadata, JobTemplateSpec};
