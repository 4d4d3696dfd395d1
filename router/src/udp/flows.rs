use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use super::turns::Turns;
use super::{UdpFlowLimits, UdpFlowStats};

/// The flows of one public UDP port: all datagrams of one visitor's address and port, until it is silent.
///
/// `T` is what the caller keeps with a flow, as the stream that it goes by. It is dropped with the flow, whatever the flow
/// ends by: let that end the stream.
///
/// ```text
///   datagram from a visitor
///      │ receive ───────────── known: the flow, and what is kept with it ──► to the agent
///      │    └── None: is the visitor let in? who knows nothing here decides that
///      │ open ──┬───────────── a flow, the oldest may have gone for it ────► to the agent, with the visitor's address
///      │        └ refused: dropped
///   answer from the agent
///      │ answer ─┬──────────── Send(visitor)
///      │         └ Withhold, Late: dropped
/// ```
///
/// **Spoofed addresses.** UDP proves nothing about who sends. Nothing is ever sent but answers of the upstream, each to the
/// visitor of its flow; and as long as that has not been heard of since it was answered, no more octets than
/// [`UdpFlowLimits::answer_ratio`] times what came. Who spoofs an address and goes on sending passes for heard of: then it
/// pays for one datagram each.
///
/// **Floods.** Flows begin at a pace, for all and for each address. Beyond a bound an address displaces its own flows only;
/// and flows that were heard of since they were answered are displaced last.
///
/// **Ports used again.** A flow's id is used once. Answers that are late go to nobody, also if another visitor has got the
/// same address and port meanwhile.
///
/// No clock inside: `now` is an argument.
#[derive(Debug)]
pub struct UdpFlows<T> {
    limits: UdpFlowLimits,
    /// At most `max_flows`.
    flows: BTreeMap<UdpFlowId, Flow<T>>,
    /// One entry a flow.
    by_peer: BTreeMap<SocketAddr, UdpFlowId>,
    /// One entry an address that has flows, or whose turns aren't earned yet.
    addresses: BTreeMap<IpAddr, Address>,
    /// When addresses that had no flow left will have earned their turns. Each began a flow within the time that these
    /// last: `new_per_second` bounds them.
    resting: BTreeSet<(Instant, IpAddr)>,
    /// Every flow is in one of these two, oldest first.
    unproven: BTreeSet<(Instant, UdpFlowId)>,
    proven: BTreeSet<(Instant, UdpFlowId)>,
    turns: Option<Turns>,
    stats: UdpFlowStats,
    next: u64,
}

#[derive(Debug)]
struct Flow<T> {
    peer: SocketAddr,
    touched: Instant,
    is_proven: bool,
    /// Octets with headers, while the address is unproven.
    received: u64,
    sent: u64,
    kept: T,
}

#[derive(Debug)]
struct Address {
    flows: usize,
    turns: Turns,
}

impl<T> UdpFlows<T> {
    /// No flows yet.
    #[must_use]
    pub const fn new(limits: UdpFlowLimits) -> Self {
        Self {
            limits,
            flows: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            addresses: BTreeMap::new(),
            resting: BTreeSet::new(),
            unproven: BTreeSet::new(),
            proven: BTreeSet::new(),
            turns: None,
            stats: UdpFlowStats {
                opened: 0,
                expired: 0,
                displaced: 0,
                refused_pace: 0,
                refused_source: 0,
                withheld: 0,
                late: 0,
            },
            next: 0,
        }
    }

    /// Finds the flow of a datagram with so many octets from `peer`, and counts it. `None` if there is none: see
    /// [`open`](Self::open).
    pub fn receive(&mut self, now: Instant, peer: SocketAddr, octets: usize) -> Option<(UdpFlowId, &mut T)> {
        self.handle_timeout(now);
        let id = *self.by_peer.get(&canonical(peer))?;
        let flow = self.flows.get_mut(&id)?;
        flow.received = flow.received.saturating_add(on_the_wire(octets));
        let is_proven = flow.is_proven || flow.sent > 0;
        self.touch(now, id, is_proven);
        self.flows.get_mut(&id).map(|flow| (id, &mut flow.kept))
    }

