//! What goes out, in which order.

use super::slot::SendState;
use super::{Batch, Connection, Phase, to_u64};
use crate::Origin;
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameHeader, FrameKind, HEADER_BYTES, Hello, MAX_DATA_BYTES};
use std::time::Instant;

/// How many frames may honestly cross the end of one stream: a STOP, a RESET and a CREDIT.
pub(super) const LATE_FRAMES: u32 = 3;

impl Connection {
    /// Adds what is due to `batch`, up to what one write call should carry; says whether it added anything.
    ///
    /// The order is: what concerns the session, OPENs, what else concerns streams, datagrams, data. Data of more
    /// urgent streams goes first ([`set_priority`](Self::set_priority)). Equally urgent ones have one frame each in
    /// every round; whoever was idle has it ahead of those that wait, so that a keystroke never waits behind a
    /// download. No stream is shut out by others, whatever they do.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch) -> bool {
        self.now = self.now.max(now);
        let before = batch.len();
        if std::mem::take(&mut self.hello_due) {
            let hello = Frame::Hello(self.hello());
            self.emit(&hello, batch);
        }
        match &mut self.phase {
            Phase::AwaitingHello => {}
            Phase::Open => {
                self.emit_session(batch);
                self.emit_opens(batch);
                self.emit_control(batch);
                self.emit_datagrams(batch);
                self.emit_data(batch);
            }
            Phase::Ended { close, .. } => {
                if let Some((code, reason)) = close.take() {
                    let close = Frame::Close { code, reason };
                    self.emit(&close, batch);
                }
            }
        }
        batch.len() > before
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would add anything.
    pub fn has_output(&self) -> bool {
        let is_due = match &self.phase {
            Phase::AwaitingHello => false,
            Phase::Ended { close, .. } => close.is_some(),
            Phase::Open => {
                !self.ready.is_empty()
                    || !self.control.is_empty()
                    || !self.opening.is_empty()
                    || !self.datagrams_out.is_empty()
                    || self.pong_due.is_some()
                    || (self.ping_due && self.ping_sent.is_none())
                    || self.grease_due
                    || self.goaway_due()
                    || self.is_streams_due()
            }
        };
        is_due || self.hello_due
    }

    fn hello(&self) -> Hello {
        let mut hello = self.config.hello();
        hello.stream_window = self.config.hello_window;
        hello
    }

    fn emit_session(&mut self, batch: &mut Batch) {
        if let Some(sequence) = self.pong_due.take() {
            self.emit(&Frame::Ping { sequence, ack: true }, batch);
        }
        if self.ping_due && self.ping_sent.is_none() {
            self.ping_due = false;
            self.ping_sequence += 1;
            self.ping_sent = Some(self.now);
            self.stats.pings_sent += 1;
            self.emit(&Frame::Ping { sequence: self.ping_sequence, ack: false }, batch);
        }
        if let Some(frame) = self.take_goaway() {
            self.emit(&frame, batch);
        }
        if self.is_streams_due() {
            self.remote_limit = self.remote_granted;
            self.emit(&Frame::Streams { limit: self.remote_limit }, batch);
        }
        if std::mem::take(&mut self.grease_due) {
            let grease = self.grease();
            self.emit(&grease, batch);
        }
    }

    /// Adds a whole frame.
    fn emit(&self, frame: &Frame, batch: &mut Batch) {
        if let Some(header) = batch.frame(frame) {
            self.watch.frame_sent(header);
        }
    }

    /// A frame of a reserved kind: whoever stops skipping what it doesn't know notices early.
    fn grease(&mut self) -> Frame {
        self.grease_sent = self.grease_sent.wrapping_add(1);
        let turn = u8::try_from(self.grease_sent % 8).unwrap_or_default();
        let length = u16::try_from(self.grease_sent % 16).unwrap_or_default();
        Frame::Skipped { kind: FrameKind::from_u8(0x8f | (turn << 4)), length }
    }

    fn emit_opens(&mut self, batch: &mut Batch) {
        while !batch.has_no_room() {
            let Some(place) = self.opening.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.in_opening = false;
            if slot.send.state == SendState::Finished {
                // Refused by a GOAWAY before it went out.
                self.free_if_over(place);
                continue;
            }
            slot.id = self.next_local_id;
            // Invariant: `max_lifetime_opens` ends the session's opens long before ids run out.
            self.next_local_id = self.next_local_id.saturating_add(2);
            let fin = slot.send.state == SendState::Finishing && slot.send.queue.is_empty();
            if fin {
                slot.send.state = SendState::Finished;
            }
            let head = std::mem::take(&mut slot.head);
            let length = u16::try_from(head.len() + 4).unwrap_or(u16::MAX);
            let flags = if fin { FrameHeader::FIN } else { 0 };
            let header = FrameHeader::new(FrameKind::OPEN, flags, length, slot.id);
            self.watch.frame_sent(header);
            batch.header(header);
            batch.copy(&slot.recv.window.to_be_bytes());
            batch.push(head);
            self.ids.insert(slot.id, place);
            self.useless.give(LATE_FRAMES);
            self.stats.frames_sent += 1;
            self.free_if_over(place);
        }
    }

