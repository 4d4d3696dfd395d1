//! The two halves of a stream.

use super::cell::{Cell, LETTER_BYTES, Mail, Source};
use super::direct::Direct;
use super::shared::Shared;
use crate::connection::StreamKey;
use crate::{Priority, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The half that is written. To drop it unfinished resets the stream with CANCELLED.
pub struct SendStream {
    shared: Arc<Shared>,
    key: StreamKey,
    /// Known once the stream has written as one of many.
    cell: Option<Arc<Cell>>,
}

/// The half that is read. To drop it before its end stops the stream with CANCELLED.
pub struct ReceiveStream {
    shared: Arc<Shared>,
    key: StreamKey,
    /// Known once the stream was read as one of many.
    cell: Option<Arc<Cell>>,
}

/// The two halves of a stream.
pub(super) fn halves(shared: Arc<Shared>, key: StreamKey) -> (SendStream, ReceiveStream) {
    (SendStream { shared: Arc::clone(&shared), key, cell: None }, ReceiveStream { shared, key, cell: None })
}

impl SendStream {
    /// The id on the wire: 0 until the stream's first frame went out.
    pub fn id(&self) -> u32 {
        self.shared.state().core.stream_id(self.key)
    }

    /// Takes all of `chunk` or nothing.
    pub fn poll_write_chunk(
        &mut self,
        task: &mut Context<'_>,
        chunk: &Bytes,
    ) -> Poll<Result<(), StreamError>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        if !self.shared.are_few() && self.post(chunk) {
            coop.made_progress();
            return Poll::Ready(Ok(()));
        }
        let queued = self.queue(task, |core, key| Ok(core.write_chunk(key, chunk.clone())?.then_some(())));
        if queued.is_ready() {
            coop.made_progress();
        }
        queued
    }

    /// Waits for room in the send buffer; says how much there is, in octets. Cancel-safe.
    pub fn poll_writable(&mut self, task: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.queue(task, |core, key| Ok(Some(core.room(key)?).filter(|room| *room > 0)))
    }

    /// Ends this half: the peer reads all that was written, then the end. Doesn't wait for it to be sent.
    ///
    /// # Errors
    /// [`StreamError`] if the peer stopped the stream or the session ended: not all may have been read.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.shared.with(|state| {
            if let Some(cell) = &self.cell {
                state.settle(cell);
                cell.mail().takes_letters = false;
            }
            state.core.finish_stream(self.key)
        })
    }

    /// Gives this half up: what is not sent yet is dropped, and the peer reads `code`.
    pub fn reset(&mut self, code: CloseCode) {
        self.shared.with(|state| {
            if let Some(cell) = &self.cell {
                drop(cell.mail().stop_writing());
            }
            state.core.reset(self.key, code);
        });
    }

    /// How many frames of 16,376 octets this stream may send in each of its turns, 1 (the default) to 16: so many times
    /// the share of equally urgent streams. The peer's half is the peer's to weigh.
    pub fn set_weight(&mut self, frames: u8) {
        self.shared.state().core.set_weight(self.key, frames);
    }

    /// How urgent what this half sends is, beside the other streams of the session.
    pub fn set_priority(&mut self, priority: Priority) {
        self.shared.state().core.set_priority(self.key, priority);
    }

    fn poll_write_octets(
        &mut self,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        if !self.shared.are_few() && self.post(octets) {
            return Poll::Ready(Ok(octets.len()));
        }
        // What was left before goes first, by the queue.
        if octets.len() >= DIRECT_LEAST && !self.cell.as_ref().is_some_and(|cell| cell.mail().has_outbox()) {
            match self.shared.send_direct(self.key, octets, task) {
                Direct::Taken(taken) => {
                    charge(task, taken);
                    return Poll::Ready(Ok(taken));
                }
                Direct::Parked => return Poll::Pending,
                Direct::Queue => {}
            }
        }
        self.queue(task, |core, key| {
            let taken = core.write(key, octets)?;
            Ok((taken > 0 || octets.is_empty()).then_some(taken))
        })
    }

    /// Leaves a small message for the driver to take along, where many streams are in use; says whether it did.
    #[inline(never)]
    fn post(&mut self, octets: &[u8]) -> bool {
        if octets.is_empty() || octets.len() > LETTER_BYTES {
            return false;
        }
        let posted = self.cell.as_ref().and_then(|cell| cell.mail().post(octets));
        let Some(is_first) = posted else { return false };
        if is_first {
            self.shared.posted.post(self.key);
        }
        true
    }

    /// Queues something; sends it now if much is queued or it is an answer that nobody adds to, else soon.
    fn queue<T>(
        &mut self,
        task: &Context<'_>,
        mut write: impl FnMut(&mut crate::Connection, StreamKey) -> Result<Option<T>, StreamError>,
    ) -> Poll<Result<T, StreamError>> {
        let key = self.key;
        for _ in 0..2 {
            let mut state = self.shared.state();
            if let Some(cell) = &self.cell {
                state.settle(cell);
            }
            let written = write(&mut state.core, key)?;
            if written.is_none() {
                state.await_writing(key, task.waker());
            } else if !self.shared.are_few() {
                let cell = self.cell.get_or_insert_with(|| state.acquire_cell(key));
                cell.mail().takes_letters = state.takes_letters(key);
            }
            let is_much = state.core.unsent(key) >= FLUSH_AT;
            let sends_now = state.turns.wrote(key) || is_much;
            let driver = if sends_now { None } else { state.driver_to_wake() };
            drop(state);
            driver.into_iter().for_each(Waker::wake);
            if sends_now {
                self.shared.flush();
            }
            match written {
                Some(written) => return Poll::Ready(Ok(written)),
                None if is_much => {}
                None => break,
            }
        }
        Poll::Pending
    }
}

