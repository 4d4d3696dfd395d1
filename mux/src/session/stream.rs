//! The two halves of a stream.

use super::on_carrier;
use crate::{Priority, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream: bytes both ways, each way with an end of its own.
///
/// It is tokio's `AsyncRead` and `AsyncWrite`; `shutdown` ends the sending half with FIN and leaves the other open.
/// `read` and `write` are cancel-safe: nothing is taken or sent unless they resolve. Whoever drops `write_all`,
/// `read_exact` or `read_to_end` half-way doesn't learn how far they came; the stream itself goes on.
/// Errors carry a [`StreamError`], see [`StreamError::of`].
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    receive: ReceiveStream,
}

/// The half that is written. To drop it unfinished resets the stream with CANCELLED.
pub struct SendStream {
    kind: SendKind,
}

/// The half that is read. To drop it before its end stops the stream with CANCELLED.
pub struct ReceiveStream {
    kind: ReceiveKind,
}

enum SendKind {
    Native(crate::driver::SendStream),
    #[cfg(feature = "quic")]
    Quic(crate::carrier::quic::SendStream),
    #[cfg(feature = "h2")]
    Http2(crate::carrier::h2::SendStream),
}

enum ReceiveKind {
    Native(crate::driver::ReceiveStream),
    /// By reference, since it is far larger than the others, which would all be as large.
    #[cfg(feature = "quic")]
    Quic(Box<crate::carrier::quic::ReceiveStream>),
    #[cfg(feature = "h2")]
    Http2(crate::carrier::h2::ReceiveStream),
}

impl Stream {
    pub(crate) fn native((send, receive): (crate::driver::SendStream, crate::driver::ReceiveStream)) -> Self {
        Self {
            send: SendStream { kind: SendKind::Native(send) },
            receive: ReceiveStream { kind: ReceiveKind::Native(receive) },
        }
    }

    #[cfg(feature = "quic")]
    pub(crate) fn quic(
        (send, receive): (crate::carrier::quic::SendStream, crate::carrier::quic::ReceiveStream),
    ) -> Self {
        Self {
            send: SendStream { kind: SendKind::Quic(send) },
            receive: ReceiveStream { kind: ReceiveKind::Quic(Box::new(receive)) },
        }
    }

    #[cfg(feature = "h2")]
    pub(crate) fn h2(
        (send, receive): (crate::carrier::h2::SendStream, crate::carrier::h2::ReceiveStream),
    ) -> Self {
        Self {
            send: SendStream { kind: SendKind::Http2(send) },
            receive: ReceiveStream { kind: ReceiveKind::Http2(receive) },
        }
    }

    /// The two halves, to be used by different tasks.
    pub fn split(self) -> (SendStream, ReceiveStream) {
        (self.send, self.receive)
    }

    /// Gives the sending half up: the peer reads what was sent so far, then `code`.
    pub fn reset(&mut self, code: CloseCode) {
        self.send.reset(code);
    }

    /// Gives the receiving half up: the peer's writes fail with `code`.
    pub fn stop(&mut self, code: CloseCode) {
        self.receive.stop(code);
    }

    /// See [`SendStream::write_chunk`].
    ///
    /// # Errors
    /// [`StreamError`] if the sending half or the session has ended.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.send.write_chunk(chunk).await
    }

    /// See [`ReceiveStream::read_chunk`].
    ///
    /// # Errors
    /// [`StreamError`] if the peer reset the stream or the session ended.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.receive.read_chunk().await
    }

    /// The sending half.
    pub const fn send_half(&mut self) -> &mut SendStream {
        &mut self.send
    }

    /// The receiving half.
    pub const fn receive_half(&mut self) -> &mut ReceiveStream {
        &mut self.receive
    }

    /// The stream's id, for datagrams and logs: 0 until the stream's first frame went out.
    pub fn id(&self) -> u32 {
        self.send.id()
    }
}

