//! What the peer sends.

use super::parser::Item;
use super::slot::{RecvState, SendState, Slot};
use super::{Connection, Phase, to_u64};
use crate::{Abuse, Origin, SessionEnd, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameHeader, Hello, MAX_DATA_BYTES, VersionRange};
use bytes::{Buf, Bytes};
use std::time::Instant;

impl Connection {
    /// Takes what the connection gave, cut however it was.
    ///
    /// Payloads become slices of `input` where that doesn't pin much memory for few octets; they are copied
    /// otherwise.
    ///
    /// # Errors
    /// Why the session ended, if the peer broke a rule or closed it. A CLOSE may be due then; the rest of the input
    /// is ignored, as is all later input.
    pub fn receive(&mut self, now: Instant, mut input: Bytes) -> Result<(), SessionEnd> {
        self.now = self.now.max(now);
        if let Phase::Ended { end, .. } = &self.phase {
            return Err(end.clone());
        }
        self.timers.received = self.now;
        self.stats.bytes_received += to_u64(input.len());
        self.watch.received(to_u64(input.len()));
        let frames_before = self.stats.frames_received;
        if let Err(violation) = self.receive_frames(&mut input) {
            let code = violation.close_code();
            let reason = Bytes::from(violation.to_string());
            self.finish(SessionEnd::Violation(violation), Some((code, reason)));
        }
        let is_new_frame = self.stats.frames_received > frames_before;
        match self.timers.partial_since {
            _ if !self.parser.is_inside_frame() => self.timers.partial_since = None,
            Some(_) if !is_new_frame => {}
            _ => self.timers.partial_since = Some(self.now),
        }
        match &self.phase {
            Phase::Ended { end, .. } => Err(end.clone()),
            Phase::AwaitingHello | Phase::Open => Ok(()),
        }
    }

    /// Takes note that the connection gives nothing more, and why if it failed.
    pub fn receive_end(&mut self, end: SessionEnd) {
        self.finish(end, None);
        // Nothing more reaches the peer either.
        if let Phase::Ended { close, .. } = &mut self.phase {
            *close = None;
        }
    }

