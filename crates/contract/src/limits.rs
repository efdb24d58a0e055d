//! Bounds on what one command or worker may use, and what follows from them for each buffer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Bounds on one squash, analysis or comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of buffers: layer content that waits, codec windows, chunks in flight. Path bookkeeping comes on
    /// top.
    pub memory_bytes: u64,
    /// Threads that decode and encode; 0 means one for each core.
    pub jobs: usize,
    /// Folder for what does not fit in memory; the system's temporary folder when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// Folder where what is known of layers is kept by digest, so that the next reader need not read them.
    /// Its content is believed: only this user may be able to write to it.
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

    /// Threads that encode: each needs buffers of its own, so that memory bounds them too. The output does
    /// not depend on it.
    #[must_use]
    pub fn encoders(&self) -> usize {
        const BYTES_EACH: u64 = 5 << 20;
        let room = usize::try_from(self.memory_bytes / BYTES_EACH).unwrap_or(usize::MAX);
        self.threads().min(room.max(1))
    }

    /// Bytes of layer content that may wait for its turn: a quarter; the other parts are the codecs', the
    /// network's and the queues'.
    #[must_use]
    pub fn hold_bytes(&self) -> usize {
        usize::try_from(self.memory_bytes / 4).unwrap_or(usize::MAX)
    }

    /// Bytes of one layer that may arrive before they are asked for. Eight layers are on their way at a time,
    /// so that all of them take a sixth.
    #[must_use]
    pub fn prefetch_bytes(&self) -> usize {
        (self.memory_bytes / 48).clamp(64 << 10, 4 << 20) as usize
    }

    /// Bytes of one chunk of an upload, of which two are held. Registries on object stores want 5 MiB at
    /// least.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        (self.memory_bytes / 8).clamp(5 << 20, 32 << 20) as usize
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_memory_means_few_encoders_and_small_buffers_and_never_none() {
        let limits = Limits { memory_bytes: 1, jobs: 8, ..Limits::default() };
        assert_eq!(
            (limits.encoders(), limits.prefetch_bytes(), limits.chunk_bytes()),
            (1, 64 << 10, 5 << 20)
        );
        let limits = Limits { memory_bytes: 1 << 40, jobs: 8, ..Limits::default() };
        assert_eq!(
            (limits.encoders(), limits.prefetch_bytes(), limits.chunk_bytes()),
            (8, 4 << 20, 32 << 20)
        );
    }
}
