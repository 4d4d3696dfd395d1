//! So many bits a second, of all streams together.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Spreads what streams move over time, so that together they keep to the bandwidth of a [`Grant`](crate::Grant).
///
/// A piece moves first and is charged then; the answer is when its stream may move the next one. Pieces of all streams
/// stand one behind the other on one clock, each for as long as it takes at this rate, so the rate holds for their sum
/// and every stream waits for its own pieces only. Who was silent may be ahead of the clock by [`BURST`](Self::BURST),
/// and every stream by the one piece that it moved last.
///
/// Shared by reference or in an `Arc`; nothing blocks.
///
/// ```
/// use adit_router::Pace;
/// use std::num::NonZeroU64;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let pace = Pace::new(NonZeroU64::new(8_000_000).unwrap(), start);
/// // Two megabytes are two seconds, less what a silent stream is ahead.
/// pace.charge(1_000_000, start);
/// assert_eq!(pace.charge(1_000_000, start), start + Duration::from_secs(2) - Pace::BURST);
/// ```
#[derive(Debug)]
pub struct Pace {
    bits_per_second: NonZeroU64,
    epoch: Instant,
    /// Nanoseconds since a burst before `epoch` until which the clock is taken; it only grows.
    taken: AtomicU64,
}

impl Pace {
    /// By how much a silent stream is ahead of the clock.
    pub const BURST: Duration = Duration::from_millis(100);

    /// A pace by which nothing was moved yet.
    #[must_use]
    pub const fn new(bits_per_second: NonZeroU64, now: Instant) -> Self {
        Self { bits_per_second, epoch: now, taken: AtomicU64::new(0) }
    }

    /// The rate.
    #[must_use]
    pub const fn bits_per_second(&self) -> NonZeroU64 {
        self.bits_per_second
    }

    /// Charges `bytes` that a stream has just moved, and says when it may move more: `now` if the rate is kept. Sums
    /// saturate. Charge 0 for a stream that begins: otherwise its first piece would move whatever has moved before it, and
    /// many short streams would keep to no rate.
    pub fn charge(&self, bytes: u64, now: Instant) -> Instant {
        // As if it had begun a burst ago, so that who comes first has one.
        let since = nanos(now.saturating_duration_since(self.epoch).saturating_add(Self::BURST));
        let cost = self.cost(bytes);
        let earliest = since.saturating_sub(nanos(Self::BURST));
        let take = |taken: u64| taken.max(earliest).saturating_add(cost);
        let before = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| Some(take(taken)))
            .unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(take(before).saturating_sub(since));
        // An `Instant` has room for the 584 years that nanoseconds can count; without it nobody would wait so long.
        now.checked_add(wait).unwrap_or(now)
    }

    fn cost(&self, bytes: u64) -> u64 {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_second.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_that_moves_as_it_may_keeps_to_the_rate() {
        let start = crate::idle::start();
        let pace = pace(8_000_000, start);
        let (mut now, mut moved) = (start, 0_u32);
        while moved < 100 {
            now = pace.charge(20_000, now);
            moved += 1;
        }
        assert_eq!(now - start, Duration::from_millis(20) * 100 - Pace::BURST, "2,000,000 bytes at 1 MB/s");
    }

    #[test]
    fn streams_share_the_rate_and_silence_is_saved_up_no_longer_than_the_burst() {
        let start = crate::idle::start();
        let pace = pace(8_000, start);
        let second = Duration::from_secs(1);
        assert_eq!(pace.charge(1000, start), start + second - Pace::BURST);
        assert_eq!(pace.charge(1000, start), start + 2 * second - Pace::BURST, "behind the first");
        let hour = start + 3600 * second;
        assert_eq!(pace.charge(50, hour), hour, "within the burst");
        assert_eq!(pace.charge(1000, hour), hour + second + Duration::from_millis(50) - Pace::BURST);
    }

    #[test]
    fn short_streams_that_begin_with_nothing_stand_behind_those_before() {
        let start = crate::idle::start();
        let pace = pace(8_000, start);
        let mut now = start;
        for _ in 0..10 {
            now = pace.charge(0, now);
            pace.charge(1000, now);
        }
        assert_eq!(now - start, Duration::from_secs(9) - Pace::BURST, "the tenth waits for nine");
    }

    #[test]
    fn what_no_clock_can_count_saturates() {
        let start = crate::idle::start();
        let pace = pace(1, start);
        for _ in 0..3 {
            assert!(pace.charge(u64::MAX, start) >= start);
        }
        let fast = self::pace(u64::MAX, start);
        assert_eq!(fast.charge(1_000_000, start), start);
    }

    proptest! {
        #[test]
        fn no_interval_has_more_than_its_rate_a_burst_and_a_piece_of_each_stream(
            pieces in prop::collection::vec((0_usize..4, 1_u64..5000), 1..200),
        ) {
            let start = crate::idle::start();
            let pace = pace(800_000, start);
            let mut may = [start; 4];
            let mut moved = 0_u64;
            for (stream, bytes) in pieces {
                // Each stream moves at the very moment at which it may, in the order of these moments.
                let earliest = may.iter().min().copied().unwrap_or(start);
                let stream = if may[stream] == earliest { stream } else {
                    may.iter().position(|at| *at == earliest).unwrap_or(stream)
                };
                let now = may[stream];
                may[stream] = pace.charge(bytes, now);
                moved += bytes;
                let allowed = u64::try_from((now - start + Pace::BURST).as_millis()).unwrap() * 100 + 4 * 5000;
                prop_assert!(moved <= allowed + 100, "{moved} bytes where {allowed} may be");
            }
        }
    }

    fn pace(bits_per_second: u64, now: Instant) -> Pace {
        Pace::new(NonZeroU64::new(bits_per_second).unwrap(), now)
    }
}
