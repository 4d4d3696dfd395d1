//! Both directions between a stream and something else.

use super::shared::now;
use crate::{Stream, StreamError};
use adit_wire_proto::CloseCode;
use bytes::{Buf, Bytes, BytesMut};
use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Sleep;

/// Carries bytes both ways between `stream` and `other`, a socket or another stream, until both ways have ended.
///
/// The end of one way is passed on and leaves the other open (half-close). A side that can't be written is told so
/// to the other's writer, and the other way goes on. A side whose reading fails (a reset) ends both ways: the bytes
/// are not all there, and neither side must take them for whole. Each way holds at most one batch of chunks, so a
/// slow side slows the other. Bytes of a stream are passed on without being copied, unless the other side takes nothing for
/// 100 ms: then what waits is copied, so that it keeps no read buffers alive.
///
/// To drop the future resets and stops what has not ended.
pub async fn relay<T>(stream: Stream, other: T, options: RelayOptions) -> RelayReport
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut relay = Relay {
        stream,
        other,
        forth: Way::default(),
        back: Way::default(),
        chunks: VecDeque::new(),
        copied: 0,
        stall: None,
        has_moved: false,
        back_chunk: None,
        buffer: BytesMut::new(),
        progress: now(),
        idle: None,
        options,
    };
    poll_fn(|task| relay.poll(task)).await;
    RelayReport {
        forth_bytes: relay.forth.bytes,
        back_bytes: relay.back.bytes,
        forth: relay.forth.end.unwrap_or(RelayEnd::Aborted),
        back: relay.back.end.unwrap_or(RelayEnd::Aborted),
    }
}

/// How a relay behaves.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    idle: Option<Duration>,
    read_failure: CloseCode,
    write_failure: CloseCode,
    buffer: usize,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            idle: None,
            read_failure: CloseCode::CANCELLED,
            write_failure: CloseCode::CANCELLED,
            buffer: 64 * 1024,
        }
    }
}

impl RelayOptions {
    /// No idle limit, CANCELLED for failures of the other side, and 64 KiB read from it at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends both ways with TIMEOUT when no byte moved either way for so long; default never.
    #[must_use]
    pub fn idle(self, limit: Duration) -> Self {
        Self { idle: Some(limit), ..self }
    }

    /// What the stream is reset with when reading the other side fails; default CANCELLED. An agent says
    /// UPSTREAM_RESET.
    #[must_use]
    pub fn read_failure(self, code: CloseCode) -> Self {
        Self { read_failure: code, ..self }
    }

    /// What the stream is stopped with when writing the other side fails; default CANCELLED.
    #[must_use]
    pub fn write_failure(self, code: CloseCode) -> Self {
        Self { write_failure: code, ..self }
    }

    /// How many octets are read from the other side at once; default 64 KiB, at least 1. Held while a relay waits
    /// for the stream to take them.
    #[must_use]
    pub fn buffer(self, bytes: usize) -> Self {
        Self { buffer: bytes.max(1), ..self }
    }
}

/// What a relay carried, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayReport {
    /// Bytes from the stream to the other side.
    pub forth_bytes: u64,
    /// Bytes from the other side to the stream.
    pub back_bytes: u64,
    /// How the way from the stream to the other side ended.
    pub forth: RelayEnd,
    /// How the way from the other side to the stream ended.
    pub back: RelayEnd,
}

/// How one way of a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayEnd {
    /// In order: the source ended, and all of it was passed on.
    Finished,
    /// A stream ended with an error; see its code.
    Stream(StreamError),
    /// A socket failed.
    Socket(io::ErrorKind),
    /// No byte moved for the idle limit.
    Idle,
    /// The other way failed and took this one with it.
    Aborted,
}

struct Relay<T> {
    stream: Stream,
    other: T,
    forth: Way,
    back: Way,
    /// Chunks of the stream on their way to the other side; at most [`CHUNKS`].
    chunks: VecDeque<Bytes>,
    /// How many of them, from the first, are copies that keep no read buffer alive.
    copied: usize,
    /// When it is time to copy them, while the other side takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether the other side has taken something since `stall` was set.
    has_moved: bool,
    /// A chunk of the other side, if that is a stream, which the stream has not taken yet.
    back_chunk: Option<Bytes>,
    /// What was read from the other side and the stream has not taken yet.
    buffer: BytesMut,
    progress: Instant,
    idle: Option<Pin<Box<Sleep>>>,
    options: RelayOptions,
}

