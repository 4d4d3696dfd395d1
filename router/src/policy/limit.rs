//! So many requests a minute, in all or for each address: the arithmetic is governor's, time is an argument.

use std::fmt;
use std::hash::RandomState;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};

use super::PolicyError;
use super::table::{AddressTable, Prefix};

/// So many requests a minute: 1 to 1,000,000. All of a minute's requests may come at once; then they are let in one by
/// one, as the minute goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// The highest rate of a tunnel.
    pub const MAX_PER_MINUTE: u32 = 1_000_000;

    /// A rate.
    ///
    /// # Errors
    /// [`PolicyError::Rate`] for 0 and above [`MAX_PER_MINUTE`](Self::MAX_PER_MINUTE).
    pub fn per_minute(requests: u32) -> Result<Self, PolicyError> {
        Self::within(requests, Self::MAX_PER_MINUTE)
    }

    pub(super) fn within(requests: u32, max: u32) -> Result<Self, PolicyError> {
        let rate = NonZeroU32::new(requests).filter(|_| requests <= max);
        rate.map(Self).ok_or(PolicyError::Rate { max })
    }

    /// Requests a minute.
    #[must_use]
    pub fn requests_per_minute(self) -> u32 {
        self.0.get()
    }

    fn quota(self) -> Quota {
        Quota::per_minute(self.0)
    }
}

/// A rate for each address, with room for so many addresses.
///
/// IPv4 addresses count each for itself, IPv6 addresses by their /64, which is what one visitor has. With more addresses
/// than there is room for, the one that has recovered most is forgotten: whoever asks from a great many addresses is not
/// held by this limit, but by the tunnel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimit {
    rate: Rate,
    max_addresses: usize,
}

impl AddressLimit {
    /// The most room there can be, for about 4 MiB.
    pub const MAX_ADDRESSES: usize = 65_536;

    /// The rate for each of 1,024 addresses, for about 64 KiB.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, max_addresses: 1024 }
    }

    /// How many addresses are remembered: rounded up to a power of two, at least 8, at most
    /// [`MAX_ADDRESSES`](Self::MAX_ADDRESSES); 1,024 unless set.
    #[must_use]
    pub fn max_addresses(self, max_addresses: usize) -> Self {
        Self { max_addresses, ..self }
    }

    /// The rate of each address.
    #[must_use]
    pub fn rate(self) -> Rate {
        self.rate
    }
}

/// Counts one flow of requests. Shared by all versions of the policy that it belongs to.
pub(super) struct Limiter {
    rate: Rate,
    epoch: Epoch,
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticker, NoOpMiddleware<Duration>>,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        let limiter = RateLimiter::direct_with_clock(rate.quota(), Ticker::default());
        Self { rate, epoch: Epoch::default(), limiter }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts a request, or says how long to wait; then it costs nothing.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        self.limiter.clock().advance(self.epoch.since(now));
        self.limiter.check().map_err(|until| wait(&self.limiter, &until))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limiter").field(&self.rate).finish()
    }
}

/// Counts requests for each address.
pub(super) struct AddressLimiter {
    limit: AddressLimit,
    epoch: Epoch,
    limiter: RateLimiter<Prefix, AddressTable, Ticker, NoOpMiddleware<Duration>>,
}

impl AddressLimiter {
    pub(super) fn new(limit: AddressLimit, hasher: RandomState) -> Self {
        let room = limit.max_addresses.min(AddressLimit::MAX_ADDRESSES);
        let table = AddressTable::new(room, hasher);
        let limiter = RateLimiter::new(limit.rate.quota(), table, Ticker::default());
        Self { limit, epoch: Epoch::default(), limiter }
    }

    pub(super) fn limit(&self) -> AddressLimit {
        self.limit
    }

    /// Counts a request from `address`, or says how long to wait; then it costs nothing.
    pub(super) fn check(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        self.limiter.clock().advance(self.epoch.since(now));
        self.limiter.check_key(&Prefix::of(address)).map_err(|until| wait(&self.limiter, &until))
    }
}

impl fmt::Debug for AddressLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AddressLimiter").field(&self.limit).finish()
    }
}

fn wait<K, S: StateStore<Key = K>>(
    limiter: &RateLimiter<K, S, Ticker, NoOpMiddleware<Duration>>,
    until: &NotUntil<Duration>,
) -> Duration {
    until.wait_time_from(limiter.clock().now())
}

/// The first moment a limiter was asked: it counts from there.
#[derive(Debug, Default)]
struct Epoch(OnceLock<Instant>);

impl Epoch {
    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.0.get_or_init(|| now))
    }
}

/// The clock that governor asks: the latest time that anybody told it. Threads that raced are a few nanoseconds apart,
/// and none of them turns it back.
#[derive(Debug, Default)]
struct Ticker(AtomicU64);

impl Ticker {
    fn advance(&self, since: Duration) {
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS);
        if self.0.load(Ordering::Relaxed) < nanos {
            self.0.fetch_max(nanos, Ordering::Relaxed);
        }
    }
}

impl Clock for Ticker {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// 292 years, so that governor's sums stay within their numbers.
const MAX_NANOS: u64 = u64::MAX / 2;
