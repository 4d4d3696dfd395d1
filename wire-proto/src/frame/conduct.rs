//! In what order frames may come.

use super::{Frame, HelloError, Version, VersionRange};
use crate::CloseCode;
use std::time::{Duration, Instant};

/// Watches the frames that one peer sends, and tells those that the order of frames alone forbids (SPEC, "Order of
/// frames").
///
/// It knows nothing of credit and of the ends of streams; a multiplexer does. Proxies, recorders and conformance
/// programs that are no multiplexer use this.
///
/// ```
/// use adit_wire_proto::frame::{Conduct, Frame, Hello, VersionRange, Dialled};
/// use std::time::Instant;
///
/// # #[expect(clippy::disallowed_methods, reason = "an example")]
/// let now = Instant::now();
/// let mut agent = Conduct::of(Dialled::ByPeer, VersionRange::OURS);
/// let ping = Frame::Ping { sequence: 1, ack: false };
/// assert!(agent.clone().receive(now, &ping).is_err());
/// agent.receive(now, &Frame::Hello(Hello::new())).unwrap();
/// agent.receive(now, &ping).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Conduct {
    dialled: Dialled,
    ours: VersionRange,
    version: Option<Version>,
    /// The id that the peer's next OPEN must have; `None` at the end of the numbers.
    next_id: Option<u32>,
    /// The highest sequence that we have used; 0, which is none, before the first.
    sent: u64,
    /// The highest sequence that the peer has used; 0 before the first.
    pinged: u64,
    /// Pings that the peer may still send, refilled with time.
    allowance: u32,
    refilled: Option<Instant>,
    is_closed: bool,
}

/// Who opened the carrier. Roles don't follow from it; ids do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialled {
    /// The peer dialled: it opens odd ids.
    ByPeer,
    /// We dialled: the peer opens even ids, from 2.
    ByUs,
}

impl Conduct {
    /// How many pings may come at once; one more is earned each [`PING_INTERVAL`](Self::PING_INTERVAL).
    pub const PING_BURST: u32 = 40;
    /// How long it takes to earn one more ping: 50 ms, so 20 a second.
    pub const PING_INTERVAL: Duration = Duration::from_millis(50);

    /// A peer that has sent nothing yet; `ours` is what we speak.
    pub const fn of(dialled: Dialled, ours: VersionRange) -> Self {
        let next_id = match dialled {
            Dialled::ByPeer => 1,
            Dialled::ByUs => 2,
        };
        Self {
            dialled,
            ours,
            version: None,
            next_id: Some(next_id),
            sent: 0,
            pinged: 0,
            allowance: Self::PING_BURST,
            refilled: None,
            is_closed: false,
        }
    }

    /// A frame that the peer sent.
    ///
    /// # Errors
    /// [`ConductError`]: end the session with its code.
    pub fn receive(&mut self, now: Instant, frame: &Frame) -> Result<(), ConductError> {
        if self.is_closed {
            return Err(ConductError::AfterClose);
        }
        if self.version.is_none() {
            let Frame::Hello(hello) = frame else { return Err(ConductError::HelloMissing) };
            let common = self.ours.common(hello.versions);
            self.version = Some(common.ok_or(ConductError::Version { ours: self.ours })?);
            return Ok(());
        }
        match frame {
            Frame::Hello(_) => Err(ConductError::HelloAgain),
            Frame::Open { id, .. } => self.on_open(*id),
            Frame::Data { id, .. }
            | Frame::Credit { id, .. }
            | Frame::Reset { id, .. }
            | Frame::Stop { id, .. }
            | Frame::Blocked { id, .. }
            | Frame::Datagram { flow: id, .. } => self.on_stream(*id),
            Frame::Ping { sequence, ack: true } => self.check_pong(*sequence),
            Frame::Ping { sequence, ack: false } => self.on_ping(now, *sequence),
            Frame::Close { .. } => {
                self.is_closed = true;
                Ok(())
            }
            Frame::Streams { .. } | Frame::GoAway { .. } | Frame::Pad { .. } | Frame::Skipped { .. } => {
                Ok(())
            }
        }
    }

    /// A PING that we send: its answer may come from now on, and not before. Sequences start above 0 and rise.
    pub const fn sent_ping(&mut self, sequence: u64) {
        if sequence > self.sent {
            self.sent = sequence;
        }
    }