    /// Begins a flow with a datagram of so many octets from `peer`, and keeps `kept` with it. Others may go for it.
    ///
    /// A flow that `peer` has already is replaced.
    ///
    /// # Errors
    /// [`UdpRefused`]: drop the datagram. `kept` is dropped, and no flow goes for it.
    pub fn open(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        octets: usize,
        kept: T,
    ) -> Result<UdpFlowId, UdpRefused> {
        self.handle_timeout(now);
        if !can_be_answered(peer) {
            self.stats.refused_source += 1;
            return Err(UdpRefused::Source {});
        }
        let (key, address) = (canonical(peer), prefix(peer.ip()));
        let Some(turns) = self.take_turn(now, address) else {
            self.stats.refused_pace += 1;
            return Err(UdpRefused::Pace {});
        };
        if let Some(before) = self.by_peer.get(&key).copied() {
            self.remove(before);
        }
        self.make_room(address);
        let id = UdpFlowId(self.next);
        self.next = self.next.wrapping_add(1);
        let received = on_the_wire(octets);
        self.flows.insert(id, Flow { peer, touched: now, is_proven: false, received, sent: 0, kept });
        self.by_peer.insert(key, id);
        self.unproven.insert((now, id));
        let entry = self.addresses.entry(address).or_insert(Address { flows: 0, turns });
        (entry.flows, entry.turns) = (entry.flows + 1, turns);
        self.stats.opened += 1;
        Ok(id)
    }

    /// What becomes of an answer of so many octets on a flow.
    pub fn answer(&mut self, now: Instant, id: UdpFlowId, octets: usize) -> UdpAnswer {
        self.handle_timeout(now);
        let Some(flow) = self.flows.get_mut(&id) else {
            self.stats.late += 1;
            return UdpAnswer::Late;
        };
        let sent = flow.sent.saturating_add(on_the_wire(octets));
        if !flow.is_proven && sent > flow.received.saturating_mul(self.limits.answer_ratio) {
            self.stats.withheld += 1;
            return UdpAnswer::Withhold;
        }
        flow.sent = sent;
        UdpAnswer::Send(flow.peer)
    }

    /// What is kept with a flow.
    pub fn get_mut(&mut self, id: UdpFlowId) -> Option<&mut T> {
        self.flows.get_mut(&id).map(|flow| &mut flow.kept)
    }

