//! Streams that the peer opens.

use super::Stream;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

/// The streams that the peer opens, in order; on QUIC in the order in which their heads are whole.
///
/// Streams that wait here count against the peer's limit, so a slow acceptor slows the peer's opening down and
/// nothing else. To drop it refuses all that wait and all that come.
pub struct Incoming {
    kind: Kind,
}

enum Kind {
    Native(crate::driver::Incoming),
    #[cfg(feature = "quic")]
    Quic(crate::carrier::quic::Incoming),
    #[cfg(feature = "h2")]
    Http2(crate::carrier::h2::Incoming),
}

impl Incoming {
    pub(crate) const fn native(incoming: crate::driver::Incoming) -> Self {
        Self { kind: Kind::Native(incoming) }
    }

    #[cfg(feature = "quic")]
    pub(crate) const fn quic(incoming: crate::carrier::quic::Incoming) -> Self {
        Self { kind: Kind::Quic(incoming) }
    }

    #[cfg(feature = "h2")]
    pub(crate) const fn h2(incoming: crate::carrier::h2::Incoming) -> Self {
        Self { kind: Kind::Http2(incoming) }
    }

    /// The native carrier's own type, if this is that carrier.
    #[cfg(feature = "direct")]
    #[doc(hidden)]
    pub fn into_direct(self) -> Option<crate::driver::Incoming> {
        match self.kind {
            Kind::Native(incoming) => Some(incoming),
            #[cfg(feature = "quic")]
            Kind::Quic(_) => None,
            #[cfg(feature = "h2")]
            Kind::Http2(_) => None,
        }
    }

    /// The next stream; `None` when the session ended. Cancel-safe.
    pub async fn accept(&mut self) -> Option<IncomingStream> {
        poll_fn(|task| self.poll_accept(task)).await
    }

    /// As [`accept`](Self::accept), for hand-written futures.
    pub fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
        let stream = match &mut self.kind {
            Kind::Native(incoming) => ready!(incoming.poll_accept(task)).map(IncomingKind::Native),
            #[cfg(feature = "quic")]
            Kind::Quic(incoming) => ready!(incoming.poll_accept(task)).map(IncomingKind::Quic),
            #[cfg(feature = "h2")]
            Kind::Http2(incoming) => ready!(incoming.poll_accept(task)).map(IncomingKind::Http2),
        };
        Poll::Ready(stream.map(|kind| IncomingStream { kind }))
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// A stream that the peer opened and that is yet to be accepted or refused. To drop it refuses it with REFUSED.
pub struct IncomingStream {
    kind: IncomingKind,
}

enum IncomingKind {
    Native(crate::driver::IncomingStream),
    #[cfg(feature = "quic")]
    Quic(crate::carrier::quic::IncomingStream),
    #[cfg(feature = "h2")]
    Http2(crate::carrier::h2::IncomingStream),
}

impl IncomingStream {
    /// The head that the peer sent, at most 4,096 octets.
    pub const fn head(&self) -> &Bytes {
        match &self.kind {
            IncomingKind::Native(stream) => stream.head(),
            #[cfg(feature = "quic")]
            IncomingKind::Quic(stream) => stream.head(),
            #[cfg(feature = "h2")]
            IncomingKind::Http2(stream) => stream.head(),
        }
    }

    /// Takes the stream up.
    pub fn accept(self) -> Stream {
        match self.kind {
            IncomingKind::Native(stream) => Stream::native(stream.accept()),
            #[cfg(feature = "quic")]
            IncomingKind::Quic(stream) => Stream::quic(stream.accept()),
            #[cfg(feature = "h2")]
            IncomingKind::Http2(stream) => Stream::h2(stream.accept()),
        }
    }

    /// Turns the stream down: the peer sees `code` on both halves.
    pub fn refuse(self, code: CloseCode) {
        match self.kind {
            IncomingKind::Native(stream) => stream.refuse(code),
            #[cfg(feature = "quic")]
            IncomingKind::Quic(mut stream) => stream.refuse(code),
            #[cfg(feature = "h2")]
            IncomingKind::Http2(mut stream) => stream.refuse(code),
        }
    }
}

impl std::fmt::Debug for IncomingStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingStream").field("head_bytes", &self.head().len()).finish_non_exhaustive()
    }
}
