//! What travels beside the streams of a carrier that has streams of its own: drain, and signs of life.
//!
//! Frames of the native carrier, on one stream of the carrier each way. No I/O here.

use crate::budget::Bucket;
use crate::{Abuse, Config, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Decoder, Frame};
use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

/// Both sides' part of a drain, and their pings.
///
/// ```text
///   one side          GOAWAY heads-up, last id opened        other side
///   begin() --------------------------------------------------> draining
///   draining <------------------------------------------------- (the same)
///             nothing is opened; all up to the last id is taken up; streams end
///           --------------- GOAWAY: no stream left ------------->
///           <-------------- GOAWAY: no stream left --------------
///   whoever began closes, also when its time is over
/// ```
#[derive(Debug)]
pub(crate) struct Control {
    decoder: Decoder,
    /// What has come of a frame; at most one frame of the kinds below.
    input: BytesMut,
    ours: Option<Ours>,
    theirs: Option<Theirs>,
    has_announced: bool,
    has_said_empty: bool,
    /// The sequence of the next PING of ours.
    next_ping: u64,
    is_ping_due: bool,
    awaited_ping: Option<(u64, Instant)>,
    last_pong: Option<(u64, Duration)>,
    /// The highest sequence of theirs; 0 before the first.
    their_last_ping: u64,
    /// Only the latest is answered.
    ack_due: Option<u64>,
    useless: Bucket,
    pings: Bucket,
}

/// A drain that this side began.
#[derive(Debug)]
struct Ours {
    code: CloseCode,
    reason: Bytes,
    until: Instant,
}

/// A drain that the peer joined or began.
#[derive(Debug)]
struct Theirs {
    last_id: u32,
    code: CloseCode,
    is_empty: bool,
}

/// The streams of a session, as a drain sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// The highest id that this side opened.
    pub(crate) opened: u32,
    /// The highest id of the peer that was taken up.
    pub(crate) accepted: u32,
    /// Streams that this side still holds.
    pub(crate) open: u64,
}

/// How a drain of ours ends the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DrainEnd {
    pub(crate) code: CloseCode,
    pub(crate) reason: Bytes,
}

