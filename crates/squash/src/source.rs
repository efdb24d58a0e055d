//! The layers of one image for the merge: fetched ahead of their turn, so that a registry's latency is
//! hidden.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use unbloat_deflate::BufferPool;
use unbloat_layers::{BoxError, HeaderSink, Known, LayerError, LayerSource};
use unbloat_oci::Descriptor;
use unbloat_registry::{BlobStream, ErrorKind, Source};

use crate::cache::HeaderCache;
use crate::decode::LayerStream;
use crate::diff_ids::DiffIds;
use crate::progress::Progress;
use crate::windows::Windows;

/// Layers that are on their way before a decoder asks for them, beyond those being decoded.
const AHEAD: usize = 6;

/// In which order layers will be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// As the merge does.
    #[default]
    HighestFirst,
    /// As the analysis does.
    LowestFirst,
}

pub(crate) struct Layers {
    /// Each layer with where it is.
    blobs: Vec<(Source, Descriptor)>,
    runtime: Handle,
    pool: BufferPool,
    record: bool,
    progress: Arc<Progress>,
    requested: Mutex<Requested>,
    order: Order,
    /// Bytes of one layer that may arrive before they are asked for.
    prefetch_bytes: usize,
    windows: Arc<Windows>,
    diff_ids: DiffIds,
    /// No byte is handed out any more before it is known to be right.
    careful: AtomicBool,
    /// Kept layers, as far as they are known from before.
    cache: Option<HeaderCache>,
    kept: usize,
}

struct Requested {
    streams: HashMap<usize, BlobStream>,
    /// How many were asked for, in their order.
    count: usize,
}

impl Layers {
    pub(crate) fn new(
        source: &Source,
        descriptors: &[Descriptor],
        record: bool,
        prefetch_bytes: usize,
        progress: &Arc<Progress>,
    ) -> Self {
        let blobs = descriptors.iter().map(|descriptor| (source.clone(), descriptor.clone())).collect();
        Self::of(blobs, record, prefetch_bytes, progress)
    }

    /// Layers of an image whose lowest `below` are in one place and the others in another.
    pub(crate) fn two(
        lower: &Source,
        upper: &Source,
        descriptors: &[Descriptor],
        below: usize,
        progress: &Arc<Progress>,
    ) -> Self {
        let place = |index| if index < below { lower } else { upper };
        let blobs = descriptors.iter().enumerate().map(|(index, blob)| (place(index).clone(), blob.clone()));
        Self::of(blobs.collect(), false, 1 << 20, progress)
    }

    fn of(
        blobs: Vec<(Source, Descriptor)>,
        record: bool,
        prefetch_bytes: usize,
        progress: &Arc<Progress>,
    ) -> Self {
        Self {
            runtime: Handle::current(),
            pool: BufferPool::new(8),
            record,
            progress: Arc::clone(progress),
            requested: Mutex::new(Requested { streams: HashMap::new(), count: 0 }),
            order: Order::default(),
            prefetch_bytes,
            windows: Windows::new(u64::MAX),
            diff_ids: DiffIds::default(),
            careful: AtomicBool::new(false),
            cache: None,
            kept: 0,
            blobs,
        }
    }

    /// The same layers for somebody who asks for them in another order.
    pub(crate) fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same layers, whose decoders' windows together keep to a budget. Only for readers that open layers
    /// in the order said and need the first open one to get on.
    pub(crate) fn with_windows(self, budget: u64) -> Self {
        Self { windows: Windows::new(budget), ..self }
    }

    /// The same layers, whose content is compared with the config's diffIDs.
    pub(crate) fn with_diff_ids(self, diff_ids: &DiffIds) -> Self {
        Self { diff_ids: diff_ids.clone(), ..self }
    }

    /// The same layers, of whose lowest `kept` the headers are taken from a cache, and put there.
    pub(crate) fn with_cache(self, cache: Option<HeaderCache>, kept: usize) -> Self {
        Self { cache, kept, ..self }
    }

    /// The cache, for a layer that is kept.
    fn cache_of(&self, layer: usize) -> Option<(&HeaderCache, &Descriptor)> {
        let cache = self.cache.as_ref().filter(|_| layer < self.kept)?;
        Some((cache, &self.blobs[layer].1))
    }

