//! Public ports: who has which, who may have it again, and what to say when it can't be had.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use adit_errors::{Code, Refusal};

use crate::TunnelId;

/// The public ports of one transport that tunnels may have.
///
/// A tunnel asks for a port or for any. While its agent is away, the port is held for it; a reserved port is held without
/// an end. No clock inside: `now` is an argument.
///
/// ```text
///              claim                    disconnect                 hold runs out
///   free ─────────────────▶ in use ─────────────────▶ held ─────────────────────▶ free
///    │                        ▲  ▲                     │
///    │ reserve                │  └───── claim (owner) ─┘      release: free from everywhere
///    └──────▶ reserved ───────┘ claim (owner); disconnect leads back here
/// ```
#[derive(Clone, Debug)]
pub struct PortPool {
    transport: Transport,
    /// Sorted, apart from each other. At most 65,535 ports in all.
    ranges: Vec<RangeInclusive<u16>>,
    hold: Duration,
    max_ports_per_tunnel: usize,
    /// At most one entry a port of the ranges.
    entries: BTreeMap<u16, Entry>,
    last_serial: u64,
}

impl PortPool {
    /// A pool over these ranges, in any order; they may overlap. Port 0 is never given.
    ///
    /// Holds last five minutes and a tunnel may have 16 ports unless set otherwise.
    #[must_use]
    pub fn new(transport: Transport, ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        Self {
            transport,
            ranges: merged(ranges),
            hold: Duration::from_secs(300),
            max_ports_per_tunnel: 16,
            entries: BTreeMap::new(),
            last_serial: 0,
        }
    }

    /// How long a port waits for its tunnel after a disconnect; five minutes unless set. With zero it is free at once, and
    /// what visitors were told may lead to a stranger.
    #[must_use]
    pub fn hold(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    /// The most ports that one tunnel may have, of all kinds; 16 unless set.
    #[must_use]
    pub fn max_ports_per_tunnel(self, max_ports_per_tunnel: usize) -> Self {
        Self { max_ports_per_tunnel, ..self }
    }

    /// Keeps `port` for `tunnel` until it is released, connected or not.
    ///
    /// # Errors
    /// [`PortUnavailable`]; nothing is changed then.
    pub fn reserve(&mut self, tunnel: TunnelId, port: u16, now: Instant) -> Result<(), PortUnavailable> {
        self.check(tunnel, port, now)?;
        let entry = self.entries.get(&port).filter(|entry| entry.tunnel == tunnel);
        let usage = entry.map_or(Usage::Waiting, |entry| entry.usage.without_end());
        self.entries.insert(port, Entry { tunnel, is_reserved: true, usage });
        Ok(())
    }

    /// Gives `tunnel` the port `wanted`, for as long as its agent is connected.
    ///
    /// A tunnel that has the port already gets it again, under a new lease that fences the older one: the newest agent
    /// wins, here as for names.
    ///
    /// # Errors
    /// [`PortUnavailable`]; nothing is changed then.
    pub fn claim(
        &mut self,
        tunnel: TunnelId,
        wanted: u16,
        now: Instant,
    ) -> Result<PortLease, PortUnavailable> {
        self.check(tunnel, wanted, now)?;
        Ok(self.lease(tunnel, wanted))
    }

    /// Gives `tunnel` any port: the one that waits for it, if there is one, else a free one chosen by `random`.
    ///
    /// # Errors
    /// [`PortUnavailable`] if all are taken or held; nothing is changed then.
    pub fn claim_any(
        &mut self,
        tunnel: TunnelId,
        random: u64,
        now: Instant,
    ) -> Result<PortLease, PortUnavailable> {
        if let Some(port) = self.waiting_for(tunnel, now) {
            return Ok(self.lease(tunnel, port));
        }
        let Some(port) = self.free_from(random, now) else {
            return Err(self.unavailable(0, Unavailable::Exhausted, now));
        };
        self.check(tunnel, port, now)?;
        Ok(self.lease(tunnel, port))
    }

    /// Whether this lease is the newest of its port, and its agent is connected.
    #[must_use]
    pub fn is_current(&self, lease: &PortLease) -> bool {
        let entry = self.entries.get(&lease.port);
        entry.is_some_and(|entry| entry.usage == Usage::InUse { serial: lease.serial })
    }

    /// The agent behind a lease is gone: its port waits for the tunnel. Nothing happens if the lease was fenced.
    pub fn disconnect(&mut self, lease: &PortLease, now: Instant) {
        let hold = self.hold;
        if !self.is_current(lease) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&lease.port) else { return };
        entry.usage = match (entry.is_reserved, now.checked_add(hold)) {
            (false, Some(until)) => Usage::Held { until },
            (true, _) | (false, None) => Usage::Waiting,
        };
    }

