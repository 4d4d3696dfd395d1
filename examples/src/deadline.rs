//! Waiting for a moment that may never come.

use std::future::pending;
use std::time::Instant;
use tokio::time::sleep_until;

/// Waits for `deadline`; for good, if there is none.
pub(crate) async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
