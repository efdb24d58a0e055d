//! The records of all layers in the order in which they are applied, lowest layer first, while threads read
//! the layers side by side.
//!
//! Threads take layers from the lowest up. The *front* is the layer that is being applied; what others read
//! meanwhile waits, and who reads too far ahead waits too, so that memory is bounded whatever the layers
//! hold. Nothing waits but names: content is looked at where it is decoded.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::content::{Content, ContentReader, Gauged};
use crate::collections::HashMap;
use unbloat_layers::LayerSource;
use unbloat_layers::tar::{Header, Meter, TarReader};
use unbloat_layers::{Error, LayerError};

/// One record of a layer.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) header: Header,
    pub(super) content: Content,
}

impl Seen {
    /// Memory that it takes: the struct, its strings, allocator overhead.
    fn cost(&self) -> usize {
        let Header { path, link, user, group, records, .. } = &self.header;
        let strings = path.len() + link.len() + user.len() + group.len();
        let records: usize = records.0.iter().map(|record| record.key.len() + record.value.len() + 64).sum();
        size_of::<Self>() + strings + records + 64
    }
}

/// A step of the consumer.
pub(super) enum Step<'a> {
    Record(&'a Seen),
    /// The layer is at its end, after so many bytes of tar.
    End(u64),
}

/// Memory for records that wait: enough that small layers can be read well ahead of a large one.
const AHEAD_BYTES: usize = 6 << 20;
/// Memory for those of the front.
const FRONT_BYTES: usize = 2 << 20;
/// Memory of a batch, so that threads rarely meet.
const BATCH_BYTES: usize = 64 << 10;

#[derive(Default)]
struct Batch {
    seen: Vec<Seen>,
    cost: usize,
    end: Option<u64>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    cost: usize,
}

struct State {
    next: usize,
    front: usize,
    queues: HashMap<usize, Queue>,
    held: usize,
    /// The layers that failed, with why. The lowest is reported, whichever thread was first.
    failed: Option<(usize, LayerError)>,
    stop: bool,
}

pub(super) struct Feed<'a, S> {
    source: &'a S,
    layers: usize,
    meter: Arc<Meter>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Why a reading thread ends.
enum Ended {
    Stopped,
    Failed(LayerError),
}

impl From<LayerError> for Ended {
    fn from(error: LayerError) -> Self {
        Self::Failed(error)
    }
}

impl<'a, S: LayerSource> Feed<'a, S> {
    pub(super) fn new(source: &'a S, layers: usize, max_unpacked_bytes: u64) -> Self {
        Self {
            source,
            layers,
            meter: Arc::new(Meter::new(max_unpacked_bytes)),
            state: Mutex::new(State {
                next: 0,
                front: 0,
                queues: HashMap::default(),
                held: 0,
                failed: None,
                stop: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// What each reading thread does.
    pub(super) fn work(&self) {
        let _guard = StopOnPanic(self);
        while let Some(layer) = self.take_layer() {
            match self.read(layer) {
                Ok(()) => {}
                Err(Ended::Stopped) => return,
                Err(Ended::Failed(error)) => {
                    let mut state = self.state();
                    if state.failed.as_ref().is_none_or(|(lowest, _)| layer < *lowest) {
                        state.failed = Some((layer, error));
                    }
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    fn take_layer(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            let failed = state.failed.as_ref().is_some_and(|(layer, _)| *layer <= state.next);
            if state.stop || failed || state.next == self.layers {
                return None;
            }
            if state.next == state.front || state.held < AHEAD_BYTES {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.wait(state);
        }
    }

    fn read(&self, layer: usize) -> Result<(), Ended> {
        let stream = self.source.open(layer).map_err(LayerError::Stream)?;
        let mut reader = TarReader::new(Gauged::new(stream), layer, Arc::clone(&self.meter));
        let mut contents = ContentReader::new();
        let mut batch = Batch::default();
        let mut raw = Vec::new();
        while let Some(header) = reader.next(&mut raw)? {
            let content = contents.read(&mut reader, &header)?;
            let seen = Seen { header, content };
            batch.cost += seen.cost();
            batch.seen.push(seen);
            if batch.cost >= BATCH_BYTES {
                self.send(layer, std::mem::take(&mut batch))?;
            }
        }
        batch.end = Some(reader.position());
        self.send(layer, batch)
    }

    fn send(&self, layer: usize, batch: Batch) -> Result<(), Ended> {
        let mut state = self.state();
        loop {
            if state.stop {
                return Err(Ended::Stopped);
            }
            let front = layer == state.front;
            let own = state.queues.get(&layer).map_or(0, |queue| queue.cost);
            if if front { own < FRONT_BYTES } else { state.held < AHEAD_BYTES } {
                break;
            }
            state = self.wait(state);
        }
        state.held += batch.cost;
        let queue = state.queues.entry(layer).or_default();
        queue.cost += batch.cost;
        queue.batches.push_back(batch);
        self.changed.notify_all();
        Ok(())
    }

    /// Hands every record to `consume`, in order, and ends the threads.
    pub(super) fn drain(
        &self,
        mut consume: impl FnMut(usize, Step<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let drained = self.drain_layers(&mut consume);
        self.state().stop = true;
        self.changed.notify_all();
        drained
    }

    fn drain_layers(
        &self,
        consume: &mut impl FnMut(usize, Step<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for layer in 0..self.layers {
            loop {
                let Batch { seen, end, cost: _ } = self.receive(layer)?;
                for seen in &seen {
                    consume(layer, Step::Record(seen))?;
                }
                if let Some(bytes) = end {
                    consume(layer, Step::End(bytes))?;
                    break;
                }
            }
            let mut state = self.state();
            state.front = layer + 1;
            state.queues.remove(&layer);
            self.changed.notify_all();
        }
        Ok(())
    }

    fn receive(&self, layer: usize) -> Result<Batch, Error> {
        let mut state = self.state();
        loop {
            if let Some(queue) = state.queues.get_mut(&layer)
                && let Some(batch) = queue.batches.pop_front()
            {
                queue.cost -= batch.cost;
                state.held -= batch.cost;
                self.changed.notify_all();
                return Ok(batch);
            }
            if let Some((failed, error)) = state.failed.take() {
                // Layers below it are still being read and may fail as well; the lowest is what a user is
                // told of.
                if failed == layer {
                    return Err(error.at(failed));
                }
                state.failed = Some((failed, error));
            }
            if state.stop {
                return Err(LayerError::Stream("a thread that reads layers panicked".into()).at(layer));
            }
            state = self.wait(state);
        }
    }
}

/// Keeps the consumer from waiting for a thread that is no more; the panic itself goes on when threads are
/// joined.
struct StopOnPanic<'a, 'b, S: LayerSource>(&'a Feed<'b, S>);

impl<S: LayerSource> Drop for StopOnPanic<'_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().stop = true;
            self.0.changed.notify_all();
        }
    }
}
