//! What an analysis found, as short as a status can hold it.

use serde::{Deserialize, Serialize};

/// Most causes and paths of a platform that a worker reports.
pub const MOST_CAUSES: usize = 8;
/// See [`MOST_CAUSES`].
pub const MOST_PATHS: usize = 5;

/// The outcome of an analysis in a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisFigures {
    /// Digest of the manifest or index that was read.
    pub source_digest: String,
    /// The image with that digest.
    pub reference: String,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Wall time.
    pub duration_seconds: f64,
    /// What a user should know, as far as it fits.
    pub warnings: Vec<String>,
    /// One entry for each image of an index, or the one image.
    pub platforms: Vec<PlatformAnalysis>,
}

/// One platform's image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlatformAnalysis {
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Layers.
    pub layers: u64,
    /// Layer bytes as stored.
    pub compressed_bytes: u64,
    /// Content of all layers' regular files.
    pub unpacked_bytes: u64,
    /// Content of the merged tree's regular files.
    pub merged_bytes: u64,
    /// Content that upper layers hide.
    pub wasted_bytes: u64,
    /// The worst causes first, at most [`MOST_CAUSES`].
    pub causes: Vec<CauseFigures>,
    /// The worst paths first, at most [`MOST_PATHS`]; one that was a secret has no name.
    pub paths: Vec<PathFigures>,
}

/// A cause of waste.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CauseFigures {
    /// Its name.
    pub cause: String,
    /// Paths.
    pub paths: u64,
    /// Bytes.
    pub wasted_bytes: u64,
}

/// A path that wastes bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathFigures {
    /// The path; absent where naming it would tell a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Layers that hold it.
    pub copies: u64,
    /// Bytes.
    pub wasted_bytes: u64,
    /// The cause's name.
    pub cause: String,
}
