//! Every limit of a session, with its default and what it costs.

use crate::observe::Watcher;
use crate::{Budget, Observer};
use adit_wire_proto::frame::{Feature, Hello, MAX_DATA_BYTES};
use std::sync::Arc;
use std::time::Duration;

/// The limits of one session. All have safe defaults; see each setter for sizing.
///
/// Memory that a peer can make this side hold is at most the [`pool`](Self::pool), plus for each stream the larger of
/// the [`floor`](Self::FLOOR_BYTES) and the [`hello window`](Self::hello_window), plus about 8 KiB a stream, plus 32 MiB
/// of read buffers that frames which nobody reads may keep alive. Chunks that an application has taken without copying them are
/// its own: each may keep a read buffer of 256 KiB alive for as long as it is held.
///
/// A session that nobody has greeted holds a read buffer of 4 KiB. Buffers grow with what moves, to about 2.5 MiB, and are
/// given back once nothing has moved for 10 s or more.
///
/// ```
/// use adit_mux::Config;
///
/// let config = Config::default().max_peer_streams(16);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) max_peer_streams: u32,
    pub(crate) hello_window: u32,
    pub(crate) start_window: u32,
    pub(crate) max_window: u32,
    pub(crate) pool: u64,
    pub(crate) process: Option<Arc<Budget>>,
    pub(crate) send_buffer: usize,
    pub(crate) opens_per_second: u32,
    pub(crate) max_lifetime_opens: u32,
    pub(crate) handshake_timeout: Duration,
    pub(crate) partial_frame_timeout: Duration,
    pub(crate) keepalive: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) write_stall_timeout: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) useless: Allowance,
    pub(crate) small_data: Allowance,
    pub(crate) forced_resets: Allowance,
    pub(crate) rapid_resets: Allowance,
    pub(crate) pings: Allowance,
    pub(crate) max_datagram: u16,
    pub(crate) datagram_queue: usize,
    pub(crate) datagram_flow_queue: usize,
    pub(crate) datagram_age: Duration,
    pub(crate) grease: bool,
    pub(crate) seed: u64,
    pub(crate) id: u64,
    pub(crate) observer: Watcher,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_peer_streams: 1024,
            hello_window: 64 * 1024,
            start_window: 256 * 1024,
            max_window: 16 * 1024 * 1024,
            pool: 32 * 1024 * 1024,
            process: None,
            send_buffer: 256 * 1024,
            opens_per_second: 10_000,
            max_lifetime_opens: 0x6000_0000,
            handshake_timeout: Duration::from_secs(10),
            partial_frame_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(20),
            write_stall_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            useless: Allowance::new(1_000, 100),
            small_data: Allowance::new(100_000, 20_000),
            forced_resets: Allowance::new(1_024, 10),
            rapid_resets: Allowance::new(1_024, 1_000),
            pings: Allowance::new(1_000, 20),
            max_datagram: MAX_DATA_BYTES,
            datagram_queue: 1024 * 1024,
            datagram_flow_queue: 64 * 1024,
            datagram_age: Duration::from_millis(100),
            grease: true,
            seed: 0,
            id: 0,
            observer: Watcher::default(),
        }
    }
}

impl Config {
    /// The window that every stream keeps even when the pools are empty, in octets: streams get slow, never stuck.
    pub const FLOOR_BYTES: u32 = 16 * 1024;

    /// The default limits; the same as [`Config::default`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits for long fat links whose consumers are trusted: windows up to 64 MiB from a pool of 128 MiB.
    ///
    /// A consumer can drain fast until its window is large, and then stall: don't offer this to strangers.
    pub fn wan() -> Self {
        Self { max_window: 64 * 1024 * 1024, pool: 128 * 1024 * 1024, ..Self::default() }
    }

    /// How many streams the peer may have open at once; default 1,024, at least 1.
    #[must_use]
    pub fn max_peer_streams(self, streams: u32) -> Self {
        Self { max_peer_streams: streams.max(1), ..self }
    }

