//! The locks that the driver and the handles share.
//!
//! In unit tests they are those of shuttle, which decides at each of them who runs next: see `model`.

#[cfg(test)]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(test))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
