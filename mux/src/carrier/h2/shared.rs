//! What the handles of a session and its driver share.

use super::cell::Cell;
use super::incoming::IncomingStream;
use super::tap::Meter;
use crate::carrier::control::{Control, Tally};
use crate::observe::Watch;
use crate::{Config, DatagramError, OpenError, Origin, Role, SessionEnd, SessionStats, Violation};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) watch: Watch,
    pub(super) ready: Ready,
    state: Mutex<State>,
    /// Whether the session has ended; never becomes false again.
    has_ended: AtomicBool,
    pub(super) counters: Counters,
    pub(super) meter: Meter,
    /// Streams may have become available, or never will be.
    pub(super) openers: Notify,
    pub(super) pongs: Notify,
    pub(super) ended: Notify,
    pub(super) datagrams: Notify,
}

pub(super) struct State {
    pub(super) control: Control,
    pub(super) tally: Tally,
    pub(super) end: Option<SessionEnd>,
    /// How this side wants the session to end.
    pub(super) close: Option<(CloseCode, Bytes)>,
    /// How many streams may be opened right now; 0 until the peer's HELLO.
    pub(super) openable: usize,
    /// Opened here and not taken up by the driver yet; at most as many as were openable.
    pub(super) opens: VecDeque<(Arc<Cell>, Bytes)>,
    /// Opened by the peer and not taken up by the application yet; within our limit of streams.
    pub(super) incoming: VecDeque<IncomingStream>,
    pub(super) acceptor: Option<Waker>,
    pub(super) refuses_incoming: bool,
    pub(super) outgoing_datagrams: Datagrams,
    pub(super) incoming_datagrams: Datagrams,
    pub(super) max_datagram: usize,
}

/// Datagrams that wait, in either direction: bounded in octets, the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    queue: VecDeque<(Instant, u32, Bytes)>,
    octets: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) payload_received: AtomicU64,
    pub(super) payload_sent: AtomicU64,
    pub(super) streams_opened: AtomicU64,
    pub(super) streams_accepted: AtomicU64,
    pub(super) streams_refused: AtomicU64,
    pub(super) resets_received: AtomicU64,
    pub(super) stops_received: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagrams_sent: AtomicU64,
    pub(super) datagrams_dropped: AtomicU64,
}

/// What every handle holds: when the last goes, the session drains with NONE.
pub(crate) struct Life {
    pub(super) shared: Arc<Shared>,
}

/// What the driver has to look at.
#[derive(Default)]
pub(super) struct Ready {
    queue: Mutex<Queue>,
}

/// Where there is something to look at.
#[derive(Default)]
pub(super) struct Places {
    /// Streams, each at most once.
    pub(super) places: Vec<usize>,
    pub(super) connection: bool,
    pub(super) session: bool,
    pub(super) invitations: bool,
    pub(super) opens: bool,
}

#[derive(Default)]
struct Queue {
    news: Places,
    /// The driver's waker, while it waits.
    driver: Option<Waker>,
}

/// A waker for what is no stream.
pub(super) struct Signal {
    pub(super) shared: Arc<Shared>,
    pub(super) place: usize,
}

