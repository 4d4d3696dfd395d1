//! The handle of a session.

use super::shared::{Life, SESSION, Shared, now};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::{DatagramError, OpenError, SessionEnd, SessionStats};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::MAX_HEAD_BYTES;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Session {
    life: Arc<Life>,
}

impl Session {
    pub(super) const fn new(life: Arc<Life>) -> Self {
        Self { life }
    }

    pub(crate) async fn open(&self, head: Bytes) -> Result<(SendStream, ReceiveStream), OpenError> {
        if head.len() > usize::from(MAX_HEAD_BYTES) {
            return Err(OpenError::HeadTooLarge { length: head.len() });
        }
        let shared = self.shared();
        loop {
            let granted = shared.openers.notified();
            match shared.try_open(&head) {
                Ok(Some(cell)) => return Ok(halves(cell, Arc::clone(&self.life))),
                Ok(None) => granted.await,
                Err(error) => {
                    // Whoever waits next has to hear it too.
                    shared.openers.notify_one();
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn drain(&self, code: CloseCode, reason: Bytes) {
        self.shared().drain(code, reason, now());
    }

    pub(crate) fn close(&self, code: CloseCode, reason: Bytes) {
        self.shared().close(code, reason);
    }

    pub(crate) async fn closed(&self) -> SessionEnd {
        loop {
            let ended = self.shared().ended.notified();
            if let Some(end) = self.end() {
                return end;
            }
            ended.await;
        }
    }

    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.shared().end()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared().state().control.is_draining()
    }

    pub(crate) async fn ping(&self) -> Result<Duration, SessionEnd> {
        let shared = self.shared();
        let sequence = shared.state().control.ping();
        shared.ready.push(SESSION);
        loop {
            let answered = shared.pongs.notified();
            let (pong, end) = shared.pong();
            match (pong, end) {
                (Some((answered, rtt)), _) if answered >= sequence => return Ok(rtt),
                (_, Some(end)) => return Err(end),
                (_, None) => answered.await,
            }
        }
    }

    pub(crate) fn stats(&self) -> SessionStats {
        self.shared().stats()
    }

    pub(crate) fn send_datagram(&self, flow: u32, payload: Bytes) -> Result<(), DatagramError> {
        self.shared().send_datagram(now(), flow, payload)
    }

    pub(crate) async fn receive_datagram(&self) -> Option<(u32, Bytes)> {
        let shared = self.shared();
        loop {
            let came = shared.datagrams.notified();
            let (datagram, is_over) = shared.next_datagram();
            if let Some((_, flow, payload)) = datagram {
                shared.datagrams.notify_one();
                return Some((flow, payload));
            }
            if is_over {
                return None;
            }
            came.await;
        }
    }

    pub(crate) fn max_datagram(&self) -> usize {
        self.shared().state().max_datagram
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }
}
