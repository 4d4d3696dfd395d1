//! The reading half of the connection.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads into segments that are used again.
///
/// What is read is handed out in slices; the memory of a segment comes back when they are gone.
pub(super) struct Input {
    io: Box<dyn AsyncRead + Send + Unpin>,
    segment: BytesMut,
    /// How long segments are: from [`FIRST_BYTES`] to [`SEGMENT_BYTES`].
    size: usize,
    /// Segments that were used up while their slices were held, oldest first; at most [`SPARES`].
    spares: VecDeque<BytesMut>,
    /// Whether the connection has just said that it has no more, and will wake the driver when it has.
    is_drained: bool,
    /// What came behind octets that were handed out first.
    end: Option<io::Result<Bytes>>,
}

impl Input {
    pub(super) fn new(io: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        let segment = BytesMut::with_capacity(FIRST_BYTES);
        Self { io, segment, size: FIRST_BYTES, spares: VecDeque::new(), is_drained: false, end: None }
    }

    /// The next octets; none at the end.
    ///
    /// All that is there comes together, however small the pieces in which the connection gives it: a TLS library gives
    /// a record at a time.
    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.is_drained = false;
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        self.make_room();
        while self.segment.len() < ENOUGH && self.segment.len() < self.segment.capacity() {
            match pin!(self.io.read_buf(&mut self.segment)).poll(task) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => return self.ended(Ok(Bytes::new())),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some connections say that there is nothing by an error, and wake nobody then.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    task.waker().wake_by_ref();
                    break;
                }
                Poll::Ready(Err(error)) => return self.ended(Err(error)),
                Poll::Pending if self.segment.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    self.is_drained = true;
                    break;
                }
            }
        }
        if self.segment.is_empty() {
            return Poll::Pending;
        }
        let octets = self.segment.split().freeze();
        if octets.len() >= self.size {
            // There may be more than fits: as a rule there is soon.
            self.resize((self.size * 4).min(SEGMENT_BYTES));
        }
        Poll::Ready(Ok(octets))
    }

    /// Whether the last [`poll`](Self::poll) gave all that there was.
    pub(super) const fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Gives what was read, and then the end.
    fn ended(&mut self, end: io::Result<Bytes>) -> Poll<io::Result<Bytes>> {
        if self.segment.is_empty() {
            return Poll::Ready(end);
        }
        self.end = Some(end);
        Poll::Ready(Ok(self.segment.split().freeze()))
    }

    /// Begins anew with a small segment.
    pub(super) fn shrink(&mut self) {
        self.resize(FIRST_BYTES);
    }

    fn resize(&mut self, size: usize) {
        if size != self.size {
            self.size = size;
            self.spares = VecDeque::new();
            self.segment = BytesMut::with_capacity(size);
        }
    }

    /// Takes the whole segment back if its readers are done with it; goes on behind their slices, or to another
    /// segment, if not.
    fn make_room(&mut self) {
        if self.segment.try_reclaim(self.size) || self.segment.capacity() >= ENOUGH.min(self.size) {
            return;
        }
        self.spares.push_back(std::mem::take(&mut self.segment));
        if let Some(mut oldest) = self.spares.pop_front() {
            if oldest.try_reclaim(self.size) {
                self.segment = oldest;
                return;
            }
            if self.spares.len() < SPARES {
                self.spares.push_back(oldest);
            }
        }
        self.segment = BytesMut::with_capacity(self.size);
    }
}

/// How much is read at once to begin with, and after a rest: enough for a HELLO and short messages.
const FIRST_BYTES: usize = 4 * 1024;
/// How much is read at once at most.
const SEGMENT_BYTES: usize = 256 * 1024;
/// How much is worth handing on before the connection is asked again, and how much room a read should find.
const ENOUGH: usize = 64 * 1024;
/// How many segments are kept for when their slices are gone.
const SPARES: usize = 4;
