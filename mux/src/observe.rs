//! Telling somebody else what happens in a session: an observer, for metrics, and spans and events, for logs.

use crate::{Abuse, Role, SessionEnd};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::FrameHeader;
use std::sync::Arc;
use std::time::Duration;

/// Is told what happens in sessions, so that metrics can be kept of it. See
/// [`Config::observer`](crate::Config::observer).
///
/// One observer may serve any number of sessions, from any thread. Nothing is called per frame: octets are reported
/// once for each call that read or wrote, on QUIC once a second. The methods run inside the session, so they must be quick, must not wait, and
/// must not call the session; adding to a counter is what they are for. All do nothing unless they are implemented.
///
/// ```
/// use adit_mux::{Config, Observer, Origin};
/// use adit_wire_proto::CloseCode;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// // With the `metrics` crate each of these is `counter!("adit_streams_opened", "by" => ..).increment(1)`.
/// #[derive(Default)]
/// struct Metrics {
///     opened: AtomicU64,
///     resets: AtomicU64,
///     received: AtomicU64,
/// }
///
/// impl Observer for Metrics {
///     fn stream_opened(&self, _by: Origin) {
///         self.opened.fetch_add(1, Ordering::Relaxed);
///     }
///     fn reset(&self, by: Origin, code: CloseCode) {
///         if by == Origin::Peer && code != CloseCode::CANCELLED {
///             self.resets.fetch_add(1, Ordering::Relaxed);
///         }
///     }
///     fn received(&self, bytes: u64) {
///         self.received.fetch_add(bytes, Ordering::Relaxed);
///     }
/// }
///
/// let metrics = Arc::new(Metrics::default());
/// let config = Config::default().observer(metrics.clone());
/// # let _ = config;
/// ```
pub trait Observer: Send + Sync {
    /// The peers know each other's limits: streams can be opened.
    fn connected(&self) {}

    /// A stream was opened.
    fn stream_opened(&self, by: Origin) {
        let _ = by;
    }

    /// A stream is over, and its place free: both halves have ended and both handles are gone.
    fn stream_closed(&self, by: Origin) {
        let _ = by;
    }

    /// A stream was turned down: the peer's by this side with `code`, or one of this side by the peer, which drains.
    fn stream_refused(&self, by: Origin, code: CloseCode) {
        let _ = (by, code);
    }

    /// The sending half of a stream was given up.
    fn reset(&self, by: Origin, code: CloseCode) {
        let _ = (by, code);
    }

    /// The receiving half of a stream was given up.
    fn stopped(&self, by: Origin, code: CloseCode) {
        let _ = (by, code);
    }

    /// The peer spent a budget.
    fn budget_spent(&self, what: Abuse) {
        let _ = what;
    }

