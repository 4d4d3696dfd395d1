//! What the driver and all handles of a session share.
//!
//! Two locks, always taken in this order: `output` (the writing half of the connection and what is on its way
//! there), then `state` (the core and everybody who waits). `state` is never held across a call into the operating
//! system. A task that has something to say takes `output` only if it is free: if it isn't, whoever holds it, or the
//! driver, sends it.

use crate::connection::{Batch, Connection, Event, StreamKey};
use crate::{SessionEnd, StreamError};
use adit_wire_proto::frame::{FrameHeader, FrameKind, HEADER_BYTES, MAX_DATA_BYTES};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

pub(super) struct Shared {
    output: Mutex<Output>,
    /// Whether `output` holds something that is not written, or not flushed.
    is_unfinished: AtomicBool,
    state: Mutex<State>,
    /// One opener at a time is told; each that succeeds tells the next.
    pub(super) openers: Notify,
    /// All who wait for a pong, or the end.
    pub(super) pongs: Notify,
    pub(super) ended: Notify,
    pub(super) datagrams: Notify,
}

/// The core, and everybody who waits for it.
pub(super) struct State {
    pub(super) core: Connection,
    /// By the place of the stream.
    wakers: Vec<StreamWakers>,
    pub(super) acceptor: Option<Waker>,
    driver: Option<Waker>,
    /// Whether the driver was woken and has not run yet.
    driver_awake: bool,
    /// Streams woken by the last reads whose tasks have not come back yet: what they are about to write belongs in
    /// the same batch.
    expected: usize,
    /// Counts the batches of wakes, so that old expectations are told from new ones. Starts at 1.
    wake_round: u32,
    /// Streams whose writers wait until the connection takes more; each at most once.
    blocked_writers: VecDeque<StreamKey>,
    pub(super) last_pong: Option<(u64, Duration)>,
    /// Whether the `Incoming` is gone.
    pub(super) refuses_incoming: bool,
    /// Whether every `Session` is gone.
    pub(super) orphaned: bool,
}

#[derive(Default)]
struct StreamWakers {
    read: Option<Waker>,
    write: Option<Waker>,
    /// In which round it was counted in `State::expected`.
    expected_in: u32,
    /// Whether it stands in `State::blocked_writers`.
    blocked: bool,
}