impl SendStream {
    /// Sends a chunk without copying it; waits while the send buffer is full. Cancel-safe: not sent unless it
    /// resolves.
    ///
    /// # Errors
    /// [`StreamError`] if the peer stopped the stream, this half has ended, or the session has.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        poll_fn(|task| self.poll_write_chunk(task, &chunk)).await
    }

    /// As [`write_chunk`](Self::write_chunk), for hand-written futures: takes all of `chunk` or nothing.
    ///
    /// # Errors
    /// As [`write_chunk`](Self::write_chunk).
    pub fn poll_write_chunk(
        &mut self,
        task: &mut Context<'_>,
        chunk: &Bytes,
    ) -> Poll<Result<(), StreamError>> {
        use SendKind as Kind;
        on_carrier!(&mut self.kind, half => half.poll_write_chunk(task, chunk))
    }

    /// Waits for room in the send buffer; says how much there is, in octets. Cancel-safe.
    ///
    /// # Errors
    /// As [`write_chunk`](Self::write_chunk).
    pub fn poll_writable(&mut self, task: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        use SendKind as Kind;
        on_carrier!(&mut self.kind, half => half.poll_writable(task))
    }

    /// Ends this half: the peer reads all that was written, then the end. Doesn't wait for it to be sent.
    ///
    /// # Errors
    /// [`StreamError`] if the peer stopped the stream or the session ended: not all may have been read.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        use SendKind as Kind;
        on_carrier!(&mut self.kind, half => half.finish())
    }

    /// Gives this half up: what is not sent yet is dropped, and the peer reads `code`.
    pub fn reset(&mut self, code: CloseCode) {
        use SendKind as Kind;
        on_carrier!(&mut self.kind, half => half.reset(code));
    }

    /// How many frames of 16,376 octets this stream may send in each of its turns, 1 (the default) to 16. Carriers
    /// with streams of their own have turns of their own, and ignore it.
    pub fn set_weight(&mut self, frames: u8) {
        match &mut self.kind {
            SendKind::Native(half) => half.set_weight(frames),
            #[cfg(feature = "quic")]
            SendKind::Quic(_) => {}
            #[cfg(feature = "h2")]
            SendKind::Http2(_) => {}
        }
    }

    /// How urgent the stream's octets are; see [`Priority`]. On QUIC a more urgent stream goes first for as long as it has
    /// something to send; HTTP/2 ignores it ([`Capabilities::has_priorities`](crate::Capabilities::has_priorities)).
    pub fn set_priority(&mut self, priority: Priority) {
        match &mut self.kind {
            SendKind::Native(half) => half.set_priority(priority),
            #[cfg(feature = "quic")]
            SendKind::Quic(half) => half.set_priority(priority),
            #[cfg(feature = "h2")]
            SendKind::Http2(_) => {}
        }
    }

    /// See [`Stream::id`].
    pub fn id(&self) -> u32 {
        use SendKind as Kind;
        on_carrier!(&self.kind, half => half.id())
    }
}

impl ReceiveStream {
    /// The next chunk as it came, without copying it; `None` at the end. Cancel-safe: nothing is lost.
    ///
    /// # Errors
    /// [`StreamError`] if the peer reset the stream or the session ended, once all that came before is read.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|task| self.poll_read_chunk(task)).await
    }

    /// As [`read_chunk`](Self::read_chunk), for hand-written futures.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub fn poll_read_chunk(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        use ReceiveKind as Kind;
        on_carrier!(&mut self.kind, half => half.poll_read_chunk(task))
    }

    /// Gives this half up: what has come is dropped, and the peer's writes fail with `code`.
    pub fn stop(&mut self, code: CloseCode) {
        use ReceiveKind as Kind;
        on_carrier!(&mut self.kind, half => half.stop(code));
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            SendKind::Native(half) => Pin::new(half).poll_write(task, octets),
            #[cfg(feature = "quic")]
            SendKind::Quic(half) => half.poll_write(task, octets).map_err(Into::into),
            #[cfg(feature = "h2")]
            SendKind::Http2(half) => half.poll_write(task, octets).map_err(Into::into),
        }
    }

    /// Says whether the session has ended, and nothing else: what is queued is sent soon in any case.
    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            SendKind::Native(half) => Pin::new(half).poll_flush(task),
            #[cfg(feature = "quic")]
            SendKind::Quic(half) => half.poll_flush().map_err(Into::into),
            #[cfg(feature = "h2")]
            SendKind::Http2(half) => half.poll_flush().map_err(Into::into),
        }
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
        match &mut self.get_mut().kind {
            ReceiveKind::Native(half) => Pin::new(half).poll_read(task, out),
            #[cfg(feature = "quic")]
            ReceiveKind::Quic(half) => half.poll_read(task, out).map_err(Into::into),
            #[cfg(feature = "h2")]
            ReceiveKind::Http2(half) => half.poll_read(task, out).map_err(Into::into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(task, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(task)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receive).poll_read(task, out)
    }
}

impl std::fmt::Debug for SendStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendStream").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReceiveStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveStream").finish_non_exhaustive()
    }
}
