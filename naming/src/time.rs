//! Points in time, as the caller's clock tells them.

use core::time::Duration;

/// A point in wall-clock time: milliseconds since the Unix epoch.
///
/// Nothing here reads a clock. Arithmetic saturates, so a clock that jumps, or was never set, makes a grace period longer
/// or shorter, and no panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time this many milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The time this long after the Unix epoch, as `SystemTime::duration_since(UNIX_EPOCH)` gives it; cut to
    /// milliseconds.
    pub fn from_unix(since_epoch: Duration) -> Self {
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// The time this much later; at most the last time there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it isn't after.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let last = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(last.saturating_add(Duration::MAX), last);
        assert_eq!(Timestamp::from_unix(Duration::MAX), last);
        assert_eq!(Timestamp::from_unix_millis(1).saturating_since(last), Duration::ZERO);
        let second = Timestamp::from_unix(Duration::from_secs(1));
        assert_eq!((second.as_unix_millis(), last.saturating_since(last)), (1000, Duration::ZERO));
    }
}
