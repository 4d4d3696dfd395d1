use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::packet::{LongHeader, is_long};
use super::{
    ConnectionId, DatagramError, FlowId, FlowLimits, FlowTable, InitialHello, InitialLimits, InitialRefusal,
    InitialSniff, InitialSniffer, QuicCrypto, Reply,
};
use crate::AlertDescription;

/// The UDP side of a gateway that forwards QUIC without ending it: takes every datagram of every visitor and says what to
/// do with it. It owns no socket, reads no clock and waits for nothing.
///
/// ```text
///  datagram --> known flow? ------ yes --> Forward { flow, route }
///                  | no
///                  v
///           begun connection? ---- yes --> sniff, hold -+-> NeedMore
///                  | no                                 +-> Hello --> caller: admit(route) -> held datagrams
///                  v                                    |             or refuse(alert) -> answer
///           first flight? -------- yes --> sniff, hold -+-> Refused { answer }
///                  | no                                 +-> Reply(version negotiation)
///                  v
///               Dropped
/// ```
///
/// Limits: connections whose hello is not complete, and what is held of them, have a bound each; the oldest gives way.
/// Nothing is answered that has less than 1,200 bytes, no answer is longer than half of what it answers, and there is
/// one at most.
///
/// ```no_run
/// use adit_tls_modes::{AlertDescription, QuicCrypto, QuicFront, QuicLimits, QuicVerdict};
///
/// # fn forward(_: &'static str, _: &[u8]) {}
/// # fn reply(_: &[u8]) {}
/// # fn find(_: Option<&str>) -> Option<&'static str> { None }
/// # let (now, peer, datagram) = (std::time::Instant::now(), "192.0.2.1:4433".parse()?, [0; 1200]);
/// let crypto = QuicCrypto::new(&rustls::crypto::ring::default_provider())?;
/// let mut front: QuicFront<&'static str> = QuicFront::new(crypto, QuicLimits::new());
///
/// match front.receive(now, peer, &datagram) {
///     QuicVerdict::Forward { route, .. } => forward(route, &datagram),
///     QuicVerdict::Hello { connection, hello, .. } => {
///         let name = hello.client_hello().server_name().map(|name| name.as_str());
///         if let Some(route) = find(name) {
///             let admitted = front.admit(now, &connection, route);
///             let held = admitted.into_iter().flat_map(|admitted| admitted.into_held());
///             held.for_each(|held| forward(route, held.datagram()));
///         } else if let Some(answer) = front.refuse(&connection, AlertDescription::UNRECOGNIZED_NAME) {
///             reply(&answer);
///         }
///     }
///     QuicVerdict::Reply(answer) | QuicVerdict::Refused { answer: Some(answer), .. } => reply(&answer),
///     _ => {}
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct QuicFront<R> {
    crypto: QuicCrypto,
    limits: QuicLimits,
    flows: FlowTable<R>,
    /// By the destination id of the first Initial; at most `max_pending`, of at most `max_pending_bytes` together.
    pending: BTreeMap<ConnectionId, Pending>,
    /// The same by order of arrival: a clock may stand still, and then ids, which clients choose, must not decide.
    by_arrival: BTreeMap<u64, ConnectionId>,
    next_arrival: u64,
    /// What all of `pending` holds.
    pending_bytes: usize,
}

impl<R> QuicFront<R> {
    /// A front that knows no flow.
    pub const fn new(crypto: QuicCrypto, limits: QuicLimits) -> Self {
        Self {
            crypto,
            flows: FlowTable::new(limits.flows),
            limits,
            pending: BTreeMap::new(),
            by_arrival: BTreeMap::new(),
            next_arrival: 0,
            pending_bytes: 0,
        }
    }