    /// The version in common, once the HELLO is there.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    fn on_open(&mut self, id: u32) -> Result<(), ConductError> {
        if self.next_id != Some(id) {
            return Err(ConductError::Id { id, expected: self.next_id });
        }
        self.next_id = id.checked_add(2);
        Ok(())
    }

    /// On a stream of the peer's own parity that it has not opened, nothing can come.
    fn on_stream(&self, id: u32) -> Result<(), ConductError> {
        let is_peers = (id % 2 == 1) == (self.dialled == Dialled::ByPeer);
        if id != 0 && is_peers && self.next_id.is_some_and(|next| id >= next) {
            return Err(ConductError::Id { id, expected: self.next_id });
        }
        Ok(())
    }

    fn on_ping(&mut self, now: Instant, sequence: u64) -> Result<(), ConductError> {
        if sequence <= self.pinged {
            return Err(ConductError::Sequence);
        }
        self.pinged = sequence;
        self.refill(now);
        self.allowance = self.allowance.checked_sub(1).ok_or(ConductError::TooManyPings)?;
        Ok(())
    }

    /// An answer that is no longer awaited may be late, or come twice; an answer to what we never said is a lie.
    const fn check_pong(&self, sequence: u64) -> Result<(), ConductError> {
        if sequence == 0 || sequence > self.sent {
            return Err(ConductError::Sequence);
        }
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let since = *self.refilled.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since).as_millis();
        let earned = u32::try_from(elapsed / Self::PING_INTERVAL.as_millis()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(earned).min(Self::PING_BURST);
            self.refilled = since.checked_add(Self::PING_INTERVAL.saturating_mul(earned)).or(Some(now));
        }
    }
}

/// A frame that the order of frames forbids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConductError {
    /// Something came before the HELLO. Nothing was looked at.
    #[error("the first frame is no HELLO")]
    HelloMissing,
    /// A second HELLO.
    #[error("a second HELLO")]
    HelloAgain,
    /// The HELLO names no version that we speak.
    #[error("no version in common; ours are {} to {}", ours.least().as_u16(), ours.most().as_u16())]
    Version {
        /// What we speak, as our own HELLO has told the peer.
        ours: VersionRange,
    },
    /// An OPEN whose id isn't the next one, or a frame on a stream that was never opened.
    #[error("id {id} where {expected:?} is the next to be opened")]
    Id {
        /// The id.
        id: u32,
        /// The next one of the peer's parity.
        expected: Option<u32>,
    },
    /// A PING whose sequence is 0 or doesn't rise, or an answer to one that was never sent.
    #[error("a PING out of sequence")]
    Sequence,
    /// More pings than [`Conduct::PING_BURST`] allows.
    #[error("too many pings")]
    TooManyPings,
    /// A frame after CLOSE.
    #[error("a frame after CLOSE")]
    AfterClose,
    /// The HELLO can't be understood.
    #[error("malformed HELLO: {source}")]
    Hello {
        /// How.
        #[from]
        source: HelloError,
    },
}

