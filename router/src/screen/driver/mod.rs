//! The screen before a connection: what an HTTP library reads from is clear, or stands in for what was not.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Screen, ScreenError};

/// A visitor's connection with a [`Screen`] before it: give it to an HTTP library in the connection's place.
///
/// A head reaches the library once it is whole and good; of a refused one not an octet does. In its place the library
/// reads a request that the visitor could not have sent, so that the refusal is answered in turn, with the words of the
/// gateway, behind what was asked before: [`Turns::begin`] tells which request that is. Bodies are read into the
/// library's own buffer, and heads are held back in one that grows up to the largest head.
///
/// The visitor who takes longer for a head than the deadline is refused with 408, and one whose body comes more slowly
/// than the least rate has the body broken off. Only time spent waiting for the visitor counts.
///
/// Where a connection turns out to be HTTP/2, everything goes through unseen.
#[derive(Debug)]
pub struct Screened<Io> {
    io: Io,
    screen: Screen,
    shared: Arc<Mutex<Shared>>,
    /// Octets read and not given to the library; at most a head and one read.
    buffer: Vec<u8>,
    /// `buffer[given..clear]` may be read by the library, `buffer[clear..inspected]` waits for the end of its head, and
    /// the rest for an answer. Invariant: `given <= clear <= inspected <= buffer.len()`.
    given: usize,
    clear: usize,
    inspected: usize,
    has_substitute: bool,
    is_ended: bool,
    first_octet_deadline: Duration,
    head_deadline: Duration,
    body_rate: u64,
    wait: Wait,
    lingered: usize,
}

/// Time that the visitor lets us wait.
#[derive(Debug, Default)]
struct Wait {
    timer: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
    /// In the body that is being read.
    waited: Duration,
    octets: u64,
}

impl<Io> Screened<Io> {
    /// Puts `screen` before `io`. The second half is for the service that answers.
    #[must_use]
    pub fn new(io: Io, screen: Screen) -> (Self, Turns) {
        let shared = Arc::default();
        let screened = Self {
            io,
            screen,
            shared: Arc::clone(&shared),
            buffer: Vec::new(),
            given: 0,
            clear: 0,
            inspected: 0,
            has_substitute: false,
            is_ended: false,
            first_octet_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(30),
            body_rate: 1024,
            wait: Wait::default(),
            lingered: 0,
        };
        (screened, Turns(shared))
    }

    /// How long a visitor may take to the first octet of the connection; 10 s unless set. Whoever says nothing is told
    /// nothing: the library reads the end. Of later requests, the library's own deadline for idle connections holds.
    #[must_use]
    pub fn first_octet_deadline(self, first_octet_deadline: Duration) -> Self {
        Self { first_octet_deadline, ..self }
    }

    /// How long a visitor may take from a head's first octet to its last; 30 s unless set.
    #[must_use]
    pub fn head_deadline(self, head_deadline: Duration) -> Self {
        Self { head_deadline, ..self }
    }

    /// How many octets of a body have to come in each second of waiting, on average over 30 s; 1,024 unless set, 0 for
    /// any.
    #[must_use]
    pub fn body_rate(self, bytes_per_second: u64) -> Self {
        Self { body_rate: bytes_per_second, ..self }
    }

    /// The connection itself.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Looks at what was read and not looked at.
    fn inspect(&mut self) {
        let seen = self.screen.receive(self.buffer.get(self.inspected..).unwrap_or_default());
        if seen.clear > 0 {
            self.clear = self.inspected + seen.clear;
        }
        self.inspected += seen.taken;
    }

    /// Goes on where the last request asked for another protocol, once it was answered.
    fn resume(&mut self, cx: &Context<'_>) {
        let answer = {
            let mut shared = self.shared();
            shared.waker = Some(cx.waker().clone());
            shared.answer
        };
        if let Some((_, is_switched)) = answer.filter(|(turn, _)| *turn == self.screen.heads()) {
            self.screen.resume(is_switched);
            self.inspect();
        }
    }