impl Control {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            decoder: Decoder::new(),
            input: BytesMut::new(),
            ours: None,
            theirs: None,
            has_announced: false,
            has_said_empty: false,
            next_ping: 1,
            is_ping_due: false,
            awaited_ping: None,
            last_pong: None,
            their_last_ping: 0,
            ack_due: None,
            useless: Bucket::new(config.useless, now),
            pings: Bucket::new(config.pings, now),
        }
    }

    /// Takes octets of the peer's control stream; gives the frames that are not dealt with here.
    pub(crate) fn receive(&mut self, now: Instant, octets: &[u8]) -> Result<Vec<Frame>, Violation> {
        self.input.extend_from_slice(octets);
        let mut others = Vec::new();
        while let Some(frame) = self.decoder.decode(&mut self.input)? {
            match frame {
                Frame::GoAway { last_id, code, heads_up, .. } => {
                    self.receive_goaway(last_id, code, heads_up)?;
                }
                Frame::Ping { sequence, ack } if ack => self.receive_pong(now, sequence)?,
                Frame::Ping { sequence, .. } => self.receive_ping(now, sequence)?,
                Frame::Blocked { .. } | Frame::Pad { .. } | Frame::Skipped { .. } => {
                    if !self.useless.take(now) {
                        return Err(Violation::Budget { what: Abuse::UselessFrames });
                    }
                }
                Frame::Hello(_)
                | Frame::Open { .. }
                | Frame::Data { .. }
                | Frame::Credit { .. }
                | Frame::Streams { .. }
                | Frame::Reset { .. }
                | Frame::Stop { .. }
                | Frame::Close { .. }
                | Frame::Datagram { .. } => others.push(frame),
                // Kinds to come are none of ours either.
                _ => others.push(frame),
            }
        }
        Ok(others)
    }

    /// Begins to drain; says whether this side hadn't before.
    pub(crate) fn begin_drain(&mut self, code: CloseCode, reason: Bytes, until: Instant) -> bool {
        let begins = self.ours.is_none();
        if begins {
            self.ours = Some(Ours { code, reason, until });
        }
        begins
    }

    /// The code with which the peer began to drain, or joined.
    pub(crate) fn their_drain(&self) -> Option<CloseCode> {
        self.theirs.as_ref().map(|theirs| theirs.code)
    }

    /// Whether either side drains, so that nothing may be opened.
    pub(crate) const fn is_draining(&self) -> bool {
        self.ours.is_some() || self.theirs.is_some()
    }

    /// Asks for a PING; says its sequence.
    pub(crate) const fn ping(&mut self) -> u64 {
        self.is_ping_due = true;
        self.next_ping
    }

    /// Whether a PING is under way, or about to be.
    #[cfg(feature = "h2")]
    pub(crate) const fn is_pinging(&self) -> bool {
        self.is_ping_due || self.awaited_ping.is_some()
    }

    pub(crate) const fn last_pong(&self) -> Option<(u64, Duration)> {
        self.last_pong
    }

    /// Until when our drain may take.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ours.as_ref().map(|ours| ours.until)
    }

    /// The next frame to send.
    pub(crate) fn poll_frame(&mut self, now: Instant, tally: Tally) -> Option<Frame> {
        if let Some(sequence) = self.ack_due.take() {
            return Some(Frame::Ping { sequence, ack: true });
        }
        if self.is_ping_due && self.awaited_ping.is_none() {
            self.is_ping_due = false;
            let sequence = self.next_ping;
            self.next_ping = sequence.saturating_add(1);
            self.awaited_ping = Some((sequence, now));
            return Some(Frame::Ping { sequence, ack: false });
        }
        if self.is_draining() && !self.has_announced {
            self.has_announced = true;
            return Some(self.goaway(tally.opened, true));
        }
        if self.is_empty(tally) && !self.has_said_empty {
            self.has_said_empty = true;
            return Some(self.goaway(tally.accepted, false));
        }
        None
    }

    /// How to close, once a drain of ours is over or out of time.
    pub(crate) fn poll_end(&self, now: Instant, tally: Tally) -> Option<DrainEnd> {
        let ours = self.ours.as_ref()?;
        let both_are_empty =
            self.has_said_empty && self.theirs.as_ref().is_some_and(|theirs| theirs.is_empty);
        if both_are_empty {
            return Some(DrainEnd { code: ours.code, reason: ours.reason.clone() });
        }
        let code = if tally.open == 0 { ours.code } else { CloseCode::SHUTDOWN };
        (now >= ours.until).then(|| DrainEnd { code, reason: ours.reason.clone() })
    }

    /// Whether this side has no stream, and will never have one again.
    fn is_empty(&self, tally: Tally) -> bool {
        let has_seen_all = self.theirs.as_ref().is_some_and(|theirs| tally.accepted >= theirs.last_id);
        self.has_announced && has_seen_all && tally.open == 0
    }

    fn goaway(&self, last_id: u32, heads_up: bool) -> Frame {
        let (code, reason) = match &self.ours {
            Some(ours) => (ours.code, ours.reason.clone()),
            None => (CloseCode::NONE, Bytes::new()),
        };
        Frame::GoAway { last_id, code, reason, heads_up }
    }

    fn receive_goaway(&mut self, last_id: u32, code: CloseCode, heads_up: bool) -> Result<(), Violation> {
        match (&mut self.theirs, heads_up) {
            (None, true) => self.theirs = Some(Theirs { last_id, code, is_empty: false }),
            (Some(theirs), false) if !theirs.is_empty => theirs.is_empty = true,
            (Some(_), _) | (None, false) => return Err(Violation::GoAwayId { last_id }),
        }
        Ok(())
    }

    fn receive_ping(&mut self, now: Instant, sequence: u64) -> Result<(), Violation> {
        if sequence <= self.their_last_ping {
            return Err(Violation::PingSequence { sequence });
        }
        if !self.pings.take(now) {
            return Err(Violation::Budget { what: Abuse::Pings });
        }
        self.their_last_ping = sequence;
        self.ack_due = Some(sequence);
        Ok(())
    }

    fn receive_pong(&mut self, now: Instant, sequence: u64) -> Result<(), Violation> {
        match self.awaited_ping {
            Some((awaited, since)) if awaited == sequence => {
                self.awaited_ping = None;
                self.last_pong = Some((sequence, now.saturating_duration_since(since)));
                Ok(())
            }
            _ if (1..self.next_ping).contains(&sequence) => Ok(()),
            _ => Err(Violation::PingSequence { sequence }),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
mod tests {
    use super::*;

    const IDLE: Tally = Tally { opened: 0, accepted: 0, open: 0 };

    fn controls() -> (Control, Control, Instant) {
        let (config, now) = (Config::default(), Instant::now());
        (Control::new(&config, now), Control::new(&config, now), now)
    }

    /// Everything that `from` has to say now.
    fn tell(from: &mut Control, to: &mut Control, now: Instant, tally: Tally) -> usize {
        let mut octets = BytesMut::new();
        let mut frames = 0;
        while let Some(frame) = from.poll_frame(now, tally) {
            frame.encode(&mut octets);
            frames += 1;
        }
        // Octet by octet: nothing may hang on how they were cut.
        for octet in octets {
            assert!(to.receive(now, &[octet]).unwrap().is_empty());
        }
        frames
    }

    #[test]
    fn a_drain_waits_for_streams_that_the_peer_has_not_seen_yet() {
        let (mut near, mut far, now) = controls();
        let until = now + Duration::from_secs(30);
        near.begin_drain(CloseCode::DRAINING, Bytes::from_static(b"deploy"), until);
        let ours = Tally { opened: 5, accepted: 0, open: 0 };
        assert_eq!(tell(&mut near, &mut far, now, ours), 1);
        assert!(far.is_draining());
        let behind = Tally { opened: 0, accepted: 3, open: 0 };
        assert_eq!(tell(&mut far, &mut near, now, behind), 1, "stream 5 is under way");
        assert_eq!(tell(&mut near, &mut far, now, ours), 1);
        assert_eq!(near.poll_end(now, ours), None);
        let busy = Tally { opened: 0, accepted: 5, open: 1 };
        assert_eq!(tell(&mut far, &mut near, now, busy), 0);
        let done = Tally { open: 0, ..busy };
        assert_eq!(tell(&mut far, &mut near, now, done), 1);
        let end = DrainEnd { code: CloseCode::DRAINING, reason: Bytes::from_static(b"deploy") };
        assert_eq!(near.poll_end(now, ours), Some(end));
        assert_eq!(far.poll_end(now, done), None, "whoever began closes");
    }

    #[test]
    fn a_drain_whose_time_is_over_says_that_it_cut() {
        let (mut near, _, now) = controls();
        near.begin_drain(CloseCode::DRAINING, Bytes::new(), now + Duration::from_secs(1));
        let busy = Tally { open: 3, ..IDLE };
        assert_eq!(near.poll_end(now, busy), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(near.poll_end(later, busy).unwrap().code, CloseCode::SHUTDOWN);
        assert_eq!(near.poll_end(later, IDLE).unwrap().code, CloseCode::DRAINING);
    }

    #[test]
    fn a_goaway_out_of_order_is_a_broken_rule() {
        let frame = |heads_up| {
            let mut octets = BytesMut::new();
            let (last_id, code) = (0, CloseCode::NONE);
            Frame::GoAway { last_id, code, reason: Bytes::new(), heads_up }.encode(&mut octets);
            octets
        };
        for script in [&[false][..], &[true, true], &[true, false, false]] {
            let (mut near, _, now) = controls();
            let answers: Vec<_> =
                script.iter().map(|heads_up| near.receive(now, &frame(*heads_up))).collect();
            assert!(answers.last().unwrap().is_err(), "{script:?}");
            assert!(answers.iter().rev().skip(1).all(Result::is_ok), "{script:?}");
        }
    }

    #[test]
    fn pings_are_answered_once_and_forged_answers_are_a_broken_rule() {
        let (mut near, mut far, now) = controls();
        assert_eq!(near.ping(), 1);
        assert_eq!(tell(&mut near, &mut far, now, IDLE), 1);
        let later = now + Duration::from_millis(7);
        assert_eq!(tell(&mut far, &mut near, later, IDLE), 1);
        assert_eq!(near.last_pong(), Some((1, Duration::from_millis(7))));
        for (sequence, ack) in [(0, true), (9, true), (0, false)] {
            let mut forged = BytesMut::new();
            Frame::Ping { sequence, ack }.encode(&mut forged);
            assert_eq!(near.receive(now, &forged), Err(Violation::PingSequence { sequence }));
        }
    }

    #[test]
    fn m22_a_flood_of_pings_or_of_skipped_frames_ends_in_enhance_calm() {
        for make in [|sequence| Frame::Ping { sequence, ack: false }, |_| Frame::Pad { length: 0 }] {
            let (mut near, _, now) = controls();
            let breach = (1..100_000).find_map(|sequence| {
                let mut octets = BytesMut::new();
                make(sequence).encode(&mut octets);
                let answer = near.receive(now, &octets);
                let _ = near.poll_frame(now, IDLE);
                answer.err()
            });
            assert_eq!(breach.unwrap().close_code(), CloseCode::ENHANCE_CALM);
        }
    }
}
