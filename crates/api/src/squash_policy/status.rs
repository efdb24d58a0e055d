//! What a policy found and did.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::squash_job::{list_atomic, list_map_by_type};

/// What the operator has seen. It is written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSquashPolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Ready`: the policy is understood and followed. `Limited`: something waits for a limit or a window.
    /// `CredentialsUnavailable`: images that it matches can't be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_map_by_type)]
    pub conditions: Vec<Condition>,
    /// Images that the policy matches, by digest and repository.
    #[serde(default)]
    pub images: ImageCounts,
    /// What squashing all that is over a threshold would give back.
    #[serde(default)]
    pub reclaimable: Reclaimable,
    /// What was spent of the limits.
    #[serde(default)]
    pub spent: Spent,
    /// When the next window opens; absent without windows, and while one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_window_time: Option<Time>,
}

/// Images by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageCounts {
    /// All of them.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub matched: i32,
    /// Too much, and not squashed yet.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub over_threshold: i32,
    /// Not read yet, or unreadable.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub unknown: i32,
    /// Squashed: a result exists.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub squashed: i32,
    /// Left alone because their jobs failed.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub quarantined: i32,
}

/// What squashing would give back; analysed images alone are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reclaimable {
    /// Compressed bytes that a node would no longer pull.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub pull_bytes: i64,
    /// Bytes that a node's disk would no longer hold.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub unpacked_bytes: i64,
    /// `pullBytes` for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub summary: String,
}

/// What was spent of the limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    /// When the hour began that `jobsThisHour` is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour_start: Option<Time>,
    /// Jobs that were made in it.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub jobs_this_hour: i32,
    /// When the day began that `bytesToday` is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_start: Option<Time>,
    /// Compressed bytes of images whose jobs were made in it.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub bytes_today: i64,
    /// Jobs that are paid for and perhaps not made yet: an operator that was killed in between makes them
    /// without paying twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), transform = list_atomic)]
    pub starting: Vec<String>,
}
