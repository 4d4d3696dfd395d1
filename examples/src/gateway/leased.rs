//! A stream for as long as what it rests on holds, no faster than its agent's credential may, and no more of it than there
//! are bytes in the budget.

use super::hub::{Facts, Work};
use super::life::InUse;
use adit_errors::Refusal;
use adit_router::{ByteBudget, Pace, Traffic};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// An I/O object that fails once its lease has ended: both sides then see a cut stream, never a clean end.
pub(super) struct Leased<Io> {
    io: Io,
    ended: Pin<Box<dyn Future<Output = Refusal> + Send>>,
    bytes: Option<Arc<ByteBudget>>,
    pace: Option<Arc<Pace>>,
    reading: Wait,
    writing: Wait,
    is_over: bool,
    _in_use: InUse,
}

/// Until when one way of a stream stands still, if it does.
type Wait = Option<Pin<Box<Sleep>>>;

impl<Io> Leased<Io> {
    /// Lends `io` until `ended` resolves, on the terms of a tunnel and of the agent that does the `work`.
    pub(super) fn new(
        io: Io,
        ended: impl Future<Output = Refusal> + Send + 'static,
        facts: &Facts,
        work: &Work,
        traffic: Traffic,
    ) -> Self {
        Self {
            io,
            ended: Box::pin(ended),
            bytes: facts.policy.byte_budget().cloned(),
            pace: work.handle().pace.clone(),
            reading: None,
            writing: None,
            is_over: false,
            _in_use: facts.life.use_for(traffic),
        }
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

    /// Charges what has moved, and says until when the next has to wait.
    fn charge(&mut self, octets: usize) -> Wait {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let spent = self.bytes.as_ref().is_some_and(|bytes| bytes.charge(octets).is_err());
        self.is_over |= spent;
        let now = Instant::now();
        let at = self.pace.as_ref()?.charge(octets, now);
        (at > now).then(|| Box::pin(tokio::time::sleep_until(at.into())))
    }
}

fn poll_wait(wait: &mut Wait, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(sleep) = wait {
        ready!(sleep.as_mut().poll(cx));
        *wait = None;
    }
    Poll::Ready(())
}

impl<Io: AsyncRead + Unpin> AsyncRead for Leased<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        ready!(poll_wait(&mut self.reading, cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.reading = self.charge(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Leased<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        ready!(poll_wait(&mut self.writing, cx));
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, octets))?;
        self.writing = self.charge(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        ready!(poll_wait(&mut self.writing, cx));
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.writing = self.charge(written);
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