    /// The window with which streams that the peer opens start, promised to all of them in advance, in octets;
    /// default 64 KiB, at least the floor.
    #[must_use]
    pub fn hello_window(self, bytes: u32) -> Self {
        Self { hello_window: bytes.max(Self::FLOOR_BYTES), ..self }
    }

    /// The window with which a stream starts once this side has opened or accepted it, if the pools allow, in octets;
    /// default 256 KiB, at least the floor.
    #[must_use]
    pub fn start_window(self, bytes: u32) -> Self {
        Self { start_window: bytes.max(Self::FLOOR_BYTES), ..self }
    }

    /// The largest window that tuning may reach, in octets; default 16 MiB, at least the floor.
    ///
    /// Where the round trip is under 400 µs it is twice the window that streams start with, if that is less, and only for
    /// one stream at a time. A stream moves at most three quarters of it in a round trip. The pool should be twice as large, since one
    /// stream may take half of what is left.
    #[must_use]
    pub fn max_window(self, bytes: u32) -> Self {
        Self { max_window: bytes.max(Self::FLOOR_BYTES), ..self }
    }

    /// How many octets all windows of this session together may hold above their floors; default 32 MiB.
    #[must_use]
    pub fn pool(self, bytes: u64) -> Self {
        Self { pool: bytes, ..self }
    }

    /// A pool that sessions of this process share, beside their own; default none.
    #[must_use]
    pub fn process_budget(self, budget: Arc<Budget>) -> Self {
        Self { process: Some(budget), ..self }
    }

    /// How many octets a stream buffers for sending before its writer has to wait; default 256 KiB, at least 1. Where many
    /// streams have something queued each has less: 1 MiB together, but up to 64 KiB each in any case.
    #[must_use]
    pub fn send_buffer(self, bytes: usize) -> Self {
        Self { send_buffer: bytes.max(1), ..self }
    }

    /// How many streams a second the peer may open and close; default 10,000. Over it, their return is delayed.
    #[must_use]
    pub fn opens_per_second(self, streams: u32) -> Self {
        Self { opens_per_second: streams.max(1), ..self }
    }

    /// After how many opened streams a session drains, so that ids never wrap; default three quarters of the ids.
    #[must_use]
    pub fn max_lifetime_opens(self, streams: u32) -> Self {
        Self { max_lifetime_opens: streams.min(0x7fff_fffe), ..self }
    }

