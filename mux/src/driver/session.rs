//! The handle of a session.

use super::shared::{Shared, now};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::{DatagramError, OpenError, SessionEnd, SessionStats};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// One end of a session. Clones are the same session.
///
/// When the last clone, the [`Incoming`](super::Incoming) and all streams are gone the session closes with NONE.
#[derive(Clone)]
pub struct Session {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Opens a stream; waits until the peer grants one. Doesn't wait for the peer to see it: write at once.
    ///
    /// Cancel-safe: no stream is opened unless the future resolves.
    ///
    /// # Errors
    /// [`OpenError`] if the session ended or drains, or the head is over 4,096 octets. Nothing was sent.
    pub async fn open(&self, head: impl Into<Bytes>) -> Result<(SendStream, ReceiveStream), OpenError> {
        let (shared, head) = (self.shared(), head.into());
        loop {
            let granted = shared.openers.notified();
            let opened = shared.with(|state| {
                let opened = state.core.open(head.clone());
                (opened, state.core.can_open())
            });
            match opened {
                (Ok(Some(key)), more) => {
                    if more {
                        shared.openers.notify_one();
                    }
                    return Ok(halves(Arc::clone(shared), key));
                }
                (Ok(None), _) => granted.await,
                (Err(error), _) => {
                    // Whoever waits next has to hear it too.
                    shared.openers.notify_one();
                    return Err(error);
                }
            }
        }
    }

    /// Drains the session: no new streams from either side; open ones may finish, then it closes with `code`.
    pub fn drain(&self, code: CloseCode, reason: impl Into<Bytes>) {
        let (now, reason) = (now(), reason.into());
        self.shared().with(|state| state.core.drain(now, code, reason));
        self.shared().openers.notify_waiters();
        self.shared().nudge();
    }

    /// Closes the session: every stream ends now, and the peer is told why.
    pub fn close(&self, code: CloseCode, reason: impl Into<Bytes>) {
        let reason = reason.into();
        self.shared().with(|state| state.core.close(code, reason));
    }

    /// Waits until the session ended; says why. Cancel-safe.
    pub async fn closed(&self) -> SessionEnd {
        loop {
            let ended = self.shared().ended.notified();
            if let Some(end) = self.end() {
                return end;
            }
            ended.await;
        }
    }

    /// Why the session ended, if it has.
    pub fn end(&self) -> Option<SessionEnd> {
        self.shared().state().core.end().cloned()
    }

    /// Whether either side drains the session.
    pub fn is_draining(&self) -> bool {
        self.shared().state().core.is_draining()
    }

    /// Sends a PING; says how long the answer took. Cancel-safe.
    ///
    /// # Errors
    /// Why the session ended, if it does before the answer comes.
    pub async fn ping(&self) -> Result<Duration, SessionEnd> {
        let shared = self.shared();
        let mut awaited = None;
        loop {
            let answered = shared.pongs.notified();
            let (sequence, pong, end) = shared.with(|state| {
                let sequence = *awaited.get_or_insert_with(|| state.core.ping());
                (sequence, state.last_pong, state.core.end().cloned())
            });
            match (pong, end) {
                (Some((answered, rtt)), _) if answered >= sequence => return Ok(rtt),
                (_, Some(end)) => return Err(end),
                (_, None) => answered.await,
            }
        }
    }

    /// What the session has done so far.
    pub fn stats(&self) -> SessionStats {
        self.shared().stats()
    }

    /// Sends a datagram on a flow, which is any number but 0. Never waits: the oldest go if there are too many.
    ///
    /// # Errors
    /// [`DatagramError`]; nothing was sent.
    pub fn send_datagram(&self, flow: u32, payload: impl Into<Bytes>) -> Result<(), DatagramError> {
        let (now, payload) = (now(), payload.into());
        self.shared().with(|state| state.core.send_datagram(now, flow, payload))
    }

    /// Waits for the next datagram and its flow; `None` when the session ended. Cancel-safe.
    pub async fn receive_datagram(&self) -> Option<(u32, Bytes)> {
        let shared = self.shared();
        loop {
            let came = shared.datagrams.notified();
            let (datagram, is_over) =
                shared.with(|state| (state.core.receive_datagram(), state.core.end().is_some()));
            if datagram.is_some() {
                shared.datagrams.notify_one();
                return datagram;
            }
            if is_over {
                return None;
            }
            came.await;
        }
    }

    /// The longest datagram that the peer takes, in octets; 0 for none, or before its HELLO came.
    pub fn max_datagram(&self) -> usize {
        self.shared().state().core.max_datagram()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|state| state.orphaned = true);
    }
}
