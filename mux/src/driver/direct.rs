//! Writes past the queues: from the caller's buffer straight to the connection.

use super::output::Output;
use super::shared::{SEND_ROUNDS, Shared, now};
use crate::connection::StreamKey;
use adit_wire_proto::frame::{FrameHeader, FrameKind, HEADER_BYTES, MAX_DATA_BYTES};
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What came of an attempt to write past the queues.
pub(super) enum Direct {
    /// So many octets were taken.
    Taken(usize),
    /// Nothing can be taken now; the task will be woken.
    Parked,
    /// Use the queue.
    Queue,
}

impl Shared {
    /// Writes `octets` of a stream straight from the caller's buffer, behind whatever is due.
    pub(super) fn send_direct(&self, key: StreamKey, octets: &[u8], task: &Context<'_>) -> Direct {
        let Some(mut output) = self.try_output() else { return Direct::Queue };
        if output.is_blocked {
            return self.park(key, task);
        }
        match self.try_direct(&mut output, key, octets) {
            Ok(Some(0)) => self.park(key, task),
            Ok(Some(taken)) => Direct::Taken(taken),
            Ok(None) => Direct::Queue,
            Err(error) => {
                self.end(error.into());
                Direct::Queue
            }
        }
    }

    /// Registers a writer whose queue is empty for the moment when the connection takes more.
    fn park(&self, key: StreamKey, task: &Context<'_>) -> Direct {
        let mut state = self.state();
        match state.core.room(key) {
            Ok(_) if state.core.unsent(key) == 0 => {}
            Ok(_) | Err(_) => return Direct::Queue,
        }
        state.core.await_credit(key);
        state.await_writing(key, task.waker());
        state.block_writer(key);
        Direct::Parked
    }

    /// `None` if the queue must be used, 0 if the connection is full.
    fn try_direct(&self, output: &mut Output, key: StreamKey, octets: &[u8]) -> io::Result<Option<usize>> {
        let now = now();
        let Some((room, id)) = self.take_direct_room(output, now, key, octets.len()) else {
            // What was batched for others has to go out all the same: nobody else knows of it.
            if !output.batch.is_empty() && self.send(output, SEND_ROUNDS)? {
                self.nudge();
            }
            return Ok(None);
        };
        let octets = octets.get(..room).unwrap_or_default();
        let frame_bytes = output.batch.frame_most();
        let mut headers = [[0; HEADER_BYTES]; DIRECT_FRAMES];
        for (header, frame) in headers.iter_mut().zip(octets.chunks(frame_bytes)) {
            let length = u16::try_from(frame.len()).unwrap_or(MAX_DATA_BYTES);
            *header = FrameHeader::new(FrameKind::DATA, 0, length, id).encode();
        }
        let frames = Frames { headers: &headers, payload: octets, frame_bytes };
        let queued = output.batch.len();
        let written = match output.write_with(Some(&frames), &self.is_unfinished)? {
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        let (taken, rest_from) = started(room, written.saturating_sub(queued), frame_bytes);
        if let Some((frame, from)) = rest_from {
            output.rest_of(&frames, frame, from);
        }
        output.write_rest(&self.is_unfinished)?;
        if taken < room {
            self.state().core.give_back_direct(key, room - taken);
        }
        if output.is_blocked {
            output.report(now, &mut self.state());
        } else {
            output.poll_flush(&self.is_unfinished)?;
        }
        self.is_unfinished.store(output.needs_driver(), Ordering::Release);
        Ok(Some(taken))
    }

    /// Batches what is due and charges a stream for as much of `wanted` octets as may follow that, if any.
    fn take_direct_room(
        &self,
        output: &mut Output,
        now: Instant,
        key: StreamKey,
        wanted: usize,
    ) -> Option<(usize, u32)> {
        let mut state = self.state();
        output.report(now, &mut state);
        if state.core.has_output() {
            state.core.poll_transmit(now, &mut output.batch);
            state.take_wakes_into(self, &mut output.wakes);
        }
        let room = state.core.direct_room(key, wanted.min(output.direct_most()));
        state.core.take_direct(key, room);
        let id = state.core.stream_id(key);
        drop(state);
        output.wakes.drain(..).for_each(Waker::wake);
        (room > 0).then_some((room, id))
    }
}

/// Frames around pieces of a caller's buffer.
pub(super) struct Frames<'caller> {
    pub(super) headers: &'caller [[u8; HEADER_BYTES]],
    pub(super) payload: &'caller [u8],
    pub(super) frame_bytes: usize,
}

impl Frames<'_> {
    /// Points `slices` at them; says how many it used, and how many octets they hold.
    pub(super) fn gather<'caller>(&'caller self, slices: &mut [IoSlice<'caller>]) -> (usize, usize) {
        let (mut used, mut bytes) = (0, 0);
        let frames = self.headers.iter().zip(self.payload.chunks(self.frame_bytes));
        for (pair, (header, frame)) in slices.chunks_exact_mut(2).zip(frames) {
            if let [first, second] = pair {
                *first = IoSlice::new(header);
                *second = IoSlice::new(frame);
                used += 2;
                bytes += header.len() + frame.len();
            }
        }
        (used, bytes)
    }
}

/// How many octets of the payload went out or were begun when `written` octets of frames were taken; and, if a frame
/// was begun and not ended, which one and where in it.
fn started(payload: usize, written: usize, frame_bytes: usize) -> (usize, Option<(usize, usize)>) {
    let whole_bytes = HEADER_BYTES + frame_bytes;
    let (whole, part) = (written / whole_bytes, written % whole_bytes);
    let taken = (whole * frame_bytes).min(payload);
    if part == 0 || taken == payload {
        return (taken, None);
    }
    let last = frame_bytes.min(payload - taken);
    let rest = (part < HEADER_BYTES + last).then_some((whole, part));
    (taken + last, rest)
}

/// How many frames of a caller's buffer one write call carries.
pub(super) const DIRECT_FRAMES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_begun_is_owed_to_its_end() {
        let (payload, frame) = (16_376, 16_384);
        assert_eq!(started(100, 0, payload), (0, None));
        assert_eq!(started(100, 3, payload), (100, Some((0, 3))));
        assert_eq!(started(100, 108, payload), (100, None));
        assert_eq!(started(20_000, frame, payload), (payload, None));
        assert_eq!(started(20_000, frame + 1, payload), (20_000, Some((1, 1))));
        assert_eq!(started(20_000, frame + 8 + 20_000 - payload, payload), (20_000, None));
        assert_eq!(started(2 * payload, 2 * frame, payload), (2 * payload, None));
    }
}
