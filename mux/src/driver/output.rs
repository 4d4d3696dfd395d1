//! The writing half of the connection, and what is on its way there.

use super::direct::{DIRECT_FRAMES, Frames};
use super::state::{State, set};
use super::sync::AtomicBool;
use crate::connection::Batch;
use adit_wire_proto::frame::HEADER_BYTES;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::AsyncWrite;

/// The writing half of the connection, and what is on its way there.
pub(super) struct Output {
    /// None once the driver is gone, so that handles that live on don't keep the connection open.
    io: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub(super) batch: Batch,
    /// The driver's waker: whoever writes, the driver is told when the connection takes more.
    pub(super) waker: Option<Waker>,
    /// Whether the connection takes many slices in one call.
    is_vectored: bool,
    /// Whether the connection takes nothing at the moment.
    pub(super) is_blocked: bool,
    /// When it was first found to take nothing, after it last took something.
    blocked_since: Option<Instant>,
    needs_flush: bool,
    /// Octets written that the core has not been told of.
    unreported: usize,
    /// Whether the core has been told that output is stuck.
    pub(super) is_stalled: bool,
    call_limit: CallLimit,
    pub(super) wakes: Vec<Waker>,
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

impl Output {
    pub(super) fn new(io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        let is_vectored = io.is_write_vectored();
        let batch = if is_vectored { Batch::new() } else { Batch::in_one_piece() };
        Self {
            io: Some(io),
            batch,
            waker: None,
            is_vectored,
            is_blocked: false,
            blocked_since: None,
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
    pub(super) fn needs_driver(&self) -> bool {
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
    pub(super) fn write_with(
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
    pub(super) fn write_rest(&mut self, is_unfinished: &AtomicBool) -> io::Result<()> {
        while !self.batch.is_empty() && !self.is_blocked {
            // Whether it is blocked is noted there.
            let _ = self.write_with(None, is_unfinished)?;
        }
        Ok(())
    }

    /// How many octets of a caller's buffer one more call should carry, behind what is batched.
    pub(super) fn direct_most(&self) -> usize {
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
    pub(super) fn rest_of(&mut self, frames: &Frames<'_>, frame: usize, from: usize) {
        let header = frames.headers.get(frame).map(|header| header.as_slice()).unwrap_or_default();
        let payload = frames.payload.chunks(frames.frame_bytes).nth(frame).unwrap_or_default();
        self.batch.copy(header.get(from..).unwrap_or_default());
        self.batch.copy(payload.get(from.saturating_sub(HEADER_BYTES)..).unwrap_or_default());
    }

    /// Tells the core what was written, and whether output is stuck: what is batched, or what writers hold back who wait
    /// for the connection itself.
    ///
    /// Such writers are let try now and then, whenever the driver has something else to do. That is no progress: output
    /// is stuck since the connection was first found full, and until it takes something.
    pub(super) fn report(&mut self, now: Instant, state: &mut State) {
        if self.unreported > 0 {
            self.blocked_since = None;
        }
        if self.is_blocked {
            self.blocked_since.get_or_insert(now);
        }
        let is_stuck = self.is_blocked && (!self.batch.is_empty() || state.has_blocked_writers());
        if self.unreported > 0 || is_stuck != self.is_stalled {
            state.core.wrote(now, std::mem::take(&mut self.unreported), is_stuck);
            if let Some(since) = self.blocked_since.filter(|_| is_stuck) {
                state.core.stalled(since);
            }
            self.is_stalled = is_stuck;
        }
    }

    pub(super) fn poll_flush(&mut self, is_unfinished: &AtomicBool) -> io::Result<()> {
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

/// Slices of one write call: those of a batch, and two for each frame of a caller's buffer.
const SLICES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

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