    /// Gives the library what is clear, as much as it has room for.
    fn give(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let clear = self.buffer.get(self.given..self.clear).unwrap_or_default();
        let count = clear.len().min(into.remaining());
        into.put_slice(clear.get(..count).unwrap_or_default());
        self.given += count;
        if self.given == self.buffer.len() {
            self.buffer.clear();
            (self.given, self.clear, self.inspected) = (0, 0, 0);
        }
        count > 0
    }

    /// What the library reads instead of what was refused: a request, or the failure of the body that it is reading.
    fn refuse(&mut self, error: ScreenError) -> Poll<io::Result<()>> {
        if self.screen.is_refused_in_body() {
            self.shared().fault = Some(error.clone());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if self.has_substitute {
            // Behind it comes nothing; the library closes once it has answered.
            return Poll::Pending;
        }
        self.has_substitute = true;
        self.shared().refused = Some((self.screen.heads() + 1, error));
        self.buffer.truncate(self.clear);
        self.buffer.extend_from_slice(SUBSTITUTE);
        self.clear = self.buffer.len();
        self.inspected = self.clear;
        Poll::Ready(Ok(()))
    }

    fn is_readable_at_once(&self) -> bool {
        self.given < self.clear
    }
}

impl<Io: AsyncRead + Unpin> Screened<Io> {
    /// Reads a body's octets, or those of another protocol, to where the library wants them.
    fn poll_body(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if Pin::new(&mut self.io).poll_read(cx, into)?.is_pending() {
            return self.poll_slow_body(cx);
        }
        let octets = into.filled().get(before..).unwrap_or_default();
        self.is_ended = octets.is_empty();
        self.wait.moved(octets.len(), now());
        let seen = self.screen.receive(octets);
        let held = octets.get(seen.clear..).unwrap_or_default();
        // A body that is refused takes what came with it along.
        if self.screen.refusal().is_none() || !self.screen.is_refused_in_body() {
            self.buffer.extend_from_slice(held);
            self.inspected = seen.taken - seen.clear;
        }
        into.set_filled(before + seen.clear);
        Poll::Ready(Ok(()))
    }

