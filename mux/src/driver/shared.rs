//! What the driver and all handles of a session share.
//!
//! Two locks, always taken in this order: `output` (the writing half of the connection and what is on its way
//! there), then `state` (the core and everybody who waits). `state` is never held across a call into the operating
//! system. A task that has something to say takes `output` only if it is free: if it isn't, whoever holds it, or the
//! driver, sends it.
//!
//! Small messages need neither: see `cell`. A cell's lock, and that of the list of posted letters, may be taken under
//! `state`, and nothing is locked under them.

use super::cell::Posted;
use super::output::Output;
use super::state::State;
use super::sync::{AtomicBool, Mutex, MutexGuard};
use crate::connection::Connection;
use crate::{SessionEnd, SessionStats, StreamError};
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

pub(super) struct Shared {
    output: Mutex<Output>,
    /// Whether `output` holds something that is not written, or not flushed.
    pub(super) is_unfinished: AtomicBool,
    /// Whether the session has ended; never becomes false again.
    pub(super) has_ended: AtomicBool,
    state: Mutex<State>,
    /// Streams whose writers left something for the core.
    pub(super) posted: Posted,
    /// What [`State::turns`] says, for a look without the lock: whether few streams are in use.
    pub(super) are_few: AtomicBool,
    /// One opener at a time is told; each that succeeds tells the next.
    pub(super) openers: Notify,
    /// All who wait for a pong, or the end.
    pub(super) pongs: Notify,
    pub(super) ended: Notify,
    pub(super) datagrams: Notify,
}

impl Shared {
    pub(super) fn new(core: Connection, send_buffer: usize, io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self {
            output: Mutex::new(Output::new(io)),
            is_unfinished: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            state: Mutex::new(State::new(core, send_buffer)),
            posted: Posted::new(),
            are_few: AtomicBool::new(true),
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

    pub(super) fn try_output(&self) -> Option<MutexGuard<'_, Output>> {
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
                output.report(now, &mut self.state());
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
        output.report(now, &mut state);
        state.collect(&self.posted);
        if !output.batch.is_full() && state.core.has_output() {
            state.core.poll_transmit(now, &mut output.batch);
            state.take_wakes_into(self, &mut output.wakes);
        }
        if state.core.take_new_deadline() {
            // Whoever writes here, the timer is the driver's.
            output.wakes.extend(state.driver().cloned());
        }
        let has_more = state.core.has_output();
        drop(state);
        output.wakes.drain(..).for_each(Waker::wake);
        has_more
    }

    /// Whether few streams are in use, so that a task should send what is due before it waits.
    pub(super) fn are_few(&self) -> bool {
        self.are_few.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn pretend_a_crowd(&self) {
        self.state().turns = super::turns::Turns::in_a_crowd();
        self.are_few.store(false, Ordering::Relaxed);
    }

    /// What the session has done so far.
    pub(super) fn stats(&self) -> SessionStats {
        let output = self.try_output();
        let mut state = self.state();
        if let Some(mut output) = output {
            output.report(now(), &mut state);
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
        let driver = self.state().driver().cloned();
        driver.into_iter().for_each(Waker::wake);
    }

    /// Ends the session from this side of the connection, and wakes everybody.
    pub(super) fn end(&self, end: SessionEnd) {
        self.with(|state| state.core.receive_end(end));
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

/// How many batches one task sends before others get their turn.
pub(super) const SEND_ROUNDS: usize = 8;
