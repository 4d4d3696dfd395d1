use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How often each tunnel may have a certificate signed: a sliding window, by default 10 in an hour.
#[derive(Clone, Debug)]
pub struct SigningQuota {
    limit: usize,
    window: Duration,
    /// Signings within the window, oldest first: at most `limit` for each tunnel, and at most `max_tunnels` tunnels.
    signings: HashMap<Box<str>, VecDeque<Instant>>,
    max_tunnels: usize,
    /// Until when a full table need not be searched again, so that a flood of new tunnels costs one search.
    full_until: Option<Instant>,
}

impl SigningQuota {
    /// `limit` signings in each `window`, remembered for at most `max_tunnels` tunnels at a time. When the memory is
    /// full and none of it has run out, new tunnels are refused: forgetting would be a way around the quota.
    ///
    /// Costs 16 bytes for each signing remembered and about 100 for each tunnel.
    pub fn new(limit: usize, window: Duration, max_tunnels: usize) -> Self {
        Self { limit, window, signings: HashMap::new(), max_tunnels, full_until: None }
    }

    /// Counts one signing for `tunnel`.
    ///
    /// # Errors
    /// [`QuotaExceeded`] with the time after which it is worth asking again; nothing is counted then.
    pub fn take(&mut self, now: Instant, tunnel: &str) -> Result<(), QuotaExceeded> {
        let window = self.window;
        if !self.signings.contains_key(tunnel) {
            self.make_room(now)?;
        }
        let signings = self.signings.entry(tunnel.into()).or_default();
        while signings.front().is_some_and(|signed| now.saturating_duration_since(*signed) >= window) {
            signings.pop_front();
        }
        if signings.len() >= self.limit {
            let waited =
                signings.front().map_or(Duration::ZERO, |oldest| now.saturating_duration_since(*oldest));
            return Err(QuotaExceeded { retry_after: window.saturating_sub(waited) });
        }
        signings.push_back(now);
        Ok(())
    }

    fn make_room(&mut self, now: Instant) -> Result<(), QuotaExceeded> {
        if self.signings.len() < self.max_tunnels {
            return Ok(());
        }
        if let Some(full_until) = self.full_until.filter(|full_until| now < *full_until) {
            return Err(QuotaExceeded { retry_after: full_until.saturating_duration_since(now) });
        }
        let window = self.window;
        self.signings.retain(|_, signings| {
            signings.back().is_some_and(|signed| now.saturating_duration_since(*signed) < window)
        });
        if self.signings.len() < self.max_tunnels {
            return Ok(());
        }
        let first_to_age = self.signings.values().filter_map(VecDeque::back).min().copied().unwrap_or(now);
        let full_until = first_to_age + window;
        self.full_until = Some(full_until);
        Err(QuotaExceeded { retry_after: full_until.saturating_duration_since(now) })
    }
}

impl Default for SigningQuota {
    /// 10 signings an hour for each of at most 100,000 tunnels: up to 26 MB when full.
    fn default() -> Self {
        Self::new(10, Duration::from_secs(3_600), 100_000)
    }
}

/// The tunnel has had its share of signings; the certificate it has stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many certificates were signed for this tunnel; try again after {} ms", retry_after.as_millis())]
#[non_exhaustive]
pub struct QuotaExceeded {
    /// When it is worth asking again, counted from now.
    pub retry_after: Duration,
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn c37_the_eleventh_in_an_hour_waits_for_the_first_to_age() {
        let start = Instant::now();
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        let mut quota = SigningQuota::default();
        for minute in 0..10 {
            assert_eq!(quota.take(minutes(minute), "a"), Ok(()));
        }
        let refused = quota.take(minutes(10), "a").unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(50 * 60));
        assert_eq!(quota.take(minutes(10), "b"), Ok(()));
        assert_eq!(quota.take(minutes(60), "a"), Ok(()));
        assert!(quota.take(minutes(60), "a").is_err());
    }

    #[test]
    fn a_full_table_forgets_only_what_has_aged() {
        let start = Instant::now();
        let mut quota = SigningQuota::new(1, Duration::from_secs(10), 2);
        assert_eq!(quota.take(start, "a"), Ok(()));
        assert_eq!(quota.take(start, "b"), Ok(()));
        assert!(quota.take(start, "c").is_err());
        assert_eq!(quota.take(start + Duration::from_secs(10), "c"), Ok(()));
    }
}