impl ReceiveStream {
    pub fn poll_read_chunk(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let chunk = ready!(self.take(task, |source| match source {
            Source::Mail(mail) => Ok(mail.read_chunk()),
            Source::Core(core, key) => core.read_chunk(key, usize::MAX),
        }))?;
        coop.made_progress();
        Poll::Ready(Ok(Some(chunk).filter(|chunk| !chunk.is_empty())))
    }

    /// Gives this half up: what has come is dropped, and the peer's writes fail with `code`.
    pub fn stop(&mut self, code: CloseCode) {
        self.shared.with(|state| {
            if let Some(cell) = &self.cell {
                drop(cell.mail().stop_reading());
            }
            state.core.stop(self.key, code);
        });
    }

    fn poll_read_octets(
        &mut self,
        task: &Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let read = ready!(self.take(task, |source| match source {
            Source::Mail(mail) => Ok(mail.read(out.initialize_unfilled())),
            Source::Core(core, key) => core.read(key, out.initialize_unfilled()),
        }))?;
        out.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Takes something that came, or waits for it; before it waits, it sends what is due.
    fn take<T>(
        &mut self,
        task: &Context<'_>,
        mut read: impl FnMut(Source<'_>) -> Result<Option<T>, StreamError>,
    ) -> Poll<Result<T, StreamError>> {
        if !self.shared.are_few()
            && let Some(cell) = &self.cell
            && let Some(answer) = take_letter(cell, task, &mut read)
        {
            return answer;
        }
        let key = self.key;
        let mut state = self.shared.state();
        let (taken, unused) = if state.reads_mail(key) {
            let cell = self.cell.get_or_insert_with(|| state.acquire_cell(key));
            state.read_by_mail(cell, task, &mut read)?
        } else {
            (read(Source::Core(&mut state.core, key))?, None)
        };
        let sends_now = taken.is_none() && state.sends_before_waiting();
        if taken.is_some() {
            state.turns.read(key);
        } else {
            state.await_reading(key, task.waker());
        }
        // Reading makes nothing due but CREDIT.
        let driver = if sends_now || !state.core.has_control() { None } else { state.driver_to_wake() };
        drop(state);
        drop(unused);
        driver.into_iter().for_each(Waker::wake);
        if sends_now {
            self.shared.flush();
        }
        taken.map_or(Poll::Pending, |taken| Poll::Ready(Ok(taken)))
    }
}

/// Takes a letter, or waits for one if the core has nothing, without asking it; `None` if it has to be asked.
#[inline(never)]
fn take_letter<T>(
    cell: &Cell,
    task: &Context<'_>,
    read: &mut impl FnMut(Source<'_>) -> Result<Option<T>, StreamError>,
) -> Option<Poll<Result<T, StreamError>>> {
    let mut mail = cell.mail();
    if let Some(taken) = read(Source::Mail(&mut mail)).transpose() {
        return Some(Poll::Ready(taken));
    }
    let unused = mail.is_armed.then(|| mail.await_letter(task.waker()))?;
    drop(mail);
    drop(unused);
    Some(Poll::Pending)
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let written = self.get_mut().poll_write_octets(task, octets);
        if written.is_ready() {
            coop.made_progress();
        }
        written.map_err(Into::into)
    }

    /// Does nothing unless the session has ended: what is queued is sent soon in any case.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.has_ended()
            && let Some(error) = super::shared::session_error(&self.shared.state())
        {
            return Poll::Ready(Err(error.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().finish().map_err(Into::into))
    }
}

impl AsyncRead for ReceiveStream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let read = self.get_mut().poll_read_octets(task, out);
        if read.is_ready() {
            coop.made_progress();
        }
        read.map_err(Into::into)
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.forget_writer(self.key);
            if let Some(cell) = &self.cell {
                state.leave(cell, Mail::stop_writing);
            }
            state.core.release_send(self.key);
        });
    }
}

impl Drop for ReceiveStream {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.forget_reader(self.key);
            if let Some(cell) = &self.cell {
                state.leave(cell, Mail::stop_reading);
            }
            state.core.release_recv(self.key);
        });
    }
}

impl std::fmt::Debug for SendStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendStream").field("key", &self.key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReceiveStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveStream").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Charges a task for a write that the operating system took: it lasts as long as many that only move memory, and who
/// writes without end would otherwise hold its thread for milliseconds before others have their turn.
fn charge(task: &mut Context<'_>, written: usize) {
    for _ in 0..written / OCTETS_OF_A_STEP {
        match tokio::task::coop::poll_proceed(task) {
            Poll::Ready(step) => step.made_progress(),
            // The next call waits for the next turn.
            Poll::Pending => return,
        }
    }
}

/// So much of a direct write costs a task one of the 128 steps that tokio gives it in a turn: a turn ends after 256 KiB.
const OCTETS_OF_A_STEP: usize = 2 * 1024;
/// Writes of at least so many octets go from the caller's buffer straight to the connection, when it is free.
const DIRECT_LEAST: usize = 8 * 1024;
/// When so many octets are queued on a stream, its writer sends them.
const FLUSH_AT: usize = 64 * 1024;
