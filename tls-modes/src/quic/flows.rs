use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ConnectionId;
use super::packet::{LongHeader, Packet, PacketKind, is_long, is_short};
use super::sniffer::MIN_FIRST_ID_BYTES;

/// Where the datagrams of QUIC connections lead that are forwarded without being read, by connection id.
///
/// `R` is the route: whatever the caller needs to reach the tunnel. A flow is put in when its hello is known, under the id
/// that the client chose; the ids that the server chooses, in a Retry and in its handshake, are learnt from what it
/// sends. So a client is found again after a Retry (RFC 9000 §17.2.5) and after its port changed (§9), in the handshake
/// as well as later.
///
/// ```text
///  visitor                          gateway                               agent
///     | -- Initial, to id A ---------> | insert A -------------------------> |
///     | <--------------------- Retry - | learn B <------------- source id B- |
///     | -- Initial, to id B, token --> | B, known -------------------------> |
///     | <------------------ Initial -- | learn C <------------- source id C- |
///     | -- Handshake, to id C -------> | C, known; the address is genuine -> |
///     | -- 1-RTT, to id C, new port -> | C, known -------------------------> |
///     | -- 1-RTT, to id ?, same port > | the address's only flow; learn ? -> |
/// ```
///
/// What is looked up by id alone has 8 bytes at least, and the first flow that has an id keeps it: so a server cannot
/// draw the datagrams of another tenant's visitors to itself by choosing short or equal ids. Servers with shorter ids
/// are found by the visitor's address, as long as that has no second flow.
///
/// A client that goes to another network on purpose takes an id that it was given under encryption (RFC 9000 §9.5). From an
/// address that was not seen before, it can't be found by that: it has to connect anew, as it has to where UDP is blocked.
///
/// **Spoofed addresses.** Until an address is known to be genuine, [`receive_from_upstream`](Self::receive_from_upstream)
/// lets through no more than three times the bytes that came from it (RFC 9000 §8.1). It counts as genuine when it has
/// been answered and then was heard of again with an id of the server, or past the Initials. After a change of port this
/// is no proof, since the id is old; the server's own path validation (§8.2) is, so let the agent use one upstream
/// socket for each visitor address, that the server may see the change.
///
/// **Floods.** Flows without a genuine address have a bound of their own, and push out only each other.
#[derive(Debug)]
pub struct FlowTable<R> {
    limits: FlowLimits,
    /// At most `max_unvalidated + max_validated`.
    flows: BTreeMap<FlowId, Flow<R>>,
    /// At most `MAX_IDS` for each flow.
    by_id: BTreeMap<ConnectionId, FlowId>,
    /// At most `MAX_PATHS` for each flow.
    by_peer: BTreeSet<(SocketAddr, FlowId)>,
    /// Every flow is in one of these two, oldest first.
    unvalidated: BTreeSet<(Instant, FlowId)>,
    validated: BTreeSet<(Instant, FlowId)>,
    /// How many ids of each length `by_id` holds.
    id_lengths: [usize; ConnectionId::MAX_BYTES + 1],
    next: FlowId,
}

