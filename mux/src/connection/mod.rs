//! The sans-IO core: one end of a session, without socket, task, clock, randomness or lock.

mod batch;
mod commands;
mod datagrams;
mod drain;
mod parser;
mod queue;
mod receive;
mod schedule;
mod slot;
mod timers;
mod transmit;
mod window;

pub use batch::Batch;
pub use schedule::Priority;

use crate::budget::Bucket;
use crate::observe::Watch;
use crate::{Config, Origin, Role, SessionEnd, SessionStats};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::Hello;
use bytes::Bytes;
use datagrams::DatagramQueue;
use drain::Drain;
use parser::Parser;
use queue::Pool;
use schedule::Schedule;
use slab::Slab;
use slot::{RecvState, SendState, Slot};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};
use timers::Timers;

/// One end of a session: bytes and `now` go in; frames, events and a deadline come out.
///
/// ```text
///            commands                       events
///   open write read reset ...        poll_event   poll_timeout
///                 |                        ^            ^
///          +------v------------------------+------------+------+
///          |                     Connection                    |
///          +------^------------------------+-------------------+
///                 |                        v
///        receive(now, octets)      poll_transmit(now, batch)
/// ```
///
/// Four families of methods, to be called in this order, in a loop:
///
/// 1. *From below*: [`receive`](Self::receive) what the connection gave, [`receive_end`](Self::receive_end) at its
///    end, [`handle_timeout`](Self::handle_timeout) at the deadline, [`wrote`](Self::wrote) after a write.
/// 2. *Commands*: [`open`](Self::open), [`write`](Self::write), [`read`](Self::read) and the others, at any time.
/// 3. *Outputs*: [`poll_transmit`](Self::poll_transmit) until it adds nothing, [`poll_event`](Self::poll_event) until
///    `None`, then [`poll_timeout`](Self::poll_timeout) for the next deadline.
/// 4. *Getters*: [`end`](Self::end), [`stats`](Self::stats), [`has_output`](Self::has_output), at any time.
///
/// Whatever a peer provokes is a mark on a stream that exists, never an entry of a queue, so that nothing grows by
/// repetition. After the session ended every command answers with the reason, and what had come stays readable.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Config,
    /// The latest time that a caller told.
    now: Instant,
    phase: Phase,
    /// The peer's HELLO, once it came.
    peer: Option<Hello>,
    hello_due: bool,
    grease_due: bool,
    grease_sent: u64,
    parser: Parser,
    data: receive::DataInProgress,

    slots: Slab<Box<Slot>>,
    /// Live streams by their id on the wire.
    ids: HashMap<u32, usize, BuildHasherDefault<IdHasher>>,
    stamps: u32,
    local_live: u32,
    remote_live: u32,
    /// How many streams this side has taken credit for.
    local_opened: u64,
    /// How many streams this side may open in all.
    local_limit: u64,
    next_local_id: u32,
    next_remote_id: u32,
    /// How many streams the peer has opened.
    remote_opened: u64,
    /// How many streams the peer may open, as last sent.
    remote_limit: u64,
    /// How many streams the peer may open, as granted.
    remote_granted: u64,
    /// Streams that ended, whose return waits for `opens`.
    remote_deferred: u64,
    opens: Bucket,

    /// Streams whose OPEN is due, in the order of [`Connection::open`]; at most the peer's limit of streams.
    opening: VecDeque<usize>,
    /// Streams of the peer that the application has not taken up; at most our limit of streams.
    incoming: VecDeque<usize>,
    /// Streams with control frames due, each once.
    control: VecDeque<usize>,
    /// Streams that have something to send, each once.
    ready: Schedule,
    /// Streams whose credit is too small to be worth a frame, each once.
    stingy: VecDeque<usize>,
    /// Streams with events due, each once.
    events: VecDeque<usize>,
    due: DueEvents,

    pool_left: u64,
    recv_pool: Pool,
    send_pool: Pool,
    /// What the slices that streams hold may cost; at most what `receive` allows.
    sliced: usize,
    /// The place that DATA came for last.
    fed: Option<usize>,
    /// When DATA last came for another stream than the one before.
    in_company: Option<Instant>,
    /// Octets of payload that were read, or dropped unread.
    payload_taken: u64,
    datagrams_in: DatagramQueue,
    datagrams_out: DatagramQueue,

    useless: Bucket,
    small_data: Bucket,
    forced_resets: Bucket,
    rapid_resets: Bucket,
    pings: Bucket,
    payload_since_refund: u64,

    ping_due: bool,
    ping_sequence: u64,
    ping_sent: Option<Instant>,
    pong_due: Option<u64>,
    peer_ping: u64,
    rtt: Option<Duration>,
    min_rtt: Option<Duration>,
    last_rtt_ping: Option<Instant>,

    drain: Drain,
    timers: Timers,
    stats: SessionStats,
    watch: Watch,
}