    fn receive_frames(&mut self, input: &mut Bytes) -> Result<(), Violation> {
        while !matches!(self.phase, Phase::Ended { .. }) {
            if let Some(header) = self.parser.whole_data(input)? {
                self.watch.frame_received(header);
                self.on_data(header)?;
                self.on_payload(input, usize::from(header.length()), true);
                continue;
            }
            let Some(item) = self.parser.next(input)? else { return Ok(()) };
            if let Item::Data(header) | Item::Skipped(header) | Item::Frame(header, _) = &item {
                self.watch.frame_received(*header);
            }
            match item {
                Item::Data(header) => self.on_data(header)?,
                Item::Payload { length, last } => self.on_payload(input, length, last),
                Item::Skipped(_) => self.on_skipped()?,
                Item::Frame(_, frame) => self.on_frame(frame)?,
            }
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), Violation> {
        self.stats.frames_received += 1;
        if let Frame::Hello(hello) = frame {
            return self.on_hello(hello);
        }
        self.check_hello()?;
        match frame {
            Frame::Open { id, credit, head, fin } => self.on_open(id, credit, head, fin),
            Frame::Credit { id, limit } => self.on_credit(id, limit),
            Frame::Streams { limit } => self.on_streams(limit),
            Frame::Reset { id, code } => self.on_reset(id, code),
            Frame::Stop { id, code } => self.on_stop(id, code),
            Frame::Ping { sequence, ack: false } => self.on_ping(sequence),
            Frame::Ping { sequence, ack: true } => self.on_pong(sequence),
            Frame::GoAway { last_id, code, reason, heads_up } => {
                self.on_goaway(last_id, code, reason, heads_up)
            }
            Frame::Close { code, reason } => {
                self.finish(SessionEnd::Peer { code, reason }, None);
                Ok(())
            }
            Frame::Datagram { flow, payload } => self.on_datagram(flow, payload),
            // BLOCKED is a hint that nothing here needs; the others never come this way.
            Frame::Hello(_)
            | Frame::Data { .. }
            | Frame::Blocked { .. }
            | Frame::Pad { .. }
            | Frame::Skipped { .. }
            | _ => self.useless(),
        }
    }

    fn check_hello(&self) -> Result<(), Violation> {
        if self.peer.is_none() { Err(Violation::HelloExpected) } else { Ok(()) }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<(), Violation> {
        if self.peer.is_some() {
            return Err(Violation::SecondHello);
        }
        if VersionRange::OURS.common(hello.versions).is_none() {
            return Err(Violation::NoCommonVersion);
        }
        self.local_limit = u64::from(hello.max_streams);
        self.peer = Some(hello);
        self.phase = Phase::Open;
        self.due.connected = true;
        self.due.openable = true;
        self.watch.connected();
        Ok(())
    }

    fn on_open(&mut self, id: u32, credit: u32, head: Bytes, fin: bool) -> Result<(), Violation> {
        let expected = self.next_remote_id;
        if id != expected {
            return Err(Violation::StreamOrder { id, expected });
        }
        if self.remote_opened >= self.remote_limit {
            return Err(Violation::StreamLimit { id });
        }
        self.next_remote_id = id.checked_add(2).ok_or(Violation::StreamOrder { id, expected })?;
        self.remote_opened += 1;
        if self.is_past_drain(id) {
            // The peer learns from GOAWAY that it may try elsewhere; the stream never exists here.
            self.remote_deferred += 1;
            self.grant_streams();
            return self.charge_forced_reset();
        }
        self.remote_live += 1;
        let mut slot = Slot::new(id, 0, false, u64::from(credit), self.config.hello_window, 0);
        // The head is copied, so that a stream that nobody takes up doesn't pin what else came with it.
        slot.head = if head.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(&head) };
        if fin {
            slot.recv.state = RecvState::Finished;
        }
        let key = self.insert(slot);
        self.incoming.push_back(super::to_usize(key.place));
        // Streams earn room for the frames that cross their end: visitors who leave early are no offence of the peer.
        self.useless.give(super::transmit::LATE_FRAMES);
        self.due.incoming = true;
        self.stats.streams_accepted += 1;
        self.watch.stream_opened(Origin::Peer);
        Ok(())
    }

    fn on_data(&mut self, header: FrameHeader) -> Result<(), Violation> {
        self.stats.frames_received += 1;
        self.check_hello()?;
        let (id, length, fin) = (header.id(), header.length(), header.is_flagged());
        self.data = DataInProgress::default();
        let Some(place) = self.ids.get(&id).copied() else {
            self.check_opened(id)?;
            if self.is_past_drain(id) {
                return self.useless();
            }
            return Err(Violation::AfterEnd { id });
        };
        let Some(slot) = self.slots.get_mut(place) else { return Err(Violation::AfterEnd { id }) };
        match slot.recv.state {
            RecvState::Open => {}
            RecvState::Refused => return self.useless(),
            RecvState::Finished | RecvState::Reset(_) => return Err(Violation::AfterEnd { id }),
        }
        let received = slot.recv.received.saturating_add(u64::from(length));
        if received > slot.recv.limit {
            return Err(Violation::FlowControl { id });
        }
        slot.recv.received = received;
        let is_small = length < 64 && !fin && slot.recv.stopped.is_none();
        slot.recv.small_frames += u32::from(is_small);
        self.data = DataInProgress { place: Some(place), fin };
        if self.fed.replace(place).is_some_and(|before| before != place) {
            self.in_company = Some(self.now);
        }
        self.stats.payload_received += u64::from(length);
        self.refund_useless(length);
        if is_small && !self.small_data.take(self.now) {
            return self.give_up_flooder(place);
        }
        Ok(())
    }

    /// Gives a stream up whose unread octets come in very many frames; the session only if there are too many such.
    ///
    /// The peer may be honest and pass on what a visitor floods it with: then the visitor's stream is to end, not
    /// everybody's session. A stream that holds few small frames is not to blame.
    fn give_up_flooder(&mut self, place: usize) -> Result<(), Violation> {
        const FEW: u32 = 1_024;
        let Some(slot) = self.slots.get(place).filter(|slot| slot.recv.small_frames > FEW) else {
            return Ok(());
        };
        let id = slot.id;
        self.count_breach(Abuse::SmallData);
        self.charge_forced_reset()?;
        self.watch.stream_refused(Origin::Local, id, CloseCode::ENHANCE_CALM);
        self.reset_place(place, CloseCode::ENHANCE_CALM);
        self.stop_place(place, CloseCode::ENHANCE_CALM);
        Ok(())
    }

    /// Takes the first `length` octets of `input`, of the DATA frame that began.
    fn on_payload(&mut self, input: &mut Bytes, length: usize, last: bool) {
        let DataInProgress { place: Some(place), fin } = self.data else { return input.advance(length) };
        // The slot can't be freed in between: its receiving half is open until the frame ends.
        let Some(slot) = self.slots.get_mut(place) else { return input.advance(length) };
        let fin = fin && last;
        if fin {
            slot.recv.state = RecvState::Finished;
            slot.credit_due = false;
        }
        if slot.recv.stopped.is_some() {
            input.advance(length);
            self.consumed(place, length);
        } else if length >= usize::from(MAX_DATA_BYTES) && self.sliced + length <= MOST_SLICED {
            slot.recv.sliced += length;
            self.sliced += length;
            slot.recv.queue.push(input.split_to(length), &mut self.recv_pool);
        } else if is_taken_at_once(slot, length) && self.sliced + PART_COST <= MOST_SLICED {
            slot.recv.part_ends_at = Some(slot.recv.consumed.saturating_add(to_u64(length)));
            self.sliced += PART_COST;
            slot.recv.queue.push(input.split_to(length), &mut self.recv_pool);
        } else {
            slot.recv.queue.push_copy(input.get(..length).unwrap_or_default(), &mut self.recv_pool);
            input.advance(length);
        }
        if length > 0 || fin {
            self.wake_reader(place);
        }
        if fin {
            self.free_if_over(place);
        }
    }

    fn on_credit(&mut self, id: u32, limit: u64) -> Result<(), Violation> {
        let Some(place) = self.ids.get(&id).copied() else {
            self.check_opened(id)?;
            return self.late();
        };
        let Some(slot) = self.slots.get_mut(place) else { return self.late() };
        if limit <= slot.send.limit {
            return self.useless();
        }
        slot.send.limit = limit;
        if slot.send.queue.is_empty() {
            self.wake_writer(place);
        }
        self.schedule(place);
        Ok(())
    }

    fn on_streams(&mut self, limit: u64) -> Result<(), Violation> {
        if limit <= self.local_limit {
            return self.useless();
        }
        self.local_limit = limit;
        self.due.openable = true;
        Ok(())
    }

    fn on_reset(&mut self, id: u32, code: CloseCode) -> Result<(), Violation> {
        let Some(place) = self.ids.get(&id).copied() else {
            self.check_opened(id)?;
            return self.late();
        };
        let Some(slot) = self.slots.get_mut(place) else { return self.late() };
        if slot.recv.state != RecvState::Open {
            return self.useless();
        }
        // One that this side stopped ends like that in good order.
        let is_rapid = !slot.local && slot.recv.received == 0 && slot.recv.stopped.is_none();
        slot.recv.state = RecvState::Reset(code);
        slot.credit_due = false;
        slot.stop_due = false;
        self.stats.resets_received += 1;
        self.watch.reset(Origin::Peer, id, code);
        self.wake_reader(place);
        self.free_if_over(place);
        if is_rapid && !self.rapid_resets.take(self.now) {
            return self.breach(Abuse::RapidResets);
        }
        Ok(())
    }

    fn on_stop(&mut self, id: u32, code: CloseCode) -> Result<(), Violation> {
        let Some(place) = self.ids.get(&id).copied() else {
            self.check_opened(id)?;
            return self.late();
        };
        let Some(slot) = self.slots.get_mut(place) else { return self.late() };
        if slot.send.state == SendState::Finished || slot.send.stopped.is_some() {
            return self.late();
        }
        slot.send.stopped = Some(code);
        self.stats.stops_received += 1;
        self.watch.stopped(Origin::Peer, id, code);
        self.reset_place(place, code);
        self.wake_writer(place);
        Ok(())
    }

    fn on_ping(&mut self, sequence: u64) -> Result<(), Violation> {
        if sequence <= self.peer_ping {
            return Err(Violation::PingSequence { sequence });
        }
        self.peer_ping = sequence;
        // Only the latest is answered: a flood while our output is blocked costs one answer.
        self.pong_due = Some(sequence);
        self.stats.pings_received += 1;
        if self.pings.take(self.now) || self.useless.take(self.now) {
            return Ok(());
        }
        self.breach(Abuse::Pings)
    }

    fn on_pong(&mut self, sequence: u64) -> Result<(), Violation> {
        if sequence == 0 || sequence > self.ping_sequence {
            return Err(Violation::PingSequence { sequence });
        }
        let Some(sent) = self.ping_sent.filter(|_| sequence == self.ping_sequence) else {
            return self.useless();
        };
        self.ping_sent = None;
        let rtt = self.now.saturating_duration_since(sent);
        self.rtt = Some(rtt);
        self.min_rtt = Some(self.min_rtt.map_or(rtt, |least| least.min(rtt)));
        self.due.pong = Some((sequence, rtt));
        self.watch.round_trip(rtt);
        Ok(())
    }

    fn on_datagram(&mut self, flow: u32, payload: Bytes) -> Result<(), Violation> {
        let limit = self.config.max_datagram;
        if payload.len() > usize::from(limit) || limit == 0 {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            return Err(Violation::DatagramTooLarge { length, limit });
        }
        self.stats.datagrams_received += 1;
        // Copied, so that the bound on the queue's octets is a bound on memory.
        self.datagrams_in.push(self.now, flow, Bytes::copy_from_slice(&payload));
        self.due.datagram = true;
        Ok(())
    }

    fn on_skipped(&mut self) -> Result<(), Violation> {
        self.stats.frames_received += 1;
        self.check_hello()?;
        self.useless()
    }

    /// Whether a stream that is not live was ever opened.
    fn check_opened(&self, id: u32) -> Result<(), Violation> {
        let is_remote = id % 2 == self.role.peer().first_id() % 2;
        let next = if is_remote { self.next_remote_id } else { self.next_local_id };
        if id < next { Ok(()) } else { Err(Violation::UnknownStream { id }) }
    }

    /// A frame that crossed the end of its stream: legal, without effect, and not free without limit.
    fn late(&mut self) -> Result<(), Violation> {
        self.stats.late_frames += 1;
        self.useless()
    }

    pub(super) fn useless(&mut self) -> Result<(), Violation> {
        self.stats.useless_frames += 1;
        if self.useless.take(self.now) { Ok(()) } else { self.breach(Abuse::UselessFrames) }
    }

    fn charge_forced_reset(&mut self) -> Result<(), Violation> {
        if self.forced_resets.take(self.now) { Ok(()) } else { self.breach(Abuse::ForcedResets) }
    }

    fn breach(&mut self, what: Abuse) -> Result<(), Violation> {
        self.count_breach(what);
        Err(Violation::Budget { what })
    }

    fn count_breach(&mut self, what: Abuse) {
        let counter = match what {
            Abuse::UselessFrames => &mut self.stats.useless_frame_breaches,
            Abuse::SmallData => &mut self.stats.small_data_breaches,
            Abuse::ForcedResets => &mut self.stats.forced_reset_breaches,
            Abuse::RapidResets => &mut self.stats.rapid_reset_breaches,
            Abuse::Pings => &mut self.stats.ping_breaches,
        };
        *counter += 1;
        self.stats.budget_breaches += 1;
        self.watch.budget_spent(what);
    }

    /// Useful octets earn room for frames without effect: one for each 4 KiB.
    fn refund_useless(&mut self, payload: u16) {
        self.payload_since_refund += u64::from(payload);
        if self.payload_since_refund >= 4096 {
            self.useless.give(u32::try_from(self.payload_since_refund / 4096).unwrap_or(u32::MAX));
            self.payload_since_refund %= 4096;
        }
    }
}

/// The DATA frame whose payload is coming.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DataInProgress {
    /// Its stream; `None` if the payload is to be dropped.
    place: Option<usize>,
    fin: bool,
}

/// Whether a payload of less than a frame may be a slice of the buffer it came in: its reader waits for just that, and it is
/// long enough to be worth it. Where nobody waits the slice would stay, and keep a far larger buffer alive: that is how a
/// peer makes little data cost much memory. A reader waits for one such payload at a time, so a stream holds one at most.
fn is_taken_at_once(slot: &Slot, length: usize) -> bool {
    const ALWAYS_COPIED: usize = 1024;
    length > ALWAYS_COPIED
        && slot.recv.waiting
        && slot.recv.queue.is_empty()
        && slot.recv.part_ends_at.is_none()
}

/// How much the slices of all streams may cost that are unread.
///
/// A whole frame may keep a buffer of 16 times its length alive, and part of a frame as much as a whole one; so what is
/// pinned is bound by 32 MiB whatever a peer puts between the frames.
const MOST_SLICED: usize = 2 * 1024 * 1024;
/// What a slice of less than a frame costs: it may keep as large a buffer alive as a whole one.
pub(super) const PART_COST: usize = 16_376;