impl ConductError {
    /// The code to end the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::HelloMissing | Self::HelloAgain | Self::AfterClose => CloseCode::UNEXPECTED,
            Self::Version { .. } => CloseCode::UNSUPPORTED_VERSION,
            Self::Id { .. } | Self::Sequence => CloseCode::PROTOCOL,
            Self::TooManyPings => CloseCode::ENHANCE_CALM,
            Self::Hello { source } => source.close_code(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a moment to start from")]
mod tests {
    use super::*;
    use crate::frame::Hello;
    use bytes::Bytes;

    fn greeted(dialled: Dialled) -> (Conduct, Instant) {
        let (mut conduct, now) = (Conduct::of(dialled, VersionRange::OURS), Instant::now());
        conduct.receive(now, &Frame::Hello(Hello::new())).unwrap();
        (conduct, now)
    }

    fn open(id: u32) -> Frame {
        Frame::Open { id, credit: 0, head: Bytes::new(), fin: false }
    }

    #[test]
    fn w07_w28_ids_are_the_next_of_the_openers_parity() {
        let (mut conduct, now) = greeted(Dialled::ByPeer);
        for id in [1, 3, 5] {
            conduct.receive(now, &open(id)).unwrap();
        }
        for id in [2, 4, 5, 9, 3, u32::MAX] {
            let error = conduct.clone().receive(now, &open(id)).unwrap_err();
            assert_eq!(error.close_code(), CloseCode::PROTOCOL, "{id}");
        }
        // A gateway that listens can't open what only agents open.
        let (mut conduct, now) = greeted(Dialled::ByUs);
        assert_eq!(conduct.clone().receive(now, &open(1)).unwrap_err().close_code(), CloseCode::PROTOCOL);
        conduct.receive(now, &open(2)).unwrap();
        let data = |id| Frame::Data { id, payload: Bytes::new(), fin: true };
        assert!(conduct.receive(now, &data(4)).is_err(), "never opened");
        conduct.receive(now, &data(1)).unwrap();
    }

    #[test]
    fn w14_anything_but_hello_first_is_unexpected() {
        let (conduct, now) = (Conduct::of(Dialled::ByPeer, VersionRange::OURS), Instant::now());
        for frame in [open(1), Frame::Ping { sequence: 1, ack: false }, Frame::Pad { length: 0 }] {
            let error = conduct.clone().receive(now, &frame).unwrap_err();
            assert_eq!(error.close_code(), CloseCode::UNEXPECTED);
        }
    }

    #[test]
    fn w15_a_second_hello_is_unexpected() {
        let (mut conduct, now) = greeted(Dialled::ByUs);
        let error = conduct.receive(now, &Frame::Hello(Hello::new())).unwrap_err();
        assert_eq!(error.close_code(), CloseCode::UNEXPECTED);
    }

    #[test]
    fn w16_no_common_version_is_answered_with_the_list() {
        let mut conduct = Conduct::of(Dialled::ByPeer, VersionRange::OURS);
        let mut hello = Hello::new();
        hello.versions = VersionRange::new(Version::from_u16(2), Version::from_u16(9)).unwrap();
        let error = conduct.receive(Instant::now(), &Frame::Hello(hello)).unwrap_err();
        assert_eq!(error, ConductError::Version { ours: VersionRange::OURS });
        assert_eq!(error.close_code(), CloseCode::UNSUPPORTED_VERSION);
        assert!(error.to_string().contains("1 to 1"));
    }

    #[test]
    fn w32_a_thousand_pings_a_second_are_too_many_and_twenty_are_not() {
        let (conduct, now) = greeted(Dialled::ByPeer);
        let flood = |per_second: u64| {
            let mut conduct = conduct.clone();
            (1..=10 * per_second).find_map(|sequence| {
                let at = now + Duration::from_millis((sequence - 1) * 1000 / per_second);
                conduct.receive(at, &Frame::Ping { sequence, ack: false }).err()
            })
        };
        assert_eq!(flood(1000).unwrap().close_code(), CloseCode::ENHANCE_CALM);
        assert_eq!(flood(20), None);
    }

    #[test]
    fn w32_a_pong_that_nobody_awaits_any_more_is_ignored_and_one_to_nothing_is_a_lie() {
        let (mut conduct, now) = greeted(Dialled::ByPeer);
        let receive = |conduct: &mut Conduct, sequence| {
            conduct.receive(now, &Frame::Ping { sequence, ack: true }).map_err(|error| error.close_code())
        };
        for sequence in [0, 1, u64::MAX] {
            assert_eq!(receive(&mut conduct, sequence), Err(CloseCode::PROTOCOL), "{sequence}");
        }
        conduct.sent_ping(7);
        for sequence in [0, 8, u64::MAX] {
            assert_eq!(receive(&mut conduct, sequence), Err(CloseCode::PROTOCOL), "{sequence}");
        }
        assert_eq!(receive(&mut conduct, 7), Ok(()));
        assert_eq!(receive(&mut conduct, 7), Ok(()), "twice");
        conduct.sent_ping(8);
        assert_eq!(receive(&mut conduct, 7), Ok(()), "late");
    }

    #[test]
    fn the_sequences_of_pings_start_above_zero_and_rise() {
        let (mut conduct, now) = greeted(Dialled::ByUs);
        let ping = |sequence| Frame::Ping { sequence, ack: false };
        assert_eq!(conduct.receive(now, &ping(0)).unwrap_err().close_code(), CloseCode::PROTOCOL);
        conduct.receive(now, &ping(1)).unwrap();
        conduct.receive(now, &ping(9)).unwrap();
        assert!(conduct.clone().receive(now, &ping(9)).is_err() && conduct.receive(now, &ping(8)).is_err());
    }
}
