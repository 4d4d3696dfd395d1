//! The session that applications see, whatever it travels on.

mod capabilities;
mod driver;
mod incoming;
mod stream;

pub use capabilities::Capabilities;
pub use driver::Driver;
pub use incoming::{Incoming, IncomingStream};
pub use stream::{ReceiveStream, SendStream, Stream};

use crate::{Carrier, DatagramError, OpenError, SessionEnd, SessionStats};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::time::Duration;

/// Calls the same method on whatever carries the session. With one carrier compiled in it is that call.
macro_rules! on_carrier {
    ($kind:expr, $inner:ident => $call:expr) => {
        match $kind {
            Kind::Native($inner) => $call,
            #[cfg(feature = "quic")]
            Kind::Quic($inner) => $call,
            #[cfg(feature = "h2")]
            Kind::Http2($inner) => $call,
        }
    };
}
use on_carrier;

/// One end of a session. Clones are the same session.
///
/// When the last clone, the [`Incoming`] and all streams are gone the session closes with NONE.
#[derive(Clone)]
pub struct Session {
    kind: Kind,
    carrier: Carrier,
}

#[derive(Clone)]
enum Kind {
    Native(crate::driver::Session),
    #[cfg(feature = "quic")]
    Quic(crate::carrier::quic::Session),
    #[cfg(feature = "h2")]
    Http2(crate::carrier::h2::Session),
}

impl Session {
    pub(crate) const fn native(session: crate::driver::Session, carrier: Carrier) -> Self {
        Self { kind: Kind::Native(session), carrier }
    }

    #[cfg(feature = "quic")]
    pub(crate) const fn quic(session: crate::carrier::quic::Session) -> Self {
        Self { kind: Kind::Quic(session), carrier: Carrier::Quic }
    }

    #[cfg(feature = "h2")]
    pub(crate) const fn h2(session: crate::carrier::h2::Session) -> Self {
        Self { kind: Kind::Http2(session), carrier: Carrier::Http2 }
    }

    /// The native carrier's own type, if this is that carrier.
    #[cfg(feature = "direct")]
    #[doc(hidden)]
    pub fn into_direct(self) -> Option<crate::driver::Session> {
        match self.kind {
            Kind::Native(session) => Some(session),
            #[cfg(feature = "quic")]
            Kind::Quic(_) => None,
            #[cfg(feature = "h2")]
            Kind::Http2(_) => None,
        }
    }

    /// Opens a stream; waits until the peer grants one. Doesn't wait for the peer to see it: write at once.
    ///
    /// Cancel-safe: no stream is opened unless the future resolves.
    ///
    /// # Errors
    /// [`OpenError`] if the session ended or drains, or the head is over 4,096 octets. Nothing was sent.
    pub async fn open(&self, head: impl Into<Bytes>) -> Result<Stream, OpenError> {
        let head = head.into();
        match &self.kind {
            Kind::Native(session) => Ok(Stream::native(session.open(head).await?)),
            #[cfg(feature = "quic")]
            Kind::Quic(session) => Ok(Stream::quic(session.open(head).await?)),
            #[cfg(feature = "h2")]
            Kind::Http2(session) => Ok(Stream::h2(session.open(head).await?)),
        }
    }

    /// Drains the session: no new streams from either side; open ones may finish, then it closes with `code`.
    pub fn drain(&self, code: CloseCode, reason: impl Into<Bytes>) {
        on_carrier!(&self.kind, session => session.drain(code, reason.into()));
    }

    /// Closes the session: every stream ends now, and the peer is told why. The reason is cut at 256 octets.
    pub fn close(&self, code: CloseCode, reason: impl Into<Bytes>) {
        on_carrier!(&self.kind, session => session.close(code, reason.into()));
    }

    /// Waits until the session ended; says why. Cancel-safe.
    pub async fn closed(&self) -> SessionEnd {
        on_carrier!(&self.kind, session => session.closed().await)
    }

    /// Why the session ended, if it has.
    pub fn end(&self) -> Option<SessionEnd> {
        on_carrier!(&self.kind, session => session.end())
    }

    /// Whether either side drains the session.
    pub fn is_draining(&self) -> bool {
        on_carrier!(&self.kind, session => session.is_draining())
    }

    /// Sends a PING; says how long the answer took. Cancel-safe.
    ///
    /// # Errors
    /// Why the session ended, if it does before the answer comes.
    pub async fn ping(&self) -> Result<Duration, SessionEnd> {
        on_carrier!(&self.kind, session => session.ping().await)
    }

    /// What the session has done so far. Counters that its carrier doesn't have stay 0.
    pub fn stats(&self) -> SessionStats {
        on_carrier!(&self.kind, session => session.stats())
    }

    /// What the session can do on its carrier.
    pub fn capabilities(&self) -> Capabilities {
        match &self.kind {
            Kind::Native(_) => Capabilities::over_tcp(self.carrier),
            #[cfg(feature = "quic")]
            Kind::Quic(session) => session.capabilities(),
            #[cfg(feature = "h2")]
            Kind::Http2(_) => Capabilities::over_tcp(self.carrier),
        }
    }

    /// Sends a datagram on a flow, which is the id of its stream and not 0. Never waits: the oldest go if there are
    /// too many.
    ///
    /// # Errors
    /// [`DatagramError`]; nothing was sent.
    pub fn send_datagram(&self, flow: u32, payload: impl Into<Bytes>) -> Result<(), DatagramError> {
        let payload = payload.into();
        match &self.kind {
            Kind::Native(session) => session.send_datagram(flow, payload),
            #[cfg(feature = "quic")]
            Kind::Quic(session) => session.send_datagram(flow, &payload),
            #[cfg(feature = "h2")]
            Kind::Http2(session) => session.send_datagram(flow, payload),
        }
    }

    /// Waits for the next datagram and its flow; `None` when the session ended. Cancel-safe.
    pub async fn receive_datagram(&self) -> Option<(u32, Bytes)> {
        on_carrier!(&self.kind, session => session.receive_datagram().await)
    }

    /// The longest datagram that the peer takes now, in octets; 0 for none, or before it said so. May change on QUIC,
    /// with the path.
    pub fn max_datagram(&self) -> usize {
        on_carrier!(&self.kind, session => session.max_datagram())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("carrier", &self.carrier)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}
