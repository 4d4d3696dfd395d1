//! How long each side waits for the other.

use std::time::{Duration, Instant};

/// Time limits of a control stream (SPEC, "Limits and deadlines").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// From the start to the welcome, whatever came in meanwhile; 10 s by default.
    pub handshake: Duration,
    /// From a request to its answer, on the agent's side; 120 s by default, because a certificate authority may stand
    /// behind the answer.
    pub answer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), answer: Duration::from_secs(120) }
    }
}

/// A moment that may be too far away for the clock to name; then it never comes.
pub(crate) fn after(now: Instant, wait: Duration) -> Option<Instant> {
    now.checked_add(wait)
}