    /// How long the peer's HELLO may take; default 10 s.
    #[must_use]
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        Self { handshake_timeout: timeout, ..self }
    }

    /// How long one frame may take to arrive; default 30 s.
    #[must_use]
    pub fn partial_frame_timeout(self, timeout: Duration) -> Self {
        Self { partial_frame_timeout: timeout, ..self }
    }

    /// After how much silence a PING asks for a sign of life (give or take a tenth), and how long any octet may then
    /// take to come; default 15 s and 20 s.
    #[must_use]
    pub fn keepalive(self, silence: Duration, answer: Duration) -> Self {
        Self { keepalive: silence, ping_timeout: answer, ..self }
    }

    /// How long output may wait without any progress; default 30 s.
    #[must_use]
    pub fn write_stall_timeout(self, timeout: Duration) -> Self {
        Self { write_stall_timeout: timeout, ..self }
    }

    /// How long after the heads-up a drain settles its last id, and how long open streams may then take; default 5 s
    /// (one round trip if it is known) and 30 s.
    #[must_use]
    pub fn drain(self, grace: Duration, timeout: Duration) -> Self {
        Self { drain_grace: grace, drain_timeout: timeout, ..self }
    }

    /// Frames that carry nothing forward: old credit, late STOP, skipped kinds; default 1,000, 100 a second, and one
    /// for each 4 KiB of payload.
    #[must_use]
    pub fn useless_frames(self, allowance: Allowance) -> Self {
        Self { useless: allowance, ..self }
    }

    /// DATA of less than 64 octets, without FIN, that nobody has read yet; default 100,000, 20,000 a second.
    #[must_use]
    pub fn small_data(self, allowance: Allowance) -> Self {
        Self { small_data: allowance, ..self }
    }

    /// Resets that the peer's conduct makes this side send; default 1,024, 10 a second.
    #[must_use]
    pub fn forced_resets(self, allowance: Allowance) -> Self {
        Self { forced_resets: allowance, ..self }
    }

    /// Streams that the peer opens and resets before an octet of theirs has come; default 1,024, 1,000 a second. Visitors who
    /// leave at once make an honest gateway do it, so leave room for them, and for as many as may be open at a time. By
    /// `SPEC.md` section 13 the burst has to be at least 1,024, and 4,000 within a second have to be too many.
    #[must_use]
    pub fn rapid_resets(self, allowance: Allowance) -> Self {
        Self { rapid_resets: allowance, ..self }
    }

    /// The longest datagram that is taken, in octets, 0 for none; default and most 16,376.
    #[must_use]
    pub fn max_datagram(self, bytes: u16) -> Self {
        Self { max_datagram: bytes.min(MAX_DATA_BYTES), ..self }
    }

    /// How many octets of datagrams may wait in each direction, how many of them for one flow, and for how long they
    /// may wait to be sent; default 1 MiB, 64 KiB, 100 ms. The oldest go first, those of the same flow if that has too many.
    /// Each counts 128 octets more than it has, which is about what its place in the queue costs.
    #[must_use]
    pub fn datagram_queue(self, bytes: usize, per_flow: usize, age: Duration) -> Self {
        Self { datagram_queue: bytes, datagram_flow_queue: per_flow, datagram_age: age, ..self }
    }

    /// Whether frames of reserved kinds are sent now and then, so that peers keep skipping them; default true.
    #[must_use]
    pub fn grease(self, grease: bool) -> Self {
        Self { grease, ..self }
    }

    /// What jitter and greasing derive from; any number, best a random one; default 0, for which
    /// [`Builder`](crate::Builder) puts a random one.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// What the session is called in spans and logs; default 0, for which [`Builder`](crate::Builder) puts the next
    /// number of this process.
    #[must_use]
    pub fn id(self, id: u64) -> Self {
        Self { id, ..self }
    }

    /// Who is told what happens in the session; default nobody.
    #[must_use]
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Watcher(Some(observer)), ..self }
    }

    /// What this side says of itself first, without a window.
    pub(crate) fn hello(&self) -> Hello {
        let mut hello = Hello::new();
        hello.max_streams = self.max_peer_streams;
        hello.max_datagram = self.max_datagram;
        if self.max_datagram > 0 {
            hello.features = vec![Feature::DATAGRAM];
        }
        hello
    }

    /// How long a datagram to the sender of `hello` may be, in octets: both sides have to name the feature.
    pub(crate) fn datagram_limit(&self, hello: &Hello) -> usize {
        let is_on = self.max_datagram > 0 && hello.features.contains(&Feature::DATAGRAM);
        if is_on { hello.max_datagram.min(MAX_DATA_BYTES).into() } else { 0 }
    }
}

/// A budget that refills with time: how much may come at once, and how much more each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

impl Allowance {
    /// `burst` at once, and `per_second` more each second up to `burst`.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SPEC.md` section 13 rule 1.
    #[test]
    fn each_budget_takes_its_burst_and_ends_a_peer_that_sends_4_000_within_a_second() {
        let Config { useless, forced_resets, rapid_resets, pings, .. } = Config::default();
        for (allowance, burst) in
            [(useless, 1_000), (forced_resets, 1_024), (rapid_resets, 1_024), (pings, 40)]
        {
            assert!(allowance.burst >= burst);
            assert!(allowance.burst + allowance.per_second < 4_000);
        }
    }
}