/// The writing half of the connection, and what is on its way there.
pub(super) struct Output {
    /// None once the driver is gone, so that handles that live on don't keep the connection open.
    io: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    batch: Batch,
    /// The driver's waker: whoever writes, the driver is told when the connection takes more.
    waker: Option<Waker>,
    /// Whether the connection takes nothing at the moment.
    is_blocked: bool,
    needs_flush: bool,
    wakes: Vec<Waker>,
}

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
    pub(super) fn new(core: Connection, io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self {
            output: Mutex::new(Output {
                io: Some(io),
                batch: Batch::new(),
                waker: None,
                is_blocked: false,
                needs_flush: false,
                wakes: Vec::new(),
            }),
            is_unfinished: AtomicBool::new(false),
            state: Mutex::new(State {
                core,
                wakers: Vec::new(),
                acceptor: None,
                driver: None,
                driver_awake: false,
                expected: 0,
                wake_round: 1,
                blocked_writers: VecDeque::new(),
                last_pong: None,
                refuses_incoming: false,
                orphaned: false,
            }),
            openers: Notify::new(),
            pongs: Notify::new(),
            ended: Notify::new(),
            datagrams: Notify::new(),
        }
    }

    /// A panic elsewhere poisons nothing: the core has no state that a panic of ours could leave half done and that
    /// a peer could use.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_output(&self) -> Option<MutexGuard<'_, Output>> {
        self.output.try_lock().ok().filter(|output| output.waker.is_some())
    }

    /// Changes the state and tells the driver if it has something to send now.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let wakes = state.take_wakes(self);
        let driver = state.driver_to_wake();
        drop(state);
        driver.into_iter().chain(wakes).for_each(Waker::wake);
        result
    }

    /// Sends what is due from the calling task, unless somebody else is about to.
    ///
    /// Tasks that were woken together write together: none of them sends before the last has spoken.
    pub(super) fn flush_if_alone(&self) {
        let Some(mut output) = self.try_output() else { return };
        if output.is_blocked {
            return;
        }
        let sent = self.send(&mut output, SEND_ROUNDS);
        drop(output);
        match sent {
            Ok(false) => {}
            Ok(true) => self.nudge(),
            Err(error) => self.end(error.into()),
        }
    }

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
        state.set_write_waker(key, task.waker());
        let wakers = state.wakers(key);
        if !std::mem::replace(&mut wakers.blocked, true) {
            state.blocked_writers.push_back(key);
        }
        Direct::Parked
    }

    /// `None` if the queue must be used, 0 if the connection is full.
    fn try_direct(&self, output: &mut Output, key: StreamKey, octets: &[u8]) -> io::Result<Option<usize>> {
        let now = now();
        let mut state = self.state();
        state.core.poll_transmit(now, &mut output.batch);
        state.take_wakes_into(self, &mut output.wakes);
        let (room, id) =
            (state.core.direct_room(key, octets.len().min(DIRECT_MOST)), state.core.stream_id(key));
        drop(state);
        output.wakes.drain(..).for_each(Waker::wake);
        let octets = octets.get(..room).unwrap_or_default();
        if octets.is_empty() {
            return Ok(None);
        }
        let mut headers = [[0; HEADER_BYTES]; DIRECT_FRAMES];
        for (header, frame) in headers.iter_mut().zip(octets.chunks(FRAME_BYTES)) {
            let length = u16::try_from(frame.len()).unwrap_or(MAX_DATA_BYTES);
            *header = FrameHeader::new(FrameKind::DATA, 0, length, id).encode();
        }
        let written = match output.write_with(&headers, octets)? {
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        let queued = output.batch.len();
        output.batch.advance(written);
        let (taken, rest_from) = started(octets.len(), written.saturating_sub(queued));
        if let Some((frame, from)) = rest_from {
            output.rest_of(&headers, octets, frame, from);
        }
        output.needs_flush = true;
        output.is_blocked = written == 0;
        output.write_rest()?;
        let mut state = self.state();
        state.core.sent_direct(key, taken);
        state.core.wrote(now, written, !output.batch.is_empty());
        drop(state);
        if !output.is_blocked {
            output.poll_flush()?;
        }
        self.is_unfinished.store(!output.is_done(), Ordering::Release);
        Ok(Some(taken))
    }

    /// Writes what is due until nothing is, the connection takes no more, or `rounds` batches are out.
    ///
    /// Says whether more is due that the connection might take.
    pub(super) fn send(&self, output: &mut Output, rounds: usize) -> io::Result<bool> {
        let result = self.send_batches(output, rounds);
        self.is_unfinished.store(!output.is_done(), Ordering::Release);
        result
    }

    fn send_batches(&self, output: &mut Output, rounds: usize) -> io::Result<bool> {
        let now = now();
        let mut written = None;
        for _ in 0..rounds {
            let mut state = self.state();
            if let Some(written) = written {
                state.core.wrote(now, written, !output.batch.is_empty());
            }
            if !output.batch.is_full() && state.core.has_output() {
                state.core.poll_transmit(now, &mut output.batch);
                state.take_wakes_into(self, &mut output.wakes);
            }
            if state.core.take_new_deadline() {
                // Whoever writes here, the timer is the driver's.
                output.wakes.extend(state.driver.clone());
            }
            drop(state);
            output.wakes.drain(..).for_each(Waker::wake);
            if output.batch.is_empty() {
                output.is_blocked = false;
                output.poll_flush()?;
                return Ok(false);
            }
            match output.write_with(&[], &[])? {
                Poll::Pending => {
                    output.is_blocked = true;
                    self.state().core.wrote(now, 0, true);
                    return Ok(false);
                }
                Poll::Ready(bytes) => {
                    written = Some(bytes);
                    output.batch.advance(bytes);
                    output.needs_flush = true;
                    output.is_blocked = false;
                }
            }
        }
        self.state().core.wrote(now, written.unwrap_or_default(), !output.batch.is_empty());
        Ok(true)
    }

    /// Whether something waits that only the driver sees to.
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_unfinished.load(Ordering::Acquire)
    }

    /// Wakes the driver.
    pub(super) fn nudge(&self) {
        let driver = self.state().driver.clone();
        driver.into_iter().for_each(Waker::wake);
    }

    /// Ends the session from this side of the connection, and wakes everybody.
    pub(super) fn end(&self, end: SessionEnd) {
        self.with(|state| state.core.receive_end(end));
    }
}

