//! What time it is, by both clocks.

use std::time::{Instant, SystemTime};

/// A moment by the clock that only goes forward, and by the one that people set.
///
/// Limits and waits follow the first. What was promised to people, the end of a share for one, ends when either says so:
/// neither a clock set back nor a machine that slept prolongs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    instant: Instant,
    system: SystemTime,
}

impl Moment {
    /// The moment that both clocks were read.
    #[must_use]
    pub fn new(instant: Instant, system: SystemTime) -> Self {
        Self { instant, system }
    }

    /// By the clock that only goes forward.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.instant
    }

    /// By the clock that people set.
    #[must_use]
    pub fn system(self) -> SystemTime {
        self.system
    }
}
