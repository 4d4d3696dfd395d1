//! Streams that the peer opens.

use super::cell::{Cell, SendEnd};
use super::shared::{Life, SESSION};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::Origin;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

pub(crate) struct Incoming {
    life: Arc<Life>,
}

/// A stream of the peer. It keeps no session alive: those that nobody takes up end with it.
pub(crate) struct IncomingStream {
    /// None once it is decided.
    cell: Option<Arc<Cell>>,
    head: Bytes,
    life: Option<Arc<Life>>,
}

impl Incoming {
    pub(super) const fn new(life: Arc<Life>) -> Self {
        Self { life }
    }

    pub(crate) fn poll_accept(&mut self, task: &Context<'_>) -> Poll<Option<IncomingStream>> {
        let mut state = self.life.shared.state();
        if let Some(mut stream) = state.incoming.pop_front() {
            stream.life = Some(Arc::clone(&self.life));
            return Poll::Ready(Some(stream));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        state.acceptor = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut state = self.life.shared.state();
        state.refuses_incoming = true;
        let waiting = std::mem::take(&mut state.incoming);
        drop(state);
        // Each refuses itself.
        drop(waiting);
        self.life.shared.ready.push(SESSION);
    }
}

impl IncomingStream {
    pub(super) const fn new(cell: Arc<Cell>, head: Bytes) -> Self {
        Self { cell: Some(cell), head, life: None }
    }

    pub(crate) const fn head(&self) -> &Bytes {
        &self.head
    }

    pub(crate) fn accept(mut self) -> (SendStream, ReceiveStream) {
        // Invariant: both are there when an application has it, and are taken only by methods that consume the value.
        let (Some(cell), Some(life)) = (self.cell.take(), self.life.take()) else {
            unreachable!("decided twice")
        };
        cell.decide();
        halves(cell, life)
    }

    pub(crate) fn refuse(&mut self, code: CloseCode) {
        let Some(cell) = self.cell.take() else { return };
        cell.shared.counters.streams_refused.fetch_add(1, Ordering::Relaxed);
        cell.shared.watch.stream_refused(Origin::Local, cell.id.load(Ordering::Acquire), code);
        let mut flow = cell.flow();
        flow.send_end = Some(SendEnd::Reset(code));
        flow.stop = Some(code);
        flow.unread.clear();
        drop(flow);
        cell.decide();
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        self.refuse(CloseCode::REFUSED);
    }
}
