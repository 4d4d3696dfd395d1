//! Streams that the peer opens.

use super::link::{Counted, Life, Link};
use super::numbers::{number, var_int};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::Violation;
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{FrameError, FrameKind, MAX_HEAD_BYTES};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, unfold};
use futures_util::{Stream, StreamExt};
use quinn::{ReadExactError, RecvStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

pub(crate) struct Incoming {
    life: Arc<Life>,
    /// What QUIC says that came; ends with the connection.
    opened: Pin<Box<dyn Stream<Item = (quinn::SendStream, RecvStream)> + Send>>,
    /// Streams whose heads are yet to come; at most as many as the peer may open.
    heads: FuturesUnordered<Pin<Box<dyn Future<Output = Option<IncomingStream>> + Send>>>,
}

pub(crate) struct IncomingStream {
    /// None once it is decided.
    halves: Option<(SendStream, ReceiveStream)>,
    head: Bytes,
    counted: Arc<Counted>,
}

impl Incoming {
    pub(super) fn new(life: Arc<Life>) -> Self {
        let connection = life.link.connection.clone();
        let opened =
            unfold(connection, async |connection| Some((connection.accept_bi().await.ok()?, connection)));
        Self { life, opened: Box::pin(opened), heads: FuturesUnordered::new() }
    }

    pub(crate) fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
        let link = Arc::clone(&self.life.link);
        loop {
            while let Poll::Ready(Some(head)) = self.heads.poll_next_unpin(task) {
                if let Some(stream) = head {
                    link.counters.streams_accepted.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Some(stream));
                }
            }
            let Some((send, receive)) = ready!(self.opened.poll_next_unpin(task)) else {
                return Poll::Ready(None);
            };
            let head = self.take_up(&link, send, receive);
            self.heads.push(head);
        }
    }

    fn take_up(
        &self,
        link: &Arc<Link>,
        send: quinn::SendStream,
        receive: RecvStream,
    ) -> Pin<Box<dyn Future<Output = Option<IncomingStream>> + Send>> {
        let counted = self.life.count(&mut link.taken_up(number(send.id())));
        Box::pin(read_head(counted, send, receive))
    }
}

impl Link {
    /// Notes that a stream of the peer was taken up, which a drain may wait for.
    pub(super) fn taken_up(&self, number: u32) -> std::sync::MutexGuard<'_, super::link::State> {
        let mut state = self.state();
        state.tally.accepted = state.tally.accepted.max(number);
        if state.control.is_draining() {
            self.changed.notify_one();
        }
        state
    }
}

/// The head of a stream; `None` if there won't be one.
async fn read_head(
    counted: Arc<Counted>,
    mut send: quinn::SendStream,
    mut receive: RecvStream,
) -> Option<IncomingStream> {
    let link = Arc::clone(&counted.life.link);
    let read = tokio::time::timeout(link.config.partial_frame_timeout, head(&mut receive)).await;
    let refusal = match read {
        Ok(Ok(head)) => {
            let halves = halves(send, receive, Arc::clone(&counted));
            return Some(IncomingStream { halves: Some(halves), head, counted });
        }
        Ok(Err(HeadError::TooLarge { length })) => {
            let (kind, limit) = (FrameKind::OPEN, MAX_HEAD_BYTES);
            link.violate(Violation::Frame(FrameError::TooLarge { kind, length, limit }));
            return None;
        }
        Ok(Err(HeadError::Short)) => CloseCode::MALFORMED,
        Ok(Err(HeadError::Gone)) => CloseCode::CANCELLED,
        Err(_) => CloseCode::TIMEOUT,
    };
    // Both fail only if they ended already.
    let _ = (send.reset(var_int(refusal)), receive.stop(var_int(refusal)));
    None
}

enum HeadError {
    TooLarge { length: u16 },
    Short,
    Gone,
}

async fn head(receive: &mut RecvStream) -> Result<Bytes, HeadError> {
    let mut length = [0; 2];
    receive.read_exact(&mut length).await?;
    let length = u16::from_be_bytes(length);
    if length > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge { length });
    }
    let mut head = vec![0; usize::from(length)];
    receive.read_exact(&mut head).await?;
    Ok(head.into())
}

impl From<ReadExactError> for HeadError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Short,
            ReadExactError::ReadError(_) => Self::Gone,
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.life.link.state().refuses_incoming = true;
        self.life.link.changed.notify_one();
    }
}

impl IncomingStream {
    pub(crate) const fn head(&self) -> &Bytes {
        &self.head
    }

    pub(crate) fn accept(mut self) -> (SendStream, ReceiveStream) {
        // Invariant: `halves` is taken only by methods that consume the value.
        let Some(halves) = self.halves.take() else { unreachable!("decided twice") };
        halves
    }

    pub(crate) fn refuse(&mut self, code: CloseCode) {
        if let Some((mut send, mut receive)) = self.halves.take() {
            self.counted.life.link.counters.streams_refused.fetch_add(1, Ordering::Relaxed);
            send.reset(code);
            receive.stop(code);
        }
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        self.refuse(CloseCode::REFUSED);
    }
}
