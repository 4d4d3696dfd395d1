//! Moves octets between a stream and a machine.

use super::DriveError;
use crate::control::{ControlError, MAX_MESSAGE_BYTES};
use crate::{agent, gateway};
use bytes::{Buf, Bytes, BytesMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What both machines have in common.
pub(super) trait Machine {
    type Event;
    fn receive(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Self::Event>, ControlError>;
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError>;
    fn poll_output(&mut self) -> Option<Bytes>;
    fn poll_timeout(&self) -> Option<Instant>;
    fn is_ended(&self) -> bool;
}

macro_rules! machine {
    ($module:ident) => {
        impl Machine for $module::Control {
            type Event = $module::Event;
            fn receive(
                &mut self,
                now: Instant,
                input: &mut BytesMut,
            ) -> Result<Option<Self::Event>, ControlError> {
                Self::receive(self, now, input)
            }
            fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError> {
                Self::handle_timeout(self, now)
            }
            fn poll_output(&mut self) -> Option<Bytes> {
                Self::poll_output(self)
            }
            fn poll_timeout(&self) -> Option<Instant> {
                Self::poll_timeout(self)
            }
            fn is_ended(&self) -> bool {
                Self::is_ended(self)
            }
        }
    };
}

machine!(agent);
machine!(gateway);

/// A machine, its stream, and what is on its way between them. All state is here, so that a future over it may be
/// dropped at any point.
#[derive(Debug)]
pub(super) struct Pump<S, M> {
    stream: S,
    pub(super) machine: M,
    /// At most one message with its length: then the machine takes it, or nothing more is read.
    input: BytesMut,
    /// What is left of the message that is being written.
    output: Bytes,
    is_flushed: bool,
    /// The timer, with the moment that it is set to.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, M: Machine> Pump<S, M> {
    pub(super) fn new(stream: S, machine: M) -> Self {
        let (input, output) = (BytesMut::new(), Bytes::new());
        Self { stream, machine, input, output, is_flushed: true, timer: None }
    }

    /// Writes and reads until something happens that matters to the caller. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> Result<M::Event, DriveError> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Writes what the machine wants to send. Cancel-safe.
    pub(super) async fn flush(&mut self) -> Result<(), DriveError> {
        poll_fn(|cx| {
            if self.poll_write(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_timer(cx))?;
            Poll::Pending
        })
        .await
    }

    /// Writes what the machine wants to send, and closes our direction. Cancel-safe.
    pub(super) async fn finish(&mut self) -> Result<(), DriveError> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        Ok(())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Event, DriveError>> {
        loop {
            let is_written = self.poll_write(cx)?.is_ready();
            if self.machine.is_ended() {
                // What the peer is to hear still, as the reason of the end, goes out first.
                return if is_written {
                    Poll::Ready(Err(ControlError::Ended.into()))
                } else {
                    ready!(self.poll_timer(cx))?;
                    Poll::Pending
                };
            }
            match self.machine.receive(now(), &mut self.input) {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) => {}
                Err(error) => {
                    // What explains the end to the peer goes out if there is room for it; nobody waits.
                    let _ = self.poll_write(cx);
                    return Poll::Ready(Err(error.into()));
                }
            }
            // Taking messages may have made output, for which room is to be asked before we wait.
            if is_written && !self.poll_write(cx)?.is_ready() {
                continue;
            }
            if self.poll_timer(cx)?.is_ready() {
                continue;
            }
            ready!(self.poll_read(cx))?;
        }
    }

    /// Ready when everything is written and flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DriveError>> {
        loop {
            if self.output.is_empty() {
                let Some(next) = self.machine.poll_output() else { break };
                self.output = next;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(DriveError::Closed {}));
            }
            self.output.advance(written.min(self.output.len()));
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when something was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DriveError>> {
        let room = (4 + MAX_MESSAGE_BYTES).saturating_sub(self.input.len());
        if room == 0 {
            // The machine waits for our caller, not for input: there is nothing to wake us but the timer.
            return Poll::Pending;
        }
        let mut chunk = [0; 4096];
        let length = chunk.len().min(room);
        let mut buffer = ReadBuf::new(&mut chunk[..length]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(DriveError::Closed {}));
        }
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Ready when a deadline passed that the machine survived.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DriveError>> {
        let Some(deadline) = self.machine.poll_timeout() else {
            self.timer = None;
            return Poll::Pending;
        };
        if self.timer.as_ref().is_none_or(|(set, _)| *set != deadline) {
            self.timer = Some((deadline, Box::pin(sleep_until(deadline))));
        }
        let Some((_, sleep)) = &mut self.timer else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        self.timer = None;
        self.machine.handle_timeout(now())?;
        Poll::Ready(Ok(()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver is where the clock is read")]
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(tokio::time::Instant::from_std(deadline))
}
