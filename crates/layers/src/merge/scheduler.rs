//! Who reads which layer, how much is held, and whose layer is the front.

use std::sync::{Condvar, Mutex};

use super::layer_pass::LayerPass;
use super::stop::Stop;
use super::summary::Summary;
use crate::collections::HashMap;
use crate::lock::{into_inner, lock};

/// Layers that may be read ahead of the front, beyond one for each thread.
const AHEAD: usize = 4;

/// Why everybody stops, and the layer at hand.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) layer: usize,
    pub(super) stop: Stop,
}

#[derive(Default)]
struct State {
    /// Layers below this one are not begun.
    next: usize,
    /// Layers from this one up are written.
    front: usize,
    /// Layers that were read before they were the front.
    parked: HashMap<usize, LayerPass>,
    /// Bytes that all layers hold.
    held: usize,
    stopped: Option<Stopped>,
    summary: Summary,
}

/// What the threads of a round agree on.
pub(super) struct Scheduler {
    state: Mutex<State>,
    changed: Condvar,
    hold_bytes: usize,
    ahead: usize,
}

impl Scheduler {
    pub(super) fn new(layers: usize, jobs: usize, hold_bytes: usize) -> Self {
        let summary =
            Summary { unpacked_bytes: vec![0; layers], records: vec![0; layers], ..Summary::default() };
        let state = State { next: layers, front: layers, summary, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new(), hold_bytes, ahead: jobs.max(1) + AHEAD }
    }

    /// The next layer to read, when it is not too far ahead of the front.
    pub(super) fn take_layer(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        loop {
            if state.next == 0 || state.stopped.is_some() {
                return None;
            }
            if state.front - state.next < self.ahead {
                state.next -= 1;
                return Some(state.next);
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Asks for room to hold `bytes` more; `false` tells that the layer is the front and should write
    /// instead.
    pub(super) fn reserve(&self, layer: usize, pass: &mut LayerPass, bytes: usize) -> Result<bool, Stop> {
        let mut state = lock(&self.state);
        state.held += bytes;
        pass.bytes += bytes;
        loop {
            if state.stopped.is_some() {
                return Err(Stop::Told);
            }
            // Half is for the layers ahead, so that the front cannot keep them from being read.
            let front = state.front == layer + 1;
            if state.held <= self.hold_bytes && (!front || pass.bytes <= self.hold_bytes / 2) {
                return Ok(true);
            }
            if front {
                return Ok(false);
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// What a layer held is written.
    pub(super) fn release(&self, pass: &mut LayerPass) {
        lock(&self.state).held -= pass.forget();
        self.changed.notify_all();
    }

    /// Puts a layer that was read aside until it is the front.
    pub(super) fn park(&self, layer: usize, pass: LayerPass) {
        lock(&self.state).parked.insert(layer, pass);
    }

    /// The front, if it is parked.
    pub(super) fn unpark(&self) -> Option<(usize, LayerPass)> {
        let mut state = lock(&self.state);
        let layer = state.front.checked_sub(1)?;
        Some((layer, state.parked.remove(&layer)?))
    }

    /// The front is written: the next layer is.
    pub(super) fn advance(&self, layer: usize, pass: &LayerPass) {
        let mut state = lock(&self.state);
        state.front = layer;
        state.summary.unpacked_bytes[layer] = pass.unpacked;
        state.summary.records[layer] = pass.state.rules.records();
        self.changed.notify_all();
    }

    pub(super) fn note_second_read(&self, layer: usize) {
        lock(&self.state).summary.read_again.insert(layer);
    }

    /// Tells everybody to stop. The first reason is kept: later ones may only follow from it.
    pub(super) fn stop(&self, layer: usize, stop: Stop) {
        let mut state = lock(&self.state);
        if !matches!(stop, Stop::Told) {
            state.stopped.get_or_insert(Stopped { layer, stop });
        }
        self.changed.notify_all();
    }

    /// What was read, or why it was not.
    pub(super) fn finish(self) -> Result<Summary, Stopped> {
        let State { stopped, summary, .. } = into_inner(self.state);
        stopped.map_or(Ok(summary), Err)
    }
}