    /// Frees a port of `tunnel` in any state; returns whether there was one to free.
    pub fn release(&mut self, tunnel: TunnelId, port: u16) -> bool {
        let is_owner = self.entries.get(&port).is_some_and(|entry| entry.tunnel == tunnel);
        is_owner && self.entries.remove(&port).is_some()
    }

    /// Frees all ports of a tunnel, as when it is deleted.
    pub fn release_all(&mut self, tunnel: TunnelId) {
        self.entries.retain(|_, entry| entry.tunnel != tunnel);
    }

    /// Forgets holds that have run out. Claims see that by themselves; this gives the memory back.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.entries.retain(|_, entry| !entry.usage.is_over(now));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.usage.until()).min()
    }

    /// Whose `port` is, in use, held or reserved.
    #[must_use]
    pub fn holder(&self, port: u16, now: Instant) -> Option<TunnelId> {
        self.entry(port, now).map(|entry| entry.tunnel)
    }

    fn check(&self, tunnel: TunnelId, port: u16, now: Instant) -> Result<(), PortUnavailable> {
        if port == 0 || !self.ranges.iter().any(|range| range.contains(&port)) {
            return Err(self.unavailable(port, Unavailable::OutOfRange, now));
        }
        match self.entry(port, now) {
            Some(entry) if entry.tunnel == tunnel => Ok(()),
            Some(_) => Err(self.unavailable(port, Unavailable::Taken, now)),
            None if self.count_of(tunnel, now) >= self.max_ports_per_tunnel => {
                let max_ports = self.max_ports_per_tunnel;
                Err(self.unavailable(port, Unavailable::TooMany { max_ports }, now))
            }
            None => Ok(()),
        }
    }

    fn lease(&mut self, tunnel: TunnelId, port: u16) -> PortLease {
        self.last_serial += 1;
        let serial = self.last_serial;
        let is_reserved =
            self.entries.get(&port).is_some_and(|entry| entry.is_reserved && entry.tunnel == tunnel);
        self.entries.insert(port, Entry { tunnel, is_reserved, usage: Usage::InUse { serial } });
        PortLease { port, serial }
    }

    fn entry(&self, port: u16, now: Instant) -> Option<&Entry> {
        self.entries.get(&port).filter(|entry| !entry.usage.is_over(now))
    }

    fn count_of(&self, tunnel: TunnelId, now: Instant) -> usize {
        self.entries.values().filter(|entry| entry.tunnel == tunnel && !entry.usage.is_over(now)).count()
    }

    fn waiting_for(&self, tunnel: TunnelId, now: Instant) -> Option<u16> {
        let is_waiting = |entry: &Entry| match entry.usage {
            Usage::Waiting | Usage::Held { .. } => entry.tunnel == tunnel && !entry.usage.is_over(now),
            Usage::InUse { .. } => false,
        };
        self.entries.iter().find(|(_, entry)| is_waiting(entry)).map(|(port, _)| *port)
    }

    /// The first free port from a random place on. One pass over the ranges at most: 65,535 steps.
    fn free_from(&self, random: u64, now: Instant) -> Option<u16> {
        let ports = || self.ranges.iter().cloned().flatten();
        let count = u64::try_from(self.ranges.iter().map(ExactSizeIterator::len).sum::<usize>()).ok()?;
        let start = usize::try_from(random.checked_rem(count)?).ok()?;
        ports().skip(start).chain(ports().take(start)).find(|port| self.entry(*port, now).is_none())
    }

    fn unavailable(&self, port: u16, reason: Unavailable, now: Instant) -> PortUnavailable {
        let suggestion = match reason {
            Unavailable::Taken | Unavailable::OutOfRange => self.free_near(port, now),
            Unavailable::TooMany { .. } | Unavailable::Exhausted => None,
        };
        PortUnavailable { transport: self.transport, port, reason, suggestion }
    }

    /// The next free port above, or else the first below: people who wanted 5432 remember 5433.
    fn free_near(&self, port: u16, now: Instant) -> Option<u16> {
        let free = || self.ranges.iter().cloned().flatten().filter(|port| self.entry(*port, now).is_none());
        free().find(|free| *free > port).or_else(|| free().next())
    }
}

/// What a public port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port in use by one agent. A later lease of the same port fences this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLease {
    port: u16,
    serial: u64,
}

