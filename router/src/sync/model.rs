//! The primitives in a model: before and after each step shuttle decides who goes on. Outside of one they are as always.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError, atomic};

use arc_swap::{ArcSwap, Cache, Guard};

pub(crate) use std::sync::{Mutex, MutexGuard};

/// Lets another task go on, if there are any.
fn point() {
    if !std::thread::panicking() && is_modelled() {
        shuttle::thread::yield_now();
    }
}

fn is_modelled() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

fn step<R>(step: impl FnOnce() -> R) -> R {
    point();
    let result = step();
    point();
    result
}

/// As `real::lock`. All tasks of a model run on one thread, so that waiting would be for ever.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    while is_modelled() && !std::thread::panicking() {
        point();
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Swap<T>(ArcSwap<T>);

impl<T> Swap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        step(|| self.0.load())
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        step(|| self.0.load_full())
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        step(|| self.0.swap(value))
    }
}

pub(crate) struct Cached<T>(Cache<Shared<T>, Arc<T>>);

impl<T> Cached<T> {
    pub(crate) fn new(swap: Arc<Swap<T>>) -> Self {
        Self(step(|| Cache::new(Shared(swap))))
    }

    pub(crate) fn load(&mut self) -> &Arc<T> {
        point();
        let current = self.0.load();
        point();
        current
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A `Swap` through which `Cache` sees the `ArcSwap` in it.
struct Shared<T>(Arc<Swap<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = ArcSwap<T>;

    fn deref(&self) -> &ArcSwap<T> {
        &self.0.0
    }
}

macro_rules! atomic {
    ($name:ident, $number:ty) => {
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) const fn new(number: $number) -> Self {
                Self(atomic::$name::new(number))
            }

            pub(crate) fn load(&self, order: Ordering) -> $number {
                step(|| self.0.load(order))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);

impl AtomicU8 {
    pub(crate) fn fetch_max(&self, number: u8, order: Ordering) -> u8 {
        step(|| self.0.fetch_max(number, order))
    }
}

impl AtomicU32 {
    pub(crate) fn fetch_add(&self, number: u32, order: Ordering) -> u32 {
        step(|| self.0.fetch_add(number, order))
    }

    pub(crate) fn fetch_sub(&self, number: u32, order: Ordering) -> u32 {
        step(|| self.0.fetch_sub(number, order))
    }
}
