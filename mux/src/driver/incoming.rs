//! Streams that the peer opens.

use super::shared::Shared;
use super::stream::{ReceiveStream, SendStream, halves};
use crate::connection::StreamKey;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The streams that the peer opens, in order.
///
/// Streams that wait here count against the peer's limit, so a slow acceptor slows the peer's opening down and
/// nothing else. To drop it refuses all that wait and all that come.
pub struct Incoming {
    shared: Arc<Shared>,
}

impl Incoming {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next stream; `None` when the session ended.
    pub fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
        let mut state = self.shared.state();
        if let Some(key) = state.core.next_incoming() {
            let head = state.core.take_head(key);
            drop(state);
            return Poll::Ready(Some(IncomingStream { shared: Some((Arc::clone(&self.shared), key)), head }));
        }
        if state.core.end().is_some() {
            return Poll::Ready(None);
        }
        state.acceptor = Some(task.waker().clone());
        Poll::Pending
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.refuses_incoming = true;
            state.refuse_all();
        });
    }
}

/// A stream that the peer opened and that is yet to be accepted or refused. To drop it refuses it with REFUSED.
pub struct IncomingStream {
    /// None once it is decided.
    shared: Option<(Arc<Shared>, StreamKey)>,
    head: Bytes,
}

impl IncomingStream {
    /// The head that the peer sent, at most 4,096 octets.
    pub const fn head(&self) -> &Bytes {
        &self.head
    }

    /// Takes the stream up.
    pub fn accept(mut self) -> (SendStream, ReceiveStream) {
        // Invariant: `shared` is taken only by methods that consume the value.
        let Some((shared, key)) = self.shared.take() else { unreachable!("decided twice") };
        shared.state().core.accept(key);
        halves(shared, key)
    }

    /// Turns the stream down: the peer sees `code` on both halves.
    pub fn refuse(mut self, code: CloseCode) {
        self.refuse_with(code);
    }

    fn refuse_with(&mut self, code: CloseCode) {
        if let Some((shared, key)) = self.shared.take() {
            shared.with(|state| state.core.refuse(key, code));
        }
    }
}

impl std::fmt::Debug for IncomingStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingStream").field("head_bytes", &self.head.len()).finish_non_exhaustive()
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        self.refuse_with(CloseCode::REFUSED);
    }
}
