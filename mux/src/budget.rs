//! What bounds a peer: memory pools for windows, and buckets that refill.

use crate::config::Allowance;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A pool of window octets that sessions share.
///
/// A window above its floor is reserved here before it is promised to a peer, and given back when its stream ends. No
/// request gets more than half of what is left, so that one stream, session or tenant never takes it all.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// A pool of `bytes` octets. 1 GiB is a good start for a gateway.
    pub const fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes) }
    }

    /// How many octets are left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes up to `wanted` octets, at most half of what is left.
    pub(crate) fn take(&self, wanted: u64) -> u64 {
        let mut taken = 0;
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            taken = wanted.min(left / 2);
            left.checked_sub(taken)
        });
        taken
    }

    pub(crate) fn give(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A bucket that refills: each event takes one, and an empty bucket is a breach.
#[derive(Debug)]
pub(crate) struct Bucket {
    allowance: Allowance,
    level: u32,
    refilled: Instant,
}

impl Bucket {
    pub(crate) const fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, level: allowance.burst, refilled: now }
    }

    /// Takes one; `false` if the bucket is empty.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.level == 0 {
            self.refill(now);
        }
        let left = self.level.checked_sub(1);
        self.level = left.unwrap_or(0);
        left.is_some()
    }

    /// Gives `events` back, up to the burst.
    pub(crate) fn give(&mut self, events: u32) {
        self.level = self.level.saturating_add(events).min(self.allowance.burst);
    }

    /// When one more can be taken, if not now.
    pub(crate) fn next(&self) -> Option<Instant> {
        let pause = Duration::from_secs(1).checked_div(self.allowance.per_second)?;
        self.refilled.checked_add(pause)
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled);
        let gained = elapsed.as_micros().saturating_mul(u128::from(self.allowance.per_second)) / 1_000_000;
        if gained > 0 {
            self.give(u32::try_from(gained).unwrap_or(u32::MAX));
            // What is left over of the time counts for the next event.
            let micros = gained.saturating_mul(1_000_000) / u128::from(self.allowance.per_second.max(1));
            let spent = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
            self.refilled = self.refilled.checked_add(spent).map_or(now, |at| at.min(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn a_bucket_refills_at_its_rate_however_often_it_is_asked() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(Allowance::new(5, 10), now);
        let mut taken = 0;
        // Every 70 ms for 70 s: what is left over of each pause must not be lost.
        for _ in 0..1_000 {
            now += Duration::from_millis(70);
            taken += u32::from(bucket.take(now));
        }
        assert!((700..=706).contains(&taken), "{taken}");
        assert_eq!(Bucket::new(Allowance::new(1, 0), now).next(), None);
    }
}
