//! Bytes that wait for a decision, and those before them that may serve as dictionary.

use crate::inflate::WINDOW;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Pieces below this size are copied together, so that a small piece does not keep a whole buffer alive.
const COPY_BELOW: usize = 32 * 1024;

/// A queue of bytes that copies no large piece.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    history: VecDeque<Bytes>,
    history_length: usize,
    waiting: VecDeque<Bytes>,
    /// Small pieces, behind `waiting`.
    small: BytesMut,
    length: usize,
}

impl ByteQueue {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if piece.len() < COPY_BELOW {
            self.small.extend_from_slice(&piece);
            if self.small.len() >= 2 * COPY_BELOW {
                self.seal();
            }
        } else {
            self.seal();
            self.waiting.push_back(piece);
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.waiting.push_back(self.small.split().freeze());
        }
    }

    /// Moves the first `count` bytes to the history, calling `visit` with each part.
    ///
    /// # Panics
    /// When fewer wait.
    pub(crate) fn advance(&mut self, mut count: usize, mut visit: impl FnMut(&[u8])) {
        assert!(count <= self.length, "only what waits can be taken");
        self.length -= count;
        while count > 0 {
            if self.waiting.is_empty() {
                self.seal();
            }
            let Some(front) = self.waiting.front_mut() else { return };
            let part = front.split_to(count.min(front.len()));
            if !front.has_remaining() {
                self.waiting.pop_front();
            }
            count -= part.len();
            visit(&part);
            self.history_length += part.len();
            self.history.push_back(part);
        }
        while let Some(oldest) = self.history.front()
            && self.history_length - oldest.len() >= WINDOW
        {
            self.history_length -= oldest.len();
            self.history.pop_front();
        }
    }

    /// The last bytes of the history, at most a window.
    pub(crate) fn dictionary(&self) -> Vec<u8> {
        let mut skip = self.history_length.saturating_sub(WINDOW);
        let mut bytes = Vec::with_capacity(self.history_length.min(WINDOW));
        for part in &self.history {
            let from = skip.min(part.len());
            skip -= from;
            bytes.extend_from_slice(&part[from..]);
        }
        bytes
    }
}
