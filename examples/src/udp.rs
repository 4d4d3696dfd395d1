//! UDP flows inside a session: each has a stream that names it, and its messages travel as datagrams, or as records on the
//! stream where they have to (SPEC, section 4).

use adit_mux::{Session, Stream, StreamError};
use adit_wire_proto::datagram::{RecordDecoder, encode_record};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::mpsc;

/// Messages of one flow that wait to be taken; more are dropped, as UDP does.
const MAX_WAITING: usize = 256;

/// The flows of one session.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    session: Session,
    /// By the id of their streams: one entry for each flow that is open, so no more than streams may be.
    waiting: Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>,
}

impl Flows {
    /// Takes the session's datagrams apart from now on, until it ends. Nobody else may receive them.
    pub(crate) fn of(session: Session) -> Self {
        let flows = Self { session, waiting: Arc::default() };
        tokio::spawn(flows.clone().deliver());
        flows
    }

    /// The flow of a stream that this side has opened.
    pub(crate) fn opened(&self, stream: Stream) -> Flow {
        Flow::new(self.clone(), stream, true)
    }

    /// The flow of a stream that the other side has opened.
    pub(crate) fn accepted(&self, stream: Stream) -> Flow {
        Flow::new(self.clone(), stream, false)
    }

    /// What is for no flow is dropped, not kept.
    async fn deliver(self) {
        while let Some((flow, payload)) = self.session.receive_datagram().await {
            let waiting = self.lock().get(&flow).cloned();
            if let Some(waiting) = waiting {
                // A flow that is not read from loses what comes.
                let _ = waiting.try_send(payload);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Bytes>>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One flow: messages both ways. Dropping it ends the flow for both sides.
///
/// A datagram that overtakes the head of its stream is one of an unknown flow, and would be dropped: so the first messages
/// go as records. Whoever opened the stream sends datagrams once anything has come back; the other side, once a datagram
/// has come, since only then its peer knows the stream's id for sure.
#[derive(Debug)]
pub(crate) struct Flow {
    flows: Flows,
    stream: Stream,
    is_opener: bool,
    /// 0 until the stream's first frame went out; from then on datagrams are waited for.
    id: u32,
    sender: mpsc::Sender<Bytes>,
    datagrams: mpsc::Receiver<Bytes>,
    /// The beginning of a record, at most one of the longest and what came with it.
    input: BytesMut,
    sends_datagrams: bool,
}

impl Flow {
    fn new(flows: Flows, stream: Stream, is_opener: bool) -> Self {
        let (sender, datagrams) = mpsc::channel(MAX_WAITING);
        let input = BytesMut::new();
        let mut flow =
            Self { flows, stream, is_opener, id: 0, sender, datagrams, input, sends_datagrams: false };
        flow.wait_for_datagrams();
        flow
    }

    /// Sends one message, or loses it if there is no room on the way.
    ///
    /// # Errors
    /// The flow's end.
    pub(crate) async fn send(&mut self, payload: Bytes) -> Result<(), StreamError> {
        let session = &self.flows.session;
        if self.sends_datagrams && payload.len() <= session.max_datagram() {
            // Lost with the session, whose end the stream tells.
            let _ = session.send_datagram(self.id, payload);
            return Ok(());
        }
        let mut record = BytesMut::with_capacity(2 + payload.len());
        if encode_record(&payload, &mut record).is_err() {
            return Ok(());
        }
        let record = record.freeze();
        // Both sides waiting for room would wait for each other.
        poll_fn(|task| match self.stream.send_half().poll_write_chunk(task, &record) {
            Poll::Ready(sent) => Poll::Ready(sent),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// The next message; `None` at the flow's end. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        loop {
            match RecordDecoder::new().decode(&mut self.input) {
                Ok(Some(record)) => {
                    self.sends_datagrams |= self.is_opener;
                    self.wait_for_datagrams();
                    return Some(record);
                }
                Ok(None) => {}
                Err(error) => {
                    self.stream.stop(error.close_code());
                    return None;
                }
            }
            tokio::select! {
                chunk = self.stream.read_chunk() => self.input.extend_from_slice(&chunk.ok()??),
                Some(datagram) = self.datagrams.recv() => {
                    self.sends_datagrams = true;
                    return Some(datagram);
                }
            }
        }
    }

    fn wait_for_datagrams(&mut self) {
        if self.id != 0 {
            return;
        }
        self.id = self.stream.id();
        if self.id != 0 {
            self.flows.lock().insert(self.id, self.sender.clone());
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.flows.lock().remove(&self.id);
        // A stream that has ended already has nothing to finish.
        let _ = self.stream.send_half().finish();
    }
}
