//! A link with a delay and a rate inside the process, for round-trip times that loopback doesn't have.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What a link adds to the bytes that pass through it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkProfile {
    /// There and back; each direction takes half.
    pub(crate) round_trip: Duration,
    /// Payload bytes a second in each direction.
    pub(crate) bytes_per_second: u64,
}

/// One end of a link.
///
/// What is written leaves at the link's rate, behind what was written before, and arrives half a round trip later.
/// At most four milliseconds' worth (but 16 KiB) waits to leave; then writes wait, as on a socket with a low-water
/// mark. Nothing limits what is on its way.
pub(crate) struct Link {
    profile: LinkProfile,
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
}

struct Direction {
    /// Bytes with the instant at which they can be read.
    under_way: VecDeque<(Instant, Bytes)>,
    /// When the last byte written has left, or will have.
    last_departure: Instant,
    reader: Option<Waker>,
    closed: bool,
}

impl Link {
    pub(crate) fn pair(profile: LinkProfile) -> (Self, Self) {
        let (there, back) = (Direction::shared(), Direction::shared());
        let near = Self::new(profile, Arc::clone(&back), Arc::clone(&there));
        (near, Self::new(profile, there, back))
    }

    fn new(profile: LinkProfile, incoming: Arc<Mutex<Direction>>, outgoing: Arc<Mutex<Direction>>) -> Self {
        let now = Instant::now();
        let (read_timer, write_timer) = (Box::pin(sleep_until(now)), Box::pin(sleep_until(now)));
        Self { profile, incoming, outgoing, read_timer, write_timer }
    }
}

impl LinkProfile {
    /// How long `bytes` occupy the link.
    fn serialization(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_second.max(1))
    }

    /// The longest wait to leave before writes wait too.
    fn backlog(&self) -> Duration {
        self.serialization(16 * 1024).max(Duration::from_millis(4))
    }

    /// Bytes taken by one write: a millisecond's worth, so that they arrive bit by bit.
    fn piece(&self) -> usize {
        usize::try_from(self.bytes_per_second / 1000).unwrap_or(usize::MAX).clamp(1500, 64 * 1024)
    }
}

impl Direction {
    fn shared() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            under_way: VecDeque::new(),
            last_departure: Instant::now(),
            reader: None,
            closed: false,
        }))
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut incoming = lock(&this.incoming);
            let Some((arrival, bytes)) = incoming.under_way.front_mut() else {
                if incoming.closed {
                    return Poll::Ready(Ok(()));
                }
                incoming.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if *arrival <= Instant::now() {
                let taken = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..taken]);
                bytes.advance(taken);
                if bytes.is_empty() {
                    incoming.under_way.pop_front();
                }
                return Poll::Ready(Ok(()));
            }
            this.read_timer.as_mut().reset(*arrival);
            drop(incoming);
            ready!(this.read_timer.as_mut().poll(cx));
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let now = Instant::now();
            let mut outgoing = lock(&this.outgoing);
            let free_at = outgoing.last_departure.checked_sub(this.profile.backlog()).unwrap_or(now);
            if free_at > now {
                drop(outgoing);
                this.write_timer.as_mut().reset(free_at);
                ready!(this.write_timer.as_mut().poll(cx));
                continue;
            }
            let piece = &buf[..buf.len().min(this.profile.piece())];
            let occupied = this.profile.serialization(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            outgoing.last_departure = outgoing.last_departure.max(now) + occupied;
            let arrival = outgoing.last_departure + this.profile.round_trip / 2;
            outgoing.under_way.push_back((arrival, Bytes::copy_from_slice(piece)));
            if let Some(reader) = outgoing.reader.take() {
                reader.wake();
            }
            return Poll::Ready(Ok(piece.len()));
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = lock(&self.outgoing);
        outgoing.closed = true;
        if let Some(reader) = outgoing.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut outgoing = lock(&self.outgoing);
        outgoing.closed = true;
        if let Some(reader) = outgoing.reader.take() {
            reader.wake();
        }
    }
}

fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap_or_else(PoisonError::into_inner)
}
