//! What the handles of a stream and the driver share. Handles never call HTTP/2; the driver never waits for them.

use super::chunks::Chunks;
use super::shared::Shared;
use crate::StreamError;
use adit_wire_proto::CloseCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// One stream. As a waker, it tells the driver that HTTP/2 has something for its receiving half.
pub(super) struct Cell {
    pub(super) shared: Arc<Shared>,
    flow: Mutex<Flow>,
    /// The driver's place for it; `usize::MAX` until it has one.
    place: AtomicUsize,
    /// What the driver hasn't looked at yet; while it is something, the driver is about to.
    news: AtomicU8,
    /// Whether the application has it, or has refused it: until then a stream of the peer stays charged to it.
    is_decided: AtomicBool,
    /// The id on the wire; 0 until it is known.
    pub(super) id: AtomicU32,
}

/// A waker for the sending half of a stream.
pub(super) struct Sending(pub(super) Arc<Cell>);

/// What there is to look at: each look at HTTP/2 costs a lock, which every stream of the session shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News(u8);

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

impl News {
    /// The application did something.
    pub(super) const APPLICATION: Self = Self(1);
    /// HTTP/2 has something for the receiving half.
    pub(super) const RECEIVING: Self = Self(2);
    /// HTTP/2 has something for the sending half.
    pub(super) const SENDING: Self = Self(4);
    /// The application had its say.
    pub(super) const DUE: Self = Self(8);
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(7);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }
}

impl Flow {
    /// Whether enough was read to tell HTTP/2: it answers in halves of a window itself. What a reader that gave up leaves
    /// goes back at once.
    pub(super) const fn owes_credit(&self) -> bool {
        self.consumed >= CREDIT_LEAST || (self.consumed > 0 && self.stop.is_some())
    }
}

impl Cell {
    /// A stream of this side, which the application has, or of the peer, which is yet to be decided.
    pub(super) fn new(shared: Arc<Shared>, is_local: bool) -> Arc<Self> {
        Arc::new(Self {
            is_decided: AtomicBool::new(is_local),
            shared,
            flow: Mutex::new(Flow::default()),
            place: AtomicUsize::new(usize::MAX),
            news: AtomicU8::new(0),
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

    /// Asks the driver to look at this stream, for what the application did.
    pub(super) fn nudge(&self) {
        self.tell(News::APPLICATION);
    }

    /// Asks the driver to look at this stream. Before it has a place, the driver is about to.
    pub(super) fn tell(&self, news: News) {
        let place = self.place.load(Ordering::Acquire);
        if place != usize::MAX && self.news.fetch_or(news.0, Ordering::AcqRel) == 0 {
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

    /// The driver is about to look, at this.
    pub(super) fn take_news(&self) -> News {
        News(self.news.swap(0, Ordering::AcqRel))
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
        self.tell(News::RECEIVING);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.tell(News::RECEIVING);
    }
}

impl Wake for Sending {
    fn wake(self: Arc<Self>) {
        self.0.tell(News::SENDING);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.tell(News::SENDING);
    }
}

/// A quarter of the smallest window.
const CREDIT_LEAST: usize = 4 * 1024;