#[derive(Default)]
struct Way {
    bytes: u64,
    is_ended: bool,
    end: Option<RelayEnd>,
}

/// Which end of a way failed.
enum Failure {
    Source(RelayEnd),
    Sink(RelayEnd),
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Relay<T> {
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if self.forth.end.is_none() {
            match self.poll_forth(task) {
                Poll::Ready(Ok(())) => self.forth.end = Some(RelayEnd::Finished),
                Poll::Ready(Err(Failure::Source(end))) => {
                    self.forth.end = Some(end.clone());
                    return self.abort(end.code(CloseCode::CANCELLED));
                }
                Poll::Ready(Err(Failure::Sink(end))) => {
                    self.stream.stop(end.code(self.options.write_failure));
                    self.chunks.clear();
                    self.forth.end = Some(end);
                }
                Poll::Pending => {}
            }
        }
        if self.back.end.is_none() {
            match self.poll_back(task) {
                Poll::Ready(Ok(())) => self.back.end = Some(RelayEnd::Finished),
                Poll::Ready(Err(Failure::Source(end))) => {
                    self.back.end = Some(end.clone());
                    return self.abort(end.code(self.options.read_failure));
                }
                Poll::Ready(Err(Failure::Sink(end))) => {
                    if let Some(other) = self.other_stream() {
                        other.stop(end.code(CloseCode::CANCELLED));
                    }
                    self.back.end = Some(end);
                }
                Poll::Pending => {}
            }
        }
        if self.forth.end.is_some() && self.back.end.is_some() {
            return Poll::Ready(());
        }
        self.poll_idle(task)
    }

