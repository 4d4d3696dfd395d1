//! The primitives that threads share, in one place: the tests put those of a model in theirs.

#[cfg(not(test))]
mod real;
#[cfg(not(test))]
pub(crate) use real::{AtomicU8, AtomicU32, Cached, Mutex, MutexGuard, Swap, lock};

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) use model::{AtomicU8, AtomicU32, Cached, Mutex, MutexGuard, Swap, lock};

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;
