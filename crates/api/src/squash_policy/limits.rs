//! When it is too much, how long to wait, how much at once.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// When an image is too much: more than one of these, or than all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.layers) || has(self.size) || has(self.wastedBytes) || has(self.wastedPercent)")
        .message("thresholds needs at least one of layers, size, wastedBytes and wastedPercent")
)]
pub struct Thresholds {
    /// Whether one is enough.
    #[serde(default, rename = "match")]
    pub match_: ThresholdMatch,
    /// More layers than this, on any platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub layers: Option<i32>,
    /// More compressed bytes than this, on any platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounded_quantity)]
    pub size: Option<Quantity>,
    /// More bytes than this that newer layers hide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounded_quantity)]
    pub wasted_bytes: Option<Quantity>,
    /// More than this part of the unpacked bytes is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub wasted_percent: Option<i32>,
}

/// Whether one threshold is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThresholdMatch {
    /// One is enough.
    #[default]
    Any,
    /// All that are given have to be passed.
    All,
}

/// How long an image is left in peace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stability {
    /// Seconds for which an image has to be in use: one that a pipeline replaces every few minutes isn't
    /// worth it.
    #[serde(default = "one_hour")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub min_age_seconds: i64,
    /// Seconds between two squashes of one repository: a pipeline that pushes the same bloat anew doesn't
    /// start a race.
    #[serde(default = "one_day")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub cooldown_seconds: i64,
}

/// How much may be done. What was spent is in the status, so that a restart refills nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Jobs of this policy that run at once; the operator's configuration has a limit over all policies.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_jobs: i32,
    /// Jobs that are made in an hour.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_jobs_per_hour: i32,
    /// Compressed bytes of the images that are squashed in a day.
    #[serde(default = "five_hundred_gibibytes")]
    #[schemars(transform = bounded_quantity)]
    pub max_bytes_per_day: Quantity,
}

/// When jobs may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens: minute, hour, day of month, month, day of week, as cron has them.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^\S+( +\S+){4}$"))]
    pub schedule: String,
    /// How long it stays open, in seconds of real time: a night in which clocks change is no longer and no
    /// shorter.
    #[schemars(range(min = 60, max = 2_678_400))]
    pub duration_seconds: i64,
    /// IANA name of the time zone that the schedule is in.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*$"))]
    pub time_zone: String,
}

/// When an image whose jobs fail is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureLimits {
    /// Failed jobs after which an image is left alone.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub quarantine_after: i32,
    /// Seconds for which it is.
    #[serde(default = "one_day")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub quarantine_seconds: i64,
}

impl Default for Thresholds {
    /// What the incident's people raise an alarm at, and a fifth of waste.
    fn default() -> Self {
        Self {
            match_: ThresholdMatch::Any,
            layers: Some(50),
            size: Some(Quantity("10Gi".to_owned())),
            wasted_bytes: Some(Quantity("1Gi".to_owned())),
            wasted_percent: Some(20),
        }
    }
}

impl Default for Stability {
    fn default() -> Self {
        Self { min_age_seconds: one_hour(), cooldown_seconds: one_day() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_jobs: two(),
            max_jobs_per_hour: ten(),
            max_bytes_per_day: five_hundred_gibibytes(),
        }
    }
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { quarantine_after: three(), quarantine_seconds: one_day() }
    }
}

/// The API server takes a number or a text as a quantity; a text has a length, a form and no sign.
fn bounded_quantity(schema: &mut Schema) {
    let object = schema.ensure_object();
    object.clear();
    object.insert("x-kubernetes-int-or-string".to_owned(), true.into());
    object.insert("minimum".to_owned(), 0.into());
    object.insert("maximum".to_owned(), i64::MAX.into());
    object.insert("maxLength".to_owned(), 32.into());
    object.insert(
        "pattern".to_owned(),
        r"^\+?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([kKMGTPE]i?|[mun]|[eE][-+]?[0-9]{1,2})?$".into(),
    );
}

fn one_hour() -> i64 {
    3600
}

fn one_day() -> i64 {
    86_400
}

fn two() -> i32 {
    2
}

fn three() -> i32 {
    3
}

fn ten() -> i32 {
    10
}

fn five_hundred_gibibytes() -> Quantity {
    Quantity("500Gi".to_owned())
}

fn utc() -> String {
    "UTC".to_owned()
}
