use std::fmt;
use std::time::Duration;

/// How long to wait before the next try: 1 to 86,400,000 milliseconds (a day).
///
/// Out-of-range values are brought into the range, so that no sum, no sleep and no header made from one can overflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RetryAfter(u32);

impl RetryAfter {
    /// The shortest wait: 1 ms.
    pub const MIN: Self = Self(1);

    /// The longest wait: 24 h.
    pub const MAX: Self = Self(86_400_000);

    /// A wait of `millis` milliseconds, brought into the range.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        // A match on ranges rather than a cast: the conversion is exact in every arm.
        match millis {
            0 => Self::MIN,
            #[expect(clippy::as_conversions, reason = "at most 86,400,000 here, which fits 32 bits")]
            1..=86_400_000 => Self(millis as u32),
            _ => Self::MAX,
        }
    }

    /// A wait of `seconds`, brought into the range: what a `Retry-After` field says.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// A wait of `duration`, rounded up to whole milliseconds and brought into the range.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Milliseconds, 1 to 86,400,000: the value of `retry_after_ms`.
    #[must_use]
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// Whole seconds, rounded **up**, 1 to 86,400: the value of a `Retry-After` field (RFC 9110 §10.2.3).
    #[must_use]
    pub const fn as_secs_rounded_up(self) -> u32 {
        self.0.div_ceil(1000)
    }

    /// The same as a [`Duration`].
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(u64_of(self.0))
    }
}

impl From<Duration> for RetryAfter {
    fn from(duration: Duration) -> Self {
        Self::from_duration(duration)
    }
}

impl From<RetryAfter> for Duration {
    fn from(after: RetryAfter) -> Self {
        after.as_duration()
    }
}

impl fmt::Debug for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

impl serde::Serialize for RetryAfter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

#[expect(clippy::as_conversions, reason = "u64::from is not const yet; widening loses nothing")]
const fn u64_of(value: u32) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x09_the_hint_stays_between_a_millisecond_and_a_day() {
        assert_eq!(RetryAfter::from_millis(0), RetryAfter::MIN);
        assert_eq!(RetryAfter::from_millis(1).as_millis(), 1);
        assert_eq!(RetryAfter::from_millis(86_400_000).as_millis(), 86_400_000);
        assert_eq!(RetryAfter::from_millis(86_400_001), RetryAfter::MAX);
        assert_eq!(RetryAfter::from_millis(u64::MAX), RetryAfter::MAX);
        assert_eq!(RetryAfter::from_secs(u64::MAX), RetryAfter::MAX);
        assert_eq!(RetryAfter::from_duration(Duration::ZERO), RetryAfter::MIN);
        assert_eq!(RetryAfter::from_duration(Duration::MAX), RetryAfter::MAX);
        assert_eq!(RetryAfter::from_duration(Duration::from_nanos(1_000_001)).as_millis(), 2);
    }

    #[test]
    fn seconds_are_rounded_up() {
        let seconds = |millis| RetryAfter::from_millis(millis).as_secs_rounded_up();
        assert_eq!([1, 999, 1000, 1001, 86_400_000].map(seconds), [1, 1, 1, 2, 86_400]);
    }
}
