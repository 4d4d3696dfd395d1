//! Streams that the peer opens.

use super::link::{Counted, Life, Link};
use super::numbers::{number, var_int};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::{Abuse, Origin, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{FrameError, FrameKind, MAX_HEAD_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, unfold};
use futures_util::{Stream, StreamExt};
use quinn::{ReadError, RecvStream};
use std::future::poll_fn;
use std::pin::{Pin, pin};
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
        loop {
            while let Poll::Ready(Some(stream)) = self.heads.poll_next_unpin(task) {
                if let Some(stream) = stream {
                    return Poll::Ready(Some(stream.count()));
                }
            }
            let Some((send, receive)) = ready!(self.opened.poll_next_unpin(task)) else {
                return Poll::Ready(None);
            };
            let counted = self.life.count(&mut self.life.link.taken_up(number(send.id())), Origin::Peer);
            let mut arriving = Arriving { counted, send, receive, came: BytesMut::new() };
            // Mostly the head came with the stream: then nothing waits, and no timer is set.
            match arriving.poll(task) {
                Poll::Ready(head) => {
                    if let Some(stream) = arriving.decide(head) {
                        return Poll::Ready(Some(stream.count()));
                    }
                }
                Poll::Pending => self.heads.push(Box::pin(arriving.in_time())),
            }
        }
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

/// A stream whose head isn't whole yet.
struct Arriving {
    counted: Arc<Counted>,
    send: quinn::SendStream,
    receive: RecvStream,
    /// What came of the head, and of what follows it; at most a head and a packet.
    came: BytesMut,
}

impl Arriving {
    /// The head; what came behind it stays.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<Bytes, HeadError>> {
        loop {
            if let Some(head) = head(&mut self.came)? {
                return Poll::Ready(Ok(head));
            }
            let chunk = ready!(pin!(self.receive.read_chunk(usize::MAX, true)).poll(task))?;
            let chunk = chunk.ok_or(HeadError::Short)?;
            match self.came.is_empty() {
                // Without copying, if nobody else has a part of it.
                true => self.came = BytesMut::from(chunk.bytes),
                false => self.came.extend_from_slice(&chunk.bytes),
            }
        }
    }

    /// The stream, if its head comes in time.
    async fn in_time(mut self) -> Option<IncomingStream> {
        let limit = self.counted.life.link.config.partial_frame_timeout;
        let head = tokio::time::timeout(limit, poll_fn(|task| self.poll(task))).await;
        self.decide(head.unwrap_or(Err(HeadError::Late)))
    }

    fn decide(mut self, head: Result<Bytes, HeadError>) -> Option<IncomingStream> {
        let refusal = match head {
            Ok(head) => {
                let counted = Arc::clone(&self.counted);
                let halves = halves(self.send, self.receive, self.came.freeze(), self.counted);
                return Some(IncomingStream { halves: Some(halves), head, counted });
            }
            Err(HeadError::TooLarge { length }) => {
                let (kind, limit) = (FrameKind::OPEN, MAX_HEAD_BYTES);
                let error = FrameError::TooLarge { kind, length, limit };
                self.counted.life.link.violate(Violation::Frame(error));
                return None;
            }
            Err(HeadError::Short) => (CloseCode::MALFORMED, Abuse::ForcedResets),
            Err(HeadError::Gone) => (CloseCode::CANCELLED, Abuse::RapidResets),
            Err(HeadError::Late) => (CloseCode::TIMEOUT, Abuse::ForcedResets),
        };
        let (refusal, what) = refusal;
        self.counted.life.link.charge(what);
        // Both fail only if they ended already.
        let _ = (self.send.reset(var_int(refusal)), self.receive.stop(var_int(refusal)));
        None
    }
}

pub(super) enum HeadError {
    TooLarge { length: u16 },
    Short,
    Gone,
    Late,
}

/// Takes a head from the front of what came, if it is whole.
pub(super) fn head(came: &mut BytesMut) -> Result<Option<Bytes>, HeadError> {
    let Some(length) = came.first_chunk().map(|length| u16::from_be_bytes(*length)) else {
        return Ok(None);
    };
    if length > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge { length });
    }
    if came.len() < usize::from(length).saturating_add(2) {
        return Ok(None);
    }
    came.advance(2);
    Ok(Some(came.split_to(length.into()).freeze()))
}

impl From<ReadError> for HeadError {
    fn from(_: ReadError) -> Self {
        Self::Gone
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.life.link.state().refuses_incoming = true;
        self.life.link.changed.notify_one();
    }
}

impl IncomingStream {
    fn count(self) -> Self {
        let link = &self.counted.life.link;
        link.counters.streams_accepted.fetch_add(1, Ordering::Relaxed);
        link.watch.stream_opened(Origin::Peer);
        self
    }

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
            let link = &self.counted.life.link;
            link.counters.streams_refused.fetch_add(1, Ordering::Relaxed);
            link.watch.stream_refused(Origin::Local, send.id(), code);
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
