//! What the driver and all handles of a session share.
//!
//! Two locks, always taken in this order: `output` (the writing half of the connection and what is on its way
//! there), then `state` (the core and everybody who waits). `state` is never held across a call into the operating
//! system. A task that has something to say takes `output` only if it is free: if it isn't, whoever holds it, or the
//! driver, sends it.

use super::sync::{AtomicBool, Mutex, MutexGuard};
use super::turns::{LastWake, Turns};
use crate::connection::{Batch, Connection, Event, StreamKey};
use crate::{SessionEnd, SessionStats, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{FrameHeader, FrameKind, HEADER_BYTES, MAX_DATA_BYTES};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

pub(super) struct Shared {
    output: Mutex<Output>,
    /// Whether `output` holds something that is not written, or not flushed.
    is_unfinished: AtomicBool,
    /// Whether the session has ended; never becomes false again.
    has_ended: AtomicBool,
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
    /// Whether the driver was woken, or runs, and will look at what is due.
    driver_awake: bool,
    pub(super) turns: Turns,
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
    last_wake: LastWake,
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
    /// Whether the connection takes many slices in one call.
    is_vectored: bool,
    /// Whether the connection takes nothing at the moment.
    is_blocked: bool,
    needs_flush: bool,
    /// Octets written that the core has not been told of.
    unreported: usize,
    /// Whether the core has been told that output is stuck.
    is_stalled: bool,
    call_limit: CallLimit,
    wakes: Vec<Waker>,
}

/// How much the connection takes in one call, which is another thing than being full.
///
/// A TLS library encrypts into a buffer of fixed size, and takes the rest in the next call. A call that is a little
/// longer than that costs a second one, and a record for a few octets.
#[derive(Debug, Default)]
struct CallLimit {
    /// What the last call took, if it took a part only.
    partial: usize,
    /// As much as two calls in a row took though the connection was not full.
    known: Option<usize>,
}

/// What the driver finds to do in one of its turns.
pub(super) struct Turn {
    /// Whether something is due, or blocked writers should try again.
    pub(super) has_work: bool,
    /// Whether tasks that were woken should have their say first.
    pub(super) lets_others_first: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) is_over: bool,
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
            output: Mutex::new(Output::new(io)),
            is_unfinished: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            state: Mutex::new(State {
                core,
                wakers: Vec::new(),
                acceptor: None,
                driver: None,
                driver_awake: false,
                turns: Turns::new(),
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

    /// Sends what is due from the calling task, if the connection is free; otherwise the driver does.
    pub(super) fn flush(&self) {
        let Some(mut output) = self.try_output() else {
            // Whoever sends at the moment may have looked already.
            return self.with(|_| ());
        };
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
            output.report(now, &mut self.state().core);
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
        output.report(now, &mut state.core);
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

    /// Writes what is due until nothing is, the connection takes no more, or `rounds` batches are out.
    ///
    /// Says whether more is due that the connection might take.
    pub(super) fn send(&self, output: &mut Output, rounds: usize) -> io::Result<bool> {
        let result = self.send_batches(output, rounds);
        self.is_unfinished.store(output.needs_driver(), Ordering::Release);
        result
    }

    fn send_batches(&self, output: &mut Output, rounds: usize) -> io::Result<bool> {
        let now = now();
        for _ in 0..rounds {
            let has_more = self.gather(now, output);
            if output.batch.is_empty() {
                output.is_blocked = false;
                output.poll_flush(&self.is_unfinished)?;
                return Ok(false);
            }
            if output.write_with(None, &self.is_unfinished)?.is_pending() {
                output.report(now, &mut self.state().core);
                return Ok(false);
            }
            if output.batch.is_empty() && !has_more && !output.is_stalled {
                output.poll_flush(&self.is_unfinished)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what is due to the batch; says whether more is due than it takes.
    fn gather(&self, now: Instant, output: &mut Output) -> bool {
        let mut state = self.state();
        output.report(now, &mut state.core);
        if !output.batch.is_full() && state.core.has_output() {
            state.core.poll_transmit(now, &mut output.batch);
            state.take_wakes_into(self, &mut output.wakes);
        }
        if state.core.take_new_deadline() {
            // Whoever writes here, the timer is the driver's.
            output.wakes.extend(state.driver.clone());
        }
        let has_more = state.core.has_output();
        drop(state);
        output.wakes.drain(..).for_each(Waker::wake);
        has_more
    }

    /// What the session has done so far.
    pub(super) fn stats(&self) -> SessionStats {
        let output = self.try_output();
        let mut state = self.state();
        if let Some(mut output) = output {
            output.report(now(), &mut state.core);
        }
        state.core.stats()
    }

    /// Whether the session has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
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
    /// Whether a task that is about to wait should send what is due.
    pub(super) fn sends_before_waiting(&self) -> bool {
        self.turns.are_few() && self.core.has_output()
    }

    pub(super) fn set_read_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).read, waker);
    }

    pub(super) fn set_write_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).write, waker);
    }

    /// The driver runs, and looks at what is due before it ends.
    pub(super) const fn driver_runs(&mut self) {
        self.driver_awake = true;
    }

    /// The driver looks at what is due. Whatever becomes due from here on has to wake it.
    pub(super) fn begin_turn(&mut self, waker: &Waker, is_unfinished: bool) -> Turn {
        set(&mut self.driver, waker);
        if self.is_abandoned() {
            self.core.close(CloseCode::NONE, Bytes::new());
        }
        let is_over = self.core.end().is_some();
        let is_due = self.core.has_output();
        let lets_others_first = self.turns.lets_others_first(is_due && !is_over);
        // It comes back by itself if it lets others go first.
        self.driver_awake = lets_others_first;
        Turn {
            has_work: is_due || is_unfinished || self.has_blocked_writers(),
            lets_others_first,
            deadline: self.core.poll_timeout(),
            is_over,
        }
    }

    /// The driver's waker, if it has to be told that something is due.
    pub(super) fn driver_to_wake(&mut self) -> Option<Waker> {
        if self.driver_awake {
            return None;
        }
        let is_due = self.core.has_output() || self.core.is_done() || self.is_abandoned();
        if !(is_due || self.core.take_new_deadline()) {
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
                    if let Some(wakers) = self.wakers.get_mut(place(key))
                        && let Some(waker) = wakers.read.take()
                    {
                        wakes.push(waker);
                        self.turns.woke(key, &mut wakers.last_wake);
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
                    shared.has_ended.store(true, Ordering::Release);
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
            self.core.refuse(key, CloseCode::REFUSED);
        }
    }

    fn wakers(&mut self, key: StreamKey) -> &mut StreamWakers {
        let place = place(key);
        if place >= self.wakers.len() {
            self.wakers.resize_with(place + 1, StreamWakers::default);
        }
        &mut self.wakers[place]
    }
}

impl Output {
    fn new(io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        let is_vectored = io.is_write_vectored();
        let batch = if is_vectored { Batch::new() } else { Batch::in_one_piece() };
        Self {
            io: Some(io),
            batch,
            waker: None,
            is_vectored,
            is_blocked: false,
            needs_flush: false,
            unreported: 0,
            is_stalled: false,
            call_limit: CallLimit::default(),
            wakes: Vec::new(),
        }
    }

    pub(super) fn set_driver(&mut self, waker: &Waker) {
        set(&mut self.waker, waker);
    }

    pub(super) fn is_done(&self) -> bool {
        self.batch.is_empty() && !self.needs_flush
    }

    /// Whether something is left that only the driver sees to: even where nothing waits to be written, somebody has to
    /// notice that the connection takes more again.
    fn needs_driver(&self) -> bool {
        !self.is_done() || self.is_blocked
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
    ///
    /// A connection that is full wakes the driver when it takes more, and the driver may have looked and gone to sleep
    /// again before it could know that it is needed. So `is_unfinished` says so first, and the connection is asked once
    /// more.
    fn write_with(
        &mut self,
        frames: Option<&Frames<'_>>,
        is_unfinished: &AtomicBool,
    ) -> io::Result<Poll<usize>> {
        let (mut answer, mut offered) = self.try_write(frames)?;
        if answer.is_pending() {
            is_unfinished.store(true, Ordering::Release);
            (answer, offered) = self.try_write(frames)?;
        }
        self.is_blocked = answer.is_pending();
        match answer {
            Poll::Ready(written) => {
                self.batch.took(written);
                self.call_limit.wrote(written, written < offered);
                self.unreported += written;
                self.needs_flush = true;
            }
            Poll::Pending => {
                self.batch.gather_less();
                self.call_limit.is_full();
            }
        }
        Ok(answer)
    }

    /// One write call, and how much it was offered.
    fn try_write(&mut self, frames: Option<&Frames<'_>>) -> io::Result<(Poll<usize>, usize)> {
        let Some(waker) = &self.waker else { return Ok((Poll::Pending, 0)) };
        let Some(io) = &mut self.io else { return Err(io::ErrorKind::NotConnected.into()) };
        let (mut task, io) = (Context::from_waker(waker), Pin::new(io));
        let mut offered = self.batch.len();
        let answer = match (frames, self.batch.only_part()) {
            (None, Some(only)) => io.poll_write(&mut task, only),
            (_, _) => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut used = self.batch.gather(&mut slices);
                if let Some(frames) = frames {
                    let room = slices.get_mut(used..).unwrap_or_default();
                    let (added, bytes) = frames.gather(room);
                    used += added;
                    offered += bytes;
                }
                io.poll_write_vectored(&mut task, slices.get(..used).unwrap_or_default())
            }
        };
        Ok((checked(answer, offered, waker)?, offered))
    }

    /// Writes what is batched until the connection takes no more, which is when it promises to wake the driver.
    fn write_rest(&mut self, is_unfinished: &AtomicBool) -> io::Result<()> {
        while !self.batch.is_empty() && !self.is_blocked {
            // Whether it is blocked is noted there.
            let _ = self.write_with(None, is_unfinished)?;
        }
        Ok(())
    }

    /// How many octets of a caller's buffer one more call should carry, behind what is batched.
    fn direct_most(&self) -> usize {
        if !self.is_vectored {
            return 0;
        }
        let frame_bytes = self.batch.frame_most();
        let most = DIRECT_FRAMES * frame_bytes;
        let Some(limit) = self.call_limit.known else { return most };
        let room = limit.saturating_sub(self.batch.len());
        let (frames, part) = (room / (HEADER_BYTES + frame_bytes), room % (HEADER_BYTES + frame_bytes));
        most.min(frames * frame_bytes + part.saturating_sub(HEADER_BYTES))
    }

    /// Keeps what is left of a frame that was begun, from octet `from` of header and payload on.
    fn rest_of(&mut self, frames: &Frames<'_>, frame: usize, from: usize) {
        let header = frames.headers.get(frame).map(|header| header.as_slice()).unwrap_or_default();
        let payload = frames.payload.chunks(frames.frame_bytes).nth(frame).unwrap_or_default();
        self.batch.copy(header.get(from..).unwrap_or_default());
        self.batch.copy(payload.get(from.saturating_sub(HEADER_BYTES)..).unwrap_or_default());
    }

    /// Tells the core what was written, and whether output is stuck.
    fn report(&mut self, now: Instant, core: &mut Connection) {
        let is_stuck = self.is_blocked && !self.batch.is_empty();
        if self.unreported > 0 || is_stuck != self.is_stalled {
            core.wrote(now, std::mem::take(&mut self.unreported), is_stuck);
            self.is_stalled = is_stuck;
        }
    }

    fn poll_flush(&mut self, is_unfinished: &AtomicBool) -> io::Result<()> {
        let (Some(waker), Some(io)) = (&self.waker, &mut self.io) else { return Ok(()) };
        if !self.needs_flush {
            return Ok(());
        }
        let mut task = Context::from_waker(waker);
        let mut flushed = Pin::new(&mut *io).poll_flush(&mut task);
        if flushed.is_pending() {
            // As for writes: whoever is woken must be able to see why.
            is_unfinished.store(true, Ordering::Release);
            flushed = Pin::new(io).poll_flush(&mut task);
        }
        match flushed {
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
        // Some connections say that they are full by an error, and wake nobody then.
        Poll::Ready(Err(error))
            if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) =>
        {
            waker.wake_by_ref();
            Ok(Poll::Pending)
        }
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(Poll::Pending),
    }
}

impl CallLimit {
    /// Takes note that a call took `bytes` octets, and whether that is less than it was offered.
    fn wrote(&mut self, bytes: usize, is_partial: bool) {
        if is_partial && self.partial == bytes {
            self.known = self.known.max(Some(bytes));
        }
        if is_partial {
            self.partial = bytes;
        }
    }

    /// Takes note that the last partial call was one because the connection is full.
    const fn is_full(&mut self) {
        self.partial = 0;
    }
}

/// Frames around pieces of a caller's buffer.
struct Frames<'caller> {
    headers: &'caller [[u8; HEADER_BYTES]],
    payload: &'caller [u8],
    frame_bytes: usize,
}

impl Frames<'_> {
    /// Points `slices` at them; says how many it used, and how many octets they hold.
    fn gather<'caller>(&'caller self, slices: &mut [IoSlice<'caller>]) -> (usize, usize) {
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

fn place(key: StreamKey) -> usize {
    usize::try_from(key.place()).unwrap_or(usize::MAX)
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

/// How many frames of a caller's buffer one write call carries.
const DIRECT_FRAMES: usize = 16;
/// Slices of one write call: those of a batch, and two for each frame of a caller's buffer.
const SLICES: usize = 128;
/// How many batches one task sends before others get their turn.
pub(super) const SEND_ROUNDS: usize = 8;

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

    #[test]
    fn a_limit_per_call_is_told_from_a_full_connection() {
        let mut limit = CallLimit::default();
        limit.wrote(40_000, true);
        limit.is_full();
        limit.wrote(40_000, true);
        assert_eq!(limit.known, None);
        limit.wrote(65_536, true);
        limit.wrote(40, false);
        limit.wrote(65_536, true);
        assert_eq!(limit.known, Some(65_536));
    }
}
