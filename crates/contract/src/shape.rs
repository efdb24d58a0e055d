//! What a result looks like, and when one is worth making.

use serde::{Deserialize, Serialize};

/// The shape of a result: how many layers, how much may stay hidden in them, how large one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Shape {
    /// Most layers of the result, the cuts by size apart. With 1 it is flat: one layer, or the kept base and
    /// one. With more, layers that lose nothing stay as they are.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 127)))]
    pub max_layers: u32,
    /// Hidden bytes that may stay in kept layers.
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub max_waste_bytes: u64,
    /// Compressed bytes of a merged layer; a larger one is cut at entries that the content determines.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub max_layer_size: u64,
}

impl Shape {
    /// 4 GiB: below every registry's bound on one upload, the smallest of which is 10 GB.
    pub(crate) const MAX_LAYER_SIZE: u64 = 4 << 30;

    /// Whether everything above the base becomes one layer.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.max_layers <= 1
    }

    /// What of it no engine carries out yet: the field, and what to do about it.
    #[must_use]
    pub fn not_carried_out(&self) -> Option<&'static str> {
        let Self { max_layers: _, max_waste_bytes, max_layer_size } = self;
        if !self.is_flat() {
            Some("shape.maxLayers: results are flat; leave it out or set it to 1")
        } else if *max_waste_bytes != 0 {
            Some("shape.maxWasteBytes: a flat result hides nothing above its base; leave it out")
        } else if *max_layer_size != Self::MAX_LAYER_SIZE {
            Some("shape.maxLayerSize: layers aren't cut; leave it out")
        } else {
            None
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self { max_layers: 1, max_waste_bytes: 0, max_layer_size: Self::MAX_LAYER_SIZE }
    }
}

/// When a squash is worth it. An image that is below any bound that is given stays as it is, and that is a
/// success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Condition {
    /// Layers that a platform's image has to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub min_layers: Option<u32>,
    /// Bytes that upper layers have to hide. Knowing them takes a reading of every layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub min_wasted_bytes: Option<u64>,
}

impl Condition {
    /// Whether an image with so many layers has too few, whatever is in them.
    #[must_use]
    pub fn has_too_few_layers(&self, layers: usize) -> bool {
        self.min_layers.is_some_and(|least| layers < least as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_carried_out_is_named() {
        let flat = Shape::default();
        assert_eq!(flat.not_carried_out(), None);
        for (shape, field) in [
            (Shape { max_layers: 16, ..flat }, "shape.maxLayers"),
            (Shape { max_waste_bytes: 1, ..flat }, "shape.maxWasteBytes"),
            (Shape { max_layer_size: 1 << 30, ..flat }, "shape.maxLayerSize"),
        ] {
            assert!(shape.not_carried_out().is_some_and(|words| words.starts_with(field)), "{field}");
        }
    }
}
