//! By which calendar budgets, shares and lives are counted.

use adit_router::Moment;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Tells the time of day. The system's own unless a test has another.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that is asked by calling `now`.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Now, by this clock and by the one that only goes forward.
    pub(super) fn moment(&self) -> Moment {
        Moment::new(Instant::now(), self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