    fn poll_slow_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.body_rate == 0 || !self.screen.is_in_body() {
            return Poll::Pending;
        }
        let since = *self.wait.since.get_or_insert_with(now);
        let left = BODY_WINDOW.saturating_sub(self.wait.waited);
        ready!(self.wait.poll_until(cx, since + left));
        self.wait.moved(0, now());
        let least = self.body_rate.saturating_mul(BODY_WINDOW.as_secs());
        if self.wait.octets < least {
            self.screen.refuse(0, ScreenError::BodyTooSlow {}, true);
        }
        (self.wait.waited, self.wait.octets) = (Duration::ZERO, 0);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads a head's octets to where they wait; true if some came.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let (before, was_silent) = (self.buffer.len(), self.screen.is_silent());
        self.buffer.resize(before + READ_BYTES, 0);
        let mut room = ReadBuf::new(self.buffer.get_mut(before..).unwrap_or_default());
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut room);
        let count = room.filled().len();
        self.buffer.truncate(before + count);
        match polled? {
            Poll::Ready(()) => {
                self.is_ended = count == 0;
                self.inspect();
                if was_silent {
                    // A head has its own time.
                    self.wait.since = None;
                }
                Poll::Ready(Ok(count > 0))
            }
            Poll::Pending if was_silent => {
                let since = *self.wait.since.get_or_insert_with(now);
                ready!(self.wait.poll_until(cx, since + self.first_octet_deadline));
                self.is_ended = true;
                Poll::Ready(Ok(false))
            }
            Poll::Pending if self.screen.is_in_head() => {
                let since = *self.wait.since.get_or_insert_with(now);
                ready!(self.wait.poll_until(cx, since + self.head_deadline));
                self.screen.refuse(0, ScreenError::HeadTooSlow {}, false);
                Poll::Ready(Ok(true))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Wait {
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// The wait is over for now.
    fn moved(&mut self, octets: usize, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(now.saturating_duration_since(since));
        }
        self.octets = self.octets.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Screened<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.screen.is_awaiting() {
                this.resume(cx);
            }
            if this.is_readable_at_once() {
                this.give(into);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.screen.refusal().cloned() {
                ready!(this.refuse(error))?;
            } else if this.is_ended {
                return Poll::Ready(Ok(()));
            } else if this.screen.is_awaiting() {
                if this.buffer.len() >= MAX_AWAITING_BYTES || !ready!(this.poll_head(cx))? {
                    return if this.is_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            } else if this.buffer.is_empty() && (this.screen.is_in_body() || this.screen.is_through()) {
                let before = into.filled().len();
                ready!(this.poll_body(cx, into))?;
                if into.filled().len() > before || this.is_ended {
                    return Poll::Ready(Ok(()));
                }
            } else {
                ready!(this.poll_head(cx))?;
                if !this.screen.is_in_head() {
                    (this.wait.since, this.wait.waited, this.wait.octets) = (None, Duration::ZERO, 0);
                }
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Screened<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    /// Closes. Who was refused may still be sending: what is left unread when a socket closes makes the system reset the
    /// connection, and the visitor would lose the answer. So for a while it is read, and dropped.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if this.screen.refusal().is_none() {
            return Poll::Ready(Ok(()));
        }
        let since = *this.wait.since.get_or_insert_with(now);
        let mut room = [0; READ_BYTES];
        while this.lingered < MAX_LINGER_BYTES && !this.is_ended {
            let mut room = ReadBuf::new(&mut room);
            match Pin::new(&mut this.io).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => this.lingered += room.filled().len(),
                Poll::Ready(_) => this.is_ended = true,
                Poll::Pending => return this.wait.poll_until(cx, since + LINGER).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// What the service that answers tells the screen, and asks of it. Requests of HTTP/1 are served one after another; both
/// sides count them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// Requests that the service has begun to answer.
    begun: u64,
    /// The turn in which the library reads a substitute, and why.
    refused: Option<(u64, ScreenError)>,
    /// Why the body of the request in turn broke off.
    fault: Option<ScreenError>,
    /// The last turn that was answered, and whether by switching protocols.
    answer: Option<(u64, bool)>,
    /// Who reads, and waits for an answer.
    waker: Option<Waker>,
}

impl Turns {
    /// Begins with the next request. Call it once for each, in the order in which the service gets them.
    ///
    /// # Errors
    /// Why this request was refused: what the library read is only a substitute. Answer with the refusal.
    pub fn begin(&self) -> Result<(), ScreenError> {
        let mut shared = lock(&self.0);
        shared.begun = shared.begun.saturating_add(1);
        match &shared.refused {
            Some((turn, error)) if *turn == shared.begun => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// Why the body of the request that is being answered broke off, if the screen refused it. Answer with that rather
    /// than with what became of it elsewhere.
    #[must_use]
    pub fn fault(&self) -> Option<ScreenError> {
        lock(&self.0).fault.clone()
    }

    /// The request begun last has its answer; `is_switched` if that is 101, or 2xx to CONNECT. Until it is called,
    /// nothing is read behind a request that asked for another protocol.
    pub fn answered(&self, is_switched: bool) {
        let waker = {
            let mut shared = lock(&self.0);
            shared.answer = Some((shared.begun, is_switched));
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // No step panics between two changes, so that a poisoned lock hides nothing half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a driver waits in real time")]
fn now() -> Instant {
    Instant::now()
}

/// A request that closes the connection behind it. The reserved host is no tunnel's (RFC 2606 §2), whoever serves it.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// How much is read at once where a head is awaited.
const READ_BYTES: usize = 4 * 1024;

/// How much may come before the answer to a request for another protocol.
const MAX_AWAITING_BYTES: usize = 64 * 1024;

/// Over how much waiting the rate of a body is taken.
const BODY_WINDOW: Duration = Duration::from_secs(30);

/// How long, and how much, is read from a visitor who was refused.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER_BYTES: usize = 256 * 1024;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests play time")]
mod tests;
