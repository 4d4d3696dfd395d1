use std::time::Duration;

/// What a store keeps, how much and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) time_to_live: Duration,
    pub(super) lease: Duration,
    pub(super) max_entries_per_principal: usize,
    pub(super) max_bytes_per_principal: usize,
    pub(super) max_bytes: usize,
}

impl Limits {
    /// 24 hours; a lease of one minute; 1,000 entries and 16 MiB for each principal; 256 MiB in all.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            time_to_live: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(60),
            max_entries_per_principal: 1_000,
            max_bytes_per_principal: 16 << 20,
            max_bytes: 256 << 20,
        }
    }

    /// Sets how long an answer is replayed, counted from the first request; 24 h by default, which is what callers are
    /// promised.
    #[must_use]
    pub const fn with_time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Sets how long a request may be under way before a repeat takes its place; 60 s by default. It must be longer
    /// than the slowest handler: a shorter one lets a repeat run beside it.
    #[must_use]
    pub const fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many keys of one principal are remembered at once; 1,000 by default. With 0 every key is refused.
    #[must_use]
    pub const fn with_max_entries_per_principal(mut self, entries: usize) -> Self {
        self.max_entries_per_principal = entries;
        self
    }

    /// Sets how many bytes are kept for one principal, 512 for each entry included; 16 MiB by default.
    #[must_use]
    pub const fn with_max_bytes_per_principal(mut self, bytes: usize) -> Self {
        self.max_bytes_per_principal = bytes;
        self
    }

    /// Sets how many bytes are kept in all; 256 MiB by default. When they are used up, new keys of everyone are refused:
    /// size it for the principals that are active within a day.
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
