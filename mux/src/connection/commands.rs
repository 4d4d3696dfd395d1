//! What the application asks for.

use super::slot::{RecvState, SendState, Slot};
use super::{Connection, Phase, Priority, StreamKey, to_usize};
use crate::{DatagramError, OpenError, Origin, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{MAX_DATA_BYTES, MAX_HEAD_BYTES};
use bytes::Bytes;
use std::time::Instant;

impl Connection {
    /// Opens a stream; `None` until the peer grants more streams ([`Event::Openable`](super::Event::Openable)).
    ///
    /// The OPEN goes out with the next [`poll_transmit`](Self::poll_transmit); data may follow in the same batch.
    ///
    /// # Errors
    /// [`OpenError`] if no stream can be opened any more, or the head is over 4,096 octets. Nothing was sent.
    pub fn open(&mut self, head: Bytes) -> Result<Option<StreamKey>, OpenError> {
        if let Phase::Ended { end, .. } = &self.phase {
            return Err(OpenError::Session(end.clone()));
        }
        if self.is_draining() {
            return Err(OpenError::Draining);
        }
        if head.len() > usize::from(MAX_HEAD_BYTES) {
            return Err(OpenError::HeadTooLarge { length: head.len() });
        }
        let Some(peer) = &self.peer else { return Ok(None) };
        if self.local_opened >= self.local_limit {
            return Ok(None);
        }
        let send_limit = u64::from(peer.stream_window);
        self.local_opened += 1;
        self.local_live += 1;
        let (window, reserved) = self.reserve_start_window(crate::Config::FLOOR_BYTES);
        let mut slot = Slot::new(0, 0, true, send_limit, window, reserved);
        slot.head = head;
        slot.in_opening = true;
        let key = self.insert(slot);
        self.opening.push_back(to_usize(key.place));
        self.want_first_rtt();
        if self.local_opened >= u64::from(self.config.max_lifetime_opens) {
            // Ids are never used twice: the session makes room for a new one long before they run out.
            self.drain(self.now, CloseCode::DRAINING, Bytes::from_static(b"stream ids are used up"));
        }
        self.stats.streams_opened += 1;
        self.watch.stream_opened(Origin::Local);
        Ok(Some(key))
    }

    /// Whether [`open`](Self::open) would open a stream now.
    pub fn can_open(&self) -> bool {
        self.phase == Phase::Open && !self.is_draining() && self.local_opened < self.local_limit
    }

    /// The next stream that the peer opened and nobody has taken up, oldest first.
    pub fn next_incoming(&mut self) -> Option<StreamKey> {
        let place = self.incoming.pop_front()?;
        let slot = self.slots.get(place)?;
        Some(super::key(place, slot))
    }

    /// The head of a stream that the peer opened; empty once taken, and for unknown streams.
    pub fn take_head(&mut self, key: StreamKey) -> Bytes {
        self.slot_mut(key).map(|slot| std::mem::take(&mut slot.head)).unwrap_or_default()
    }

    /// Takes a stream of the peer up, which gives it the full start window.
    pub fn accept(&mut self, key: StreamKey) {
        let wanted = self.config.start_window.saturating_sub(self.config.hello_window);
        let Some(slot) = self.slot_mut(key) else { return };
        if std::mem::replace(&mut slot.accepted, true) || slot.recv.state != RecvState::Open {
            return;
        }
        let taken = self.reserve(wanted);
        let Some(slot) = self.slot_mut(key) else { return };
        slot.recv.window += taken;
        slot.recv.reserved += taken;
        self.want_first_rtt();
        // Short exchanges fit in what the HELLO promised, and need no CREDIT frame: the larger window is told with
        // the first octets that are read.
    }

    /// Turns a stream of the peer down: both halves end with `code`.
    pub fn refuse(&mut self, key: StreamKey, code: CloseCode) {
        self.stats.streams_refused += 1;
        self.watch.stream_refused(Origin::Local, self.stream_id(key), code);
        self.reset(key, code);
        self.stop(key, code);
        self.release_send(key);
        self.release_recv(key);
    }

    /// The id on the wire: 0 until the OPEN is emitted.
    pub fn stream_id(&self, key: StreamKey) -> u32 {
        self.slot(key).map_or(0, |slot| slot.id)
    }

    /// Queues a copy of as much of `octets` as the send buffer has room for; says how much that was.
    ///
    /// 0 means that there is no room: [`Event::Writable`](super::Event::Writable) says when to call again, which is
    /// once half of the buffer is free.
    ///
    /// # Errors
    /// [`StreamError`] if the sending half has ended, on either side, or the session has.
    pub fn write(&mut self, key: StreamKey, octets: &[u8]) -> Result<usize, StreamError> {
        self.check_open()?;
        let most = self.most_queued();
        let place = to_usize(key.place);
        let slot = self.slots.get_mut(place).filter(|slot| slot.stamp == key.stamp);
        let Some(slot) = slot else { return Err(StreamError::Ended) };
        let taken = slot.room(most)?.min(octets.len());
        slot.send.queue.push_copy(octets.get(..taken).unwrap_or_default(), &mut self.send_pool);
        if !slot.in_ready {
            self.schedule(place);
        }
        Ok(taken)
    }

    /// Queues a chunk without copying it, however long it is, if the send buffer has any room; says whether it did.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_chunk(&mut self, key: StreamKey, chunk: Bytes) -> Result<bool, StreamError> {
        if self.room(key)? == 0 {
            return Ok(false);
        }
        let place = to_usize(key.place);
        if let Some(slot) = self.slots.get_mut(place) {
            slot.send.queue.push(chunk, &mut self.send_pool);
            self.schedule(place);
        }
        Ok(true)
    }

    /// How many octets [`write`](Self::write) would take. 0 arms [`Event::Writable`](super::Event::Writable), which comes
    /// once half of the buffer is free: a writer that is woken for every few octets writes frames of a few octets.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn room(&mut self, key: StreamKey) -> Result<usize, StreamError> {
        let most = self.most_queued();
        self.check_open()?;
        let Some(slot) = self.slot_mut(key) else { return Err(StreamError::Ended) };
        slot.room(most)
    }

    /// How many octets a stream may have queued: its send buffer, but no more than half of what all streams together have
    /// left, and always a little. What waits in many queues is out of the cache by the time that it is sent.
    pub(super) fn most_queued(&self) -> usize {
        const TOGETHER: usize = 1024 * 1024;
        // Whole frames, and so many that a writer has time to come back before its stream misses a turn.
        const LEAST: usize = 4 * 16_376;
        let left = TOGETHER.saturating_sub(self.send_pool.held());
        self.config.send_buffer.min(LEAST.max(left / 2))
    }

    /// How many octets the peer allows on a stream beyond those that were emitted; 0 for unknown streams.
    pub fn credit(&self, key: StreamKey) -> u64 {
        self.slot(key).map_or(0, |slot| super::to_u64(slot.send.credit()))
    }

    /// Octets queued on a stream and not yet emitted.
    pub fn unsent(&self, key: StreamKey) -> usize {
        self.slot(key).map_or(0, |slot| slot.send.queue.len())
    }

    /// Ends the sending half: FIN goes out behind what is queued. Does nothing if it has ended.
    ///
    /// # Errors
    /// [`StreamError`] if the peer stopped the stream or the session ended: the peer may not have read it all.
    pub fn finish_stream(&mut self, key: StreamKey) -> Result<(), StreamError> {
        self.check_open()?;
        let Some(slot) = self.slot_mut(key) else { return Err(StreamError::Ended) };
        match (slot.write_refusal(), &slot.send.state) {
            (None, _) => slot.send.state = SendState::Finishing,
            (Some(StreamError::Ended), SendState::Finishing | SendState::Finished) => return Ok(()),
            (Some(error), _) => return Err(error),
        }
        self.wake_writer(to_usize(key.place));
        self.schedule(to_usize(key.place));
        Ok(())
    }

    /// Gives up the sending half: what is queued is dropped and RESET goes out, unless FIN already did.
    pub fn reset(&mut self, key: StreamKey, code: CloseCode) {
        if self.slot(key).is_some() {
            self.reset_place(to_usize(key.place), code);
        }
    }

    pub(super) fn reset_place(&mut self, place: usize, code: CloseCode) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if matches!(slot.send.state, SendState::Finished | SendState::Resetting(_)) {
            return;
        }
        slot.send.state = SendState::Resetting(code);
        slot.send.queue.clear(&mut self.send_pool);
        slot.reset_due = true;
        self.wake_writer(place);
        self.mark_control(place);
    }

    /// Gives up the receiving half: what is queued is dropped and STOP goes out, unless all had come.
    pub fn stop(&mut self, key: StreamKey, code: CloseCode) {
        if self.slot(key).is_some() {
            self.stop_place(to_usize(key.place), code);
        }
    }

    pub(super) fn stop_place(&mut self, place: usize, code: CloseCode) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.recv.stopped.is_some() {
            return;
        }
        slot.recv.stopped = Some(code);
        let dropped = slot.recv.queue.clear(&mut self.recv_pool);
        if slot.recv.state == RecvState::Open {
            slot.stop_due = true;
            self.mark_control(place);
        }
        self.consumed(place, dropped);
        self.wake_reader(place);
    }

    /// Copies what has come into `out`; says how much that was.
    ///
    /// `Ok(None)` means that nothing has come yet: [`Event::Readable`](super::Event::Readable) says when to call
    /// again. `Ok(Some(0))` is the end, unless `out` is empty.
    ///
    /// # Errors
    /// [`StreamError`] if the peer reset the stream or the session ended, once all that came before is read.
    pub fn read(&mut self, key: StreamKey, out: &mut [u8]) -> Result<Option<usize>, StreamError> {
        let place = to_usize(key.place);
        if self.slot(key).is_none() {
            return Err(StreamError::Ended);
        }
        let Some(slot) = self.slots.get_mut(place) else { return Err(StreamError::Ended) };
        let taken = slot.recv.queue.read(out, &mut self.recv_pool);
        if taken > 0 || out.is_empty() {
            self.consumed(place, taken);
            return Ok(Some(taken));
        }
        Ok(if self.read_end(place)? { Some(0) } else { None })
    }

    /// Takes the first chunk of what has come, at most `most` octets, without copying.
    ///
    /// `Ok(None)` means that nothing has come yet, `Ok(Some(chunk))` with an empty chunk is the end.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_chunk(&mut self, key: StreamKey, most: usize) -> Result<Option<Bytes>, StreamError> {
        let place = to_usize(key.place);
        if self.slot(key).is_none() {
            return Err(StreamError::Ended);
        }
        let Some(slot) = self.slots.get_mut(place) else { return Err(StreamError::Ended) };
        if let Some(chunk) = slot.recv.queue.pop(most.max(1), &mut self.recv_pool) {
            self.consumed(place, chunk.len());
            return Ok(Some(chunk));
        }
        Ok(self.read_end(place)?.then(Bytes::new))
    }

    /// Whether reading has come to its end; arms the event if not.
    fn read_end(&mut self, place: usize) -> Result<bool, StreamError> {
        let Some(slot) = self.slots.get_mut(place) else { return Err(StreamError::Ended) };
        match slot.read_end() {
            Some(end) => end.map(|()| true),
            None => {
                slot.recv.waiting = true;
                self.check_open().map(|()| false)
            }
        }
    }

    /// Says that no handle writes the stream any more. If it is not finished it is reset with CANCELLED.
    pub fn release_send(&mut self, key: StreamKey) {
        let Some(slot) = self.slot_mut(key) else { return };
        slot.send.released = true;
        slot.send.waiting = false;
        if slot.send.state == SendState::Open {
            self.reset(key, CloseCode::CANCELLED);
        }
        self.free_if_over(to_usize(key.place));
    }

    /// Says that no handle reads the stream any more. If its end has not come it is stopped with CANCELLED.
    pub fn release_recv(&mut self, key: StreamKey) {
        let Some(slot) = self.slot_mut(key) else { return };
        slot.recv.released = true;
        slot.recv.waiting = false;
        self.stop(key, CloseCode::CANCELLED);
        self.free_if_over(to_usize(key.place));
    }

    /// Lets the stream send `frames` frames in each of its turns, 1 (the default) to 16: so many times the share of
    /// equally urgent streams.
    pub fn set_weight(&mut self, key: StreamKey, frames: u8) {
        if let Some(slot) = self.slot_mut(key) {
            slot.share.weight = frames.clamp(1, 16);
        }
    }

    /// Says how urgent what the stream sends is, beside other streams; the default is [`Priority::Normal`].
    ///
    /// It is this side's choice alone: the peer is not told, and sends as it sees fit.
    pub fn set_priority(&mut self, key: StreamKey, priority: Priority) {
        if let Some(slot) = self.slot_mut(key) {
            slot.share.priority = priority;
        }
    }

    /// Queues a datagram for a flow (not 0). If the queue is full its oldest go.
    ///
    /// # Errors
    /// [`DatagramError`]; nothing was queued.
    pub fn send_datagram(&mut self, now: Instant, flow: u32, payload: Bytes) -> Result<(), DatagramError> {
        self.now = self.now.max(now);
        let limit = self.max_datagram();
        if self.phase != Phase::Open {
            return Err(DatagramError::NotOpen);
        }
        if flow == 0 {
            return Err(DatagramError::NoFlow);
        }
        if payload.len() > limit || limit == 0 {
            return Err(DatagramError::TooLarge { length: payload.len(), limit });
        }
        self.datagrams_out.push(self.now, flow, payload);
        Ok(())
    }

    /// The oldest datagram that came, with its flow.
    pub fn receive_datagram(&mut self) -> Option<(u32, Bytes)> {
        self.datagrams_in.pop()
    }

    /// The longest datagram that the peer takes, in octets; 0 for none, or as long as its HELLO has not come.
    pub fn max_datagram(&self) -> usize {
        self.peer.as_ref().map_or(0, |peer| self.config.datagram_limit(peer))
    }

    /// Asks for a sign of life; [`Event::Pong`](super::Event::Pong) with this sequence, or a later one, is the
    /// answer. A PING that is already under way is let finish first.
    pub fn ping(&mut self) -> u64 {
        self.ping_due = true;
        self.ping_sequence.saturating_add(1)
    }

    /// How many of `wanted` octets may be sent on a stream at once, past the queues: none unless its own queue is
    /// empty, nothing else is due on the connection, and the credit is worth a frame.
    #[cfg(feature = "tokio")]
    pub(crate) fn direct_room(&self, key: StreamKey, wanted: usize) -> usize {
        let Some(slot) = self.slot(key) else { return 0 };
        let is_free = self.phase == Phase::Open
            && slot.id != 0
            && slot.send.state == SendState::Open
            && slot.send.queue.is_empty()
            && !self.has_output();
        let credit = slot.send.credit().min(wanted);
        if is_free && credit >= wanted.min(usize::from(MAX_DATA_BYTES)) { credit } else { 0 }
    }

    /// How many octets came on a stream that the application has not taken.
    #[cfg(feature = "tokio")]
    pub(crate) fn unread(&self, key: StreamKey) -> usize {
        self.slot(key).map_or(0, |slot| slot.recv.queue.len())
    }

    /// Whether frames about streams are due, such as the CREDIT that reading makes due.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Asks for [`Event::Writable`](super::Event::Writable) when credit comes.
    #[cfg(feature = "tokio")]
    pub(crate) fn await_credit(&mut self, key: StreamKey) {
        if let Some(slot) = self.slot_mut(key) {
            slot.send.waiting = true;
        }
    }

    /// Charges a stream for `bytes` octets that go past the queues, as [`direct_room`](Self::direct_room) allowed.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_direct(&mut self, key: StreamKey, bytes: usize) {
        let bytes = super::to_u64(bytes);
        if let Some(slot) = self.slot_mut(key) {
            slot.send.sent += bytes;
        }
        self.stats.payload_sent += bytes;
        if bytes > 0 {
            self.watch.payload_sent(self.stream_id(key), bytes);
        }
    }

    /// Takes back what did not go out of the last [`take_direct`](Self::take_direct).
    #[cfg(feature = "tokio")]
    pub(crate) fn give_back_direct(&mut self, key: StreamKey, bytes: usize) {
        let bytes = super::to_u64(bytes);
        if let Some(slot) = self.slot_mut(key) {
            slot.send.sent -= bytes;
        }
        self.stats.payload_sent -= bytes;
    }

    fn check_open(&self) -> Result<(), StreamError> {
        match &self.phase {
            Phase::Ended { end, .. } => Err(StreamError::Session(end.clone())),
            Phase::AwaitingHello | Phase::Open => Ok(()),
        }
    }
}
