//! What to squash and how: the typed specification that the command, the worker's spec file and tests share.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One squash. The same request and the same source always give the same digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SquashRequest {
    /// Image location: `HOST/REPO:TAG`, `…@sha256:…`, `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE`.
    pub source: String,
    /// Where the result goes. A registry reference, `oci:DIR[:TAG]` or `oci-archive:FILE`.
    pub destination: String,
    /// Paths or globs to drop from the result.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Paths or globs whose regular files are kept with zero length.
    #[serde(default)]
    pub truncate: Vec<String>,
    /// A pattern that matches nothing is an error instead of a warning.
    #[serde(default)]
    pub strict: bool,
    /// The layers that stay as they are, so that other images go on sharing them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Platforms (`os/arch[/variant]`) of an index to squash; empty means all of them.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// How the new layer is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Compression level, in the codec's own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// Family of media types of the result.
    #[serde(default)]
    pub format: Format,
    /// Read the result back and prove that its tree is the source's before a tag moves.
    #[serde(default)]
    pub verify: bool,
    /// Tell what would be saved and write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// A path below a lower layer's symlink goes through the link instead of replacing it.
    #[serde(default)]
    pub follow_symlinked_parents: bool,
    /// Fetch and merge foreign (non-distributable) layers too.
    #[serde(default)]
    pub allow_foreign: bool,
    /// Speak plain HTTP to registries that are not on loopback.
    #[serde(default)]
    pub plain_http: bool,
    /// Bounds on what one squash may use.
    #[serde(default)]
    pub limits: Limits,
}

impl SquashRequest {
    /// A full squash with every default.
    #[must_use]
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            remove: Vec::new(),
            truncate: Vec::new(),
            strict: false,
            base: None,
            platforms: Vec::new(),
            compression: Compression::default(),
            level: None,
            format: Format::default(),
            verify: false,
            dry_run: false,
            follow_symlinked_parents: false,
            allow_foreign: false,
            plain_http: false,
            limits: Limits::default(),
        }
    }
}

/// The layers that are kept.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Base {
    /// The lowest N layers of the source.
    Layers(usize),
    /// The longest common prefix of diffIDs with this image.
    Image(String),
}

/// Compression of the new layer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As the source's layers: gzip unless all of them are zstd (or all plain).
    #[default]
    Keep,
    /// gzip, which every runtime reads.
    Gzip,
    /// zstd; OCI manifests only.
    Zstd,
    /// Plain tar.
    None,
}

/// Family of media types of the result's manifest.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As the source's manifest.
    #[default]
    Keep,
    /// OCI image manifest.
    Oci,
    /// Docker image manifest, version 2, schema 2.
    Docker,
}

/// Bounds on one squash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of buffers: layer content that waits, codec windows, chunks in flight. Path bookkeeping comes on top.
    pub memory_bytes: u64,
    /// Threads that decode and encode; 0 means one for each core.
    pub jobs: usize,
    /// Folder for what does not fit in memory; the system's temporary folder when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// Folder where the headers of kept layers are remembered by digest, so that the next squash above the same base need
    /// not read them. Its content is believed: only this user may be able to write to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Bytes that all layers together may unpack to; more is a bomb.
    pub max_unpacked_bytes: u64,
    /// Distinct paths that all layers together may name; more is a bomb.
    pub max_paths: u64,
}

impl Limits {
    /// Threads that decode and encode.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.jobs == 0 { cores } else { self.jobs }
    }

    /// Threads that encode: each needs buffers of its own, so that memory bounds them too. The output does not depend on it.
    pub(crate) fn encoders(&self) -> usize {
        const BYTES_EACH: u64 = 5 << 20;
        let room = usize::try_from(self.memory_bytes / BYTES_EACH).unwrap_or(usize::MAX);
        self.threads().min(room.max(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            jobs: 0,
            scratch: None,
            cache: None,
            max_unpacked_bytes: 16 << 40,
            max_paths: 20_000_000,
        }
    }
}