    /// Octets were read from the connection.
    fn received(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Octets were written to the connection.
    fn sent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// A round trip was measured.
    fn round_trip(&self, rtt: Duration) {
        let _ = rtt;
    }

    /// One side began to drain the session.
    fn draining(&self, by: Origin, code: CloseCode) {
        let _ = (by, code);
    }

    /// The session ended.
    fn ended(&self, end: &SessionEnd) {
        let _ = end;
    }
}

/// Which side did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a session has two sides")]
pub enum Origin {
    /// This side.
    Local,
    /// The peer.
    Peer,
}

impl Origin {
    pub(crate) const fn local_if(is_local: bool) -> Self {
        if is_local { Self::Local } else { Self::Peer }
    }
}

/// What a carrier knows of pongs and of the peer's drain.
#[cfg(any(feature = "h2", feature = "quic"))]
type Known = (Option<(u64, Duration)>, Option<CloseCode>);

/// Who watches a session: the observer, if there is one, and the span of the session, with feature `tracing`.
///
/// Levels: what concerns each frame is `trace`, what concerns a stream or a peer that broke a rule is `debug`, the life of a
/// session is `info`. Nothing a peer wrote (heads, reasons, payload) is logged at any level.
#[derive(Debug)]
pub(crate) struct Watch {
    observer: Watcher,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// Emits an event inside the session's span.
macro_rules! event {
    ($watch:ident, $level:ident, $($rest:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::event!(target: "adit_mux", parent: &$watch.span, tracing::Level::$level, $($rest)*);
    };
}

/// Emits an event about one frame.
macro_rules! frame {
    ($watch:ident, $header:ident, $message:literal) => {
        event!(
            $watch,
            TRACE,
            kind = $header.kind().as_u8(),
            name = $header.kind().name(),
            stream = $header.id(),
            length = $header.length(),
            flag = $header.is_flagged(),
            $message
        );
    };
}

#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "some is for events only"))]
impl Watch {
    /// Begins to watch a session.
    pub(crate) fn new(observer: Watcher, id: u64, role: Role) -> Self {
        Self {
            observer,
            #[cfg(feature = "tracing")]
            span: tracing::info_span!(target: "adit_mux", "session", id, role = role.name()),
        }
    }

    pub(crate) fn frame_received(&self, header: FrameHeader) {
        frame!(self, header, "frame received");
    }

    pub(crate) fn frame_sent(&self, header: FrameHeader) {
        frame!(self, header, "frame sent");
    }

    /// DATA frames went straight from their writer's buffer to the connection.
    #[cfg(feature = "tokio")]
    pub(crate) fn payload_sent(&self, id: u32, bytes: u64) {
        event!(self, TRACE, stream = id, bytes, "payload sent past the queue");
    }

    pub(crate) fn connected(&self) {
        self.tell(|observer| observer.connected());
        event!(self, INFO, "connected");
    }

    pub(crate) fn stream_opened(&self, by: Origin) {
        self.tell(|observer| observer.stream_opened(by));
    }

    pub(crate) fn stream_closed(&self, by: Origin) {
        self.tell(|observer| observer.stream_closed(by));
    }

    pub(crate) fn stream_refused(&self, by: Origin, id: u32, code: CloseCode) {
        self.tell(|observer| observer.stream_refused(by, code));
        event!(self, DEBUG, stream = id, ?by, %code, "stream refused");
    }

    pub(crate) fn reset(&self, by: Origin, id: u32, code: CloseCode) {
        self.tell(|observer| observer.reset(by, code));
        event!(self, DEBUG, stream = id, ?by, %code, "stream reset");
    }

    pub(crate) fn stopped(&self, by: Origin, id: u32, code: CloseCode) {
        self.tell(|observer| observer.stopped(by, code));
        event!(self, DEBUG, stream = id, ?by, %code, "stream stopped");
    }

    pub(crate) fn budget_spent(&self, what: Abuse) {
        self.tell(|observer| observer.budget_spent(what));
        event!(self, DEBUG, %what, "the peer spent a budget");
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.tell(|observer| observer.received(bytes));
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.tell(|observer| observer.sent(bytes));
    }

    pub(crate) fn round_trip(&self, rtt: Duration) {
        self.tell(|observer| observer.round_trip(rtt));
        event!(self, DEBUG, ?rtt, "round trip measured");
    }

    pub(crate) fn draining(&self, by: Origin, code: CloseCode) {
        self.tell(|observer| observer.draining(by, code));
        event!(self, INFO, ?by, %code, "draining");
    }

    pub(crate) fn ended(&self, end: &SessionEnd) {
        self.tell(|observer| observer.ended(end));
        event!(self, INFO, %end, "ended");
    }

    /// Frames beside the streams came: what was known of pongs and of the peer's drain before and is now.
    #[cfg(any(feature = "h2", feature = "quic"))]
    pub(crate) fn control_changed(&self, before: Known, (pong, drain): Known) {
        if let Some((_, rtt)) = pong.filter(|_| pong != before.0) {
            self.round_trip(rtt);
        }
        if let Some(code) = drain.filter(|_| before.1.is_none()) {
            self.draining(Origin::Peer, code);
        }
    }

    fn tell(&self, what: impl FnOnce(&dyn Observer)) {
        if let Watcher(Some(observer)) = &self.observer {
            what(observer.as_ref());
        }
    }
}

/// The observer of a session, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Watcher(pub(crate) Option<Arc<dyn Observer>>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Some(_)" } else { "None" })
    }
}
