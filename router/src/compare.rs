//! Secrets are compared in one place, so that a test build can count how.

use subtle::{Choice, ConstantTimeEq};

/// Compares two digests or tags in full, in constant time.
pub(crate) fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> Choice {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + 1));
    one.ct_eq(other)
}

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How many comparisons `work` makes on this thread.
#[cfg(test)]
pub(crate) fn counted(work: impl FnOnce()) -> u32 {
    let before = COUNT.with(std::cell::Cell::get);
    work();
    COUNT.with(std::cell::Cell::get) - before
}
