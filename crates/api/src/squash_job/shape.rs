//! What a result looks like.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The shape of a result. What the engine doesn't carry out yet is refused here, so that nobody waits for a
/// shape that a result won't have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.maxLayers == 1")
        .message("shape.maxLayers: this version makes flat results alone, one layer or the kept base and one; leave it out or set it to 1")
        .field_path(".maxLayers"),
    validation = Rule::new("self.maxWasteBytes == 0")
        .message("shape.maxWasteBytes: a flat result hides nothing above its base; leave it out or set it to 0")
        .field_path(".maxWasteBytes"),
    validation = Rule::new("!has(self.maxLayerSize)")
        .message("shape.maxLayerSize: this version doesn't cut layers; leave it out")
        .field_path(".maxLayerSize")
)]
pub struct Shape {
    /// Most layers of the result; 1 is flat, and the only number that this version takes.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 127))]
    pub max_layers: i32,
    /// Hidden bytes that may stay in kept layers: 0, as a flat result has none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub max_waste_bytes: i64,
    /// Compressed bytes of a layer that is made, as a quantity. Not taken by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub max_layer_size: Option<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { max_layers: one(), max_waste_bytes: 0, max_layer_size: None }
    }
}

fn one() -> i32 {
    1
}
