//! Two images side by side: what grew, by path and by layer.

use std::cmp::Reverse;
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::result::{Analysis, LayerReport, PathReport, Totals};

/// What changed from one image to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The first image.
    pub before: Side,
    /// The second one.
    pub after: Side,
    /// The lowest layers that both have.
    pub common_layers: u64,
    /// What each layer above them holds.
    pub layers: Vec<LayerChange>,
    /// Paths whose shown or wasted bytes differ, those that grew most first.
    pub paths: Vec<PathChange>,
    /// How many there are, of which `paths` may list but the first.
    pub paths_total: u64,
    /// Of the first image's lowest layer, the share of bytes in paths that the second one's has in the same
    /// size; where the two layers differ. Near 1, the bases differ by their patch level only.
    pub base_likeness: Option<f64>,
}

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// As given.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Its sums.
    pub totals: Totals,
}

/// A layer that one image has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerChange {
    /// Its place.
    pub index: u32,
    /// Compressed bytes in the first image, if it has so many layers.
    pub before: Option<u64>,
    /// Compressed bytes in the second image.
    pub after: Option<u64>,
    /// The command that made it, of the second image where it has one.
    pub created_by: Option<String>,
}

/// A path of either image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// Bytes that the first image shows.
    pub shown_before: u64,
    /// Bytes that the second image shows.
    pub shown_after: u64,
    /// Bytes that the first image wastes.
    pub wasted_before: u64,
    /// Bytes that the second image wastes.
    pub wasted_after: u64,
}

impl PathChange {
    /// By how much it grew, shown and wasted together.
    #[must_use]
    pub fn growth(&self) -> i128 {
        let sum = |shown: u64, wasted: u64| i128::from(shown) + i128::from(wasted);
        sum(self.shown_after, self.wasted_after) - sum(self.shown_before, self.wasted_before)
    }
}

/// Compares two analyses that list all their paths; at most `top` changes are listed.
#[must_use]
pub fn compare(before: &Analysis, after: &Analysis, top: Option<usize>) -> Comparison {
    let common = before.layers.iter().zip(&after.layers).take_while(|(a, b)| a.diff_id == b.diff_id).count();
    let mut paths = changes(before, after);
    paths.sort_unstable_by(|a, b| (Reverse(a.growth()), &a.path).cmp(&(Reverse(b.growth()), &b.path)));
    let paths_total = paths.len() as u64;
    paths.truncate(top.unwrap_or(usize::MAX));
    let side = |analysis: &Analysis| Side {
        reference: analysis.reference.clone(),
        digest: analysis.digest.clone(),
        totals: analysis.totals.clone(),
    };
    Comparison {
        before: side(before),
        after: side(after),
        common_layers: common as u64,
        layers: layer_changes(&before.layers, &after.layers, common),
        paths,
        paths_total,
        base_likeness: (common == 0).then(|| base_likeness(before, after)).flatten(),
    }
}

fn changes(before: &Analysis, after: &Analysis) -> Vec<PathChange> {
    let shown = |path: &PathReport| path.total_bytes - path.wasted_bytes;
    // Names that are no text may look alike, so they are told by their bytes.
    let key = |path: &PathReport| path.path_hex.clone().unwrap_or_else(|| path.path.clone());
    let mut all: HashMap<String, PathChange> = HashMap::with_capacity(before.paths.len());
    for path in &before.paths {
        let (shown_before, wasted_before) = (shown(path), path.wasted_bytes);
        let path_name = path.path.clone();
        let change = PathChange { path: path_name, shown_before, wasted_before, ..PathChange::default() };
        all.insert(key(path), change);
    }
    for path in &after.paths {
        let change = all.entry(key(path)).or_default();
        change.path.clone_from(&path.path);
        (change.shown_after, change.wasted_after) = (shown(path), path.wasted_bytes);
    }
    let differs = |change: &PathChange| {
        change.shown_before != change.shown_after || change.wasted_before != change.wasted_after
    };
    all.into_values().filter(differs).collect()
}

fn layer_changes(before: &[LayerReport], after: &[LayerReport], common: usize) -> Vec<LayerChange> {
    let change = |index: usize| {
        let (a, b) = (before.get(index), after.get(index));
        LayerChange {
            index: index as u32,
            before: a.map(|layer| layer.compressed_bytes),
            after: b.map(|layer| layer.compressed_bytes),
            created_by: b.or(a).and_then(|layer| layer.created_by.clone()),
        }
    };
    (common..before.len().max(after.len())).map(change).collect()
}

/// The bytes that a path has in the lowest layer.
fn in_base(path: &PathReport) -> u64 {
    path.versions.iter().filter(|version| version.layer == 0).map(|version| version.bytes).sum()
}

fn base_likeness(before: &Analysis, after: &Analysis) -> Option<f64> {
    let sizes = |analysis: &'_ Analysis| -> HashMap<String, u64> {
        let sizes = analysis.paths.iter().map(|path| (path.path.clone(), in_base(path)));
        sizes.filter(|(_, bytes)| *bytes > 0).collect()
    };
    let (before, after) = (sizes(before), sizes(after));
    let total: u64 = before.values().sum();
    let same: u64 =
        after.iter().filter(|(path, bytes)| before.get(*path) == Some(*bytes)).map(|(_, bytes)| bytes).sum();
    (total > 0).then(|| same as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, PathVersion};

    fn image(layers: &[&str], paths: &[(&str, u64, u64)]) -> Analysis {
        let version = |bytes| PathVersion {
            layer: 0,
            change: Change::Added,
            kind: None,
            bytes,
            wasted_bytes: 0,
            attributes: None,
        };
        let layer = |id: &&str| LayerReport { diff_id: (*id).into(), ..LayerReport::default() };
        let path = |(path, shown, wasted): &(&str, u64, u64)| PathReport {
            path: (*path).into(),
            total_bytes: shown + wasted,
            wasted_bytes: *wasted,
            versions: vec![version(shown + wasted)],
            ..PathReport::default()
        };
        Analysis {
            layers: layers.iter().map(layer).collect(),
            paths: paths.iter().map(path).collect(),
            ..Analysis::default()
        }
    }

    #[test]
    fn what_grew_most_comes_first_and_what_shrank_last() {
        let before = image(&["a"], &[("/same", 5, 5), ("/gone", 70, 0), ("/log", 10, 0)]);
        let after = image(&["a", "b"], &[("/same", 5, 5), ("/new", 20, 0), ("/log", 15, 10)]);
        let found = compare(&before, &after, None);
        let paths: Vec<_> =
            found.paths.iter().map(|change| (change.path.as_str(), change.growth())).collect();
        assert_eq!(paths, [("/new", 20), ("/log", 15), ("/gone", -70)]);
        assert_eq!((found.common_layers, found.layers.len(), found.base_likeness), (1, 1, None));
        let first = compare(&before, &after, Some(1));
        assert_eq!((first.paths.len(), first.paths_total), (1, 3));
    }

    #[test]
    fn bases_that_differ_by_a_patch_are_told_by_their_likeness() {
        let before = image(&["a"], &[("/lib/x", 90, 0), ("/lib/y", 10, 0)]);
        let after = image(&["b"], &[("/lib/x", 90, 0), ("/lib/y", 11, 0)]);
        assert!((compare(&before, &after, None).base_likeness.unwrap() - 0.9).abs() < 1e-9);
    }
}
