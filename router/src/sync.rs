//! The primitives that threads share, in one place, so that the tests can put a model checker's in theirs.

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