    /// Takes a datagram that a visitor sent.
    pub fn receive(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8]) -> QuicVerdict<'_, R> {
        self.handle_timeout(now);
        if let Some(flow) = self.flows.receive(now, peer, datagram) {
            return match self.flows.route(flow) {
                Some(route) => QuicVerdict::Forward { flow, route },
                None => QuicVerdict::Dropped(DatagramError::UnknownConnection),
            };
        }
        if !is_long(datagram) {
            return QuicVerdict::Dropped(DatagramError::UnknownConnection);
        }
        match self.sniff(now, peer, datagram) {
            Ok(connection) => self.hello(connection),
            Err(Outcome::Dropped(error)) => QuicVerdict::Dropped(error),
            Err(Outcome::Reply(packet)) => QuicVerdict::Reply(packet),
            Err(Outcome::Refused(refusal, answer)) => QuicVerdict::Refused { refusal, answer },
        }
    }

    /// Takes a datagram of the server that is to go to `peer` on `flow`; see [`FlowTable::receive_from_upstream`].
    pub fn receive_from_upstream(
        &mut self,
        now: Instant,
        flow: FlowId,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Reply {
        self.flows.receive_from_upstream(now, flow, peer, datagram)
    }

    /// Frees what has waited for too long: hellos without an end, hellos that nobody decided about, silent flows.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, connection)) = self.next_expiry()
            && deadline <= now
        {
            self.take(&connection);
        }
        self.flows.handle_timeout(now);
    }

    /// Sends a connection whose hello is known to `route`, from now on. What it sent so far comes back, and is to be
    /// forwarded first.
    ///
    /// `None`: there is no such connection any more.
    pub fn admit(&mut self, now: Instant, connection: &ConnectionId, route: R) -> Option<AdmittedFlow> {
        let pending = self.take(connection)?;
        let first = pending.held.first()?.peer;
        let flow = self.flows.insert(now, first, *connection, route)?;
        for held in &pending.held {
            self.flows.receive(now, held.peer, &held.datagram);
        }
        Some(AdmittedFlow { flow, held: pending.held })
    }

    /// Forgets a connection whose hello leads nowhere, and returns the datagram that says so, to be sent back at most
    /// once. Who repeats its first flight is read, and refused, again.
    pub fn refuse(&mut self, connection: &ConnectionId, alert: AlertDescription) -> Option<Vec<u8>> {
        self.take(connection)?.sniffer.close(alert)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if there is anything to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.next_expiry().map(|(deadline, _)| deadline);
        pending.into_iter().chain(self.flows.poll_timeout()).min()
    }

    /// The flows that were admitted.
    pub const fn flows(&self) -> &FlowTable<R> {
        &self.flows
    }

    /// The flows that were admitted, to take some out.
    pub const fn flows_mut(&mut self) -> &mut FlowTable<R> {
        &mut self.flows
    }

    /// How many connections are not decided about.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many bytes are held for them.
    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Looks into a datagram of no flow. `Ok` names its connection, which is alive.
    fn sniff(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8]) -> Result<ConnectionId, Outcome> {
        let header = LongHeader::read(datagram)?;
        let known = ConnectionId::new(header.destination).filter(|id| self.pending.contains_key(id));
        let mut pending = known.and_then(|id| self.take(&id)).unwrap_or_else(|| self.begin(now));
        let outcome = match pending.sniffer.receive(now, datagram) {
            InitialSniff::NeedMore | InitialSniff::Hello(_) => Ok(()),
            // A datagram of 0-RTT alone belongs to what is forwarded later.
            InitialSniff::Dropped(DatagramError::NoInitial) if known.is_some() => Ok(()),
            InitialSniff::Dropped(error) => Err(Outcome::Dropped(error)),
            InitialSniff::VersionNegotiation(packet) => Err(Outcome::Reply(packet)),
            InitialSniff::Refused(refusal) => {
                let answer = refusal.alert().and_then(|alert| pending.sniffer.close(alert));
                return Err(Outcome::Refused(refusal, answer));
            }
        };
        if outcome.is_ok() {
            pending.hold(peer, datagram);
        }
        let connection = known.or_else(|| ConnectionId::new(header.destination));
        match connection {
            // What is not begun by now was a stranger's datagram.
            Some(connection) if known.is_some() || outcome.is_ok() => {
                self.put(connection, pending);
                outcome.map(|()| connection)
            }
            _ => Err(outcome.err().unwrap_or(Outcome::Dropped(DatagramError::NoInitial))),
        }
    }

    const fn begin(&mut self, now: Instant) -> Pending {
        let arrival = self.next_arrival;
        self.next_arrival = arrival.wrapping_add(1);
        let sniffer = InitialSniffer::new(self.crypto, self.limits.initial);
        Pending { sniffer, begun: now, arrival, held: Vec::new(), held_bytes: 0 }
    }

    fn next_expiry(&self) -> Option<(Instant, ConnectionId)> {
        let (_, connection) = self.by_arrival.first_key_value()?;
        let begun = self.pending.get(connection)?.begun;
        Some((begun.checked_add(self.limits.initial.timeout)?, *connection))
    }

    fn hello(&self, connection: ConnectionId) -> QuicVerdict<'_, R> {
        match self.pending.get(&connection).map(|pending| pending.sniffer.verdict()) {
            Some(InitialSniff::Hello(hello)) => {
                QuicVerdict::Hello { connection, hello, wants_retry: !hello.has_token() && self.is_crowded() }
            }
            _ => QuicVerdict::NeedMore,
        }
    }

    fn is_crowded(&self) -> bool {
        self.flows.is_crowded() || self.pending.len() > self.limits.max_pending / 2
    }

    fn put(&mut self, connection: ConnectionId, pending: Pending) {
        self.pending_bytes += pending.memory_bytes();
        self.by_arrival.insert(pending.arrival, connection);
        self.pending.insert(connection, pending);
        while (self.pending.len() > self.limits.max_pending.max(1)
            || self.pending_bytes > self.limits.max_pending_bytes)
            && let Some(oldest) = self.by_arrival.first_key_value().map(|(_, oldest)| *oldest)
        {
            self.take(&oldest);
        }
    }

    fn take(&mut self, connection: &ConnectionId) -> Option<Pending> {
        let pending = self.pending.remove(connection)?;
        self.by_arrival.remove(&pending.arrival);
        self.pending_bytes = self.pending_bytes.saturating_sub(pending.memory_bytes());
        Some(pending)
    }
}

