//! Every deadline of a session, as values.

use super::{Connection, Phase};
use crate::{Config, SessionEnd, Timeout};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// What the deadlines are counted from.
#[derive(Debug)]
pub(super) struct Timers {
    pub(super) started: Instant,
    /// When an octet last came.
    pub(super) received: Instant,
    /// Since when a frame has begun and not ended.
    pub(super) partial_since: Option<Instant>,
    /// Since when output waits without progress.
    pub(super) stalled_since: Option<Instant>,
    /// Since when a sender waits for credit that is worth a frame.
    pub(super) stingy_since: Option<Instant>,
    /// Whether `stingy_since` was set outside of what the driver awaits, who is to look at its timer.
    pub(super) is_new: bool,
    /// When it was last looked whether the session rests, and how much payload had moved by then.
    looked: (Instant, u64),
    /// Whether the session has come to rest since the driver last asked.
    rests: bool,
    /// The pause before a keepalive, with its jitter.
    keepalive: Duration,
}

impl Timers {
    /// How long a sender waits for credit that is worth a frame.
    const STINGY: Duration = Duration::from_millis(100);

    pub(super) fn new(config: &Config, now: Instant) -> Self {
        // Jitter of a tenth either way, so that sessions that began together don't ping together.
        let jitter = u32::try_from(config.seed % 201).unwrap_or(100);
        let keepalive = (config.keepalive / 1000).saturating_mul(900 + jitter);
        Self {
            started: now,
            received: now,
            partial_since: None,
            stalled_since: None,
            stingy_since: None,
            is_new: false,
            looked: (now, 0),
            rests: false,
            keepalive,
        }
    }
}

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, or `None` if there is no need.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Ended { .. }) {
            return None;
        }
        let deadline = earlier(self.handshake_deadline(), self.partial_deadline());
        let deadline = earlier(deadline, self.stall_deadline());
        let deadline = earlier(deadline, self.keepalive_deadline());
        let deadline = earlier(deadline, self.stingy_deadline());
        let deadline = earlier(deadline, self.drain_deadline());
        earlier(deadline, self.opens_deadline())
    }

    /// Does what is due by `now`. Calling it early or late does no harm.
    ///
    /// A clock that stood still for long (a suspended machine) costs one PING: silence is fatal only after a PING has
    /// gone out and was not answered.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_due(self.handshake_deadline()) {
            return self.time_out(Timeout::Handshake);
        }
        if is_due(self.partial_deadline()) {
            return self.time_out(Timeout::PartialFrame);
        }
        if is_due(self.stall_deadline()) {
            return self.time_out(Timeout::WriteStall);
        }
        if is_due(self.keepalive_deadline()) {
            if self.ping_sent.is_some() {
                return self.time_out(Timeout::Silence);
            }
            self.ping_due = true;
            self.grease_due = self.config.grease;
        }
        if is_due(self.stingy_deadline()) {
            self.force_stingy();
        }
        if is_due(self.drain_deadline()) {
            self.advance_drain();
        }
        self.grant_streams();
        self.look_for_rest();
    }

    /// Gives buffers back once nothing has moved for a while. Keepalive sees to it that somebody looks now and then.
    fn look_for_rest(&mut self) {
        const WHILE: Duration = Duration::from_secs(10);
        let moved = self.stats.payload_sent + self.stats.payload_received;
        let (since, before) = self.timers.looked;
        if self.now.saturating_duration_since(since) < WHILE {
            return;
        }
        self.timers.looked = (self.now, moved);
        if moved == before {
            self.recv_pool.shrink();
            self.send_pool.shrink();
            self.timers.rests = true;
        }
    }

    /// Whether the session has come to rest since this was last asked.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_rest(&mut self) -> bool {
        std::mem::take(&mut self.timers.rests)
    }

    /// Takes note that the connection took `bytes` octets of output, and whether some are left.
    pub fn wrote(&mut self, now: Instant, bytes: usize, is_left: bool) {
        self.now = self.now.max(now);
        if !is_left {
            self.timers.stalled_since = None;
        } else if bytes > 0 || self.timers.stalled_since.is_none() {
            self.timers.stalled_since = Some(self.now);
        }
        self.stats.bytes_sent += super::to_u64(bytes);
        if bytes > 0 {
            self.watch.sent(super::to_u64(bytes));
        }
    }

    /// Takes note that output that is stuck has been so since then.
    #[cfg(feature = "tokio")]
    pub(crate) const fn stalled(&mut self, since: Instant) {
        self.timers.stalled_since = Some(since);
    }

    fn time_out(&mut self, which: Timeout) {
        let close = (CloseCode::TIMEOUT, Bytes::new());
        self.finish(SessionEnd::TimedOut { which }, Some(close));
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        let awaited = self.phase == Phase::AwaitingHello;
        awaited.then(|| self.timers.started.checked_add(self.config.handshake_timeout)).flatten()
    }

    fn partial_deadline(&self) -> Option<Instant> {
        self.timers.partial_since?.checked_add(self.config.partial_frame_timeout)
    }

    fn stall_deadline(&self) -> Option<Instant> {
        self.timers.stalled_since?.checked_add(self.config.write_stall_timeout)
    }

    fn keepalive_deadline(&self) -> Option<Instant> {
        if self.phase != Phase::Open || (self.ping_due && self.ping_sent.is_none()) {
            return None;
        }
        match self.ping_sent {
            // Any octet is a sign of life, so a link that is busy never times out however late the answer is.
            Some(sent) => sent.max(self.timers.received).checked_add(self.config.ping_timeout),
            None => self.timers.received.checked_add(self.timers.keepalive),
        }
    }

    fn stingy_deadline(&self) -> Option<Instant> {
        self.timers.stingy_since?.checked_add(Timers::STINGY)
    }

    fn opens_deadline(&self) -> Option<Instant> {
        if self.remote_deferred == 0 {
            return None;
        }
        self.opens.next()
    }

    /// Whether a write has brought [`poll_timeout`](Self::poll_timeout) nearer since this was last asked.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_new_deadline(&mut self) -> bool {
        std::mem::take(&mut self.timers.is_new)
    }

    fn force_stingy(&mut self) {
        self.timers.stingy_since = None;
        for _ in 0..self.stingy.len() {
            let Some(place) = self.stingy.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.in_stingy = false;
            slot.send.forced = true;
            self.schedule(place);
            self.free_if_over(place);
        }
    }
}

/// The earlier of two deadlines. Asked at every read, so it has to be cheap where most are not set.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (deadline, None) | (None, deadline) => deadline,
    }
}
