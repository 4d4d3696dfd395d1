//! What goes out, in which order.

use super::slot::SendState;
use super::{Batch, Connection, Phase, to_u64};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Feature, Frame, FrameHeader, FrameKind, Hello, MAX_DATA_BYTES};
use std::time::Instant;

/// How many frames may honestly cross the end of one stream: a STOP, a RESET and a CREDIT.
pub(super) const LATE_FRAMES: u32 = 3;

impl Connection {
    /// Adds what is due to `batch`, up to what one write call should carry; says whether it added anything.
    ///
    /// The order is: what concerns the session, OPENs, what else concerns streams, datagrams, data. Streams take
    /// turns of one frame; one that was idle comes before those that had their turn, so that a keystroke never waits
    /// behind a download.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch) -> bool {
        self.now = self.now.max(now);
        let before = batch.len();
        if std::mem::take(&mut self.hello_due) {
            batch.frame(&Frame::Hello(self.hello()));
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
                    batch.frame(&Frame::Close { code, reason });
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
                !self.ready_new.is_empty()
                    || !self.ready_old.is_empty()
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
        let mut hello = Hello::new();
        hello.max_streams = self.config.max_peer_streams;
        hello.stream_window = self.config.hello_window;
        hello.max_datagram = self.config.max_datagram;
        if self.config.max_datagram > 0 {
            hello.features = vec![Feature::DATAGRAM];
        }
        hello
    }

    fn emit_session(&mut self, batch: &mut Batch) {
        if let Some(sequence) = self.pong_due.take() {
            batch.frame(&Frame::Ping { sequence, ack: true });
        }
        if self.ping_due && self.ping_sent.is_none() {
            self.ping_due = false;
            self.ping_sequence += 1;
            self.ping_sent = Some(self.now);
            batch.frame(&Frame::Ping { sequence: self.ping_sequence, ack: false });
        }
        if let Some(frame) = self.take_goaway() {
            batch.frame(&frame);
        }
        if self.is_streams_due() {
            self.remote_limit = self.remote_granted;
            batch.frame(&Frame::Streams { limit: self.remote_limit });
        }
        if std::mem::take(&mut self.grease_due) {
            batch.frame(&self.grease());
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
            batch.header(FrameHeader::new(FrameKind::OPEN, flags, length, slot.id));
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
                batch.header(FrameHeader::new(FrameKind::RESET, 0, 4, slot.id));
                batch.copy(&code.as_u32().to_be_bytes());
                self.stats.frames_sent += 1;
            }
            if std::mem::take(&mut slot.stop_due) {
                let code = slot.recv.stopped.unwrap_or(CloseCode::CANCELLED);
                batch.header(FrameHeader::new(FrameKind::STOP, 0, 4, slot.id));
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
        let Some(slot) = self.slots.get_mut(place) else { return };
        let limit = slot.recv.consumed.saturating_add(u64::from(slot.recv.window));
        if limit <= slot.recv.limit || slot.recv.stopped.is_some() {
            return;
        }
        slot.recv.limit = limit;
        batch.header(FrameHeader::new(FrameKind::CREDIT, 0, 8, slot.id));
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
            batch.header(FrameHeader::new(FrameKind::DATAGRAM, 0, length, flow));
            batch.push(payload);
            self.stats.datagrams_sent += 1;
        }
    }

    fn emit_data(&mut self, batch: &mut Batch) {
        while !batch.is_full() && self.opening.is_empty() {
            let Some(place) = self.ready_new.pop_front().or_else(|| self.ready_old.pop_front()) else {
                return;
            };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            slot.in_ready = false;
            for _ in 0..slot.weight {
                if slot.is_sendable() {
                    let queued = slot.send.queue.len();
                    let length = queued.min(slot.send.credit()).min(batch.frame_most());
                    let fin = slot.send.state == SendState::Finishing && length == queued;
                    // Invariant: at most MAX_DATA_BYTES.
                    let wire_length = u16::try_from(length).unwrap_or(MAX_DATA_BYTES);
                    let flags = if fin { FrameHeader::FIN } else { 0 };
                    batch.header(FrameHeader::new(FrameKind::DATA, flags, wire_length, slot.id));
                    slot.send.queue.send(length, batch, &mut self.send_pool);
                    slot.send.sent += to_u64(length);
                    slot.send.forced = false;
                    if fin {
                        slot.send.state = SendState::Finished;
                    }
                    self.stats.frames_sent += 1;
                    self.stats.payload_sent += to_u64(length);
                }
            }
            let has_more = slot.is_sendable();
            let has_room = slot.send.queue.len() <= self.config.send_buffer / 2;
            if has_more {
                slot.in_ready = true;
                self.ready_old.push_back(place);
            } else {
                self.schedule(place);
            }
            if has_room {
                self.wake_writer(place);
            }
            self.free_if_over(place);
        }
    }
}