/// Names one stream of one [`Connection`], locally; not what stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    place: u32,
    stamp: u32,
}

impl StreamKey {
    /// A key that names no stream.
    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn at(place: usize) -> Self {
        Self { place: u32::try_from(place).unwrap_or(u32::MAX), stamp: 0 }
    }

    /// A small number that no two live streams share: an index for what a driver keeps per stream.
    pub const fn place(self) -> u32 {
        self.place
    }
}

/// What happened that a caller may be waiting for.
///
/// Readable and writable are said once, after a call that found nothing or no room; call again then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer's HELLO came; streams can be opened.
    Connected,
    /// The peer opened a stream; see [`Connection::next_incoming`].
    Incoming,
    /// More streams can be opened.
    Openable,
    /// The stream can be read, or has come to its end.
    Readable(StreamKey),
    /// The stream can be written, at least half of its buffer, or writing has come to its end.
    Writable(StreamKey),
    /// A datagram came; see [`Connection::receive_datagram`].
    Datagram,
    /// The PING with this sequence was answered.
    Pong {
        /// The sequence that [`Connection::ping`] gave.
        sequence: u64,
        /// How long the answer took.
        rtt: Duration,
    },
    /// The peer drains the session: open streams on a newer one.
    Draining {
        /// The peer's code.
        code: CloseCode,
        /// The peer's reason; escape it in logs.
        reason: Bytes,
    },
    /// The session ended. Nothing follows.
    Closed(SessionEnd),
}

#[derive(Debug, Default)]
struct DueEvents {
    connected: bool,
    incoming: bool,
    openable: bool,
    datagram: bool,
    pong: Option<(u64, Duration)>,
    draining: Option<(CloseCode, Bytes)>,
    closed: bool,
}

impl DueEvents {
    const fn is_any(&self) -> bool {
        self.connected
            || self.incoming
            || self.openable
            || self.datagram
            || self.pong.is_some()
            || self.draining.is_some()
            || self.closed
    }
}

/// Where the session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    AwaitingHello,
    Open,
    /// The session ended; if `close` is some, that CLOSE is due.
    Ended {
        end: SessionEnd,
        close: Option<(CloseCode, Bytes)>,
    },
}

impl Connection {
    /// A session that has just been connected.
    ///
    /// HELLO is due at once; nothing else is sent before the peer's came.
    pub fn new(role: Role, config: Config, now: Instant) -> Self {
        let granted = u64::from(config.max_peer_streams);
        let opens = crate::Allowance::new(
            config.opens_per_second.max(config.max_peer_streams),
            config.opens_per_second,
        );
        Self {
            role,
            now,
            phase: Phase::AwaitingHello,
            peer: None,
            hello_due: true,
            grease_due: config.grease,
            grease_sent: config.seed,
            parser: Parser::new(config.max_datagram),
            data: receive::DataInProgress::default(),
            slots: Slab::new(),
            ids: HashMap::default(),
            stamps: 0,
            local_live: 0,
            remote_live: 0,
            local_opened: 0,
            local_limit: 0,
            next_local_id: role.first_id(),
            next_remote_id: role.peer().first_id(),
            remote_opened: 0,
            remote_limit: granted,
            remote_granted: granted,
            remote_deferred: 0,
            opens: Bucket::new(opens, now),
            opening: VecDeque::new(),
            incoming: VecDeque::new(),
            control: VecDeque::new(),
            ready: Schedule::default(),
            stingy: VecDeque::new(),
            events: VecDeque::new(),
            due: DueEvents::default(),
            pool_left: config.pool,
            recv_pool: Pool::new(4096),
            send_pool: Pool::new(usize::from(adit_wire_proto::frame::MAX_DATA_BYTES)),
            sliced: 0,
            fed: None,
            in_company: None,
            payload_taken: 0,
            datagrams_in: DatagramQueue::new(config.datagram_queue, config.datagram_flow_queue),
            datagrams_out: DatagramQueue::new(config.datagram_queue, config.datagram_flow_queue),
            useless: Bucket::new(config.useless, now),
            small_data: Bucket::new(config.small_data, now),
            forced_resets: Bucket::new(config.forced_resets, now),
            rapid_resets: Bucket::new(config.rapid_resets, now),
            pings: Bucket::new(config.pings, now),
            payload_since_refund: 0,
            ping_due: false,
            ping_sequence: 0,
            ping_sent: None,
            pong_due: None,
            peer_ping: 0,
            rtt: None,
            min_rtt: None,
            last_rtt_ping: None,
            drain: Drain::default(),
            timers: Timers::new(&config, now),
            stats: SessionStats::default(),
            watch: Watch::new(config.observer.clone(), config.id, role),
            config,
        }
    }

