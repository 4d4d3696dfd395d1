//! The two halves of a flow.

use super::inbox::Inbox;
use super::options::Counters;
use super::way::{Choice, Way};
use super::{FlowError, Flows};
use crate::{DatagramError, ReceiveStream, SendStream, Stream, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::datagram::{RecordDecoder, encode_record};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// Sends the messages of a flow. To drop it ends this direction, as FIN does.
#[derive(Debug)]
pub struct FlowSender {
    flow: Arc<Flow>,
}

/// Receives the messages of a flow. To drop it has the peer stop sending.
#[derive(Debug)]
pub struct FlowReceiver {
    flow: Arc<Flow>,
    stream: ReceiveStream,
    /// The beginning of a record: at most one of the longest, and the chunk with which its end came.
    input: BytesMut,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// It left, or waits to leave, as a datagram.
    Datagram,
    /// It left, or waits to leave, as a record.
    Record,
    /// It was dropped: longer than messages may be.
    TooLong,
    /// It was dropped: it would have had to wait.
    NoRoom,
}

/// What both halves share.
#[derive(Debug)]
struct Flow {
    flows: Flows,
    inbox: Arc<Inbox>,
    sending: Mutex<Sending>,
}

#[derive(Debug)]
struct Sending {
    stream: SendStream,
    way: Way,
    /// 0 until the stream's first frame went out; from then on datagrams find their way here.
    id: u32,
    is_read: bool,
}

pub(super) fn pair(flows: Flows, stream: Stream, is_opener: bool) -> (FlowSender, FlowReceiver) {
    let (stream, receive) = stream.split();
    let sending = Sending { stream, way: Way::new(is_opener), id: 0, is_read: true };
    let flow = Arc::new(Flow { flows, inbox: Arc::default(), sending: Mutex::new(sending) });
    flow.enter(&mut flow.sending());
    (FlowSender { flow: Arc::clone(&flow) }, FlowReceiver { flow, stream: receive, input: BytesMut::new() })
}

impl FlowSender {
    /// Sends one message, whole or not at all. Never waits.
    ///
    /// # Errors
    /// The flow's end.
    pub fn send(&self, payload: impl Into<Bytes>) -> Result<Sent, StreamError> {
        let payload = payload.into();
        let sent = self.flow.send(payload)?;
        let counters = &self.flow.flows.inner.counters;
        Counters::add(match sent {
            Sent::Datagram => &counters.datagrams_sent,
            Sent::Record => &counters.records_sent,
            Sent::TooLong => &counters.too_long,
            Sent::NoRoom => &counters.no_room,
        });
        Ok(sent)
    }

    /// The longest message that travels as a datagram now, in octets; 0 if none does. May change on QUIC, with the path.
    pub fn max_datagram(&self) -> usize {
        self.flow.flows.session().max_datagram()
    }
}

impl Drop for FlowSender {
    fn drop(&mut self) {
        // A stream that has ended already has nothing to finish.
        let _ = self.flow.sending().stream.finish();
    }
}

impl FlowReceiver {
    /// The next message; `None` at the flow's end. Cancel-safe.
    ///
    /// # Errors
    /// [`FlowError`] if it ended early.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, FlowError> {
        poll_fn(|task| self.poll_receive(task)).await
    }

    /// As [`receive`](Self::receive), for hand-written futures.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn poll_receive(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FlowError>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let received = self.poll_either(task);
        if received.is_ready() {
            coop.made_progress();
        }
        received
    }

    fn poll_either(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FlowError>> {
        loop {
            if let Some(record) = self.record()? {
                return Poll::Ready(Ok(Some(record)));
            }
            if let Poll::Ready(datagram) = self.flow.inbox.poll_pop(task) {
                self.flow.sending().way.received_datagram();
                return Poll::Ready(Ok(Some(datagram)));
            }
            match ready!(self.stream.poll_read_chunk(task))? {
                Some(chunk) => self.input.extend_from_slice(&chunk),
                // A record that breaks off is no message.
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn record(&mut self) -> Result<Option<Bytes>, FlowError> {
        match RecordDecoder::new().decode(&mut self.input) {
            Ok(Some(record)) => {
                let mut sending = self.flow.sending();
                sending.way.received_record();
                self.flow.enter(&mut sending);
                drop(sending);
                Counters::add(&self.flow.flows.inner.counters.records_received);
                Ok(Some(record))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.flow.sending().stream.reset(error.close_code());
                self.stream.stop(error.close_code());
                Err(FlowError::Record { source: error })
            }
        }
    }
}

impl Drop for FlowReceiver {
    fn drop(&mut self) {
        let mut sending = self.flow.sending();
        sending.is_read = false;
        self.flow.flows.inboxes().remove(&sending.id);
        drop(sending);
        self.stream.stop(CloseCode::CANCELLED);
    }
}

impl Flow {
    fn send(&self, payload: Bytes) -> Result<Sent, StreamError> {
        let (session, options) = (self.flows.session(), self.flows.inner.options);
        let mut sending = self.sending();
        let most = session.max_datagram();
        match sending.way.choose(payload.len(), most, options.max_message_bytes, options.oversize) {
            Choice::Drop => return Ok(Sent::TooLong),
            Choice::Datagram => match session.send_datagram(sending.id, payload.clone()) {
                Ok(()) => return Ok(Sent::Datagram),
                // The path has just become narrower; or the session ended, as the stream will say.
                Err(DatagramError::TooLarge { .. } | DatagramError::NotOpen | DatagramError::NoFlow) => {}
            },
            Choice::Record => {}
        }
        let sent = sending.write(&payload)?;
        self.enter(&mut sending);
        Ok(sent)
    }

    /// Lets datagrams find their way here, once the stream has an id.
    fn enter(&self, sending: &mut Sending) {
        if sending.id == 0 {
            sending.id = sending.stream.id();
            if sending.id != 0 && sending.is_read {
                self.flows.inboxes().insert(sending.id, Arc::clone(&self.inbox));
            }
        }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending {
    /// Queues a record, if there is room now: both sides waiting for room would wait for each other.
    fn write(&mut self, payload: &[u8]) -> Result<Sent, StreamError> {
        let mut record = BytesMut::with_capacity(payload.len().saturating_add(2));
        if encode_record(payload, &mut record).is_err() {
            return Ok(Sent::TooLong);
        }
        let record = record.freeze();
        // What a task may do in one go is no reason to lose a message.
        let write = tokio::task::unconstrained(poll_fn(|task| self.stream.poll_write_chunk(task, &record)));
        match pin!(write).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => written.map(|()| Sent::Record),
            Poll::Pending => Ok(Sent::NoRoom),
        }
    }
}
