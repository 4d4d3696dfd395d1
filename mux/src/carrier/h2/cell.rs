//! What the handles of a stream and the driver share. Handles never call HTTP/2; the driver never waits for them.

use super::chunks::Chunks;
use super::shared::Shared;
use crate::StreamError;
use adit_wire_proto::CloseCode;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// One stream. As a waker, it tells the driver that HTTP/2 has something for it.
pub(super) struct Cell {
    pub(super) shared: Arc<Shared>,
    flow: Mutex<Flow>,
    /// The driver's place for it; `usize::MAX` until it has one.
    place: AtomicUsize,
    is_queued: AtomicBool,
    /// Whether the application has it, or has refused it: until then a stream of the peer stays charged to it.
    is_decided: AtomicBool,
    /// The id on the wire; 0 until it is known.
    pub(super) id: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Written and not given to HTTP/2 yet; at most the send buffer and one chunk.
    pub(super) unsent: Chunks,
    /// How this side ended its sending half.
    pub(super) send_end: Option<SendEnd>,
    /// Why nothing more can be sent.
    pub(super) send_failure: Option<StreamError>,
    pub(super) writer: Option<Waker>,
    /// Came and not read yet; at most HTTP/2's window of the stream.
    pub(super) unread: Chunks,
    /// Read since the driver last gave credit for it.
    pub(super) consumed: usize,
    pub(super) receive_end: Option<ReceiveEnd>,
    /// How this side gave its receiving half up.
    pub(super) stop: Option<CloseCode>,
    pub(super) reader: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendEnd {
    Finished,
    Reset(CloseCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReceiveEnd {
    Finished,
    Failed(StreamError),
}

impl Cell {
    /// A stream of this side, which the application has, or of the peer, which is yet to be decided.
    pub(super) fn new(shared: Arc<Shared>, is_local: bool) -> Arc<Self> {
        Arc::new(Self {
            is_decided: AtomicBool::new(is_local),
            shared,
            flow: Mutex::new(Flow::default()),
            place: AtomicUsize::new(usize::MAX),
            is_queued: AtomicBool::new(false),
            id: AtomicU32::new(0),
        })
    }

    pub(super) fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver takes it up at `place`.
    pub(super) fn settle(&self, place: usize, id: u32) {
        self.id.store(id, Ordering::Release);
        self.place.store(place, Ordering::Release);
    }

    /// Asks the driver to look at this stream. Before it has a place, the driver is about to.
    pub(super) fn nudge(&self) {
        let place = self.place.load(Ordering::Acquire);
        if place != usize::MAX && !self.is_queued.swap(true, Ordering::AcqRel) {
            self.shared.ready.push(place);
        }
    }

    /// The application took it up or refused it.
    pub(super) fn decide(&self) {
        self.is_decided.store(true, Ordering::Release);
        self.nudge();
    }

    pub(super) fn is_decided(&self) -> bool {
        self.is_decided.load(Ordering::Acquire)
    }

    /// The driver is about to look.
    pub(super) fn take_turn(&self) {
        self.is_queued.store(false, Ordering::Release);
    }

    /// The session ended.
    pub(super) fn fail(&self, error: &StreamError) {
        let mut flow = self.flow();
        flow.unsent.clear();
        flow.send_failure.get_or_insert_with(|| error.clone());
        flow.receive_end.get_or_insert_with(|| ReceiveEnd::Failed(error.clone()));
        let waiting = [flow.writer.take(), flow.reader.take()];
        drop(flow);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        self.nudge();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.nudge();
    }
}