impl<R> FlowTable<R> {
    /// An empty table.
    pub const fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            flows: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_peer: BTreeSet::new(),
            unvalidated: BTreeSet::new(),
            validated: BTreeSet::new(),
            id_lengths: [0; ConnectionId::MAX_BYTES + 1],
            next: FlowId(0),
        }
    }

    /// Finds the flow of a datagram that came from `peer`, and counts it. `None`: no flow of this table.
    pub fn receive(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8]) -> Option<FlowId> {
        self.handle_timeout(now);
        let found = self.find(peer, datagram)?;
        let id = found.flow;
        if let Some(new) = found.unknown_id {
            self.learn(id, new);
        }
        self.count_received(now, id, peer, datagram, found.named_by_server);
        Some(id)
    }

    /// Takes a datagram of the server that is to go to `peer` on `flow`: learns the server's ids from it, and says
    /// whether it may be sent now.
    pub fn receive_from_upstream(
        &mut self,
        now: Instant,
        flow: FlowId,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Reply {
        self.handle_timeout(now);
        let Some(path) = self.flows.get_mut(&flow).and_then(|flow| flow.path_mut(peer)) else {
            return Reply::Withhold;
        };
        if !path.may_send(datagram.len()) {
            return Reply::Withhold;
        }
        path.sent_bytes = path.sent_bytes.saturating_add(datagram.len());
        if let Some(id) = server_source(datagram) {
            self.learn(flow, id);
        }
        Reply::Send
    }

    /// Drops the flows that have been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, flow)) = self.next_expiry()
            && deadline <= now
        {
            self.remove(flow);
        }
    }

    /// Puts in a flow of `peer` under the id that its client chose, and pushes out the oldest one without a genuine
    /// address if there are too many. Count what has been received of it so far with [`receive`](Self::receive).
    ///
    /// Returns `None`, and changes nothing, if the id is shorter than 8 bytes or in use.
    pub fn insert(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        destination: ConnectionId,
        route: R,
    ) -> Option<FlowId> {
        if destination.len() < MIN_FIRST_ID_BYTES || self.by_id.contains_key(&destination) {
            return None;
        }
        while self.unvalidated.len() >= self.limits.max_unvalidated.max(1) {
            self.remove(self.unvalidated.first()?.1);
        }
        let id = self.next;
        self.next = FlowId(id.0.wrapping_add(1));
        self.flows.insert(id, Flow::new(now, peer, route));
        self.unvalidated.insert((now, id));
        self.by_peer.insert((peer, id));
        self.learn(id, destination);
        Some(id)
    }

    /// Takes a flow out, and returns its route.
    pub fn remove(&mut self, flow: FlowId) -> Option<R> {
        let removed = self.flows.remove(&flow)?;
        self.unvalidated.remove(&(removed.touched, flow));
        self.validated.remove(&(removed.touched, flow));
        for path in &removed.paths {
            self.by_peer.remove(&(path.peer, flow));
        }
        for id in &removed.ids {
            self.forget(id);
        }
        Some(removed.route)
    }

    /// Keeps only the flows whose route passes `keep`, as when a tunnel is closed. Looks at every flow.
    pub fn retain(&mut self, mut keep: impl FnMut(&R) -> bool) {
        let gone: Vec<_> =
            self.flows.iter().filter(|(_, flow)| !keep(&flow.route)).map(|(id, _)| *id).collect();
        for flow in gone {
            self.remove(flow);
        }
    }

    /// Where a flow leads, or `None` if it is not there any more.
    pub fn route(&self, flow: FlowId) -> Option<&R> {
        self.flows.get(&flow).map(|flow| &flow.route)
    }

    /// Whether a flow's visitor was answered and heard of again, so that the address is genuine; `None` if the flow is not
    /// there any more.
    pub fn is_validated(&self, flow: FlowId) -> Option<bool> {
        self.flows.get(&flow).map(|flow| flow.is_validated)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if there is any flow.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry().map(|(deadline, _)| deadline)
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Whether more than half of the room for flows without a genuine address is taken: time for servers to send a Retry
    /// to clients without a token (RFC 9000 §8.1.2).
    pub fn is_crowded(&self) -> bool {
        self.unvalidated.len() > self.limits.max_unvalidated / 2
    }

    fn find(&self, peer: SocketAddr, datagram: &[u8]) -> Option<Found> {
        if is_long(datagram) {
            self.find_long(peer, datagram)
        } else if is_short(datagram) {
            self.find_short(peer, datagram)
        } else {
            None
        }
    }

    /// Only the first packet is looked at: the others are for the same connection, or for nobody (RFC 9000 §12.2).
    fn find_long(&self, peer: SocketAddr, datagram: &[u8]) -> Option<Found> {
        let header = LongHeader::read(datagram).ok().filter(|header| header.version.is_supported())?;
        let destination = ConnectionId::new(header.destination)?;
        if destination.len() < MIN_FIRST_ID_BYTES {
            // No client may begin with so short an id, so this can only be one that a server chose.
            return Some(Found::by_peer(self.only_flow(peer)?, None));
        }
        self.find_id(&destination)
    }

    /// A short header does not tell how long its id is (RFC 9000 §17.3.1), so each length in use is tried, the longest
    /// first: at most 13 of them.
    fn find_short(&self, peer: SocketAddr, datagram: &[u8]) -> Option<Found> {
        let after_first = datagram.get(1..)?;
        let in_use = |length: &usize| self.id_lengths.get(*length).is_some_and(|count| *count > 0);
        let mut lengths = (MIN_FIRST_ID_BYTES..=ConnectionId::MAX_BYTES).rev().filter(in_use);
        let known = lengths.find_map(|length| self.find_id(&ConnectionId::new(after_first.get(..length)?)?));
        known.or_else(|| {
            let flow = self.only_flow(peer)?;
            let length = self.flows.get(&flow)?.server_id_bytes?;
            Some(Found::by_peer(flow, after_first.get(..length).and_then(ConnectionId::new)))
        })
    }

    fn find_id(&self, id: &ConnectionId) -> Option<Found> {
        let flow = *self.by_id.get(id)?;
        let named_by_server = self.flows.get(&flow).is_some_and(|flow| flow.chosen_by_client != Some(*id));
        Some(Found { flow, named_by_server, unknown_id: None })
    }

    /// The flow of an address that has exactly one: with two there is no telling.
    fn only_flow(&self, peer: SocketAddr) -> Option<FlowId> {
        let mut flows = self.by_peer.range((peer, FlowId::MIN)..=(peer, FlowId::MAX));
        match (flows.next(), flows.next()) {
            (Some((_, flow)), None) => Some(*flow),
            _ => None,
        }
    }

    /// Gives a flow one more id, unless another flow has it. Keeps the newest ones of each flow.
    fn learn(&mut self, flow: FlowId, id: ConnectionId) {
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        if entry.ids.is_empty() {
            entry.chosen_by_client = Some(id);
        } else {
            entry.server_id_bytes = Some(id.len());
        }
        if id.len() < MIN_FIRST_ID_BYTES || self.by_id.contains_key(&id) {
            return;
        }
        let oldest = if entry.ids.len() >= MAX_IDS { entry.ids.pop_front() } else { None };
        entry.ids.push_back(id);
        self.by_id.insert(id, flow);
        if let Some(count) = self.id_lengths.get_mut(id.len()) {
            *count += 1;
        }
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, id: &ConnectionId) {
        self.by_id.remove(id);
        if let Some(count) = self.id_lengths.get_mut(id.len()) {
            *count = count.saturating_sub(1);
        }
    }

    fn count_received(
        &mut self,
        now: Instant,
        id: FlowId,
        peer: SocketAddr,
        datagram: &[u8],
        named_by_server: bool,
    ) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if flow.path_mut(peer).is_none() {
            if let Some(oldest) = flow.add_path(peer) {
                self.by_peer.remove(&(oldest, id));
            }
            self.by_peer.insert((peer, id));
        }
        let was_validated = flow.is_validated;
        let Some(path) = flow.path_mut(peer) else { return };
        path.received_bytes = path.received_bytes.saturating_add(datagram.len());
        path.is_validated |= path.sent_bytes > 0 && (named_by_server || !is_initial(datagram));
        let is_validated = was_validated || path.is_validated;
        self.touch(now, id, is_validated);
    }

    /// Makes the flow the youngest of its kind. Within a second nothing is moved, since order among busy flows does not
    /// matter.
    fn touch(&mut self, now: Instant, id: FlowId, is_validated: bool) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let promoted = is_validated && !flow.is_validated;
        if !promoted && now.saturating_duration_since(flow.touched) < TOUCH_GRAIN {
            return;
        }
        let before = (flow.touched, id);
        flow.touched = now;
        flow.is_validated = is_validated;
        self.unvalidated.remove(&before);
        self.validated.remove(&before);
        if !is_validated {
            self.unvalidated.insert((now, id));
            return;
        }
        if promoted
            && self.validated.len() >= self.limits.max_validated
            && let Some((_, oldest)) = self.validated.first().copied()
        {
            self.remove(oldest);
        }
        self.validated.insert((now, id));
    }

    fn next_expiry(&self) -> Option<(Instant, FlowId)> {
        let expiry = |queue: &BTreeSet<(Instant, FlowId)>, after: Duration| {
            queue.first().and_then(|(touched, flow)| Some((touched.checked_add(after)?, *flow)))
        };
        let unvalidated = expiry(&self.unvalidated, self.limits.handshake_timeout);
        let validated = expiry(&self.validated, self.limits.idle_timeout);
        unvalidated.into_iter().chain(validated).min()
    }
}

