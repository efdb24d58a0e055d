//! When a squash is worth it.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Bounds below which an image stays as it is: so that anybody may create a job after each commit. All that
/// are given have to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.minLayers) || has(self.minWastedBytes)")
        .message("condition: give minLayers, minWastedBytes or both, or leave it out")
)]
pub struct Condition {
    /// Layers that a platform's image has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_layers: Option<i32>,
    /// Bytes that upper layers have to hide. Knowing them takes a reading of every layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub min_wasted_bytes: Option<i64>,
}
