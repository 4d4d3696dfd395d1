//! What the handles of a session and its driver share.

use super::numbers::{close_code, var_int};
use super::stream::Half;
use crate::budget::Bucket;
use crate::carrier::control::{Control, Tally};
use crate::observe::Watch;
use crate::{Abuse, Config, Origin, Role, SessionEnd, SessionStats, Timeout, Violation};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use quinn::{Connection, ConnectionError, Side};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, mpsc};

pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) config: Config,
    pub(super) watch: Watch,
    state: Mutex<State>,
    pub(super) counters: Counters,
    /// The driver has something to do.
    pub(super) changed: Notify,
    /// Nothing can be opened any more.
    pub(super) draining: Notify,
    pub(super) pongs: Notify,
    /// Halves that wait for credit with something to send; each at most once.
    pub(super) rests: mpsc::UnboundedSender<Arc<Mutex<Half>>>,
}

pub(super) struct State {
    pub(super) control: Control,
    pub(super) tally: Tally,
    /// Why this side ended the session, if it did.
    end: Option<SessionEnd>,
    pub(super) refuses_incoming: bool,
    /// Streams of the peer that had to be reset.
    forced_resets: Bucket,
    /// Streams that the peer reset as soon as it had opened them.
    rapid_resets: Bucket,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) payload_received: AtomicU64,
    pub(super) payload_sent: AtomicU64,
    pub(super) streams_opened: AtomicU64,
    pub(super) streams_accepted: AtomicU64,
    pub(super) streams_refused: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagrams_sent: AtomicU64,
    pub(super) datagrams_dropped: AtomicU64,
}

/// What every handle holds: when the last goes, the session drains with NONE.
pub(crate) struct Life {
    pub(super) link: Arc<Link>,
}

/// One stream, as a drain counts it.
pub(super) struct Counted {
    pub(super) life: Arc<Life>,
    /// Who opened it.
    pub(super) by: Origin,
}

