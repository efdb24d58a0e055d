//! How a job goes and what was gained.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{list_atomic, list_map_by_type};
use crate::condition::{self, SUCCEEDED};

/// What the operator has seen. It is written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSquashJobStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Succeeded` is the summary: `Unknown` while the job waits or runs, then `True` or `False`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_map_by_type)]
    pub conditions: Vec<Condition>,
    /// When the first attempt started, or the first one since the job was resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// The image that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImageFigures>,
    /// The image that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ImageFigures>,
    /// Compressed bytes that the result saves; negative when another compression makes it larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
    pub reclaimed_bytes: Option<i64>,
    /// Layers before and after, such as `272→2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub layers: Option<String>,
    /// Compressed size before and after, such as `210.8 MiB→3.0 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub size: Option<String>,
    /// `reclaimedBytes` for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reclaimed: Option<String>,
    /// How far the running attempt is; coarse, the worker's own endpoint is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Attempts that were started.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub attempts: i32,
    /// Attempts that failed and count against `backoffLimit`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub failures: i32,
    /// When the next attempt may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// Why the last attempt that failed did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The attempt that runs, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerRef>,
    /// Seconds that the successful attempt took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
    pub duration_seconds: Option<i64>,
    /// What a user should know about the result, such as a pattern that matched nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)), transform = list_atomic)]
    pub warnings: Vec<String>,
}

/// An image in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageFigures {
    /// Reference with the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1200))]
    pub reference: Option<String>,
    /// Digest of the manifest or index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    pub digest: Option<String>,
    /// Layers, of all platforms together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub layers: Option<i64>,
    /// Layer bytes as stored in the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub compressed_bytes: Option<i64>,
    /// Layer bytes as tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub unpacked_bytes: Option<i64>,
}

/// How far an attempt is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Part that is done, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
    /// The same for people, such as `60%`.
    #[schemars(length(max = 64))]
    pub summary: String,
    /// Compressed bytes read from the source.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub bytes_read: i64,
    /// Compressed bytes that the source has.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub bytes_total: i64,
    /// Bytes written to the target.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub bytes_written: i64,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Number of the attempt.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub attempt: i32,
    /// One of the reasons of the `Succeeded` condition.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened, where, and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Exit code of the worker, where it came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2_147_483_648, max = 2_147_483_647))]
    pub exit_code: Option<i32>,
}

/// The objects of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRef {
    /// Number of the attempt.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub attempt: i32,
    /// Name of the `batch/v1` Job, in the job's namespace.
    #[schemars(length(max = 253))]
    pub job: String,
    /// Uid of that Job, as the API server gave it: a Job of the same name and another uid is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Name of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
}

impl ImageSquashJobStatus {
    /// The summary condition.
    pub fn succeeded(&self) -> Option<&Condition> {
        condition::find(&self.conditions, SUCCEEDED)
    }

    /// Whether the job is done, well or not.
    pub fn is_finished(&self) -> bool {
        self.succeeded().is_some_and(|condition| condition.status != "Unknown")
    }
}