/// One flow of a [`FlowTable`]. Used once: no later flow of the table has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(u64);

impl FlowId {
    const MIN: Self = Self(u64::MIN);
    const MAX: Self = Self(u64::MAX);
}

/// What becomes of a datagram of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Reply {
    /// Send it to the visitor.
    Send,
    /// Drop it: the flow has gone, or three times the bytes received are spent on an address that nobody has answered
    /// from. The server repeats it when the client is heard of.
    Withhold,
}

/// How many flows there may be, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    max_unvalidated: usize,
    max_validated: usize,
    handshake_timeout: Duration,
    idle_timeout: Duration,
}

impl FlowLimits {
    /// The defaults: 16,384 flows without a genuine address, 65,536 with one; 10 and 120 seconds.
    pub const fn new() -> Self {
        Self {
            max_unvalidated: 16_384,
            max_validated: 65_536,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
        }
    }

    /// Sets how many flows there may be whose visitor's address may be spoofed; at least 1. The oldest gives way.
    ///
    /// Default 16,384. A flow takes about half a kilobyte and its route. A handshake takes a second at most, so this is
    /// also how many may begin in a second of flood before good ones are lost.
    #[must_use]
    pub const fn max_unvalidated(mut self, flows: usize) -> Self {
        self.max_unvalidated = flows;
        self
    }

