//! The two halves of a request.

use super::error::LinkError;
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The half that is written. When all handles of a stream are gone before its end, it is reset with CANCEL.
pub struct SendHalf {
    stream: SendStream<Bytes>,
}

impl SendHalf {
    pub(super) const fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream }
    }

    /// Gives all of `octets` to HTTP/2, as the peer's window and the [budget](super::Limits::send_budget) allow. Sends no
    /// frame for no octets. Not cancel-safe: use [`poll_send`](Self::poll_send) to keep the rest.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over.
    pub async fn send(&mut self, mut octets: Bytes) -> Result<(), LinkError> {
        while !octets.is_empty() {
            poll_fn(|task| self.poll_send(task, &mut octets)).await?;
        }
        Ok(())
    }

    /// Takes from the front of `octets` what there is room for, waiting until that is something; says how much it was.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over; nothing was taken.
    pub fn poll_send(
        &mut self,
        task: &mut Context<'_>,
        octets: &mut Bytes,
    ) -> Poll<Result<usize, LinkError>> {
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(task, octets.len()))?.min(octets.len());
        self.push(octets.split_to(room), false)?;
        Poll::Ready(Ok(room))
    }

    /// Asks for room for `wanted` octets, and waits until there is some; says how much, which may be more or less.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over.
    pub fn poll_room(&mut self, task: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, LinkError>> {
        self.stream.reserve_capacity(wanted);
        loop {
            match self.stream.capacity() {
                // HTTP/2 may say once more that there is room after all of it was used.
                0 => match ready!(self.stream.poll_capacity(task)) {
                    Some(capacity) => drop(capacity?),
                    None => return Poll::Ready(Err(LinkError::Misplaced)),
                },
                room => return Poll::Ready(Ok(room)),
            }
        }
    }

    /// Hands octets over for which there is room, with the end of the half behind them if `ends`.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over.
    pub fn push(&mut self, octets: Bytes, ends: bool) -> Result<(), LinkError> {
        self.stream.send_data(octets, ends).map_err(LinkError::from)
    }

    /// Ends this half.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        self.push(Bytes::new(), true)
    }

    /// Ends this half with trailers.
    ///
    /// # Errors
    /// [`LinkError`] if the stream is over.
    pub fn finish_with(&mut self, trailers: HeaderMap) -> Result<(), LinkError> {
        self.stream.send_trailers(trailers).map_err(LinkError::from)
    }

    /// Gives both halves up, with any code.
    pub fn reset(&mut self, code: u32) {
        self.stream.send_reset(code.into());
    }

    /// Waits until the peer gives the stream up; says with which code.
    ///
    /// # Errors
    /// [`LinkError`] if the connection ends first.
    pub fn poll_given_up(&mut self, task: &mut Context<'_>) -> Poll<Result<u32, LinkError>> {
        self.stream.poll_reset(task).map_ok(u32::from).map_err(LinkError::from)
    }

    /// HTTP/2's number of the stream.
    pub fn id(&self) -> u32 {
        self.stream.stream_id().as_u32()
    }
}

/// The half that is read. Its window shrinks with what comes, and grows only with what is [released](Self::release).
pub struct ReceiveHalf {
    stream: RecvStream,
}

impl ReceiveHalf {
    pub(super) const fn new(stream: RecvStream) -> Self {
        Self { stream }
    }

    /// The next octets as they came; `None` at the end, where trailers may be. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError`] if the stream was given up before its end.
    pub async fn data(&mut self) -> Result<Option<Bytes>, LinkError> {
        poll_fn(|task| self.poll_data(task)).await.transpose()
    }

    /// As [`data`](Self::data), for hand-written futures.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn poll_data(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, LinkError>>> {
        self.stream.poll_data(task).map_err(LinkError::from)
    }

    /// The trailers, if there are any, once all octets have come. Cancel-safe.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, LinkError> {
        poll_fn(|task| self.poll_trailers(task)).await
    }

    /// As [`trailers`](Self::trailers), for hand-written futures.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn poll_trailers(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, LinkError>> {
        self.stream.poll_trailers(task).map_err(LinkError::from)
    }

    /// Lets the peer send that many octets more.
    ///
    /// # Errors
    /// [`LinkError::Misplaced`] if it is more than came and wasn't released; nothing changed.
    pub fn release(&mut self, octets: usize) -> Result<(), LinkError> {
        self.stream.flow_control().release_capacity(octets).map_err(LinkError::from)
    }

    /// How many octets came and weren't released.
    pub fn unreleased(&mut self) -> usize {
        self.stream.flow_control().used_capacity()
    }

    /// HTTP/2's number of the stream.
    pub fn id(&self) -> u32 {
        self.stream.stream_id().as_u32()
    }
}

/// Both halves as one flow of octets; what is read is released. To shut it down ends the half that is written.
#[derive(Debug)]
pub struct Bridge {
    send: SendHalf,
    receive: ReceiveHalf,
    /// What came and wasn't read; at most one frame.
    unread: Bytes,
}

impl Bridge {
    pub(super) const fn new(send: SendHalf, receive: ReceiveHalf) -> Self {
        Self { send, receive, unread: Bytes::new() }
    }

    /// Gives both ways up, with any code.
    pub fn reset(mut self, code: u32) {
        self.send.reset(code);
    }
}

impl AsyncRead for Bridge {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(task)) {
                Some(octets) => self.unread = octets?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.unread.len().min(out.remaining());
        out.put_slice(self.unread.get(..taken).unwrap_or_default());
        self.unread.advance(taken);
        self.receive.release(taken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.send.poll_room(task, octets.len()))?.min(octets.len());
        self.send.push(Bytes::copy_from_slice(octets.get(..room).unwrap_or_default()), false)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.finish().map_err(Into::into))
    }
}

impl std::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReceiveHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveHalf").field("id", &self.id()).finish_non_exhaustive()
    }
}
