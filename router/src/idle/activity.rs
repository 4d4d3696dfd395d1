//! When a tunnel was last used.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a tunnel counts as idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleRule {
    idle_after: Duration,
    counts_http: bool,
}

impl IdleRule {
    /// Idle after so long without use.
    #[must_use]
    pub fn new(idle_after: Duration) -> Self {
        Self { idle_after, counts_http: true }
    }

    /// Whether HTTP counts as use; it does unless set. Other traffic always does. (`http_keep_alive`)
    #[must_use]
    pub fn http_keep_alive(self, counts_http: bool) -> Self {
        Self { counts_http, ..self }
    }
}

/// What uses a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// An HTTP exchange, or what it was upgraded to.
    Http,
    /// Anything else.
    Other,
}

/// The activity clock of one tunnel: shared by its visits, without a lock.
///
/// A stream that is open is use for as long as it is open, whether bytes move on it or not; so is the moment in which it
/// ends. Ask [`idle_at`](Self::idle_at) for the deadline, and ask again when it has come.
#[derive(Debug)]
pub struct Activity {
    rule: IdleRule,
    epoch: Instant,
    /// Nanoseconds since `epoch`; never goes back.
    last_use: AtomicU64,
    open: AtomicU32,
}

impl Activity {
    /// A tunnel that is used now.
    #[must_use]
    pub fn new(rule: IdleRule, now: Instant) -> Self {
        Self { rule, epoch: now, last_use: AtomicU64::new(0), open: AtomicU32::new(0) }
    }

    /// A stream opens. Each call wants one of [`close`](Self::close) with the same traffic.
    pub fn open(&self, traffic: Traffic, now: Instant) {
        if self.counts(traffic) {
            self.open.fetch_add(1, Ordering::SeqCst);
            self.note(now);
        }
    }

    /// A stream that was opened ends.
    pub fn close(&self, traffic: Traffic, now: Instant) {
        if self.counts(traffic) {
            self.note(now);
            let one_less = |open: u32| open.checked_sub(1);
            // More closed than opened is a slip of the caller's, and no reason to count backwards.
            let _ = self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        }
    }

    /// When the tunnel becomes idle, if nothing happens before; `None` while a stream is open.
    #[must_use]
    pub fn idle_at(&self) -> Option<Instant> {
        if self.open.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let last_use = Duration::from_nanos(self.last_use.load(Ordering::SeqCst));
        self.epoch.checked_add(last_use)?.checked_add(self.rule.idle_after)
    }

    /// Whether the tunnel is idle.
    #[must_use]
    pub fn is_idle(&self, now: Instant) -> bool {
        self.idle_at().is_some_and(|at| at <= now)
    }

    fn counts(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::Http => self.rule.counts_http,
            Traffic::Other => true,
        }
    }

    fn note(&self, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        self.last_use.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_idle_so_long_after_its_last_stream_ended() {
        let (start, minute) = (crate::idle::start(), Duration::from_secs(60));
        let activity = Activity::new(IdleRule::new(minute), start);
        assert_eq!(activity.idle_at(), Some(start + minute), "nobody ever came");
        activity.open(Traffic::Http, start + minute / 2);
        activity.open(Traffic::Other, start + minute / 2);
        assert_eq!(activity.idle_at(), None);
        assert!(!activity.is_idle(start + minute * 100), "an open stream is use, however quiet");
        activity.close(Traffic::Http, start + minute);
        assert_eq!(activity.idle_at(), None, "one is left");
        activity.close(Traffic::Other, start + minute * 2);
        assert_eq!(activity.idle_at(), Some(start + minute * 3));
        assert!(!activity.is_idle(start + minute * 2) && activity.is_idle(start + minute * 3));
    }

    #[test]
    fn without_http_keep_alive_only_other_traffic_counts() {
        let (start, minute) = (crate::idle::start(), Duration::from_secs(60));
        let activity = Activity::new(IdleRule::new(minute).http_keep_alive(false), start);
        activity.open(Traffic::Http, start + minute);
        assert_eq!(activity.idle_at(), Some(start + minute));
        activity.close(Traffic::Http, start + minute);
        activity.open(Traffic::Other, start + minute);
        assert_eq!(activity.idle_at(), None);
    }

    #[test]
    fn f10_a_late_note_of_an_early_moment_takes_nothing_back() {
        let (start, minute) = (crate::idle::start(), Duration::from_secs(60));
        let activity = Activity::new(IdleRule::new(minute), start);
        activity.open(Traffic::Other, start + minute);
        activity.close(Traffic::Other, start + minute * 2);
        activity.open(Traffic::Other, start);
        activity.close(Traffic::Other, start);
        activity.close(Traffic::Other, start);
        assert_eq!(activity.idle_at(), Some(start + minute * 3));
    }
}
