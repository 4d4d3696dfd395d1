use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

/// Bounds what connections may hold together while they have not said hello: a [`Sniffer`](crate::Sniffer) bounds one of
/// them, and an attacker opens many.
///
/// ```text
///  accept --> enter(source) --> RoomFull: close at once
///                |
///                v
///             SeatId -- receive(bytes) ... -- leave     hello known, refused, gone
///                |
///                '----- poll_shed: gave way             too many seats, too many bytes
/// ```
///
/// One source is refused at the door once it has its share, so that it takes nothing from others. What many sources do
/// together is bounded by shedding: the oldest goes first, since an honest hello is complete within a round trip or two,
/// and who waits longest is most likely to wait on purpose. After [`enter`](Self::enter) and [`receive`](Self::receive)
/// ask [`poll_shed`](Self::poll_shed) until it has no more.
///
/// ```
/// use adit_tls_modes::{HelloRoom, RoomLimits};
///
/// let mut room = HelloRoom::new(RoomLimits::new().max_bytes(1_000));
/// let slow = room.enter("192.0.2.1".parse()?)?;
/// room.receive(slow, 700);
/// let quick = room.enter("192.0.2.2".parse()?)?;
/// room.receive(quick, 517);
/// assert_eq!(room.poll_shed(), Some(slow));
/// room.leave(quick);
/// assert_eq!(room.bytes(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HelloRoom {
    limits: RoomLimits,
    /// By order of arrival; at most `limits.max_seats`.
    seats: BTreeMap<SeatId, Seat>,
    /// How many seats each source has; no more entries than `seats`, none of them zero.
    by_source: BTreeMap<IpAddr, usize>,
    /// What all `seats` hold together; more than `limits.max_bytes` only if one alone does.
    bytes: usize,
    /// Gave way and not yet told of; no more than there were `seats`.
    shed: VecDeque<SeatId>,
    next: u64,
}

impl HelloRoom {
    /// An empty room.
    pub const fn new(limits: RoomLimits) -> Self {
        Self {
            limits,
            seats: BTreeMap::new(),
            by_source: BTreeMap::new(),
            bytes: 0,
            shed: VecDeque::new(),
            next: 0,
        }
    }

    /// Lets a connection from `source` in that has just been accepted.
    ///
    /// # Errors
    /// [`RoomFull`] if its source has as many as one may have: close it, and read nothing.
    pub fn enter(&mut self, source: IpAddr) -> Result<SeatId, RoomFull> {
        let source = network(source);
        let limit = self.limits.max_per_source;
        let count = self.by_source.entry(source).or_default();
        if *count >= limit {
            return Err(RoomFull { limit });
        }
        *count += 1;
        while self.seats.len() >= self.limits.max_seats
            && let Some((oldest, _)) = self.seats.first_key_value()
        {
            self.give_way(*oldest);
        }
        let id = SeatId(self.next);
        self.next = self.next.wrapping_add(1);
        self.seats.insert(id, Seat { source, bytes: 0 });
        Ok(id)
    }

    /// Counts bytes that a connection has sent. Nothing happens if it has left, or given way.
    pub fn receive(&mut self, seat: SeatId, bytes: usize) {
        let Some(entry) = self.seats.get_mut(&seat) else { return };
        entry.bytes = entry.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > self.limits.max_bytes
            && let Some((oldest, _)) = self.seats.first_key_value()
        {
            self.give_way(*oldest);
        }
    }

    /// Takes a connection out, whatever its end: its hello is known, or it was refused, or it is gone.
    pub fn leave(&mut self, seat: SeatId) {
        let Some(entry) = self.seats.remove(&seat) else { return };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        if let Some(count) = self.by_source.get_mut(&entry.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&entry.source);
            }
        }
    }

    /// The next connection that had to give way: close it without a word. It has left already.
    pub fn poll_shed(&mut self) -> Option<SeatId> {
        self.shed.pop_front()
    }

    /// How many connections are in the room.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// How many bytes they hold together.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn give_way(&mut self, seat: SeatId) {
        self.leave(seat);
        self.shed.push_back(seat);
    }
}

/// A connection in a [`HelloRoom`]. Used once: no later one has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(u64);

/// Why a connection is not let into a [`HelloRoom`]: its source has as many there as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} connections from this source are saying hello already")]
#[non_exhaustive]
pub struct RoomFull {
    /// How many one source may have.
    limit: usize,
}

/// How many connections may be saying hello at a time, and how much they may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    max_per_source: usize,
    max_seats: usize,
    max_bytes: usize,
}

impl RoomLimits {
    /// The defaults: 256 connections of one source, 16,384 of all, 64 MiB.
    pub const fn new() -> Self {
        Self { max_per_source: 256, max_seats: 16_384, max_bytes: 64 << 20 }
    }

    /// Sets how many connections of one source may be saying hello, at least 1; more are refused. A source is an IPv4
    /// address, or the network of 64 bits that an IPv6 address lies in: whoever has one address there has them all.
    ///
    /// Default 256. A browser has six; a company behind one address has a few hundred in its worst second. Behind a load
    /// balancer that hides where connections come from it must be as much as [`max_seats`](Self::max_seats).
    #[must_use]
    pub const fn max_per_source(mut self, connections: usize) -> Self {
        self.max_per_source = if connections > 0 { connections } else { 1 };
        self
    }

    /// Sets how many connections may be saying hello, at least 1; the oldest gives way. Default 16,384; each costs its
    /// task and socket, about 4 KiB, beside what it has sent.
    #[must_use]
    pub const fn max_seats(mut self, connections: usize) -> Self {
        self.max_seats = if connections > 0 { connections } else { 1 };
        self
    }

    /// Sets how many bytes they may have sent, all of them together; the oldest gives way. Default 64 MiB, which is 32,000
    /// hellos of browsers; the memory held is up to twice that.
    ///
    /// Below the size of one hello nothing gets through.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Seat {
    source: IpAddr,
    bytes: usize,
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}