    fn is_known(&self, layer: usize) -> bool {
        self.cache_of(layer).is_some_and(|(cache, blob)| cache.has(blob.digest()))
    }

    fn start(&self, layer: usize) -> BlobStream {
        self.blob(layer).prefetch(self.prefetch_bytes)
    }

    fn blob(&self, layer: usize) -> BlobStream {
        let (source, descriptor) = &self.blobs[layer];
        if self.careful.load(Ordering::Relaxed) {
            source.checked_blob(descriptor)
        } else {
            source.blob(descriptor)
        }
    }

    /// As [`LayerSource::misread`], for readers that open layers without a merge. Called on a thread that may
    /// wait.
    pub(crate) fn was_misread(&self, layer: usize, cause: &LayerError) -> bool {
        let Some((source, descriptor)) = self.blobs.get(layer) else { return false };
        if self.careful.load(Ordering::Relaxed) || self.progress.is_cancelled() {
            return false;
        }
        // A registry that cannot be reached was tried often enough; whatever else is wrong may be so because
        // of the bytes.
        let unreachable = match cause {
            LayerError::Stream(cause) => cause
                .downcast_ref::<unbloat_registry::Error>()
                .is_some_and(|error| !matches!(error.kind(), ErrorKind::Verify(_))),
            _ => false,
        };
        if unreachable || !self.runtime.block_on(source.was_misread(descriptor)).unwrap_or(false) {
            return false;
        }
        self.careful.store(true, Ordering::Relaxed);
        self.requested.lock().unwrap_or_else(PoisonError::into_inner).streams.clear();
        true
    }

    /// One layer, with none asked for ahead of its turn.
    pub(crate) fn open_one(&self, layer: usize) -> Result<LayerStream, BoxError> {
        let _inside = self.runtime.enter();
        let (source, descriptor) = self.blobs.get(layer).ok_or("no such layer")?;
        // There is nobody to begin again.
        let reader =
            source.checked_blob(descriptor).prefetch(self.prefetch_bytes).into_reader(self.runtime.clone());
        let share = self.windows.share(layer);
        Ok(LayerStream::new(reader, &self.pool, self.record, &self.progress, share)
            .checking(self.diff_ids.check(layer)))
    }
}

impl LayerSource for Layers {
    type Stream = LayerStream;

    fn open(&self, layer: usize) -> Result<LayerStream, BoxError> {
        let _inside = self.runtime.enter();
        let mut requested = self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        let known = requested.streams.remove(&layer);
        let stream = known.unwrap_or_else(|| self.start(layer));
        // Layers are opened in their order, so the next ones are those behind this one.
        let place = |at: usize| match self.order {
            Order::HighestFirst => self.blobs.len() - 1 - at,
            Order::LowestFirst => at,
        };
        // The first one again: another round begins.
        let asked = if place(layer) == 0 { 0 } else { requested.count };
        requested.count = asked.max(place(layer) + 1);
        while requested.count < (place(layer) + 1 + AHEAD).min(self.blobs.len()) {
            let next = place(requested.count);
            if !self.is_known(next) && !requested.streams.contains_key(&next) {
                requested.streams.insert(next, self.start(next));
            }
            requested.count += 1;
        }
        drop(requested);
        let reader = stream.into_reader(self.runtime.clone());
        let share = self.windows.share(place(layer));
        Ok(LayerStream::new(reader, &self.pool, self.record, &self.progress, share)
            .checking(self.diff_ids.check(layer)))
    }

    fn misread(&self, layer: usize, cause: &LayerError) -> bool {
        self.was_misread(layer, cause)
    }

    fn known(&self, layer: usize) -> Result<Option<Known>, BoxError> {
        let Some((cache, blob)) = self.cache_of(layer) else { return Ok(None) };
        let known = cache.open(blob.digest());
        if known.is_some() {
            self.progress.read(blob.size() as usize);
            self.progress.layer_done();
        }
        Ok(known)
    }

    fn learn(&self, layer: usize) -> Option<Box<dyn HeaderSink>> {
        let (cache, blob) = self.cache_of(layer)?;
        Some(Box::new(cache.record(blob.digest())?))
    }
}
