//! How blobs shall be sent; what a registry takes of that is known in `transport::way`.

/// How blobs are sent to a registry.
#[derive(Clone, Copy, Debug)]
pub struct UploadPolicy {
    /// Bytes in a chunk; two of them are held for an upload: one that is sent and kept until it is
    /// acknowledged, one that fills. Below 5 MiB registries on object stores refuse chunks.
    pub chunk_bytes: usize,
    /// Which way of sending.
    pub mode: UploadMode,
}

/// How a blob that is larger than a chunk is sent. What fits into one goes in one request wherever that is
/// taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadMode {
    /// Chunks; where the server refuses them, one streaming request, and where it refuses that too, one
    /// piece.
    #[default]
    Auto,
    /// Chunks (`PATCH` with `Content-Range`), and nothing else.
    Chunked,
    /// One streaming `PATCH` without `Content-Range`, and nothing else. No chunk is sent again: after a
    /// failure the blob is made again.
    Stream,
    /// One `PUT` with the whole blob, and nothing else. A blob whose digest is not known before its end is in
    /// scratch space meanwhile.
    Whole,
}

impl Default for UploadPolicy {
    fn default() -> Self {
        Self { chunk_bytes: 8 << 20, mode: UploadMode::Auto }
    }
}
