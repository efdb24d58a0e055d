//! What is being tried again now, for whoever watches.

use std::sync::{Arc, Mutex, PoisonError};

/// The failures that requests wait for to pass. Clones share them.
///
/// One is there for as long as its attempts go on: what succeeds, moves on, or fails for good takes it away.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    count: u64,
    now: Vec<(u64, String)>,
}

impl Troubles {
    /// The one that has lasted longest, in the words of its latest error; nothing where all goes well.
    #[must_use]
    pub fn longest(&self) -> Option<String> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.now.first().map(|(_, words)| words.clone())
    }

    /// Adds one, or gives the one that has this number its newest words; gives its number.
    pub(crate) fn put(&self, number: Option<u64>, words: String) -> u64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = inner.now.iter_mut().find(|(known, _)| Some(*known) == number) {
            known.1 = words;
            return known.0;
        }
        inner.count += 1;
        let count = inner.count;
        inner.now.push((count, words));
        count
    }

    pub(crate) fn over(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now.retain(|(known, _)| *known != number);
    }
}
