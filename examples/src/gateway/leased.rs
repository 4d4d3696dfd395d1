//! A stream for as long as what it rests on holds, no faster than its agent's credential may, and no more of it than there
//! are bytes in the budget.

use super::hub::{Facts, Work};
use super::life::InUse;
use adit_errors::Refusal;
use adit_router::{ByteBudget, Pace, Traffic};
use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How fast a tunnel may be, each way by itself.
#[derive(Debug)]
pub(super) struct Paces {
    pub(super) to_agent: Pace,
    pub(super) to_visitor: Pace,
}

impl Paces {
    /// So many octets a second.
    pub(super) fn new(octets_per_second: NonZeroU64, now: Instant) -> Self {
        let bits = octets_per_second.saturating_mul(NonZeroU64::MIN.saturating_add(7));
        Self { to_agent: Pace::new(bits, now), to_visitor: Pace::new(bits, now) }
    }

    /// The rate.
    pub(super) fn octets_per_second(&self) -> u64 {
        self.to_agent.bits_per_second().get() / 8
    }
}

/// An I/O object that fails once its lease has ended: both sides then see a cut stream, never a clean end.
pub(super) struct Leased<Io> {
    io: Io,
    ended: Pin<Box<dyn Future<Output = Refusal> + Send>>,
    bytes: Option<Arc<ByteBudget>>,
    /// Of all tunnels of the agent's credential.
    pace: Option<Arc<Pace>>,
    /// Of the tunnel.
    paces: Option<Arc<Paces>>,
    /// Whether `io` is the agent's side, and not the visitor's.
    is_agents: bool,
    reading: Wait,
    writing: Wait,
    is_over: bool,
    _in_use: InUse,
}

/// Until when one way of a stream stands still, if it does.
type Wait = Option<Pin<Box<Sleep>>>;

impl<Io> Leased<Io> {
    /// Lends `io` until `ended` resolves, on the terms of a tunnel and of the agent that does the `work`. For HTTP it is the
    /// stream to the agent, for anything else the visitor's connection.
    pub(super) fn new(
        io: Io,
        ended: impl Future<Output = Refusal> + Send + 'static,
        facts: &Facts,
        work: &Work,
        traffic: Traffic,
    ) -> Self {
        let mut leased = Self {
            io,
            ended: Box::pin(ended),
            bytes: facts.policy.byte_budget().cloned(),
            pace: work.handle().pace.clone(),
            paces: facts.paces.clone(),
            is_agents: traffic == Traffic::Http,
            reading: None,
            writing: None,
            is_over: false,
            _in_use: facts.life.use_for(traffic),
        };
        // A stream that begins stands behind all that has moved before.
        leased.reading = leased.charge(0, !leased.is_agents);
        leased.writing = leased.charge(0, leased.is_agents);
        leased
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

    /// Charges what has moved, to the agent or from it, and says until when the next has to wait.
    fn charge(&mut self, octets: usize, to_agent: bool) -> Wait {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let spent = self.bytes.as_ref().is_some_and(|bytes| bytes.charge(octets).is_err());
        self.is_over |= spent;
        let now = Instant::now();
        let of_key = self.pace.as_ref().map(|pace| pace.charge(octets, now));
        let of_tunnel = self.paces.as_ref().map(|paces| {
            let pace = if to_agent { &paces.to_agent } else { &paces.to_visitor };
            pace.charge(octets, now)
        });
        let at = of_key.max(of_tunnel)?;
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
        let to_agent = !self.is_agents;
        self.reading = self.charge(buffer.filled().len() - before, to_agent);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Leased<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        ready!(poll_wait(&mut self.writing, cx));
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, octets))?;
        let to_agent = self.is_agents;
        self.writing = self.charge(written, to_agent);
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
        let to_agent = self.is_agents;
        self.writing = self.charge(written, to_agent);
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
