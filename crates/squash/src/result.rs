//! What a squash did: one result type for the command's JSON, the worker's termination message and the status.

use serde::{Deserialize, Serialize};

/// The outcome of one squash, as `unbloat squash --output json` prints it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SquashResult {
    /// Digest of the manifest or index that was read.
    pub source_digest: String,
    /// Digest of the manifest or index that was written (or would be, for a dry run: empty).
    pub digest: String,
    /// Where the result is, as a reference with its digest.
    pub reference: String,
    /// Layers of the source, all platforms together.
    pub layers_before: u64,
    /// Layers of the result.
    pub layers_after: u64,
    /// Sum of the source's layer sizes as stored, in bytes.
    pub compressed_bytes_before: u64,
    /// Sum of the result's layer sizes as stored, in bytes.
    pub compressed_bytes_after: u64,
    /// Sum of the source's layers as tar, in bytes.
    pub unpacked_bytes_before: u64,
    /// Sum of the result's layers as tar, in bytes.
    pub unpacked_bytes_after: u64,
    /// Compressed bytes that the result saves; negative is possible when a codec changes.
    pub reclaimed_bytes: i64,
    /// Bytes read from the source over the network or from disk.
    pub bytes_read: u64,
    /// Bytes written to the destination.
    pub bytes_written: u64,
    /// Wall time.
    pub duration_seconds: f64,
    /// What a user should know; each names the layer and the path.
    pub warnings: Vec<String>,
    /// One entry for each image of an index, or the one image.
    pub platforms: Vec<PlatformResult>,
}

/// The same figures for one platform's image.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlatformResult {
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Digest of the manifest that was read.
    pub source_digest: String,
    /// Digest of the manifest that was written.
    pub digest: String,
    /// Layers of the source.
    pub layers_before: u64,
    /// Layers of the result.
    pub layers_after: u64,
    /// Stored layer bytes of the source.
    pub compressed_bytes_before: u64,
    /// Stored layer bytes of the result.
    pub compressed_bytes_after: u64,
    /// Layer bytes of the source as tar.
    pub unpacked_bytes_before: u64,
    /// Layer bytes of the result as tar.
    pub unpacked_bytes_after: u64,
}
