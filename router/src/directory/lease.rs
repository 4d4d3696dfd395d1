//! A node's own idea of its lease, by its own clock: it must believe the lease lost before anybody else does.

use std::time::{Duration, Instant};

/// Tells a node when to renew its lease, and when to stop believing in it.
///
/// The engine counts a lease's time from when a renewal *arrived*; a node that counts from when it *sent* it is always
/// early, never late, whatever the network did in between. With the margin for clocks that run unevenly, a node stops
/// serving as owner before the engine tells others that the tunnel is free.
///
/// ```text
///             sent          confirmed                           lost here      ended there
///   ───────────┬───────────────┬──────────────┬─────────────────────┬─────────────┬──▶
///              └──────────── a third ─────────┘ renew               │             │
///              └──────────── time to live, less a margin ───────────┘             │
///                  └──────────────── time to live ────────────────────────────────┘
/// ```
#[derive(Clone, Debug)]
pub struct LeaseClock {
    time_to_live: Duration,
    margin: Duration,
    /// When the last renewal was sent that is known to have arrived.
    good_since: Instant,
    last_sent: Instant,
    is_lost: bool,
}

impl LeaseClock {
    /// For a lease whose opening was sent at `sent`. The margin is a tenth of the time to live unless set.
    #[must_use]
    pub fn new(time_to_live: Duration, sent: Instant) -> Self {
        Self { time_to_live, margin: time_to_live / 10, good_since: sent, last_sent: sent, is_lost: false }
    }

    /// How much earlier than the engine the lease is believed lost; at most half the time to live.
    #[must_use]
    pub fn margin(self, margin: Duration) -> Self {
        Self { margin: margin.min(self.time_to_live / 2), ..self }
    }

    /// A renewal is being sent now.
    pub fn renewing(&mut self, now: Instant) {
        self.last_sent = self.last_sent.max(now);
    }

    /// The renewal that was sent at `sent` has arrived. Once lost, a lease stays lost: others may have been told.
    pub fn renewed(&mut self, sent: Instant, now: Instant) {
        self.handle_timeout(now);
        self.good_since = self.good_since.max(sent);
    }

    /// The engine said that the lease has ended.
    pub fn ended(&mut self) {
        self.is_lost = true;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.is_lost |= self.lost_at().is_some_and(|lost| now >= lost);
    }

    /// Whether this node may serve as owner at `now`.
    #[must_use]
    pub fn is_held(&self, now: Instant) -> bool {
        !self.is_lost && self.lost_at().is_none_or(|lost| now < lost)
    }

    /// Whether a renewal should be sent at `now`.
    #[must_use]
    pub fn is_renewal_due(&self, now: Instant) -> bool {
        self.is_held(now) && self.renewal_at().is_some_and(|renewal| now >= renewal)
    }

    /// When to look again: at the next renewal, or at the loss; `None` once it is lost, and if the clock has no
    /// number for either.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = [self.renewal_at(), self.lost_at()].into_iter().filter(|_| !self.is_lost);
        ends.flatten().min()
    }

    /// `None` if the clock has no number for it: never.
    fn renewal_at(&self) -> Option<Instant> {
        self.last_sent.checked_add(self.time_to_live / 3)
    }

    /// The same.
    fn lost_at(&self) -> Option<Instant> {
        self.good_since.checked_add(self.time_to_live.saturating_sub(self.margin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_outlasts_the_clock_is_never_lost_by_time() {
        let start = now();
        let mut clock = LeaseClock::new(Duration::MAX, start);
        clock.handle_timeout(start + seconds(1_000_000_000));
        assert!(clock.is_held(start + seconds(1_000_000_000)));
        assert!(!clock.is_renewal_due(start));
        assert!(clock.poll_timeout().is_none_or(|at| at > start + seconds(1_000_000_000)));
        clock.ended();
        assert!(!clock.is_held(start));
    }

    #[test]
    fn a_lease_is_lost_here_before_it_ends_there() {
        let start = now();
        let clock = LeaseClock::new(seconds(10), start);
        assert!(clock.is_held(start + seconds(8)));
        assert!(!clock.is_held(start + seconds(9)));
        assert_eq!(clock.poll_timeout(), Some(start + seconds(10) / 3));
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent() {
        let start = now();
        let mut clock = LeaseClock::new(seconds(10), start);
        assert!(!clock.is_renewal_due(start + seconds(3)) && clock.is_renewal_due(start + seconds(4)));
        clock.renewing(start + seconds(4));
        assert!(!clock.is_renewal_due(start + seconds(5)), "one is under way");
        assert!(clock.is_renewal_due(start + seconds(8)), "no answer: try again");
        clock.renewed(start + seconds(4), start + seconds(8));
        assert!(clock.is_held(start + seconds(12)) && !clock.is_held(start + seconds(13)));
    }

    #[test]
    fn a_lost_lease_stays_lost_whatever_arrives_late() {
        let start = now();
        let mut clock = LeaseClock::new(seconds(10), start);
        clock.renewing(start + seconds(8));
        clock.renewed(start + seconds(8), start + seconds(9));
        assert!(!clock.is_held(start + seconds(9)) && clock.poll_timeout().is_none());
        let mut told = LeaseClock::new(seconds(10), start);
        told.ended();
        assert!(!told.is_held(start) && !told.is_renewal_due(start + seconds(5)));
    }

    #[test]
    fn an_early_answer_to_an_old_renewal_takes_no_time_away() {
        let start = now();
        let mut clock = LeaseClock::new(seconds(10), start).margin(seconds(1));
        clock.renewed(start + seconds(6), start + seconds(7));
        clock.renewed(start + seconds(3), start + seconds(8));
        assert!(clock.is_held(start + seconds(14)));
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }
}
