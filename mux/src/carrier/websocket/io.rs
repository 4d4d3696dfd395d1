//! A WebSocket as a connection: octets in, octets out.

use super::decoder::{Decoder, End};
use super::keys::Keys;
use super::writer::Writer;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A WebSocket whose binary messages are one flow of octets each way; give it to [`Builder`](crate::Builder).
///
/// A ping is answered while it is read, the last one if the connection takes no answer meanwhile. A frame that the rules
/// don't allow, a text message, or a message that is too long fails the reading with a [`Violation`](crate::Violation)
/// inside, and the peer is told with a Close of 1002, 1003, 1007 or 1009. After a Close of the peer, which is answered,
/// nothing more is read, and to write fails. What a write has taken is sent as a whole message, by the next write or flush at the latest.
#[derive(Debug)]
pub struct WebSocketIo<T> {
    io: T,
    reader: Reader,
    writer: Writer,
}

/// The half of a [`WebSocketIo`] that is read. See [`WebSocketIo::split_with`].
#[derive(Debug)]
pub struct WebSocketReader<R, W> {
    io: R,
    reader: Reader,
    shared: Arc<Shared<W>>,
}

/// The half of a [`WebSocketIo`] that is written. See [`WebSocketIo::split_with`].
#[derive(Debug)]
pub struct WebSocketWriter<W> {
    shared: Arc<Shared<W>>,
}

/// The writing half, which the reading one needs for what it has to answer.
#[derive(Debug)]
struct Shared<W> {
    writer: Mutex<(W, Writer)>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocketIo<T> {
    /// The client's side of a connection that was upgraded elsewhere, by an HTTP library for instance. `early` is what
    /// came behind the answer and was read already.
    pub fn upgraded_client(io: T, early: Bytes) -> Self {
        let (reader, writer) = (Reader::new(false, early), Writer::new(Some(Keys::of_the_system())));
        Self { io, reader, writer }
    }

    /// The server's side of a connection that was upgraded elsewhere. `early` is what came behind the request and was read
    /// already.
    pub fn upgraded_server(io: T, early: Bytes) -> Self {
        Self { io, reader: Reader::new(true, early), writer: Writer::new(None) }
    }

    /// Masks with what `fill` gives instead of the operating system's random octets, which nobody may foresee: a proxy on
    /// the way could be made to see something else in frames otherwise (RFC 6455 section 10.3). A server masks nothing.
    #[must_use]
    pub fn randomness(mut self, fill: impl FnMut(&mut [u8]) -> io::Result<()> + Send + 'static) -> Self {
        self.writer.set_keys(Keys::new(fill));
        self
    }

    /// Two halves for [`Builder::build_split`](crate::Builder::build_split), each with its half of the connection. `split`
    /// is the connection's own way, if it has one without a lock, and otherwise [`tokio::io::split`].
    pub fn split_with<R, W>(
        self,
        split: impl FnOnce(T) -> (R, W),
    ) -> (WebSocketReader<R, W>, WebSocketWriter<W>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (io, writer) = split(self.io);
        let shared = Arc::new(Shared { writer: Mutex::new((writer, self.writer)) });
        let reader = WebSocketReader { io, reader: self.reader, shared: Arc::clone(&shared) };
        (reader, WebSocketWriter { shared })
    }

    /// The connection below.
    pub const fn get_ref(&self) -> &T {
        &self.io
    }
}

/// What reading needs, in one piece or in two halves.
trait Ends {
    type Io: AsyncRead + Unpin;

    fn reading(&mut self) -> (&mut Self::Io, &mut Reader);