impl PortLease {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A port can't be had. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{transport} port {port} is not available: {reason}")]
#[non_exhaustive]
pub struct PortUnavailable {
    /// The transport asked for.
    pub transport: Transport,
    /// The port asked for; 0 if any would have done.
    pub port: u16,
    /// Why not.
    pub reason: Unavailable,
    /// A port that is free now, near the one asked for. Not kept for anybody.
    pub suggestion: Option<u16>,
}

impl From<&PortUnavailable> for Refusal {
    fn from(error: &PortUnavailable) -> Self {
        let hint = match (error.reason, error.suggestion) {
            (Unavailable::TooMany { .. }, _) => "release one of the tunnel's ports".to_owned(),
            (_, Some(port)) => format!("{port} is free now, or ask for port 0 to get any"),
            (_, None) => "try again when a tunnel has ended".to_owned(),
        };
        Self::new(Code::PORT_UNAVAILABLE, format!("{error}; {hint}"))
    }
}

/// Why a port can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Another tunnel has it, in use, held or reserved.
    #[error("another tunnel has it")]
    Taken,
    /// This gateway doesn't give it to tunnels.
    #[error("it is not one of this gateway's tunnel ports")]
    OutOfRange,
    /// The tunnel has as many as it may have.
    #[error("the tunnel has its {max_ports} ports already")]
    TooMany {
        /// The bound.
        max_ports: usize,
    },
    /// All ports are taken.
    #[error("all ports are taken")]
    Exhausted,
}

#[derive(Clone, Debug)]
struct Entry {
    tunnel: TunnelId,
    is_reserved: bool,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    InUse { serial: u64 },
    Held { until: Instant },
    Waiting,
}

impl Usage {
    fn is_over(self, now: Instant) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    fn until(self) -> Option<Instant> {
        match self {
            Self::Held { until } => Some(until),
            Self::InUse { .. } | Self::Waiting => None,
        }
    }

    fn without_end(self) -> Self {
        match self {
            Self::InUse { serial } => Self::InUse { serial },
            Self::Held { .. } | Self::Waiting => Self::Waiting,
        }
    }
}

