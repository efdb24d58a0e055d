//! What is known of an image.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::squash_job::list_atomic;

/// Largest number that survives a reader who keeps numbers as floats.
const MOST: i64 = 9_007_199_254_740_991;

/// What is known. It is written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageReportStatus {
    /// When something of this was last seen to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// The summary.
    #[serde(default)]
    pub verdict: Verdict,
    /// `Inspected`: manifest and config were read. `Analyzed`: layers were read. `Squashable`: nothing speaks
    /// against a squash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), transform = list_atomic)]
    pub conditions: Vec<Condition>,
    /// Most layers of a platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub layers: Option<i32>,
    /// Compressed bytes of the largest platform, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub size: Option<String>,
    /// Wasted bytes and percent, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub wasted: Option<String>,
    /// Each platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_atomic)]
    pub platforms: Vec<ReportedPlatform>,
    /// Content bytes that newer layers hide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub wasted_bytes: Option<i64>,
    /// The same as a part of all content bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub wasted_percent: Option<i32>,
    /// Compressed bytes that a squash is estimated to save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub reclaimable_bytes: Option<i64>,
    /// What causes the waste, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_atomic)]
    pub causes: Vec<ReportedCause>,
    /// Where the waste is, the worst first; never a deleted secret's path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), transform = list_atomic)]
    pub paths: Vec<ReportedPath>,
    /// Deleted files that look like secrets and can still be read from lower layers. They are counted, never
    /// named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub secret_paths: Option<i32>,
    /// Who uses the image in this namespace.
    #[serde(default)]
    pub used_by: ReportedUsers,
    /// What each policy says, the oldest policy first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_atomic)]
    pub policies: Vec<PolicyVerdict>,
    /// The squashed image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ReportedResult>,
    /// What failed so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<ReportedFailures>,
    /// When the last user went; the report follows a day later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Time>,
}

/// The summary of a report.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Verdict {
    /// Not read yet, or unreadable: condition `Inspected` says why.
    #[default]
    Unknown,
    /// Below every threshold.
    Fine,
    /// Too much for a policy.
    OverThreshold,
    /// Too much, and a squashed image exists: `result`.
    Squashed,
    /// There is nothing to squash, or it is a squash's result itself.
    Flat,
    /// Nothing may be done with it: opted out, or matched by no policy.
    Excluded,
}

/// An image of one platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedPlatform {
    /// `os/architecture[/variant]`.
    #[schemars(length(max = 64))]
    pub platform: String,
    /// Its layers.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub layers: i32,
    /// Their compressed bytes.
    #[schemars(range(min = 0, max = MOST))]
    pub compressed_bytes: i64,
}

/// A cause of waste.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedCause {
    /// Its name, as in docs/causes.md.
    #[schemars(length(max = 48))]
    pub cause: String,
    /// Paths that it concerns.
    #[schemars(range(min = 0, max = MOST))]
    pub paths: i64,
    /// Bytes that it wastes.
    #[schemars(range(min = 0, max = MOST))]
    pub wasted_bytes: i64,
}

/// A path that wastes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedPath {
    /// The path, cut when it is long.
    #[schemars(length(max = 128))]
    pub path: String,
    /// Layers that have a copy.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub copies: i32,
    /// Bytes that hidden copies waste.
    #[schemars(range(min = 0, max = MOST))]
    pub wasted_bytes: i64,
}

/// Who uses an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedUsers {
    /// Top owners: a Deployment counts once, whatever its replicas.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub count: i32,
    /// The first of them by kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_atomic)]
    pub workloads: Vec<ReportedUser>,
}

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedUser {
    /// Kind of the object.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// What a policy says of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyVerdict {
    /// Name of the policy.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What it finds.
    #[serde(default)]
    pub verdict: Verdict,
    /// What it does about it, or why it doesn't: one of the reasons in docs/operator/findings.md.
    #[schemars(length(max = 64))]
    pub reason: String,
}

/// The squashed image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedResult {
    /// Where it is, by tag and digest where it has both.
    #[schemars(length(max = 700))]
    pub reference: String,
    /// Its digest.
    #[schemars(length(max = 160))]
    pub digest: String,
    /// Name of the ImageSquashJob that made it.
    #[schemars(length(max = 63))]
    pub job: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Compressed bytes that a node no longer pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = MOST))]
    pub pull_bytes_saved: Option<i64>,
    /// How far the result has reached its users: one of the reasons in docs/operator/findings.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rollout: Option<String>,
    /// The policy whose job made it: its `retention` decides about the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub policy: Option<String>,
    /// What becomes of the original, where the policy has it deleted: one of the reasons in
    /// docs/operator/findings.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub original: Option<String>,
    /// When it was deleted, or when the registry refused that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_time: Option<Time>,
}

/// What failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedFailures {
    /// Jobs that failed in a row.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub jobs: i32,
    /// Inspections or analyses that failed in a row.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub reads: i32,
    /// When the last of them did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// Its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_reason: Option<String>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Time>,
}

impl ImageReportStatus {
    /// A condition of a type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        condition::find(&self.conditions, type_)
    }
}
