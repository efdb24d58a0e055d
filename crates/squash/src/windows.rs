//! Memory for the windows of zstd frames, which a frame asks for itself: 8 MiB is common, 128 MiB is allowed.
//!
//! Guarantees: all windows together keep to the budget, but for those of the stream whose turn is first,
//! which always gets what it asks for. So there is no deadlock where a stream waits for none but those before
//! it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The budget and who has how much of it.
#[derive(Debug)]
pub(crate) struct Windows {
    budget: u64,
    held: Mutex<Held>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    /// Bytes of each open stream by turn and number, in the order of their turns.
    streams: BTreeMap<(usize, u64), u64>,
    opened: u64,
}

/// The share of one stream; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    windows: Arc<Windows>,
    stream: (usize, u64),
}

impl Windows {
    pub(crate) fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget, held: Mutex::default(), freed: Condvar::new() })
    }

    /// A stream is opened whose turn is number `turn`. Streams of one turn don't wait for each other.
    pub(crate) fn share(self: &Arc<Self>, turn: usize) -> Share {
        let mut held = self.lock();
        held.opened += 1;
        let stream = (turn, held.opened);
        held.streams.insert(stream, 0);
        Share { windows: Arc::clone(self), stream }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Waits until the stream may have `bytes` for the window of its next frame.
    pub(crate) fn grow_to(&self, bytes: u64) {
        let mut held = self.windows.lock();
        loop {
            // A decoder keeps its largest window.
            let own = held.streams.get(&self.stream).copied().unwrap_or(0).max(bytes);
            let first = held.streams.keys().next().is_none_or(|(turn, _)| *turn == self.stream.0);
            let others = held.streams.iter().filter(|(stream, _)| **stream != self.stream);
            let others = others.fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
            if first || others.saturating_add(own) <= self.windows.budget {
                held.streams.insert(self.stream, own);
                return;
            }
            held = self.windows.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.windows.lock().streams.remove(&self.stream);
        self.windows.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_window_past_the_budget_waits_for_its_turn_and_the_first_never_does() {
        let windows = Windows::new(10);
        let shares: Vec<_> = (0..3).map(|turn| windows.share(turn)).collect();
        shares[1].grow_to(6);
        // More than there is, but first.
        shares[0].grow_to(100);
        let (told, grown) = channel();
        let mut shares = shares.into_iter();
        let (first, second, third) = (shares.next(), shares.next(), shares.next().unwrap());
        let waits = std::thread::spawn(move || {
            third.grow_to(5);
            told.send(()).unwrap();
        });
        let not_yet = Duration::from_millis(50);
        assert_eq!(grown.recv_timeout(not_yet), Err(RecvTimeoutError::Timeout));
        drop(first);
        assert_eq!(grown.recv_timeout(not_yet), Err(RecvTimeoutError::Timeout));
        drop(second);
        assert_eq!(grown.recv_timeout(Duration::from_secs(30)), Ok(()));
        waits.join().unwrap();
        assert!(windows.lock().streams.is_empty());
    }

    #[test]
    fn a_frame_with_a_smaller_window_asks_for_nothing_more() {
        let windows = Windows::new(10);
        let (_first, second) = (windows.share(0), windows.share(1));
        second.grow_to(8);
        second.grow_to(3);
        assert_eq!(windows.lock().streams.values().sum::<u64>(), 8);
    }
}
