//! Where results go, who gets them, and what becomes of originals.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.tagSuffix) ? 1 : 0) + (has(self.repository) ? 1 : 0) + (self.moveTag ? 1 : 0) == 1")
        .message("target needs exactly one of tagSuffix, repository and moveTag: true")
)]
pub struct PolicyTarget {
    /// Beside the original: the same repository, the tag with this at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_.\-]+$"))]
    pub tag_suffix: Option<String>,
    /// Below this: `HOST/PATH`, then the original's repository, and its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[A-Za-z0-9.\-]+(:[0-9]{1,5})?(/[a-z0-9]+([._\-]+[a-z0-9]+)*)+$")
    )]
    pub repository: Option<String>,
    /// The original's own tag is moved to the result, if it still stands and nothing uses the image by its
    /// digest.
    #[serde(default)]
    pub move_tag: bool,
}

/// Who gets the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How.
    #[serde(default)]
    pub strategy: RolloutStrategy,
    /// Seconds for a workload to become ready with the result; then it gets its original back.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 10, max = 86_400))]
    pub deadline_seconds: i64,
}

/// How a result reaches who uses the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategy {
    /// It doesn't: somebody takes it from the report.
    #[default]
    None,
    /// Deployments, StatefulSets and DaemonSets are pointed at it by their pod templates, and watched.
    Workload,
    /// A stopped devbox starts from it next time.
    Devbox,
}

/// When originals are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Seconds after the squash, and after the last user went; then an original's manifest is deleted, once
    /// no pod, workload, other tag or report refers to it.
    #[serde(default = "one_week")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub original_seconds: i64,
}

impl Default for PolicyTarget {
    fn default() -> Self {
        Self { tag_suffix: Some("-unbloat".to_owned()), repository: None, move_tag: false }
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self { strategy: RolloutStrategy::None, deadline_seconds: ten_minutes() }
    }
}

fn ten_minutes() -> i64 {
    600
}

fn one_week() -> i64 {
    604_800
}