/// What to do with a datagram of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum QuicVerdict<'a, R> {
    /// Forward it.
    #[non_exhaustive]
    Forward {
        /// The flow it belongs to, for the answers.
        flow: FlowId,
        /// Where that leads.
        route: &'a R,
    },
    /// It is held until there is a hello, or 5 seconds are over.
    NeedMore,
    /// It is held, and the hello is known: decide with [`QuicFront::admit`] or [`QuicFront::refuse`].
    #[non_exhaustive]
    Hello {
        /// What the connection is called until then.
        connection: ConnectionId,
        /// What the client said.
        hello: &'a InitialHello,
        /// Whether the server should send a Retry, since addresses may be spoofed: more than half of the room for
        /// flows without a genuine one is taken, and this client has shown no token.
        ///
        /// Whoever forwards can't send it: a client refuses a server that does not know of its Retry (RFC 9000 §7.3).
        /// Tell the server, if there is a way; or bound what each route may have of such flows
        /// ([`FlowTable::is_validated`] tells which those are), so that a flood for one pushes out no other's.
        wants_retry: bool,
    },
    /// The connection is forgotten. Send `answer`, if there is one.
    #[non_exhaustive]
    Refused {
        /// Why.
        refusal: InitialRefusal,
        /// A datagram that closes the connection with an alert.
        answer: Option<Vec<u8>>,
    },
    /// Send this back: the visitor speaks a version that nobody here knows.
    Reply(Vec<u8>),
    /// It means nothing.
    Dropped(DatagramError),
}

