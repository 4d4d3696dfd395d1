//! The primitives as they are.

use std::sync::{Arc, PoisonError};

use arc_swap::{ArcSwap, Cache};

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32};
pub(crate) use std::sync::{Mutex, MutexGuard};

/// A value that is replaced as a whole, and read without a lock.
pub(crate) type Swap<T> = ArcSwap<T>;

/// A copy of what a [`Swap`] has, renewed when it is asked for.
pub(crate) type Cached<T> = Cache<Arc<Swap<T>>, Arc<T>>;

/// Locks what no step leaves half done, so that a poisoned lock hides nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