    /// Which side this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Why the session ended, if it has.
    pub const fn end(&self) -> Option<&SessionEnd> {
        match &self.phase {
            Phase::Ended { end, .. } => Some(end),
            Phase::AwaitingHello | Phase::Open => None,
        }
    }

    /// Whether the session ended and nothing is left to send.
    pub const fn is_done(&self) -> bool {
        matches!(&self.phase, Phase::Ended { close: None, .. })
    }

    /// Whether the peer's HELLO came.
    pub const fn is_connected(&self) -> bool {
        self.peer.is_some()
    }

    /// How many streams are live, whichever side opened them.
    pub fn open_streams(&self) -> usize {
        self.slots.len()
    }

    /// What has happened so far.
    pub fn stats(&self) -> SessionStats {
        let mut stats = self.stats.clone();
        stats.open_streams = to_u64(self.slots.len());
        stats.rtt = self.rtt;
        stats.min_rtt = self.min_rtt;
        stats.datagrams_dropped = self.datagrams_in.dropped + self.datagrams_out.dropped;
        stats.window_pool_left = self.pool_left;
        stats.unread_bytes = self.stats.payload_received - self.payload_taken;
        stats
    }

    /// The next event, or `None` until something else happens.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() && !self.due.is_any() {
            return None;
        }
        if std::mem::take(&mut self.due.connected) {
            return Some(Event::Connected);
        }
        while let Some(&place) = self.events.front() {
            let Some(slot) = self.slots.get_mut(place) else {
                self.events.pop_front();
                continue;
            };
            let key = key(place, slot);
            if std::mem::take(&mut slot.readable) {
                return Some(Event::Readable(key));
            }
            if std::mem::take(&mut slot.writable) {
                return Some(Event::Writable(key));
            }
            slot.in_events = false;
            self.events.pop_front();
            self.free_if_over(place);
        }
        if std::mem::take(&mut self.due.incoming) {
            return Some(Event::Incoming);
        }
        if std::mem::take(&mut self.due.openable) {
            return Some(Event::Openable);
        }
        if std::mem::take(&mut self.due.datagram) {
            return Some(Event::Datagram);
        }
        if let Some((sequence, rtt)) = self.due.pong.take() {
            return Some(Event::Pong { sequence, rtt });
        }
        if let Some((code, reason)) = self.due.draining.take() {
            return Some(Event::Draining { code, reason });
        }
        if std::mem::take(&mut self.due.closed) {
            return self.end().cloned().map(Event::Closed);
        }
        None
    }

    /// Ends the session, telling the peer with CLOSE if `close` says so.
    fn finish(&mut self, end: SessionEnd, close: Option<(CloseCode, Bytes)>) {
        if matches!(self.phase, Phase::Ended { .. }) {
            return;
        }
        self.watch.ended(&end);
        self.phase = Phase::Ended { end, close };
        self.due.closed = true;
        self.due.openable = true;
        self.due.incoming = true;
        self.due.datagram = true;
        let places: Vec<usize> = self.slots.iter().map(|(place, _)| place).collect();
        for place in places {
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.recv.waiting = true;
            slot.send.waiting = true;
            slot.send.queue.clear(&mut self.send_pool);
            self.wake_reader(place);
            self.wake_writer(place);
        }
    }

    /// Says that the stream can be read, if somebody waits for that.
    fn wake_reader(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if std::mem::take(&mut slot.recv.waiting) {
            slot.readable = true;
            if !std::mem::replace(&mut slot.in_events, true) {
                self.events.push_back(place);
            }
        }
    }

    /// Says that the stream can be written, if somebody waits for that.
    fn wake_writer(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if std::mem::take(&mut slot.send.waiting) {
            slot.writable = true;
            if !std::mem::replace(&mut slot.in_events, true) {
                self.events.push_back(place);
            }
        }
    }

    /// Lines the stream up for its control frames.
    fn mark_control(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if !std::mem::replace(&mut slot.in_control, true) {
            self.control.push_back(place);
        }
    }

    /// Lines the stream up for its turn, if it has something to send.
    fn schedule(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.in_ready {
            return;
        }
        if slot.is_sendable() {
            slot.in_ready = true;
            self.ready.add(place, &mut slot.share);
            return;
        }
        let is_stingy = matches!(slot.send.state, SendState::Open | SendState::Finishing)
            && !slot.send.queue.is_empty()
            && slot.send.credit() > 0;
        if is_stingy && !std::mem::replace(&mut slot.in_stingy, true) {
            self.stingy.push_back(place);
            self.timers.is_new |= self.timers.stingy_since.is_none();
            self.timers.stingy_since.get_or_insert(self.now);
        }
    }

    /// Frees the stream's place if nothing about it is left.
    fn free_if_over(&mut self, place: usize) {
        let Some(slot) = self.slots.get(place) else { return };
        if !(slot.send.released && slot.recv.released) {
            return;
        }
        // `stingy` may name a place that is free again or another's: it is looked at within 100 ms, and does no harm.
        let is_listed = slot.in_ready || slot.in_control || slot.in_events || slot.in_opening;
        let has_ended = matches!(self.phase, Phase::Ended { .. });
        if !has_ended && (is_listed || !slot.is_over()) {
            return;
        }
        let mut slot = self.slots.remove(place);
        self.stats.streams_closed += 1;
        self.watch.stream_closed(Origin::local_if(slot.local));
        self.payload_taken += to_u64(slot.recv.queue.clear(&mut self.recv_pool));
        self.sliced -= slot.recv.sliced;
        if slot.recv.part_ends_at.is_some() {
            self.sliced -= receive::PART_COST;
        }
        slot.send.queue.clear(&mut self.send_pool);
        self.ids.remove(&slot.id);
        self.release_window(slot.recv.reserved);
        self.small_data.give(slot.recv.small_frames);
        if slot.local {
            self.local_live = self.local_live.saturating_sub(1);
        } else {
            self.remote_live = self.remote_live.saturating_sub(1);
            self.remote_deferred += 1;
            self.grant_streams();
        }
        self.finish_drain_if_idle();
    }

    /// Returns the streams that ended to the peer, as fast as it may open them.
    fn grant_streams(&mut self) {
        while self.remote_deferred > 0 && self.opens.take(self.now) {
            self.remote_deferred -= 1;
            self.remote_granted += 1;
        }
    }

    /// Whether enough streams came free for a STREAMS frame.
    fn is_streams_due(&self) -> bool {
        let owed = self.remote_granted - self.remote_limit;
        let left = self.remote_limit.saturating_sub(self.remote_opened);
        owed > 0 && (owed >= u64::from(self.config.max_peer_streams / 8) || left == 0)
    }

    fn slot(&self, key: StreamKey) -> Option<&Slot> {
        let slot = self.slots.get(to_usize(key.place))?;
        (slot.stamp == key.stamp).then_some(slot)
    }

    fn slot_mut(&mut self, key: StreamKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(to_usize(key.place))?;
        (slot.stamp == key.stamp).then_some(slot)
    }

    fn insert(&mut self, mut slot: Slot) -> StreamKey {
        self.stamps = self.stamps.wrapping_add(1);
        slot.stamp = self.stamps;
        let (id, stamp) = (slot.id, slot.stamp);
        let place = self.slots.insert(Box::new(slot));
        if id != 0 {
            self.ids.insert(id, place);
        }
        StreamKey { place: u32::try_from(place).unwrap_or(u32::MAX), stamp }
    }
}

impl Drop for Connection {
    /// Gives back to the process what the windows of streams that are still open hold.
    fn drop(&mut self) {
        let reserved = self.slots.iter().map(|(_, slot)| u64::from(slot.recv.reserved)).sum();
        if let Some(process) = &self.config.process {
            process.give(reserved);
        }
    }
}

fn key(place: usize, slot: &Slot) -> StreamKey {
    StreamKey { place: u32::try_from(place).unwrap_or(u32::MAX), stamp: slot.stamp }
}

/// Lengths fit in 64 bits on every machine that Rust runs on.
fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Places and windows fit in a `usize` on every machine with 32 bits or more.
fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Spreads ids over a hash table. Ids are strictly sequential, so a peer can't choose which of them collide.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u32(u32::from(*octet));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // The golden ratio in 64 bits (Fibonacci hashing): the table looks at both ends of the product.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