    /// Sets how many flows there may be beside those; at least 1. The one that was silent for longest gives way. Default
    /// 65,536.
    #[must_use]
    pub const fn max_validated(mut self, flows: usize) -> Self {
        self.max_validated = flows;
        self
    }

    /// Sets after how much silence a flow is dropped whose visitor's address may be spoofed. Default 10 seconds.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets after how much silence another flow is dropped, to the second. Default 120 seconds, so long as RFC 4787 §4.3
    /// asks of a NAT at least; most ends of QUIC give up after 30.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Flow<R> {
    route: R,
    /// The first id, as long as it is kept.
    chosen_by_client: Option<ConnectionId>,
    /// Ids of 8 bytes or more that lead here, oldest first; at most `MAX_IDS`.
    ids: VecDeque<ConnectionId>,
    /// Servers choose ids of one length.
    server_id_bytes: Option<usize>,
    /// At most `MAX_PATHS`, oldest first, never empty.
    paths: Vec<Path>,
    is_validated: bool,
    /// Its place in the queue.
    touched: Instant,
}

impl<R> Flow<R> {
    fn new(now: Instant, peer: SocketAddr, route: R) -> Self {
        Self {
            route,
            chosen_by_client: None,
            ids: VecDeque::new(),
            server_id_bytes: None,
            paths: vec![Path::new(peer)],
            is_validated: false,
            touched: now,
        }
    }

    fn path_mut(&mut self, peer: SocketAddr) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.peer == peer)
    }

    /// Returns the address that had to give way.
    fn add_path(&mut self, peer: SocketAddr) -> Option<SocketAddr> {
        let oldest = (self.paths.len() >= MAX_PATHS).then(|| self.paths.remove(0).peer);
        self.paths.push(Path::new(peer));
        oldest
    }
}

/// One address that a flow's datagrams came from.
#[derive(Debug)]
struct Path {
    peer: SocketAddr,
    received_bytes: usize,
    sent_bytes: usize,
    is_validated: bool,
}

impl Path {
    const fn new(peer: SocketAddr) -> Self {
        Self { peer, received_bytes: 0, sent_bytes: 0, is_validated: false }
    }

    /// RFC 9000 §8.1.
    const fn may_send(&self, bytes: usize) -> bool {
        let allowance = self.received_bytes.saturating_mul(MAX_AMPLIFICATION);
        self.is_validated || self.sent_bytes.saturating_add(bytes) <= allowance
    }
}

struct Found {
    flow: FlowId,
    /// Whether the datagram has an id that the client can only know from the server.
    named_by_server: bool,
    /// An id that the flow is to be known by from now on.
    unknown_id: Option<ConnectionId>,
}

impl Found {
    const fn by_peer(flow: FlowId, unknown_id: Option<ConnectionId>) -> Self {
        Self { flow, named_by_server: false, unknown_id }
    }
}

/// The id that a server wants to be addressed by, which its long headers carry until the handshake is over.
fn server_source(datagram: &[u8]) -> Option<ConnectionId> {
    let (packet, _) = Packet::split(datagram).ok()?;
    match packet.kind {
        PacketKind::Initial | PacketKind::Handshake | PacketKind::Retry => Some(packet.source),
        PacketKind::ZeroRtt => None,
    }
}

fn is_initial(datagram: &[u8]) -> bool {
    Packet::split(datagram).is_ok_and(|(packet, _)| packet.kind == PacketKind::Initial)
}

/// The client's first, one for a Retry, one for the handshake, and what was seen of later ones.
const MAX_IDS: usize = 8;
/// The address now, the one before, and two more for a client between networks.
const MAX_PATHS: usize = 4;
/// RFC 9000 §8.1.
const MAX_AMPLIFICATION: usize = 3;
const TOUCH_GRAIN: Duration = Duration::from_secs(1);
