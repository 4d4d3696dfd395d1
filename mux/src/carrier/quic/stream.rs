//! The two halves of a stream.

use super::link::{Counted, Counters, Link};
use super::numbers::{close_code, number, var_int};
use crate::{Abuse, Origin, Priority, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use quinn::{ReadError, RecvStream, WriteError};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::ReadBuf;

pub(crate) struct SendStream {
    half: Arc<Mutex<Half>>,
    counted: Arc<Counted>,
    number: u32,
}

/// The sending half, which the driver holds too while it has a rest to send.
pub(super) struct Half {
    stream: quinn::SendStream,
    /// What QUIC has not taken yet of a head or a chunk.
    rest: Bytes,
    finishes: bool,
    is_over: bool,
    /// Whoever waits for the rest to go.
    writer: Option<Waker>,
    /// The driver, while it waits for credit.
    flusher: Option<Waker>,
    /// A stream whose rest is under way is not over yet.
    _counted: Arc<Counted>,
}

pub(crate) struct ReceiveStream {
    stream: RecvStream,
    /// What came with the head; at most a packet.
    unread: Bytes,
    counted: Arc<Counted>,
    is_over: bool,
    is_stopped: bool,
    /// Whether an octet of the peer came, or this side opened the stream and awaits none.
    has_come: bool,
}

/// Both halves of a stream of QUIC.
pub(super) fn halves(
    stream: quinn::SendStream,
    receive: RecvStream,
    unread: Bytes,
    counted: Arc<Counted>,
) -> (SendStream, ReceiveStream) {
    let number = number(stream.id());
    let half = Half {
        stream,
        rest: Bytes::new(),
        finishes: false,
        is_over: false,
        writer: None,
        flusher: None,
        _counted: Arc::clone(&counted),
    };
    let send = SendStream { half: Arc::new(Mutex::new(half)), counted: Arc::clone(&counted), number };
    let has_come = !unread.is_empty() || counted.by == Origin::Local;
    (send, ReceiveStream { stream: receive, unread, counted, is_over: false, is_stopped: false, has_come })
}

impl SendStream {
    pub(crate) const fn id(&self) -> u32 {
        self.number
    }

    /// Sends octets that count as no payload: the head.
    pub(super) fn send_head(&self, octets: Bytes) -> Result<(), StreamError> {
        let mut half = self.half();
        self.take(&mut half, octets)
    }

    pub(crate) fn poll_write_chunk(
        &mut self,
        task: &Context<'_>,
        chunk: &Bytes,
    ) -> Poll<Result<(), StreamError>> {
        let mut half = self.half();
        ready!(self.poll_free(&mut half, task))?;
        self.take(&mut half, chunk.clone())?;
        Counters::add(&self.link().counters.payload_sent, chunk.len());
        Poll::Ready(Ok(()))
    }

    /// QUIC doesn't say how much it takes; a chunk is taken whole when none waits.
    pub(crate) fn poll_writable(&mut self, task: &Context<'_>) -> Poll<Result<usize, StreamError>> {
        ready!(self.poll_free(&mut self.half(), task))?;
        Poll::Ready(Ok(self.link().config.send_buffer))
    }

    pub(crate) fn poll_write(
        &self,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let mut half = self.half();
        ready!(self.poll_free(&mut half, task))?;
        let written = ready!(pin!(half.stream.write(octets)).poll(task));
        let written = written.map_err(|error| self.failed(error))?;
        Counters::add(&self.link().counters.payload_sent, written);
        Poll::Ready(Ok(written))
    }

    pub(crate) fn poll_flush(&self) -> Poll<Result<(), StreamError>> {
        Poll::Ready(self.link().end().map_or(Ok(()), |end| Err(StreamError::Session(end))))
    }

    pub(crate) fn finish(&mut self) -> Result<(), StreamError> {
        let mut half = self.half();
        if half.is_over {
            return if half.finishes { Ok(()) } else { Err(StreamError::Ended) };
        }
        if let Some(end) = self.link().end() {
            return Err(StreamError::Session(end));
        }
        half.is_over = true;
        half.finishes = true;
        if half.rest.is_empty() {
            half.stream.finish().map_err(|_| StreamError::Ended)?;
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: CloseCode) {
        let mut half = self.half();
        if half.is_over && !half.finishes {
            return;
        }
        half.is_over = true;
        half.finishes = false;
        half.rest = Bytes::new();
        // Fails only if all of it arrived already.
        if half.stream.reset(var_int(code)).is_ok() {
            self.link().watch.reset(Origin::Local, self.number, code);
        }
        let waiting = half.flusher.take();
        drop(half);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Octets of a stream with a higher number go first in each packet.
    pub(crate) fn set_priority(&mut self, priority: Priority) {
        // Fails only if it has ended already.
        let _ = self.half().stream.set_priority(match priority {
            Priority::Urgent => 1,
            Priority::Normal => 0,
            Priority::Low => -1,
            Priority::Background => -2,
        });
    }

    /// Waits until nothing waits ahead.
    fn poll_free(&self, half: &mut Half, task: &Context<'_>) -> Poll<Result<(), StreamError>> {
        if half.is_over {
            return Poll::Ready(Err(StreamError::Ended));
        }
        if half.rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = self.link().end() {
            return Poll::Ready(Err(StreamError::Session(end)));
        }
        half.writer = Some(task.waker().clone());
        Poll::Pending
    }

    /// Gives all of `octets` to QUIC, or to the driver what QUIC doesn't take now.
    fn take(&self, half: &mut Half, octets: Bytes) -> Result<(), StreamError> {
        half.rest = octets;
        let mut task = Context::from_waker(Waker::noop());
        while !half.rest.is_empty() {
            match half.poll_rest(&mut task) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    half.rest = Bytes::new();
                    return Err(self.failed(error));
                }
                Poll::Pending => {
                    // Without a driver the session has ended, and the next call says so.
                    let _ = self.link().rests.send(Arc::clone(&self.half));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn failed(&self, error: WriteError) -> StreamError {
        match error {
            WriteError::Stopped(code) => StreamError::Stopped { code: close_code(code) },
            WriteError::ConnectionLost(error) => StreamError::Session(self.link().end_of(error)),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Ended,
        }
    }

    fn half(&self) -> MutexGuard<'_, Half> {
        lock(&self.half)
    }

    fn link(&self) -> &Link {
        &self.counted.life.link
    }
}

impl Half {
    fn poll_rest(&mut self, task: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let mut chunks = [std::mem::take(&mut self.rest)];
        let written = pin!(self.stream.write_chunks(&mut chunks)).poll(task);
        let [rest] = chunks;
        self.rest = rest;
        written.map_ok(|_| ())
    }

    /// For the driver: sends the rest as credit comes, then the end if it was asked for.
    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<()> {
        while !self.rest.is_empty() {
            match self.poll_rest(task) {
                Poll::Ready(Ok(())) => {}
                // The writer is told when it comes back.
                Poll::Ready(Err(_)) => self.rest = Bytes::new(),
                Poll::Pending => {
                    self.flusher = Some(task.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        self.flusher = None;
        if self.finishes {
            let _ = self.stream.finish();
        }
        self.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

/// Sends what is left of a half; dropped when the session has ended, it tells whoever waits.
pub(super) struct Flush(pub(super) Arc<Mutex<Half>>);

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        lock(&self.0).poll_flush(task)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let waiting = lock(&self.0).writer.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn lock(half: &Mutex<Half>) -> MutexGuard<'_, Half> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReceiveStream {
    pub(crate) fn poll_read_chunk(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if self.is_stopped {
            return Poll::Ready(Err(StreamError::Ended));
        }
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            return Poll::Ready(Ok(Some(self.counted(unread))));
        }
        let read = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(task));
        let chunk = read.map_err(|error| self.failed(error))?;
        self.is_over |= chunk.is_none();
        self.has_come = true;
        Poll::Ready(Ok(chunk.map(|chunk| self.counted(chunk.bytes))))
    }

    pub(crate) fn poll_read(
        &mut self,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamError>> {
        if self.is_stopped {
            return Poll::Ready(Err(StreamError::Ended));
        }
        if !self.unread.is_empty() {
            let taken = self.unread.len().min(out.remaining());
            out.put_slice(&self.unread.split_to(taken));
            Counters::add(&self.link().counters.payload_received, taken);
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        ready!(self.stream.poll_read_buf(task, out)).map_err(|error| self.failed(error))?;
        let read = out.filled().len().saturating_sub(before);
        self.is_over |= read == 0;
        self.has_come = true;
        Counters::add(&self.link().counters.payload_received, read);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn stop(&mut self, code: CloseCode) {
        if self.is_stopped {
            return;
        }
        if !self.is_over && !self.has_come {
            let reset = pin!(self.stream.received_reset()).poll(&mut Context::from_waker(Waker::noop()));
            if matches!(reset, Poll::Ready(Ok(Some(_)))) {
                self.link().charge(Abuse::RapidResets);
            }
        }
        (self.is_over, self.is_stopped) = (true, true);
        self.unread.clear();
        // Fails only if it has ended already.
        if self.stream.stop(var_int(code)).is_ok() {
            self.link().watch.stopped(Origin::Local, number(self.stream.id()), code);
        }
    }

    fn counted(&self, chunk: Bytes) -> Bytes {
        Counters::add(&self.link().counters.payload_received, chunk.len());
        chunk
    }

    fn failed(&mut self, error: ReadError) -> StreamError {
        match error {
            ReadError::Reset(code) => {
                let code = close_code(code);
                if !std::mem::replace(&mut self.is_over, true) {
                    if !self.has_come {
                        self.link().charge(Abuse::RapidResets);
                    }
                    self.link().watch.reset(Origin::Peer, number(self.stream.id()), code);
                }
                StreamError::Reset { code }
            }
            ReadError::ConnectionLost(error) => StreamError::Session(self.link().end_of(error)),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                StreamError::Ended
            }
        }
    }

    fn link(&self) -> &Link {
        &self.counted.life.link
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        let is_over = self.half().is_over;
        if !is_over {
            self.reset(CloseCode::CANCELLED);
        }
    }
}

impl Drop for ReceiveStream {
    fn drop(&mut self) {
        if !self.is_over {
            self.stop(CloseCode::CANCELLED);
        }
    }
}
