//! Frames on their way out.

use super::decoder::Short;
use super::frame::{Head, Key, Opcode};
use super::keys::Keys;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Writes each gathered call as one message, which is taken as a whole or not at all: a frame that was begun is kept to
/// its end, so that nothing of it waits for what an application says next.
///
/// A server's payload goes to the connection as it lies. A client's is masked on its way into the buffer.
pub(super) struct Writer {
    /// The client's.
    keys: Option<Keys>,
    /// Frames that are owed; at most one message and two control frames.
    owed: Vec<u8>,
    /// Where what is owed begins and ends. Invariant: `begin <= end <= owed.len()`.
    begin: usize,
    end: usize,
    limit: Limit,
    /// The answer to the last ping. One that comes before it was sent takes its place (RFC 6455 section 5.5.3).
    pong: Option<Short>,
    close: Close,
    /// Whether a Close answers one of the peer's.
    is_peer_closed: bool,
}

/// The Close of this side, behind which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    Open,
    Due(Option<u16>),
    Encoded,
}

impl Writer {
    /// Masks with `keys`, if this is the client.
    pub(super) const fn new(keys: Option<Keys>) -> Self {
        let limit = Limit { most: MOST_WRITTEN, partial: 0 };
        Self {
            keys,
            owed: Vec::new(),
            begin: 0,
            end: 0,
            limit,
            pong: None,
            close: Close::Open,
            is_peer_closed: false,
        }
    }

    /// Uses other keys, if this is the client.
    pub(super) fn set_keys(&mut self, keys: Keys) {
        if self.keys.is_some() {
            self.keys = Some(keys);
        }
    }

    /// An answer to a ping is due.
    pub(super) const fn pong(&mut self, payload: Short) {
        self.pong = Some(payload);
    }

    /// Nothing comes from the peer any more, and a Close is due, unless one was.
    pub(super) fn peer_closed(&mut self, number: Option<u16>) {
        self.is_peer_closed = true;
        self.close(number);
    }

    fn close(&mut self, number: Option<u16>) {
        if self.close == Close::Open {
            self.close = Close::Due(number);
        }
    }

