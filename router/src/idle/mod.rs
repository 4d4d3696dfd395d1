//! Machines that sleep while nobody visits: when they may, and how a visit wakes them.

mod activity;
mod wake;

pub use activity::{Activity, IdleRule, Traffic};
pub use wake::{Arrival, WakeGate, WakeLimits, WakeOutput};

/// Any moment, the same all the time, for tests.
#[cfg(test)]
pub(crate) fn start() -> std::time::Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "there is no other way to get an Instant")]
    *START.get_or_init(std::time::Instant::now)
}
