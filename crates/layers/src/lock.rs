//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned lock means that a thread panicked; the panic is what should be seen, not this.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a lock guarded, when nobody else has it any more.
pub(crate) fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
