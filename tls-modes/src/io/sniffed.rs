use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project! {
    /// A stream whose first bytes have been read already: they come out of it first, untouched.
    ///
    /// Everything else goes straight to the stream below, vectored writes and half-close included, so that wrapping
    /// costs nothing once the prefix has been read; its memory is given back at that moment.
    #[derive(Debug)]
    pub struct Sniffed<IO> {
        // Invariant: `read <= prefix.len()`, and both are zero once the prefix has been used up.
        prefix: Vec<u8>,
        read: usize,
        #[pin]
        io: IO,
    }
}

impl<IO> Sniffed<IO> {
    /// Puts `prefix` in front of `io`.
    pub const fn new(prefix: Vec<u8>, io: IO) -> Self {
        Self { prefix, read: 0, io }
    }

    /// What is still in front of the stream.
    pub fn prefix(&self) -> &[u8] {
        self.prefix.get(self.read..).unwrap_or_default()
    }

    /// The stream below.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The stream below. Reading from it while [`prefix`](Self::prefix) is not empty would reorder the bytes.
    pub const fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// Takes the wrapping apart: what is still in front, and the stream below.
    pub fn into_parts(self) -> (Vec<u8>, IO) {
        let Self { mut prefix, read, io } = self;
        prefix.drain(..read);
        (prefix, io)
    }
}

impl<IO: AsyncRead> AsyncRead for Sniffed<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let unread = this.prefix.get(*this.read..).unwrap_or_default();
        if unread.is_empty() {
            return this.io.poll_read(cx, buffer);
        }
        let (now, later) = unread.split_at(unread.len().min(buffer.remaining()));
        buffer.put_slice(now);
        if later.is_empty() {
            *this.prefix = Vec::new();
            *this.read = 0;
        } else {
            *this.read += now.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite> AsyncWrite for Sniffed<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