/// A flow that has just begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedFlow {
    flow: FlowId,
    held: Vec<HeldDatagram>,
}

impl AdmittedFlow {
    /// The flow, for the answers.
    pub const fn flow(&self) -> FlowId {
        self.flow
    }

    /// What the visitor sent so far, unchanged, in the order of arrival.
    pub fn held(&self) -> &[HeldDatagram] {
        &self.held
    }

    /// The same, given up.
    pub fn into_held(self) -> Vec<HeldDatagram> {
        self.held
    }
}

/// A datagram that waited for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDatagram {
    peer: SocketAddr,
    datagram: Box<[u8]>,
}

impl HeldDatagram {
    /// Where it came from: the port may change even in the handshake.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The bytes as received.
    pub const fn datagram(&self) -> &[u8] {
        &self.datagram
    }
}

/// The limits of a [`QuicFront`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicLimits {
    initial: InitialLimits,
    flows: FlowLimits,
    max_pending: usize,
    max_pending_bytes: usize,
}

impl QuicLimits {
    /// The defaults: 4,096 connections without a decision, 16 MiB for all of them, and those of the parts.
    pub const fn new() -> Self {
        Self {
            initial: InitialLimits::new(),
            flows: FlowLimits::new(),
            max_pending: 4_096,
            max_pending_bytes: 16 << 20,
        }
    }

    /// Sets the limits of one hello.
    #[must_use]
    pub const fn initial(mut self, limits: InitialLimits) -> Self {
        self.initial = limits;
        self
    }

    /// Sets the limits of the flows.
    #[must_use]
    pub const fn flows(mut self, limits: FlowLimits) -> Self {
        self.flows = limits;
        self
    }

    /// Sets how many connections may be without a decision, at least 1; the oldest gives way. Default 4,096.
    #[must_use]
    pub const fn max_pending(mut self, connections: usize) -> Self {
        self.max_pending = connections;
        self
    }

    /// Sets how many bytes may be held for them, datagrams, parts of hellos and bookkeeping; the oldest gives way. Default 16 MiB.
    /// One connection may have 192 KiB of it; with less than 8 KiB no browser gets through.
    #[must_use]
    pub const fn max_pending_bytes(mut self, bytes: usize) -> Self {
        self.max_pending_bytes = bytes;
        self
    }
}

impl Default for QuicLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection without a decision.
#[derive(Debug)]
struct Pending {
    sniffer: InitialSniffer,
    begun: Instant,
    arrival: u64,
    /// Of `held_bytes` together, at most `MAX_HELD_BYTES`.
    held: Vec<HeldDatagram>,
    held_bytes: usize,
}

impl Pending {
    /// Keeps a datagram; one too many is lost, as datagrams are.
    fn hold(&mut self, peer: SocketAddr, datagram: &[u8]) {
        let cost = datagram.len() + BOOKKEEPING_BYTES;
        if self.held_bytes + cost <= MAX_HELD_BYTES {
            self.held_bytes += cost;
            self.held.push(HeldDatagram { peer, datagram: datagram.into() });
        }
    }

    fn memory_bytes(&self) -> usize {
        BOOKKEEPING_BYTES * 8 + self.held_bytes + self.sniffer.memory_bytes()
    }
}

/// Why there is nothing to decide about.
enum Outcome {
    Dropped(DatagramError),
    Reply(Vec<u8>),
    Refused(InitialRefusal, Option<Vec<u8>>),
}

impl From<DatagramError> for Outcome {
    fn from(error: DatagramError) -> Self {
        Self::Dropped(error)
    }
}

/// Enough for the largest hello in datagrams of 1,200 bytes, and as much again for repetitions.
const MAX_HELD_BYTES: usize = 128 << 10;
/// About what a kept datagram costs beside its bytes; a connection with its keys costs eight times that.
const BOOKKEEPING_BYTES: usize = 128;
