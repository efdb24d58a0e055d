//! How far a squash is: counters that its threads raise and that a bar, an endpoint or a log reads when it
//! likes.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use unbloat_contract::{Snapshot, Stage};

/// Shared between one squash and whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<(Stage, String)>,
    layers_total: AtomicU64,
    layers_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_read: AtomicU64,
    bytes_unpacked: AtomicU64,
    bytes_written: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    pub(crate) fn enter(&self, stage: Stage, platform: &str) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = (stage, platform.to_owned());
    }

    pub(crate) fn expect(&self, layers: u64, bytes: u64) {
        self.layers_total.fetch_add(layers, Ordering::Relaxed);
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn unpacked(&self, bytes: usize) {
        self.bytes_unpacked.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn layer_done(&self) {
        self.layers_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the squash to end with [`crate::Error::Cancelled`] and nothing published.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    #[must_use]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (stage, platform) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            stage,
            platform,
            layers_total: self.layers_total.load(Ordering::Relaxed),
            layers_done: self.layers_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_unpacked: self.bytes_unpacked.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
        }
    }
}