    /// Ends a flow; gives back what was kept with it.
    pub fn remove(&mut self, id: UdpFlowId) -> Option<T> {
        let flow = self.flows.remove(&id)?;
        self.unproven.remove(&(flow.touched, id));
        self.proven.remove(&(flow.touched, id));
        self.by_peer.remove(&canonical(flow.peer));
        let address = prefix(flow.peer.ip());
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.flows = entry.flows.saturating_sub(1);
            if entry.flows == 0 {
                // Whoever comes back at once has no more turns than before.
                self.resting.insert((entry.turns.earned_at(), address));
            }
        }
        Some(flow.kept)
    }

    /// Ends the flows whose visitors have been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.next_expiry()
            && deadline <= now
        {
            self.remove(id);
            self.stats.expired += 1;
        }
        self.forget_rested(now);
    }

    /// Forgets addresses of which nothing has to be known any more.
    fn forget_rested(&mut self, now: Instant) {
        while let Some((_, address)) =
            self.resting.first().filter(|(earned_at, _)| *earned_at <= now).copied()
        {
            self.resting.pop_first();
            let is_over = |entry: &Address| entry.flows == 0 && entry.turns.earned_at() <= now;
            if self.addresses.get(&address).is_some_and(is_over) {
                self.addresses.remove(&address);
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if there is any flow.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry().map(|(deadline, _)| deadline)
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// What the port has seen.
    #[must_use]
    pub const fn stats(&self) -> UdpFlowStats {
        self.stats
    }

    /// The turns of an address after one more. The address's share comes first: what it may not have costs the others
    /// nothing, nor does it pay for what all may not have.
    fn take_turn(&mut self, now: Instant, address: IpAddr) -> Option<Turns> {
        let UdpFlowLimits { new_per_second, new_per_second_per_address, .. } = self.limits;
        let mut own = self.addresses.get(&address).map_or_else(|| Turns::new(now), |entry| entry.turns);
        let all = self.turns.get_or_insert_with(|| Turns::new(now));
        let is_due = own.take(now, new_per_second_per_address, new_per_second_per_address)
            && all.take(now, new_per_second, new_per_second);
        is_due.then_some(own)
    }

    fn make_room(&mut self, address: IpAddr) {
        let own = self.addresses.get(&address).map_or(0, |entry| entry.flows);
        if own >= self.limits.max_flows_per_address {
            self.displace(self.oldest_of(address));
        }
        while self.flows.len() >= self.limits.max_flows {
            let oldest = self.unproven.first().or_else(|| self.proven.first());
            let oldest = oldest.map(|(_, id)| *id);
            if !self.displace(oldest) {
                return;
            }
        }
    }

    fn displace(&mut self, id: Option<UdpFlowId>) -> bool {
        let is_there = id.is_some_and(|id| self.remove(id).is_some());
        self.stats.displaced += u64::from(is_there);
        is_there
    }

    /// Looks at the flows of one address: at most `max_flows_per_address`.
    fn oldest_of(&self, address: IpAddr) -> Option<UdpFlowId> {
        let flows = self.by_peer.range(first_of(address)..=last_of(address));
        let age = |id: &UdpFlowId| Some((self.flows.get(id)?.touched, *id));
        flows.filter_map(|(_, id)| age(id)).min().map(|(_, id)| id)
    }

    /// Makes the flow the youngest of its kind. Within a second nothing is moved, since order among busy flows doesn't matter.
    fn touch(&mut self, now: Instant, id: UdpFlowId, is_proven: bool) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let is_promoted = is_proven && !flow.is_proven;
        if !is_promoted && now.saturating_duration_since(flow.touched) < TOUCH_GRAIN {
            return;
        }
        let before = (flow.touched, id);
        (flow.touched, flow.is_proven) = (now, is_proven);
        self.unproven.remove(&before);
        self.proven.remove(&before);
        let kind = if is_proven { &mut self.proven } else { &mut self.unproven };
        kind.insert((now, id));
    }

    fn next_expiry(&self) -> Option<(Instant, UdpFlowId)> {
        let oldest = self.unproven.first().into_iter().chain(self.proven.first()).min()?;
        // A timeout beyond the end of time never comes.
        Some((oldest.0.checked_add(self.limits.idle_timeout)?, oldest.1))
    }
}

#[cfg(test)]
impl<T> UdpFlows<T> {
    /// Whether the books agree with each other, and with the limits.
    pub(super) fn check(&self) {
        let count = self.flows.len();
        assert!(count <= self.limits.max_flows);
        assert_eq!((self.by_peer.len(), self.unproven.len() + self.proven.len()), (count, count));
        assert_eq!(self.addresses.values().map(|address| address.flows).sum::<usize>(), count);
        let most = self.limits.max_flows_per_address;
        assert!(self.addresses.values().all(|address| address.flows <= most));
        let resting = self.addresses.iter().filter(|(_, entry)| entry.flows == 0);
        let is_resting = |address, at| self.resting.contains(&(at, address));
        assert!(resting.into_iter().all(|(address, entry)| is_resting(*address, entry.turns.earned_at())));
        assert!(self.stats.opened >= self.stats.expired + self.stats.displaced);
        assert_eq!(self.poll_timeout().is_some(), count > 0);
    }
}

/// One flow of [`UdpFlows`]. Used once: no later flow of the port has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpFlowId(u64);

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum UdpAnswer {
    /// Send it to this visitor.
    Send(SocketAddr),
    /// Drop it: it is more than an address may be sent that nobody has been heard of from since it was answered.
    Withhold,
    /// Drop it: its flow has gone.
    Late,
}

/// Why a datagram begins no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdpRefused {
    /// Too many flows began just now, from its address or from all.
    #[error("too many flows began just now")]
    Pace {},
    /// Nobody can be answered there: port 0, or an address of none, of many or of all.
    #[error("nobody can be answered at the address that it came from")]
    Source {},
}

/// IPv4 and UDP headers without options: a datagram costs its victim these, too.
const HEADER_OCTETS: u64 = 28;

/// Flows that are touched within so short a time stay in their place.
const TOUCH_GRAIN: Duration = Duration::from_secs(1);

fn on_the_wire(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX).saturating_add(HEADER_OCTETS)
}

fn can_be_answered(peer: SocketAddr) -> bool {
    let is_host = match peer.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    is_host && peer.port() != 0
}

/// One spelling for an IPv4 address, whichever kind of socket saw it.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match (peer, peer.ip().to_canonical()) {
        // Of link-local addresses the scope is a part.
        (SocketAddr::V6(peer), IpAddr::V6(_)) => SocketAddr::V6(peer),
        (_, ip) => SocketAddr::new(ip, peer.port()),
    }
}

/// What counts as one address: of IPv6 a /64, since that is what one household or machine gets.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn first_of(prefix: IpAddr) -> SocketAddr {
    SocketAddr::new(prefix, 0)
}

fn last_of(prefix: IpAddr) -> SocketAddr {
    match prefix {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), u16::MAX),
        IpAddr::V6(ip) => {
            let last = Ipv6Addr::from_bits(ip.to_bits() | u128::from(u64::MAX));
            SocketAddrV6::new(last, u16::MAX, u32::MAX, u32::MAX).into()
        }
    }
}