impl State {
    /// Notes that the task of a stream has come back.
    pub(super) fn came_back(&mut self, key: StreamKey) {
        let round = self.wake_round;
        let wakers = self.wakers(key);
        if std::mem::take(&mut wakers.expected_in) == round {
            self.expected = self.expected.saturating_sub(1);
        }
    }

    /// Whether tasks that were just woken are yet to say what they want to send.
    pub(super) const fn expects_more(&self) -> bool {
        self.expected > 0
    }

    /// Stops waiting for tasks that were woken: they had their turn.
    pub(super) fn expect_nothing(&mut self) {
        self.expected = 0;
        self.wake_round = self.wake_round.wrapping_add(1).max(1);
    }

    pub(super) fn set_read_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).read, waker);
    }

    pub(super) fn set_write_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).write, waker);
    }

    pub(super) fn set_driver(&mut self, waker: &Waker) {
        set(&mut self.driver, waker);
        self.driver_awake = false;
    }

    /// The driver's waker, if it has to be told that something is due.
    pub(super) fn driver_to_wake(&mut self) -> Option<Waker> {
        let is_due = self.core.has_output() || self.core.is_done() || self.is_abandoned();
        if self.driver_awake || !(is_due || self.core.take_new_deadline()) {
            return None;
        }
        let waker = self.driver.clone()?;
        self.driver_awake = true;
        Some(waker)
    }

    /// Whether nobody is left who could use the session.
    pub(super) fn is_abandoned(&self) -> bool {
        self.orphaned && self.refuses_incoming && self.core.open_streams() == 0 && self.core.end().is_none()
    }

    /// Up to so many writers that wait for the connection itself.
    pub(super) fn unblock_writers(&mut self, most: usize, wakes: &mut Vec<Waker>) {
        for _ in 0..most {
            let Some(key) = self.blocked_writers.pop_front() else { return };
            let wakers = self.wakers(key);
            wakers.blocked = false;
            wakes.extend(wakers.write.take());
        }
    }

    pub(super) fn has_blocked_writers(&self) -> bool {
        !self.blocked_writers.is_empty()
    }

    /// Forgets who waited for a stream that is gone.
    pub(super) fn forget_reader(&mut self, key: StreamKey) {
        self.wakers(key).read = None;
    }

    /// Forgets who waited for a stream that is gone.
    pub(super) fn forget_writer(&mut self, key: StreamKey) {
        self.wakers(key).write = None;
    }

    /// The tasks that the core's events concern; each stream's at most once.
    pub(super) fn take_wakes_into(&mut self, shared: &Shared, wakes: &mut Vec<Waker>) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Readable(key) => {
                    let round = self.wake_round;
                    let wakers = self.wakers(key);
                    if let Some(waker) = wakers.read.take() {
                        wakes.push(waker);
                        let is_new = std::mem::replace(&mut wakers.expected_in, round) != round;
                        self.expected += usize::from(is_new);
                    }
                }
                Event::Writable(key) => {
                    let waker = self.wakers(key).write.take();
                    waker.into_iter().for_each(|waker| wakes.push(waker));
                }
                Event::Incoming if self.refuses_incoming => self.refuse_all(),
                Event::Incoming => self.acceptor.take().into_iter().for_each(|waker| wakes.push(waker)),
                Event::Connected | Event::Openable => shared.openers.notify_one(),
                Event::Datagram => shared.datagrams.notify_one(),
                Event::Pong { sequence, rtt } => {
                    self.last_pong = Some((sequence, rtt));
                    shared.pongs.notify_waiters();
                }
                Event::Draining { .. } => shared.openers.notify_waiters(),
                Event::Closed(_) => {
                    shared.openers.notify_waiters();
                    shared.openers.notify_one();
                    shared.pongs.notify_waiters();
                    shared.ended.notify_waiters();
                    shared.datagrams.notify_waiters();
                    self.acceptor.take().into_iter().for_each(|waker| wakes.push(waker));
                    wakes.extend(self.wakers.iter_mut().filter_map(|wakers| wakers.write.take()));
                }
            }
        }
    }

    /// As [`take_wakes_into`](Self::take_wakes_into), for callers without a list to reuse.
    pub(super) fn take_wakes(&mut self, shared: &Shared) -> Vec<Waker> {
        let mut wakes = Vec::new();
        self.take_wakes_into(shared, &mut wakes);
        wakes
    }

    pub(super) fn refuse_all(&mut self) {
        while let Some(key) = self.core.next_incoming() {
            self.core.refuse(key, adit_wire_proto::CloseCode::REFUSED);
        }
    }

    fn wakers(&mut self, key: StreamKey) -> &mut StreamWakers {
        let place = usize::try_from(key.place()).unwrap_or(usize::MAX);
        if place >= self.wakers.len() {
            self.wakers.resize_with(place + 1, StreamWakers::default);
        }
        &mut self.wakers[place]
    }
}