    /// Sends one message of what `slices` hold, or of the first part of it; says how much that is.
    pub(super) fn poll_message<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.is_answer_due() || self.owed_bytes() > self.limit.most / 2 {
                ready!(self.poll_owed(io, task))?;
            }
            if self.close != Close::Open {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let offered = slices.iter().fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
            let room = self.limit.most.saturating_sub(self.owed_bytes() + Head::MOST_BYTES);
            let length = offered.min(room);
            if length == 0 {
                return Poll::Ready(Ok(0));
            }
            if self.keys.is_some() || length <= COPIED || !io.is_write_vectored() {
                self.encode(Opcode::BINARY, slices, length)?;
                // What isn't taken now is owed.
                return match self.poll_write_owed(io, task) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(length)),
                };
            }
            match ready!(self.poll_vectored(io, task, slices, length))? {
                0 => {}
                taken => return Poll::Ready(Ok(taken)),
            }
        }
    }

    pub(super) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(io, task))?;
        Pin::new(io).poll_flush(task)
    }

    /// Sends a Close, and behind one of the peer shuts the connection down. Before that a client that ended its direction would
    /// look to some servers as one that is gone.
    pub(super) fn poll_shutdown<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.close(Some(NORMAL));
        ready!(self.poll_flush(io, task))?;
        if self.is_peer_closed { Pin::new(io).poll_shutdown(task) } else { Poll::Ready(Ok(())) }
    }

    /// Sends everything that is owed or due.
    fn poll_owed<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write_owed(io, task))?;
            let (opcode, payload) = match (self.pong.take(), self.close) {
                (Some(pong), Close::Open | Close::Due(_)) => (Opcode::PONG, pong),
                (None, Close::Due(number)) => {
                    self.close = Close::Encoded;
                    (Opcode::CLOSE, Short::of_close(number))
                }
                (None, Close::Open) | (_, Close::Encoded) => return Poll::Ready(Ok(())),
            };
            let octets = payload.octets();
            self.encode(opcode, &[IoSlice::new(octets)], octets.len())?;
        }
    }

    /// One call: what is owed, the head, and the payload where it lies. Says how much payload was taken: none, if not even
    /// all was that is owed.
    fn poll_vectored<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let mut list = [IoSlice::new(&[]); MOST_SLICES];
        let Some(([owed, head], payload)) = list.split_first_chunk_mut() else { return Poll::Pending };
        let (mut used, mut taken) = (2, 0);
        for (to, from) in payload.iter_mut().zip(first_of(slices, length)) {
            *to = IoSlice::new(from);
            used += 1;
            taken += from.len();
        }
        let mut octets = [0; Head::MOST_BYTES];
        let head_bytes = whole(Opcode::BINARY, taken, None).encode(&mut octets);
        *head = IoSlice::new(octets.get(..head_bytes).unwrap_or_default());
        *owed = IoSlice::new(self.owed.get(self.begin..self.end).unwrap_or_default());
        let owed_bytes = owed.len();
        let Poll::Ready(written) =
            Pin::new(io).poll_write_vectored(task, list.get(..used).unwrap_or_default())?
        else {
            self.limit.is_full();
            return Poll::Pending;
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.limit.wrote(written, written < owed_bytes + head_bytes + taken);
        self.begin += written.min(owed_bytes);
        let Some(mut skipped) = written.checked_sub(owed_bytes).filter(|more| *more > 0) else {
            return Poll::Ready(Ok(0));
        };
        let new = [octets.get(..head_bytes).unwrap_or_default()].into_iter().chain(first_of(slices, taken));
        for slice in new {
            let (_, rest) = slice.split_at(skipped.min(slice.len()));
            skipped -= slice.len() - rest.len();
            self.owe(rest.len()).copy_from_slice(rest);
        }
        Poll::Ready(Ok(taken))
    }

    const fn owed_bytes(&self) -> usize {
        self.end - self.begin
    }

    fn is_answer_due(&self) -> bool {
        self.pong.is_some() || matches!(self.close, Close::Due(_))
    }

    /// Adds a frame to what is owed.
    fn encode(&mut self, opcode: Opcode, slices: &[IoSlice<'_>], length: usize) -> io::Result<()> {
        let mut key = self.keys.as_mut().map(Keys::next).transpose()?;
        let mut head = [0; Head::MOST_BYTES];
        let head_bytes = whole(opcode, length, key).encode(&mut head);
        self.owe(head_bytes).copy_from_slice(head.get(..head_bytes).unwrap_or_default());
        for slice in first_of(slices, length) {
            let out = self.owe(slice.len());
            match &mut key {
                Some(key) => key.mask_into(out, slice),
                None => out.copy_from_slice(slice),
            }
        }
        Ok(())
    }

    /// Room for `octets` more.
    fn owe(&mut self, octets: usize) -> &mut [u8] {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.begin > MOST_WRITTEN {
            self.owed.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.owed_bytes());
        }
        let from = self.end;
        self.end += octets;
        if self.owed.len() < self.end {
            self.owed.resize(self.end, 0);
        }
        self.owed.get_mut(from..self.end).unwrap_or_default()
    }

    fn poll_write_owed<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(owed) = self.owed.get(self.begin..self.end).filter(|owed| !owed.is_empty()) {
            let Poll::Ready(written) = Pin::new(&mut *io).poll_write(task, owed)? else {
                self.limit.is_full();
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.limit.wrote(written, written < owed.len());
            self.begin = self.end.min(self.begin + written);
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("owed", &self.owed_bytes())
            .field("close", &self.close)
            .finish_non_exhaustive()
    }
}

/// How much the connection takes in one call, which is another thing than being full: a TLS library encrypts into a
/// buffer of fixed size. What is a little longer costs a call and a record for a few octets.
struct Limit {
    most: usize,
    /// What the last call took, if that was a part.
    partial: usize,
}

impl Limit {
    fn wrote(&mut self, octets: usize, is_partial: bool) {
        if !is_partial {
            return;
        }
        if self.partial == octets && octets >= LEAST_WRITTEN {
            self.most = octets.min(MOST_WRITTEN);
        }
        self.partial = octets;
    }

    /// The last part was one because the connection is full.
    const fn is_full(&mut self) {
        self.partial = 0;
    }
}

/// The head of a frame that is a whole message, or a control frame.
fn whole(opcode: Opcode, length: usize, key: Option<Key>) -> Head {
    Head { is_final: true, opcode, length: u64::try_from(length).unwrap_or(u64::MAX), key }
}

/// What the first `length` octets of `slices` lie in.
fn first_of<'a>(slices: &'a [IoSlice<'_>], length: usize) -> impl Iterator<Item = &'a [u8]> {
    let mut left = length;
    slices.iter().map_while(move |slice| {
        let taken = slice.len().min(left);
        left -= taken;
        slice.get(..taken).filter(|_| taken > 0 || left > 0)
    })
}

/// RFC 6455 section 7.4.1.
const NORMAL: u16 = 1000;
/// The longest frame that is sent.
const MOST_WRITTEN: usize = 128 * 1024;
/// A connection that takes less at a time is given more all the same.
const LEAST_WRITTEN: usize = 4 * 1024;
/// A message up to this is copied behind its head: that costs less than a call with more slices.
const COPIED: usize = 2 * 1024;
/// Slices of one call: what is owed, the head, and what one call of a driver gathers.
const MOST_SLICES: usize = 130;
