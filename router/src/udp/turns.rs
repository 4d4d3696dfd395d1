//! How often something may happen.

use std::time::{Duration, Instant};

/// So many a second, and so many at once after a rest: the generic cell rate algorithm (ITU-T I.371), which needs one moment
/// of memory. Written here since governor comes with a feature, and this is kept for each of many addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    /// When all that was taken would have been earned.
    earned_at: Instant,
}

impl Turns {
    pub(super) const fn new(now: Instant) -> Self {
        Self { earned_at: now }
    }

    /// From when on it is as good as a new one.
    pub(super) const fn earned_at(&self) -> Instant {
        self.earned_at
    }

    /// Takes one, if it is there.
    pub(super) fn take(&mut self, now: Instant, per_second: u32, at_once: u32) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(per_second) else { return false };
        let begin = self.earned_at.max(now);
        let ahead = begin.saturating_duration_since(now);
        if ahead > each.saturating_mul(at_once.saturating_sub(1)) {
            return false;
        }
        self.earned_at = begin.checked_add(each).unwrap_or(begin);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's clock starts somewhere")]
    fn turns_are_so_many_at_once_and_so_many_a_second() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        let mut taken = |after: u64| {
            let now = now + Duration::from_millis(after);
            (0..100).filter(|_| turns.take(now, 10, 5)).count()
        };
        assert_eq!((taken(0), taken(99), taken(100), taken(450), taken(60_000)), (5, 0, 1, 3, 5));
        assert!(!Turns::new(now).take(now, 0, 5), "none a second is none");
        assert!(Turns::new(now).take(now, 10, 0), "one at once, at least");
    }
}