impl Output {
    pub(super) fn set_driver(&mut self, waker: &Waker) {
        set(&mut self.waker, waker);
    }

    pub(super) fn is_done(&self) -> bool {
        self.batch.is_empty() && !self.needs_flush
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Lets go of the connection.
    pub(super) fn disconnect(&mut self) {
        self.io = None;
        self.waker = None;
    }

    pub(super) fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        let (Some(waker), Some(io)) = (&self.waker, &mut self.io) else { return Poll::Pending };
        Pin::new(io).poll_shutdown(&mut Context::from_waker(waker))
    }

    /// One write call: what is batched, then frames straight from the caller's buffer.
    fn write_with(&mut self, headers: &[[u8; HEADER_BYTES]], octets: &[u8]) -> io::Result<Poll<usize>> {
        let Some(waker) = &self.waker else { return Ok(Poll::Pending) };
        let Some(io) = &mut self.io else { return Err(io::ErrorKind::NotConnected.into()) };
        let (mut task, io) = (Context::from_waker(waker), Pin::new(io));
        let mut offered = self.batch.len();
        if octets.is_empty()
            && let Some(only) = self.batch.only_part()
        {
            return checked(io.poll_write(&mut task, only), offered, waker);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = self.batch.gather(&mut slices);
        let room = slices.get_mut(used..).unwrap_or_default();
        for ((pair, header), frame) in room.chunks_exact_mut(2).zip(headers).zip(octets.chunks(FRAME_BYTES)) {
            if let [first, second] = pair {
                *first = IoSlice::new(header);
                *second = IoSlice::new(frame);
                used += 2;
                offered += header.len() + frame.len();
            }
        }
        let slices = slices.get(..used).unwrap_or_default();
        checked(io.poll_write_vectored(&mut task, slices), offered, waker)
    }

    /// Writes what is batched until the connection takes no more, which is when it promises to wake the driver.
    fn write_rest(&mut self) -> io::Result<()> {
        while !self.batch.is_empty() && !self.is_blocked {
            match self.write_with(&[], &[])? {
                Poll::Ready(written) => self.batch.advance(written),
                Poll::Pending => self.is_blocked = true,
            }
        }
        Ok(())
    }

    /// Keeps what is left of a frame that was begun, from octet `from` of header and payload on.
    fn rest_of(&mut self, headers: &[[u8; HEADER_BYTES]], octets: &[u8], frame: usize, from: usize) {
        let header = headers.get(frame).map(|header| header.as_slice()).unwrap_or_default();
        let payload = octets.chunks(FRAME_BYTES).nth(frame).unwrap_or_default();
        self.batch.copy(header.get(from..).unwrap_or_default());
        self.batch.copy(payload.get(from.saturating_sub(HEADER_BYTES)..).unwrap_or_default());
    }

    fn poll_flush(&mut self) -> io::Result<()> {
        let (Some(waker), Some(io)) = (&self.waker, &mut self.io) else { return Ok(()) };
        if !self.needs_flush {
            return Ok(());
        }
        match Pin::new(io).poll_flush(&mut Context::from_waker(waker)) {
            Poll::Ready(result) => {
                self.needs_flush = false;
                result
            }
            // The driver is woken, and tries again.
            Poll::Pending => Ok(()),
        }
    }
}

/// What a write call answered, unless it can't be true.
fn checked(poll: Poll<io::Result<usize>>, offered: usize, waker: &Waker) -> io::Result<Poll<usize>> {
    match poll {
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
        Poll::Ready(Ok(written)) if written > offered => Err(io::ErrorKind::InvalidData.into()),
        Poll::Ready(Ok(written)) => Ok(Poll::Ready(written)),
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {
            waker.wake_by_ref();
            Ok(Poll::Pending)
        }
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(Poll::Pending),
    }
}

/// How many octets of the payload went out or were begun when `written` octets of frames were taken; and, if a frame
/// was begun and not ended, which one and where in it.
fn started(payload: usize, written: usize) -> (usize, Option<(usize, usize)>) {
    let frame_bytes = HEADER_BYTES + FRAME_BYTES;
    let (whole, part) = (written / frame_bytes, written % frame_bytes);
    let taken = (whole * FRAME_BYTES).min(payload);
    if part == 0 || taken == payload {
        return (taken, None);
    }
    let last = FRAME_BYTES.min(payload - taken);
    let rest = (part < HEADER_BYTES + last).then_some((whole, part));
    (taken + last, rest)
}

fn set(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// The runtime's clock, so that a paused one holds for sessions too.
#[expect(clippy::disallowed_methods, reason = "the driver is where the clock is read")]
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn session_error(state: &State) -> Option<StreamError> {
    state.core.end().cloned().map(StreamError::Session)
}

const FRAME_BYTES: usize = 16_376;
/// How many frames of a caller's buffer one write call carries.
const DIRECT_FRAMES: usize = 16;
const DIRECT_MOST: usize = DIRECT_FRAMES * FRAME_BYTES;
/// Slices of one write call: those of a batch, and two for each frame of a caller's buffer.
const SLICES: usize = 128;
/// How many batches one task sends before others get their turn.
pub(super) const SEND_ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_begun_is_owed_to_its_end() {
        let frame = HEADER_BYTES + FRAME_BYTES;
        assert_eq!(started(100, 0), (0, None));
        assert_eq!(started(100, 3), (100, Some((0, 3))));
        assert_eq!(started(100, 108), (100, None));
        assert_eq!(started(20_000, frame), (FRAME_BYTES, None));
        assert_eq!(started(20_000, frame + 1), (20_000, Some((1, 1))));
        assert_eq!(started(20_000, frame + 8 + 20_000 - FRAME_BYTES), (20_000, None));
        assert_eq!(started(2 * FRAME_BYTES, 2 * frame), (2 * FRAME_BYTES, None));
    }
}
