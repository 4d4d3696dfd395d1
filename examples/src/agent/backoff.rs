//! How long to wait before the next dial.

use std::time::Duration;

/// Full jitter: any wait between nothing and a bound that doubles from half a second to a minute. A thousand agents
/// that lost the same gateway come back spread over that time rather than at once (F-07, F-08).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    attempt: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);

    /// The next wait. `random` is any number, evenly spread.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let bound = Self::FIRST.saturating_mul(1 << self.attempt.min(10)).min(Self::LONGEST);
        self.attempt = self.attempt.saturating_add(1);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random % nanos.saturating_add(1))
    }

    /// A session was established: the next loss starts from the shortest bound.
    pub(crate) const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f08_waits_stay_under_a_bound_that_doubles_to_a_minute() {
        let mut backoff = Backoff::default();
        let bounds: Vec<Duration> = (0..9).map(|_| backoff.next(u64::MAX / 3)).collect();
        assert!(bounds.iter().all(|wait| *wait <= Backoff::LONGEST));
        for attempt in 0..20 {
            let mut backoff = Backoff { attempt };
            let bound = Backoff::FIRST.saturating_mul(1 << attempt.min(10)).min(Backoff::LONGEST);
            let nanos = u64::try_from(bound.as_nanos()).unwrap();
            assert_eq!(backoff.next(nanos), bound, "the whole range is used");
            assert_eq!(Backoff { attempt }.next(nanos + 1), Duration::ZERO);
        }
    }
}
