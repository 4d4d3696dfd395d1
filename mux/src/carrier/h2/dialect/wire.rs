//! The connection below HTTP/2, which has to be at hand when the last frame is not HTTP/2's.

use super::frames::Frames;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A handle of the connection: HTTP/2 has one, and whoever drives it. Both are used by one task, so nobody ever waits for
/// the lock.
pub(super) struct Wire<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

struct Inner<T> {
    io: T,
    written: Frames,
    /// Whether the connection took nothing the last time.
    is_blocked: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(io: T, written: Frames) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { io, written, is_blocked: false })) }
    }

    /// The other handle.
    pub(super) fn share(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }

    /// Whether everything that HTTP/2 wrote is with the connection, up to the end of a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        let inner = self.inner();
        inner.written.is_between() && !inner.is_blocked
    }

    /// Writes all of `last` and then nothing more.
    pub(super) fn poll_end(&self, task: &mut Context<'_>, last: &mut Bytes) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        while !last.is_empty() {
            match ready!(Pin::new(&mut inner.io).poll_write(task, last))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => last.advance(written),
            }
        }
        ready!(Pin::new(&mut inner.io).poll_flush(task))?;
        Pin::new(&mut inner.io).poll_shutdown(task)
    }

    /// Reads until the peer has ended too: a socket closed with octets unread takes the last frame back.
    pub(super) fn poll_rest(&self, task: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        let mut inner = self.inner();
        loop {
            let mut out = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut inner.io).poll_read(task, &mut out)) {
                Ok(()) if !out.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut inner.io).poll_read(task, out)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let written = match slices {
            [octets] => Pin::new(&mut inner.io).poll_write(task, octets),
            _ => Pin::new(&mut inner.io).poll_write_vectored(task, slices),
        };
        inner.is_blocked = written.is_pending();
        let written = ready!(written)?;
        let mut left = written;
        for slice in slices {
            let taken = left.min(slice.len());
            inner.written.wrote(slice.get(..taken).unwrap_or_default());
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        let flushed = Pin::new(&mut inner.io).poll_flush(task);
        inner.is_blocked = flushed.is_pending();
        flushed
    }

    /// HTTP/2 ends its part. The connection ends with [`Wire::poll_end`], or when both handles are gone.
    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(task)
    }
}