    fn emit_control(&mut self, batch: &mut Batch) {
        while !batch.has_no_room() && self.opening.is_empty() {
            let Some(place) = self.control.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.in_control = false;
            if std::mem::take(&mut slot.reset_due) {
                let code = match slot.send.state {
                    SendState::Resetting(code) => code,
                    SendState::Open | SendState::Finishing | SendState::Finished => CloseCode::CANCELLED,
                };
                slot.send.state = SendState::Finished;
                let header = FrameHeader::new(FrameKind::RESET, 0, 4, slot.id);
                self.watch.frame_sent(header);
                self.watch.reset(Origin::Local, slot.id, code);
                self.stats.resets_sent += 1;
                batch.header(header);
                batch.copy(&code.as_u32().to_be_bytes());
                self.stats.frames_sent += 1;
            }
            if std::mem::take(&mut slot.stop_due) {
                let code = slot.recv.stopped.unwrap_or(CloseCode::CANCELLED);
                let header = FrameHeader::new(FrameKind::STOP, 0, 4, slot.id);
                self.watch.frame_sent(header);
                self.watch.stopped(Origin::Local, slot.id, code);
                self.stats.stops_sent += 1;
                batch.header(header);
                batch.copy(&code.as_u32().to_be_bytes());
                self.stats.frames_sent += 1;
            }
            if std::mem::take(&mut slot.credit_due) {
                self.emit_credit(place, batch);
            }
            self.free_if_over(place);
        }
        self.finish_drain_if_idle();
    }

    fn emit_credit(&mut self, place: usize, batch: &mut Batch) {
        self.tune(place);
        let Some(slot) = self.slots.get(place) else { return };
        let (consumed, window) = (slot.recv.consumed, slot.recv.window);
        let limit = consumed.saturating_add(u64::from(self.usable_window(window)));
        let Some(slot) = self.slots.get_mut(place) else { return };
        if limit <= slot.recv.limit || slot.recv.stopped.is_some() {
            return;
        }
        slot.recv.limit = limit;
        let header = FrameHeader::new(FrameKind::CREDIT, 0, 8, slot.id);
        self.watch.frame_sent(header);
        batch.header(header);
        batch.copy(&limit.to_be_bytes());
        self.stats.frames_sent += 1;
    }

    /// Datagrams have at most half of a batch, so that streams keep their share.
    fn emit_datagrams(&mut self, batch: &mut Batch) {
        while !batch.is_half_full() {
            let Some((flow, payload)) = self.datagrams_out.pop_fresh(self.now, self.config.datagram_age)
            else {
                return;
            };
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            let header = FrameHeader::new(FrameKind::DATAGRAM, 0, length, flow);
            self.watch.frame_sent(header);
            batch.header(header);
            batch.push(payload);
            self.stats.datagrams_sent += 1;
        }
    }

    fn emit_data(&mut self, batch: &mut Batch) {
        while !batch.is_full() && self.opening.is_empty() {
            let Some(place) = self.ready.next() else { return };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.in_ready = false;
            let mut bytes = 0;
            for _ in 0..slot.share.weight {
                if slot.is_sendable() {
                    let queued = slot.send.queue.len();
                    let length = queued.min(slot.send.credit()).min(batch.frame_most());
                    let fin = slot.send.state == SendState::Finishing && length == queued;
                    // Invariant: at most MAX_DATA_BYTES.
                    let wire_length = u16::try_from(length).unwrap_or(MAX_DATA_BYTES);
                    let flags = if fin { FrameHeader::FIN } else { 0 };
                    let header = FrameHeader::new(FrameKind::DATA, flags, wire_length, slot.id);
                    self.watch.frame_sent(header);
                    batch.header(header);
                    slot.send.queue.send(length, batch, &mut self.send_pool);
                    slot.send.sent += to_u64(length);
                    slot.send.forced = false;
                    if fin {
                        slot.send.state = SendState::Finished;
                    }
                    bytes += HEADER_BYTES + length;
                    self.stats.frames_sent += 1;
                    self.stats.payload_sent += to_u64(length);
                }
            }
            self.ready.took(&mut slot.share, bytes);
            let has_more = slot.is_sendable();
            if has_more {
                slot.in_ready = true;
                self.ready.add(place, &mut slot.share);
            } else {
                self.schedule(place);
            }
            self.wake_writer_if_half_empty(place);
            self.free_if_over(place);
        }
    }

    fn wake_writer_if_half_empty(&mut self, place: usize) {
        let most = self.most_queued();
        if self.slots.get(place).is_some_and(|slot| slot.send.queue.len() <= most / 2) {
            self.wake_writer(place);
        }
    }
}
