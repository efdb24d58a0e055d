//! `ImageReport`: what is known of one image digest, in the namespace where it is used.
//!
//! A report is small (at most [`MOST_BYTES`]), is written only when something changed, and goes a day after
//! the last user went. It shows nothing of other namespaces, and no path of a deleted secret.

mod spec;
mod status;

#[cfg(test)]
mod tests;

pub use spec::{ImageReport, ImageReportSpec};
pub use status::{
    ImageReportStatus, PolicyVerdict, ReportedCause, ReportedFailures, ReportedPath, ReportedPlatform,
    ReportedResult, ReportedUser, ReportedUsers, Verdict,
};

/// Most bytes of a report as JSON, metadata included.
pub const MOST_BYTES: usize = 4096;
/// Most causes that a report names.
pub const MOST_CAUSES: usize = 8;
/// Most paths that a report names.
pub const MOST_PATHS: usize = 5;
/// Most users that a report names.
pub const MOST_USERS: usize = 8;
/// Most platforms that a report tells apart.
pub const MOST_PLATFORMS: usize = 8;
/// Most policies whose verdict a report has.
pub const MOST_POLICIES: usize = 8;