    /// From the stream to the other side.
    fn poll_forth(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            while !self.forth.is_ended && self.chunks.len() < CHUNKS {
                match self.stream.receive_half().poll_read_chunk(task) {
                    Poll::Ready(Ok(Some(chunk))) => self.chunks.push_back(chunk),
                    Poll::Ready(Ok(None)) => self.forth.is_ended = true,
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Failure::Source(RelayEnd::Stream(error))));
                    }
                    Poll::Pending => break,
                }
            }
            if self.chunks.is_empty() {
                if !self.forth.is_ended {
                    return Poll::Pending;
                }
                let shut = ready!(Pin::new(&mut self.other).poll_shutdown(task));
                return Poll::Ready(shut.map_err(|error| Failure::Sink(error.into())));
            }
            let Poll::Ready(written) = self.poll_write_other(task) else {
                self.poll_stall(task);
                return Poll::Pending;
            };
            let written = written.map_err(|error| Failure::Sink(error.into()))?;
            self.moved();
            self.has_moved = true;
            self.copied = 0;
            self.forth.bytes += to_u64(written);
            consume(&mut self.chunks, written);
            if self.chunks.is_empty() && !self.forth.is_ended {
                // What is written should leave even if the other side buffers; its own wakers see to the rest.
                let _ = Pin::new(&mut self.other).poll_flush(task);
            }
        }
    }

    /// Copies what waits, once the other side has taken nothing for a while: a chunk of a few octets may be all that is
    /// left of a read buffer of 256 KiB, and keep it alive.
    fn poll_stall(&mut self, task: &mut Context<'_>) {
        while self.copied < self.chunks.len() {
            if self.stall.is_none() {
                self.has_moved = false;
            }
            let at = tokio::time::Instant::from_std(now()) + STALL;
            let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if stall.as_mut().poll(task).is_pending() {
                return;
            }
            self.stall = None;
            if !self.has_moved {
                for chunk in self.chunks.iter_mut().skip(self.copied) {
                    *chunk = Bytes::copy_from_slice(chunk);
                }
                self.copied = self.chunks.len();
            }
        }
    }

    fn poll_write_other(&mut self, task: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(other) = as_stream(&mut self.other) {
            let Some(chunk) = self.chunks.front() else { return Poll::Ready(Ok(0)) };
            ready!(other.send_half().poll_write_chunk(task, chunk))?;
            return Poll::Ready(Ok(chunk.len()));
        }
        let mut slices = [IoSlice::new(&[]); CHUNKS];
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        let slices = slices.get(..self.chunks.len()).unwrap_or_default();
        let other = Pin::new(&mut self.other);
        let written = match slices {
            [only] => ready!(other.poll_write(task, only))?,
            many => ready!(other.poll_write_vectored(task, many))?,
        };
        if written == 0 {
            Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
        } else {
            Poll::Ready(Ok(written))
        }
    }

    /// From the other side to the stream.
    fn poll_back(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            while !self.buffer.is_empty() {
                // Straight from this buffer to the connection, if that is free.
                let written = ready!(Pin::new(&mut self.stream).poll_write(task, &self.buffer));
                let written = written.map_err(|error| Failure::Sink(error.into()))?;
                self.buffer.advance(written);
                self.back.bytes += to_u64(written);
                self.moved();
            }
            if self.back.is_ended {
                return Poll::Ready(
                    self.stream.send_half().finish().map_err(|error| Failure::Sink(RelayEnd::Stream(error))),
                );
            }
            if as_stream(&mut self.other).is_some() {
                return self.poll_back_chunks(task);
            }
            // Room that is read into needs no zeroes first.
            self.buffer.reserve(self.options.buffer);
            match pin!(self.other.read_buf(&mut self.buffer)).poll(task) {
                Poll::Ready(Ok(0)) => self.back.is_ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Source(error.into()))),
                Poll::Pending => {
                    // Whoever waits holds no buffer: thousands of idle relays cost little.
                    self.buffer = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
    }

    /// From another stream to the stream: chunks as they are.
    fn poll_back_chunks(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let sink = |error| Failure::Sink(RelayEnd::Stream(error));
        loop {
            // A chunk that was taken is kept until it is passed on: the room for it may be gone again, to another
            // stream or because the task has used up its steps.
            if let Some(chunk) = &self.back_chunk {
                ready!(self.stream.send_half().poll_write_chunk(task, chunk)).map_err(sink)?;
                self.back.bytes += to_u64(chunk.len());
                self.back_chunk = None;
                self.moved();
            }
            // None is taken before there is room, and a stop is seen even if none comes.
            if ready!(self.stream.send_half().poll_writable(task)).map_err(sink)? == 0 {
                continue;
            }
            let Some(other) = as_stream(&mut self.other) else { return Poll::Pending };
            let source = |error| Failure::Source(RelayEnd::Stream(error));
            self.back_chunk = ready!(other.receive_half().poll_read_chunk(task)).map_err(source)?;
            if self.back_chunk.is_none() {
                return Poll::Ready(self.stream.send_half().finish().map_err(sink));
            }
        }
    }

    /// Ends both ways with a code.
    fn abort(&mut self, code: CloseCode) -> Poll<()> {
        self.stream.reset(code);
        self.stream.stop(code);
        if let Some(other) = self.other_stream() {
            other.reset(code);
            other.stop(code);
        }
        Poll::Ready(())
    }

    fn other_stream(&mut self) -> Option<&mut Stream> {
        as_stream(&mut self.other)
    }

    fn moved(&mut self) {
        if self.options.idle.is_some() {
            self.progress = now();
        }
    }

    fn poll_idle(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.options.idle else { return Poll::Pending };
        let Some(deadline) = self.progress.checked_add(limit) else { return Poll::Pending };
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(sleep.as_mut().poll(task));
        if sleep.deadline() < deadline {
            sleep.as_mut().reset(deadline);
            ready!(sleep.as_mut().poll(task));
        }
        self.forth.end.get_or_insert(RelayEnd::Idle);
        self.back.end.get_or_insert(RelayEnd::Idle);
        self.abort(CloseCode::TIMEOUT)
    }
}

impl RelayEnd {
    /// The code that passes this end on; `failure` for ends that have none.
    fn code(&self, failure: CloseCode) -> CloseCode {
        match self {
            Self::Stream(error) => error.close_code(),
            Self::Idle => CloseCode::TIMEOUT,
            Self::Finished | Self::Socket(_) | Self::Aborted => failure,
        }
    }
}

impl From<io::Error> for RelayEnd {
    fn from(error: io::Error) -> Self {
        StreamError::of(&error).map_or(Self::Socket(error.kind()), |error| Self::Stream(error.clone()))
    }
}

/// The other side, if it is one of our streams: then chunks and codes can be passed on as they are.
fn as_stream(other: &mut dyn Any) -> Option<&mut Stream> {
    other.downcast_mut()
}

fn consume(chunks: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(front) = chunks.front_mut() {
        if front.len() > bytes {
            front.advance(bytes);
            return;
        }
        bytes -= front.len();
        chunks.pop_front();
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// How many chunks go into one write call.
const CHUNKS: usize = 16;
/// How long the other side may take nothing before what waits for it is copied.
const STALL: Duration = Duration::from_millis(100);
