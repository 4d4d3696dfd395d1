//! Body for the flows of `adit-router`'s UDP ports, beside a plain list of what visitors and their flows did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use adit_router::{UdpAnswer, UdpFlowId, UdpFlowLimits, UdpFlows};
use arbitrary::{Arbitrary, Unstructured};

/// Steps of visitors, an upstream and time. Each answer goes to the visitor of its flow or to nobody, never more to one who
/// was not heard of since than the ratio allows; ids are used once; and the bounds hold, whatever comes.
pub fn udp_flows(data: &[u8]) {
    let limits = UdpFlowLimits::new()
        .max_flows(MAX_FLOWS)
        .max_flows_per_address(MAX_PER_ADDRESS)
        .new_per_second(20, 8)
        .idle_timeout(IDLE)
        .answer_ratio(RATIO);
    let mut flows = UdpFlows::new(limits);
    let mut model = Model::default();
    let mut now = Instant::now();
    let mut input = Unstructured::new(data);
    // `arbitrary` goes on with zeros when the input has ended.
    while !input.is_empty() {
        let Ok(step) = Step::arbitrary(&mut input) else { return };
        now += Duration::from_millis(u64::from(step.millis));
        let peer = PEERS[usize::from(step.peer) % PEERS.len()];
        match step.action % 5 {
            0 | 1 => model.visit(&mut flows, now, peer, step.octets),
            2 => model.answer(&mut flows, now, step.flow, step.octets),
            3 => model.end(&mut flows, step.flow),
            _ => flows.handle_timeout(now),
        }
        model.check(&mut flows, now);
    }
}

const MAX_FLOWS: usize = 6;
const MAX_PER_ADDRESS: usize = 3;
const RATIO: u32 = 3;
const IDLE: Duration = Duration::from_secs(60);
/// What a datagram costs beside its payload.
const HEADERS: u64 = 28;

/// Neighbours by address, by port, by /64, in two spellings, and some that nobody can be answered at.
const PEERS: [SocketAddr; 10] = [
    v4(1, 5000),
    v4(1, 5001),
    v4(1, 5002),
    v4(1, 5003),
    v4(2, 5000),
    v6(0x2001_0db8 << 96 | 1),
    v6(0x2001_0db8 << 96 | 2),
    // The first one again, as a socket for both families sees it.
    SocketAddr::new(IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()), 5000),
    v4(1, 0),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 5000),
];

const fn v4(host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port)
}

const fn v6(bits: u128) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), 5000)
}

#[derive(Arbitrary)]
struct Step {
    action: u8,
    peer: u8,
    flow: u8,
    octets: u16,
    millis: u16,
}

/// Every flow that ever was, and what is known of it.
#[derive(Default)]
struct Model {
    flows: Vec<Known>,
    ids: BTreeMap<UdpFlowId, usize>,
    ended: BTreeSet<UdpFlowId>,
}

struct Known {
    id: UdpFlowId,
    peer: SocketAddr,
    received: u64,
    sent: u64,
    /// Whether the visitor was heard of since it was answered.
    is_proven: bool,
    heard: Instant,
}

impl Model {
    fn visit(&mut self, flows: &mut UdpFlows<usize>, now: Instant, peer: SocketAddr, octets: u16) {
        let length = usize::from(octets);
        if let Some((id, kept)) = flows.receive(now, peer, length) {
            let known = &mut self.flows[*kept];
            assert_eq!((known.id, spelt(known.peer)), (id, spelt(peer)), "somebody else's flow");
            assert!(!self.ended.contains(&id));
            known.received += u64::from(octets) + HEADERS;
            known.is_proven |= known.sent > 0;
            known.heard = now;
            return;
        }
        let number = self.flows.len();
        let opened = flows.open(now, peer, length, number);
        let Ok(id) = opened else { return };
        assert!(peer.port() != 0 && peer.ip() != IpAddr::V4(Ipv4Addr::BROADCAST), "nobody is there");
        assert!(self.ids.insert(id, number).is_none(), "an id is used once");
        let received = u64::from(octets) + HEADERS;
        self.flows.push(Known { id, peer, received, sent: 0, is_proven: false, heard: now });
    }

    fn answer(&mut self, flows: &mut UdpFlows<usize>, now: Instant, flow: u8, octets: u16) {
        let Some(number) = self.pick(flow) else { return };
        let known = &mut self.flows[number];
        let cost = u64::from(octets) + HEADERS;
        let is_within = known.is_proven || known.sent + cost <= known.received * u64::from(RATIO);
        match flows.answer(now, known.id, usize::from(octets)) {
            UdpAnswer::Send(visitor) => {
                assert_eq!(visitor, known.peer, "an answer goes to its own visitor");
                assert!(is_within, "more than an unproven address may be sent");
                assert!(!self.ended.contains(&known.id));
                known.sent += cost;
            }
            UdpAnswer::Withhold => assert!(!is_within, "a visitor who may be answered isn't"),
            UdpAnswer::Late | _ => assert!(flows.get_mut(known.id).is_none()),
        }
    }

    fn end(&mut self, flows: &mut UdpFlows<usize>, flow: u8) {
        let Some(number) = self.pick(flow) else { return };
        let id = self.flows[number].id;
        let removed = flows.remove(id);
        assert!(removed.is_none_or(|kept| kept == number));
        assert!(removed.is_none() || self.ended.insert(id), "a flow ends once");
    }

    /// Any flow that ever was, the last ones first.
    fn pick(&self, flow: u8) -> Option<usize> {
        self.flows.len().checked_sub(1 + usize::from(flow) % self.flows.len().max(1))
    }

    fn check(&mut self, flows: &mut UdpFlows<usize>, now: Instant) {
        flows.handle_timeout(now);
        let mut live: BTreeMap<IpAddr, usize> = BTreeMap::new();
        // Those before have ended, or there would be too many.
        for (number, known) in self.flows.iter().enumerate().rev().take(4 * MAX_FLOWS) {
            let Some(kept) = flows.get_mut(known.id) else {
                self.ended.insert(known.id);
                continue;
            };
            assert_eq!(*kept, number);
            assert!(!self.ended.contains(&known.id), "a flow came back");
            assert!(now.duration_since(known.heard) < IDLE, "a silent flow stays");
            *live.entry(network(known.peer)).or_default() += 1;
        }
        assert!(flows.len() <= MAX_FLOWS && live.values().sum::<usize>() <= flows.len());
        assert!(live.values().all(|count| *count <= MAX_PER_ADDRESS), "too many of one address");
        assert_eq!(flows.poll_timeout().is_some(), !flows.is_empty());
        assert!(flows.poll_timeout().is_none_or(|at| at <= now + IDLE));
    }
}

/// One spelling for each visitor.
fn spelt(peer: SocketAddr) -> (IpAddr, u16) {
    (peer.ip().to_canonical(), peer.port())
}

/// What counts as one address.
fn network(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}
