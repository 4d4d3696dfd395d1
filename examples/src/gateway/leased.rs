//! A stream for as long as what it rests on holds, and no more of it than there are bytes in the budget.

use super::life::InUse;
use adit_errors::Refusal;
use adit_router::ByteBudget;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An I/O object that fails once its lease has ended: both sides then see a cut stream, never a clean end.
pub(super) struct Leased<Io> {
    io: Io,
    ended: Pin<Box<dyn Future<Output = Refusal> + Send>>,
    bytes: Option<Arc<ByteBudget>>,
    is_over: bool,
    _in_use: InUse,
}

impl<Io> Leased<Io> {
    /// Lends `io` until `ended` resolves.
    pub(super) fn new(
        io: Io,
        ended: impl Future<Output = Refusal> + Send + 'static,
        bytes: Option<Arc<ByteBudget>>,
        in_use: InUse,
    ) -> Self {
        Self { io, ended: Box::pin(ended), bytes, is_over: false, _in_use: in_use }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_over
            && let Poll::Ready(refusal) = self.ended.as_mut().poll(cx)
        {
            tracing::debug!(code = %refusal.code(), "a stream's lease has ended");
            self.is_over = true;
        }
        if self.is_over { Err(io::Error::other("the visit may not go on")) } else { Ok(()) }
    }

    fn charge(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let spent = self.bytes.as_ref().is_some_and(|bytes| bytes.charge(octets).is_err());
        self.is_over |= spent;
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Leased<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.charge(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Leased<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, octets))?;
        self.charge(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = std::task::ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.charge(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