impl Link {
    pub(super) fn new(
        connection: Connection,
        config: Config,
        rests: mpsc::UnboundedSender<Arc<Mutex<Half>>>,
    ) -> Self {
        let control = Control::new(&config, now());
        let role = match connection.side() {
            Side::Client => Role::Dialler,
            Side::Server => Role::Listener,
        };
        let watch = Watch::new(config.observer.clone(), config.id, role);
        watch.connected();
        let state = State {
            control,
            tally: Tally { opened: 0, accepted: 0, open: 0 },
            end: None,
            refuses_incoming: false,
            forced_resets: Bucket::new(config.forced_resets, now()),
            rapid_resets: Bucket::new(config.rapid_resets, now()),
        };
        Self {
            connection,
            config,
            watch,
            state: Mutex::new(state),
            counters: Counters::default(),
            changed: Notify::new(),
            draining: Notify::new(),
            pongs: Notify::new(),
            rests,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn drain(&self, code: CloseCode, reason: Bytes) {
        let until = now().checked_add(self.config.drain_timeout).unwrap_or_else(now);
        let reason = short(reason);
        if self.state().control.begin_drain(code, reason, until) {
            self.watch.draining(Origin::Local, code);
        }
        self.draining.notify_waiters();
        self.changed.notify_one();
    }

    pub(super) fn close(&self, code: CloseCode, reason: Bytes) {
        let reason = short(reason);
        self.end_with(SessionEnd::Local { code, reason: reason.clone() }, &reason);
    }

    pub(super) fn violate(&self, violation: Violation) {
        if let Violation::Budget { what } = violation {
            self.watch.budget_spent(what);
        }
        self.end_with(SessionEnd::Violation(violation), b"");
    }

    /// Charges the peer with a stream that was not worth its while; ends the session once there are too many.
    pub(super) fn charge(&self, what: Abuse) {
        let mut state = self.state();
        let bucket = match what {
            Abuse::RapidResets => &mut state.rapid_resets,
            Abuse::ForcedResets | Abuse::UselessFrames | Abuse::SmallData | Abuse::Pings => {
                &mut state.forced_resets
            }
        };
        let is_spent = !bucket.take(now());
        drop(state);
        if is_spent {
            self.violate(Violation::Budget { what });
        }
    }

    /// Closes the connection, if nobody has, and remembers why.
    pub(super) fn end_with(&self, end: SessionEnd, reason: &[u8]) {
        if self.connection.close_reason().is_some() {
            return;
        }
        let code = var_int(end.close_code());
        self.state().end.get_or_insert(end);
        self.connection.close(code, reason);
    }

    pub(super) fn end(&self) -> Option<SessionEnd> {
        self.connection.close_reason().map(|error| self.end_of(error))
    }

    /// What an error of the connection means for the session.
    pub(super) fn end_of(&self, error: ConnectionError) -> SessionEnd {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                SessionEnd::Peer { code: close_code(close.error_code), reason: short(close.reason) }
            }
            ConnectionError::LocallyClosed => self
                .state()
                .end
                .clone()
                .unwrap_or(SessionEnd::Local { code: CloseCode::NONE, reason: Bytes::new() }),
            ConnectionError::TimedOut => SessionEnd::TimedOut { which: Timeout::Silence },
            ConnectionError::Reset => SessionEnd::Cut,
            ConnectionError::TransportError(error) => SessionEnd::Carrier { code: u64::from(error.code) },
            ConnectionError::ConnectionClosed(close) => {
                SessionEnd::Carrier { code: u64::from(close.error_code) }
            }
            ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
                SessionEnd::Carrier { code: u64::MAX }
            }
        }
    }

    pub(super) fn stats(&self) -> SessionStats {
        let quic = self.connection.stats();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        SessionStats {
            bytes_received: quic.udp_rx.bytes,
            bytes_sent: quic.udp_tx.bytes,
            payload_received: read(&counters.payload_received),
            payload_sent: read(&counters.payload_sent),
            streams_opened: read(&counters.streams_opened),
            streams_accepted: read(&counters.streams_accepted),
            streams_refused: read(&counters.streams_refused),
            open_streams: self.state().tally.open,
            resets_received: quic.frame_rx.reset_stream,
            stops_received: quic.frame_rx.stop_sending,
            pings_received: quic.frame_rx.ping,
            datagrams_received: read(&counters.datagrams_received),
            datagrams_sent: read(&counters.datagrams_sent),
            datagrams_dropped: read(&counters.datagrams_dropped),
            rtt: Some(quic.path.rtt),
            min_rtt: Some(quic.path.min_rtt),
            mtu: Some(quic.path.current_mtu),
            packets_lost: quic.path.lost_packets,
            ..SessionStats::default()
        }
    }
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, octets: usize) {
        counter.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Life {
    pub(super) const fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Counts a stream that exists now.
    pub(super) fn count(self: &Arc<Self>, state: &mut State, by: Origin) -> Arc<Counted> {
        state.tally.open = state.tally.open.saturating_add(1);
        Arc::new(Counted { life: Arc::clone(self), by })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.link.drain(CloseCode::NONE, Bytes::new());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.life.link.state();
        state.tally.open = state.tally.open.saturating_sub(1);
        let is_awaited = state.control.is_draining();
        drop(state);
        self.life.link.watch.stream_closed(self.by);
        if is_awaited {
            self.life.link.changed.notify_one();
        }
    }
}

/// A reason as it may travel: 256 octets at most.
fn short(mut reason: Bytes) -> Bytes {
    reason.truncate(MAX_REASON_BYTES);
    reason
}

/// `SPEC.md` section 13.
const MAX_REASON_BYTES: usize = 256;

/// The runtime's clock.
#[expect(clippy::disallowed_methods, reason = "a driver is where the clock is read")]
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