fn merged(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<_> = ranges
        .into_iter()
        .map(|range| *range.start().max(&1)..=*range.end())
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r13_a_port_that_is_taken_or_out_of_range_is_refused_with_a_hint() {
        let (mut pool, now) = pool(20_000..=20_003);
        pool.claim(ONE, 20_001, now).unwrap();
        let taken = pool.claim(TWO, 20_001, now).unwrap_err();
        assert_eq!((taken.reason, taken.suggestion), (Unavailable::Taken, Some(20_002)));
        let refusal = Refusal::from(&taken);
        assert_eq!((refusal.code(), refusal.status()), (&Code::PORT_UNAVAILABLE, 409));
        assert_eq!(
            refusal.message(),
            "TCP port 20001 is not available: another tunnel has it; 20002 is free now, or ask for port 0 to get any"
        );
        for port in [0, 80, 19_999, 20_004, 65_535] {
            assert_eq!(pool.claim(TWO, port, now).unwrap_err().reason, Unavailable::OutOfRange, "{port}");
        }
    }

    #[test]
    fn r13_any_port_is_a_free_one_until_none_is_left() {
        let (mut pool, now) = pool(20_000..=20_003);
        let mut given = BTreeSet::new();
        for tunnel in 0..4 {
            given.insert(pool.claim_any(TunnelId::from_u128(tunnel), u64::MAX, now).unwrap().port());
        }
        assert_eq!(given, (20_000..=20_003).collect());
        let refused = pool.claim_any(TunnelId::from_u128(9), 3, now).unwrap_err();
        assert_eq!((refused.reason, refused.suggestion), (Unavailable::Exhausted, None));
        assert!(Refusal::from(&refused).message().ends_with("try again when a tunnel has ended"));
    }

    #[test]
    fn w25_a_port_is_held_for_its_tunnel_after_a_disconnect() {
        let (mut pool, now) = pool(20_000..=20_000);
        let lease = pool.claim_any(ONE, 0, now).unwrap();
        pool.disconnect(&lease, now);
        let just_before = now + Duration::from_secs(300) - Duration::from_millis(1);
        assert_eq!(pool.claim(TWO, 20_000, just_before).unwrap_err().reason, Unavailable::Taken);
        assert_eq!(pool.clone().claim_any(ONE, 0, just_before).unwrap().port(), 20_000);
        assert_eq!(pool.poll_timeout(), Some(now + Duration::from_secs(300)));
        assert!(pool.claim(TWO, 20_000, now + Duration::from_secs(300)).is_ok());
    }

    #[test]
    fn a_reserved_port_waits_without_an_end() {
        let (mut pool, now) = pool(20_000..=20_001);
        pool.reserve(ONE, 20_000, now).unwrap();
        let lease = pool.claim_any(ONE, 1, now).unwrap();
        assert_eq!(lease.port(), 20_000, "its own port before any other");
        pool.disconnect(&lease, now);
        let years_later = now + Duration::from_secs(100_000_000);
        pool.handle_timeout(years_later);
        assert_eq!(pool.claim(TWO, 20_000, years_later).unwrap_err().reason, Unavailable::Taken);
        assert!(!pool.release(TWO, 20_000));
        assert!(pool.release(ONE, 20_000));
        assert!(pool.claim(TWO, 20_000, years_later).is_ok());
    }

    #[test]
    fn a_port_in_use_may_be_reserved_and_stays_in_use() {
        let (mut pool, now) = pool(20_000..=20_001);
        let lease = pool.claim(ONE, 20_000, now).unwrap();
        pool.reserve(ONE, 20_000, now).unwrap();
        assert_ne!(pool.claim_any(ONE, 0, now).unwrap().port(), 20_000);
        pool.disconnect(&lease, now);
        assert_eq!(pool.poll_timeout(), None);
    }

    #[test]
    fn an_agent_that_was_replaced_does_not_free_its_successors_port() {
        let (mut pool, now) = pool(20_000..=20_000);
        let old = pool.claim(ONE, 20_000, now).unwrap();
        let new = pool.claim(ONE, 20_000, now).unwrap();
        pool.disconnect(&old, now);
        assert_eq!(pool.poll_timeout(), None);
        pool.disconnect(&new, now);
        assert!(pool.poll_timeout().is_some());
    }

    #[test]
    fn a_tunnel_has_at_most_so_many_ports() {
        let (pool, now) = pool(20_000..=20_009);
        let mut pool = pool.max_ports_per_tunnel(2);
        pool.claim(ONE, 20_000, now).unwrap();
        pool.reserve(ONE, 20_001, now).unwrap();
        let refused = pool.claim(ONE, 20_002, now).unwrap_err();
        assert_eq!(refused.reason, Unavailable::TooMany { max_ports: 2 });
        assert!(pool.claim(ONE, 20_001, now).is_ok());
        pool.release_all(ONE);
        assert_eq!(pool.holder(20_000, now), None);
    }

    #[test]
    fn ranges_may_overlap_and_touch() {
        assert_eq!(merged([5..=9, 1..=4, 8..=12, 20..=20]), [1..=12, 20..=20]);
        assert_eq!(merged([0..=0]), []);
        assert_eq!(merged([0..=u16::MAX, 3..=4]), [1..=u16::MAX]);
        let (_, now) = pool(1..=1);
        let mut pool = PortPool::new(Transport::Udp, []);
        assert_eq!(pool.claim_any(ONE, 0, now).unwrap_err().reason, Unavailable::Exhausted);
    }

    proptest! {
        /// Whatever is asked, no port ever has two tunnels with a live lease, and every port given is in a range.
        #[test]
        fn no_port_is_given_twice(steps in prop::collection::vec((0..4u128, 0..8u16, 0..5u8, 0..400u64), 0..120)) {
            let (mut pool, mut now) = pool(20_000..=20_004);
            let mut live: BTreeMap<u16, (u128, PortLease)> = BTreeMap::new();
            for (tunnel, port, action, seconds) in steps {
                let (id, port) = (TunnelId::from_u128(tunnel), 20_000 + port);
                now += Duration::from_secs(seconds);
                let lease = match action {
                    0 => pool.claim(id, port, now).ok(),
                    1 => pool.claim_any(id, seconds, now).ok(),
                    2 => {
                        if let Some((_, lease)) = live.remove(&port) {
                            pool.disconnect(&lease, now);
                        }
                        None
                    }
                    3 => {
                        if pool.release(id, port) {
                            prop_assert!(live.remove(&port).is_none_or(|(holder, _)| holder == tunnel));
                        }
                        None
                    }
                    _ => {
                        pool.handle_timeout(now);
                        None
                    }
                };
                if let Some(lease) = lease {
                    prop_assert!((20_000..=20_004).contains(&lease.port()));
                    let before = live.insert(lease.port(), (tunnel, lease));
                    prop_assert!(before.is_none_or(|(holder, _)| holder == tunnel));
                }
                for (port, (holder, _)) in &live {
                    prop_assert_eq!(pool.holder(*port, now), Some(TunnelId::from_u128(*holder)));
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant does; only differences count")]
    fn pool(range: RangeInclusive<u16>) -> (PortPool, Instant) {
        (PortPool::new(Transport::Tcp, [range]), Instant::now())
    }

    const ONE: TunnelId = TunnelId::from_u128(1);
    const TWO: TunnelId = TunnelId::from_u128(2);
}
