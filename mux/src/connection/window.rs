//! Receive windows: reserved from pools, grown by what a link and its reader can use.

use super::{Connection, RecvState};
use crate::Config;
use std::time::Duration;

impl Connection {
    /// A window for a new stream, and how much of it is reserved: as much of the start window as the pools allow.
    pub(super) fn reserve_start_window(&mut self, floor: u32) -> (u32, u32) {
        let wanted = self.config.start_window.saturating_sub(floor);
        let reserved = self.reserve(wanted);
        (floor.saturating_add(reserved), reserved)
    }

    /// Reserves up to `wanted` octets in both pools.
    pub(super) fn reserve(&mut self, wanted: u32) -> u32 {
        let own = u64::from(wanted).min(self.pool_left / 2);
        let taken = match &self.config.process {
            Some(process) => process.take(own),
            None => own,
        };
        self.pool_left -= taken;
        // Invariant: at most `wanted`, which is a u32.
        u32::try_from(taken).unwrap_or(wanted)
    }

    /// Gives back what was reserved.
    pub(super) fn release_window(&mut self, reserved: u32) {
        self.pool_left += u64::from(reserved);
        if let Some(process) = &self.config.process {
            process.give(u64::from(reserved));
        }
    }

    /// Takes note that `bytes` octets of a stream left its queue, and whether the peer should get credit for them.
    pub(super) fn consumed(&mut self, place: usize, bytes: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let recv = &mut slot.recv;
        recv.consumed += super::to_u64(bytes);
        self.payload_taken += super::to_u64(bytes);
        let sliced = recv.sliced.min(recv.queue.len());
        self.sliced -= recv.sliced - sliced;
        recv.sliced = sliced;
        if recv.part_ends_at.is_some_and(|end| recv.consumed >= end) {
            recv.part_ends_at = None;
            self.sliced -= super::receive::PART_COST;
        }
        if recv.small_frames > 0 {
            let unread = small_frames_unread(recv.small_frames, recv.queue.len(), bytes);
            self.small_data.give(recv.small_frames - unread);
            recv.small_frames = unread;
        }
        if recv.state != RecvState::Open || recv.stopped.is_some() || slot.credit_due {
            return;
        }
        let (limit, consumed, window) = (recv.limit, recv.consumed, recv.window);
        let window = self.usable_window(window);
        let freed = u64::from(window).saturating_sub(limit.saturating_sub(consumed));
        if freed >= threshold(window)
            && let Some(slot) = self.slots.get_mut(place)
        {
            slot.credit_due = true;
            self.mark_control(place);
        }
    }

    /// How much of a window is granted. On a short path a queue is all that more than the first window makes: it spares
    /// work while one stream is alone, and everybody else waits behind it.
    pub(super) fn usable_window(&self, window: u32) -> u32 {
        const RECENT: Duration = Duration::from_millis(100);
        let is_recent = |at| self.now.saturating_duration_since(at) < RECENT;
        let is_shared = self.in_company.is_some_and(is_recent);
        if is_shared && self.is_path_short() { window.min(self.config.start_window) } else { window }
    }

    fn is_path_short(&self) -> bool {
        self.min_rtt.is_some_and(|rtt| rtt < SHORT_PATH)
    }

    /// Doubles the window if the sender ran into it, the reader kept up, and more would be faster.
    ///
    /// "Faster" is a delivered rate that rose by a tenth since the last doubling: a window that only fills a longer
    /// queue doesn't grow (bufferbloat). On a path within one machine or rack it grows once, for a stream that is alone.
    pub(super) fn tune(&mut self, place: usize) {
        let (now, most) = (self.now, self.config.max_window);
        let Some(slot) = self.slots.get_mut(place) else { return };
        let recv = &mut slot.recv;
        let Some((since, at)) = recv.epoch else {
            recv.epoch = Some((now, recv.consumed));
            self.want_rtt();
            return;
        };
        let delivered = recv.consumed - at;
        if delivered < u64::from(recv.window) {
            return;
        }
        recv.epoch = Some((now, recv.consumed));
        let elapsed = now.saturating_duration_since(since);
        let rate = rate(delivered, elapsed);
        let reader_keeps_up = super::to_u64(recv.queue.len()) <= u64::from(recv.window) / 4;
        let is_faster = rate > recv.grown_at + recv.grown_at / 10;
        let window = recv.window;
        let wanted = window.min(most.saturating_sub(window));
        let Some(min_rtt) = self.min_rtt else { return self.want_rtt() };
        let is_filled = if self.is_path_short() {
            window < self.config.start_window.saturating_mul(2)
        } else {
            elapsed <= min_rtt * 2
        };
        if !reader_keeps_up || !is_faster || wanted == 0 || !is_filled {
            return;
        }
        let taken = self.reserve(wanted);
        let Some(slot) = self.slots.get_mut(place) else { return };
        slot.recv.window += taken;
        slot.recv.reserved += taken;
        slot.recv.grown_at = rate;
        self.want_rtt();
    }

    /// Measures the round trip with the first stream, before there is a load. One that is measured behind a queue of our
    /// own is longer, and would let windows grow until they fill a longer queue.
    pub(super) fn want_first_rtt(&mut self) {
        if self.min_rtt.is_none() {
            self.want_rtt();
        }
    }

    /// Measures the round trip again if the last measurement is old.
    fn want_rtt(&mut self) {
        let is_recent = self
            .last_rtt_ping
            .is_some_and(|last| self.now.saturating_duration_since(last) < Duration::from_millis(100));
        if !is_recent && self.ping_sent.is_none() {
            self.last_rtt_ping = Some(self.now);
            self.ping_due = true;
        }
    }
}

/// A round trip that is shorter than this is for the most part the machines' scheduling, and says little of how much the
/// path holds. The window that streams start with moves 5 Gbit/s through the longest of such paths, and on shorter ones
/// more.
const SHORT_PATH: Duration = Duration::from_micros(400);

/// How much must have come free before the peer is told: a quarter, or an eighth of a large window, since a large one
/// loses more by waiting and gains little by fewer frames.
fn threshold(window: u32) -> u64 {
    let share = if window > 1024 * 1024 { 8 } else { 4 };
    u64::from(window / share).max(u64::from(Config::FLOOR_BYTES / 4))
}

/// How many of `frames` small frames are taken to be unread when `left` octets are, after `taken` were read: their share
/// of the octets, and no more than one for each. A reader that is always a little behind has read all but a few.
fn small_frames_unread(frames: u32, left: usize, taken: usize) -> u32 {
    let (left, taken) = (super::to_u64(left), super::to_u64(taken));
    let share = (u64::from(frames).saturating_mul(left)).div_ceil((left + taken).max(1));
    u32::try_from(share.min(left)).unwrap_or(frames)
}

fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}