    /// Hands what is due to the writer, and sends it as far as the connection takes it.
    fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>>;
}

fn poll_read(ends: &mut impl Ends, task: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    for _ in 0..MOST_ROUNDS {
        let (io, reader) = ends.reading();
        let read = reader.poll_read(io, task, out);
        if reader.owes() && ends.poll_answer(task).is_ready() {
            // Whether it went through is for whoever writes.
            ends.reading().1.is_owing = false;
        }
        if !matches!(read, Poll::Ready(Ok(Read::Nothing))) {
            return read.map_ok(|_| ());
        }
    }
    // Only frames without octets come, one for each round: others have their turn.
    task.waker().wake_by_ref();
    Poll::Pending
}

/// The reading half, without a connection.
#[derive(Debug)]
struct Reader {
    decoder: Decoder,
    /// Read by whoever made the upgrade.
    early: Bytes,
    /// Whether something was handed to the writer that may not have been sent.
    is_owing: bool,
    is_end_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Octets,
    /// Only control frames, or parts of a head.
    Nothing,
    End,
}

impl Reader {
    const fn new(takes_masked: bool, early: Bytes) -> Self {
        Self { decoder: Decoder::new(takes_masked), early, is_owing: false, is_end_told: false }
    }

    /// Whether there is something to send for this side.
    const fn owes(&self) -> bool {
        self.is_owing || self.decoder.has_ping() || (self.decoder.end().is_some() && !self.is_end_told)
    }

    /// Tells `writer` what is due.
    fn hand_over(&mut self, writer: &mut Writer) {
        if let Some(ping) = self.decoder.take_ping() {
            writer.pong(ping);
        }
        if let Some(end) = self.decoder.end() {
            self.is_end_told = true;
            writer.peer_closed(match end {
                End::Closed(number) => number,
                End::Broken(fault) => Some(fault.close_number()),
            });
        }
        self.is_owing = true;
    }

    /// Reads once.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Read>> {
        match self.decoder.end() {
            None if out.remaining() > 0 => {}
            None | Some(End::Closed(_)) => return Poll::Ready(Ok(Read::End)),
            Some(End::Broken(fault)) => {
                let broken = io::Error::new(io::ErrorKind::InvalidData, fault.violation());
                return Poll::Ready(Err(broken));
            }
        }
        let before = out.filled().len();
        ready!(self.poll_octets(io, task, out))?;
        let came = out.filled_mut().get_mut(before..).unwrap_or_default();
        if came.is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        let kept = self.decoder.decode(came);
        out.set_filled(before + kept);
        Poll::Ready(Ok(if kept > 0 { Read::Octets } else { Read::Nothing }))
    }

    /// Reads into `out`.
    fn poll_octets<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let taken = self.early.len().min(out.remaining());
            out.put_slice(self.early.get(..taken).unwrap_or_default());
            self.early.advance(taken);
            return Poll::Ready(Ok(()));
        }
        Pin::new(io).poll_read(task, out)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Ends for WebSocketIo<T> {
    type Io = T;

    fn reading(&mut self) -> (&mut T, &mut Reader) {
        (&mut self.io, &mut self.reader)
    }

    fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reader.hand_over(&mut self.writer);
        self.writer.poll_flush(&mut self.io, task)
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Ends for WebSocketReader<R, W> {
    type Io = R;

    fn reading(&mut self) -> (&mut R, &mut Reader) {
        (&mut self.io, &mut self.reader)
    }

    fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (io, writer) = &mut *self.shared.lock();
        self.reader.hand_over(writer);
        writer.poll_flush(io, task)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(self.get_mut(), task, out)
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> AsyncRead for WebSocketReader<R, W> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(self.get_mut(), task, out)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketIo<T> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_message(&mut this.io, task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.writer.poll_flush(&mut this.io, task)
    }

    /// Sends a Close. The connection is shut down if the peer has sent one.
    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.writer.poll_shutdown(&mut this.io, task)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for WebSocketWriter<W> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (io, writer) = &mut *self.shared.lock();
        writer.poll_message(io, task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (io, writer) = &mut *self.shared.lock();
        writer.poll_flush(io, task)
    }

    /// Sends a Close. The connection is shut down if the peer has sent one.
    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (io, writer) = &mut *self.shared.lock();
        writer.poll_shutdown(io, task)
    }
}

impl<W> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, (W, Writer)> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many frames without octets are read in one turn.
const MOST_ROUNDS: usize = 32;
