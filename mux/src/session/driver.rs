//! What moves a session along.

use crate::SessionEnd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Moves the session along; resolves with the reason when it ended.
///
/// Spawn it on a tokio runtime, of either kind. To drop it ends the session at once, without a word to the peer where
/// the carrier allows that; to end it in order, call [`Session::close`](crate::Session::close) or
/// [`Session::drain`](crate::Session::drain) and let it resolve.
#[must_use = "a session stands still until its driver is polled"]
pub struct Driver {
    kind: Kind,
}

enum Kind {
    Native(Box<crate::driver::Driver>),
    #[cfg(any(feature = "h2", feature = "quic"))]
    Other(Pin<Box<dyn Future<Output = SessionEnd> + Send>>),
}

impl Driver {
    pub(crate) fn native(driver: crate::driver::Driver) -> Self {
        Self { kind: Kind::Native(Box::new(driver)) }
    }

    #[cfg(any(feature = "h2", feature = "quic"))]
    pub(crate) fn of(driver: impl Future<Output = SessionEnd> + Send + 'static) -> Self {
        Self { kind: Kind::Other(Box::pin(driver)) }
    }
}

impl Future for Driver {
    type Output = SessionEnd;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<SessionEnd> {
        match &mut self.get_mut().kind {
            Kind::Native(driver) => Pin::new(driver).poll(task),
            #[cfg(any(feature = "h2", feature = "quic"))]
            Kind::Other(driver) => driver.as_mut().poll(task),
        }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