impl Shared {
    pub(super) fn new(role: Role, config: Config, now: Instant) -> Arc<Self> {
        let state = State {
            control: Control::new(&config, now),
            tally: Tally { opened: 0, accepted: 0, open: 0 },
            end: None,
            close: None,
            openable: 0,
            opens: VecDeque::new(),
            incoming: VecDeque::new(),
            acceptor: None,
            refuses_incoming: false,
            outgoing_datagrams: Datagrams::default(),
            incoming_datagrams: Datagrams::default(),
            max_datagram: 0,
        };
        Arc::new(Self {
            watch: Watch::new(config.observer.clone(), config.id, role),
            config,
            ready: Ready::default(),
            state: Mutex::new(state),
            has_ended: AtomicBool::new(false),
            counters: Counters::default(),
            meter: Meter::default(),
            openers: Notify::new(),
            pongs: Notify::new(),
            ended: Notify::new(),
            datagrams: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> Option<SessionEnd> {
        if self.has_ended.load(Ordering::Acquire) { self.state().end.clone() } else { None }
    }

    /// The last pong, and the end, if either is there.
    pub(super) fn pong(&self) -> (Option<(u64, Duration)>, Option<SessionEnd>) {
        let state = self.state();
        (state.control.last_pong(), state.end.clone())
    }

    /// The next datagram, and whether there is no session to bring more.
    pub(super) fn next_datagram(&self) -> (Option<(Instant, u32, Bytes)>, bool) {
        let mut state = self.state();
        (state.incoming_datagrams.pop(), state.end.is_some())
    }

    /// A stream to open, if the peer grants one now.
    pub(super) fn try_open(self: &Arc<Self>, head: &Bytes) -> Result<Option<Arc<Cell>>, OpenError> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(OpenError::Session(end.clone()));
        }
        if state.control.is_draining() {
            return Err(OpenError::Draining);
        }
        let Some(left) = state.openable.checked_sub(1) else { return Ok(None) };
        state.openable = left;
        let cell = Cell::new(Arc::clone(self), true);
        state.opens.push_back((Arc::clone(&cell), head.clone()));
        state.tally.open = state.tally.open.saturating_add(1);
        drop(state);
        if left > 0 {
            self.openers.notify_one();
        }
        let opened = self.counters.streams_opened.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.watch.stream_opened(Origin::Local);
        self.ready.push(OPENS);
        if opened >= u64::from(self.config.max_lifetime_opens) {
            self.drain(CloseCode::DRAINING, Bytes::new(), now());
        }
        Ok(Some(cell))
    }

    pub(super) fn drain(&self, code: CloseCode, reason: Bytes, now: Instant) {
        let until = now.checked_add(self.config.drain_timeout).unwrap_or(now);
        if self.state().control.begin_drain(code, short(reason), until) {
            self.watch.draining(Origin::Local, code);
        }
        self.openers.notify_waiters();
        self.openers.notify_one();
        self.ready.push(SESSION);
    }

    pub(super) fn close(&self, code: CloseCode, reason: Bytes) {
        let reason = short(reason);
        self.state().close.get_or_insert_with(|| (code, reason.clone()));
        self.finish(SessionEnd::Local { code, reason });
    }

    /// The session is over, for everybody who waits; says whether it was not before.
    pub(super) fn finish(&self, end: SessionEnd) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end.clone());
        self.has_ended.store(true, Ordering::Release);
        let (refused, acceptor) = (std::mem::take(&mut state.incoming), state.acceptor.take());
        drop(state);
        drop(refused);
        if let SessionEnd::Violation(Violation::Budget { what }) = &end {
            self.watch.budget_spent(*what);
        }
        self.watch.ended(&end);
        acceptor.into_iter().for_each(Waker::wake);
        self.openers.notify_waiters();
        self.openers.notify_one();
        self.pongs.notify_waiters();
        self.ended.notify_waiters();
        self.datagrams.notify_waiters();
        self.ready.push(SESSION);
    }

    /// The peer gave its half of a stream up.
    pub(super) fn reset_received(&self, id: u32, code: CloseCode) {
        self.counters.resets_received.fetch_add(1, Ordering::Relaxed);
        self.watch.reset(Origin::Peer, id, code);
    }

    pub(super) fn send_datagram(&self, now: Instant, flow: u32, payload: Bytes) -> Result<(), DatagramError> {
        let (length, mut state) = (payload.len(), self.state());
        if flow == 0 {
            return Err(DatagramError::NoFlow);
        }
        if state.end.is_some() {
            return Err(DatagramError::NotOpen);
        }
        if length > state.max_datagram {
            return Err(DatagramError::TooLarge { length, limit: state.max_datagram });
        }
        let dropped = state.outgoing_datagrams.push(now, flow, payload, self.config.datagram_queue);
        drop(state);
        self.counters.datagrams_sent.fetch_add(1, Ordering::Relaxed);
        self.counters.datagrams_dropped.fetch_add(dropped, Ordering::Relaxed);
        self.ready.push(SESSION);
        Ok(())
    }

    pub(super) fn stats(&self) -> SessionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (counters, state) = (&self.counters, self.state());
        let rtt = state.control.last_pong().map(|(_, rtt)| rtt);
        SessionStats {
            bytes_received: self.meter.received(),
            bytes_sent: self.meter.sent(),
            payload_received: read(&counters.payload_received),
            payload_sent: read(&counters.payload_sent),
            streams_opened: read(&counters.streams_opened),
            streams_accepted: read(&counters.streams_accepted),
            streams_refused: read(&counters.streams_refused),
            open_streams: state.tally.open,
            resets_received: read(&counters.resets_received),
            stops_received: read(&counters.stops_received),
            datagrams_received: read(&counters.datagrams_received),
            datagrams_sent: read(&counters.datagrams_sent),
            datagrams_dropped: read(&counters.datagrams_dropped),
            rtt,
            min_rtt: rtt,
            ..SessionStats::default()
        }
    }
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, octets: usize) {
        counter.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Datagrams {
    /// Adds one; says how many went to make room.
    pub(super) fn push(&mut self, now: Instant, flow: u32, payload: Bytes, most: usize) -> u64 {
        self.octets = self.octets.saturating_add(payload.len());
        self.queue.push_back((now, flow, payload));
        let mut dropped = 0;
        // An empty datagram costs an entry: entries have a bound as well.
        while self.octets > most || self.queue.len() > MOST_DATAGRAMS {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, u32, Bytes)> {
        let popped = self.queue.pop_front()?;
        self.octets = self.octets.saturating_sub(popped.2.len());
        Some(popped)
    }
}

impl Ready {
    pub(super) fn push(&self, place: usize) {
        let mut queue = self.queue();
        match place {
            CONNECTION => queue.news.connection = true,
            SESSION => queue.news.session = true,
            INVITATIONS => queue.news.invitations = true,
            OPENS => queue.news.opens = true,
            _ => queue.news.places.push(place),
        }
        let driver = queue.driver.take();
        drop(queue);
        driver.into_iter().for_each(Waker::wake);
    }

    /// Everything that is ready, into `news`, which is empty; if nothing is, `driver` will be woken when something
    /// becomes so.
    pub(super) fn take(&self, news: &mut Places, driver: &Waker) {
        let mut queue = self.queue();
        std::mem::swap(&mut queue.news, news);
        if news.is_empty() && !queue.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            queue.driver = Some(driver.clone());
        }
    }

    /// Everything that is ready by now, into `news`, which is empty.
    pub(super) fn swap(&self, news: &mut Places) {
        std::mem::swap(&mut self.queue().news, news);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    pub(super) const fn is_empty(&self) -> bool {
        let has_other = self.connection || self.session || self.opens || self.invitations;
        self.places.is_empty() && !has_other
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.shared.ready.push(self.place);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.ready.push(self.place);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.drain(CloseCode::NONE, Bytes::new(), now());
    }
}

/// A reason as it may travel.
fn short(mut reason: Bytes) -> Bytes {
    reason.truncate(MAX_REASON_BYTES);
    reason
}

/// The runtime's clock.
#[expect(clippy::disallowed_methods, reason = "a driver is where the clock is read")]
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The place of the connection itself.
pub(super) const CONNECTION: usize = usize::MAX - 1;
/// The place of what concerns the session: drain, datagrams, what the peer grants.
pub(super) const SESSION: usize = usize::MAX - 2;
/// The place of the invitations that an agent keeps.
pub(super) const INVITATIONS: usize = usize::MAX - 3;
/// The place of streams that the application opened.
const OPENS: usize = usize::MAX - 4;
/// `SPEC.md` section 13.
const MAX_REASON_BYTES: usize = 256;
const MOST_DATAGRAMS: usize = 16 * 1024;
