//! The handle of a session.

use super::link::{Life, Link};
use super::numbers::{flow, flow_number, number};
use super::stream::{ReceiveStream, SendStream, halves};
use crate::{Capabilities, Carrier, DatagramError, OpenError, Origin, SessionEnd, SessionStats, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::MAX_HEAD_BYTES;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::SendDatagramError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
        let link = self.link();
        let head = framed(&head)?;
        let (stream, receive) = loop {
            let draining = link.draining.notified();
            if link.end().is_none() && link.state().control.is_draining() {
                return Err(OpenError::Draining);
            }
            tokio::select! {
                opened = link.connection.open_bi() => {
                    break opened.map_err(|error| OpenError::Session(link.end_of(error)))?;
                }
                () = draining => {}
            }
        };
        let mut state = link.state();
        if state.control.is_draining() {
            return Err(OpenError::Draining);
        }
        state.tally.opened = state.tally.opened.max(number(stream.id()));
        let counted = self.life.count(&mut state, Origin::Local);
        // The n-th stream of a side has the number 2n - 1 or 2n.
        let has_used_up = state.tally.opened.div_ceil(2) >= link.config.max_lifetime_opens;
        drop(state);
        link.counters.streams_opened.fetch_add(1, Ordering::Relaxed);
        link.watch.stream_opened(Origin::Local);
        if has_used_up {
            link.drain(CloseCode::DRAINING, Bytes::new());
        }
        let (send, receive) = halves(stream, receive, Bytes::new(), counted);
        match send.send_head(head) {
            // A peer that has stopped the stream already is told to whoever writes.
            Ok(()) | Err(StreamError::Stopped { .. }) => Ok((send, receive)),
            Err(error) => Err(OpenError::Session(match error {
                StreamError::Session(end) => end,
                StreamError::Reset { .. }
                | StreamError::Stopped { .. }
                | StreamError::Refused
                | StreamError::Ended => link.end().unwrap_or(SessionEnd::Cut),
            })),
        }
    }

    pub(crate) fn drain(&self, code: CloseCode, reason: Bytes) {
        self.link().drain(code, reason);
    }

    pub(crate) fn close(&self, code: CloseCode, reason: Bytes) {
        self.link().close(code, reason);
    }

    pub(crate) async fn closed(&self) -> SessionEnd {
        let error = self.link().connection.closed().await;
        self.link().end_of(error)
    }

    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.link().end()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.link().state().control.is_draining()
    }

    pub(crate) async fn ping(&self) -> Result<Duration, SessionEnd> {
        let link = self.link();
        let sequence = link.state().control.ping();
        link.changed.notify_one();
        loop {
            let answered = link.pongs.notified();
            if let Some((_, rtt)) =
                link.state().control.last_pong().filter(|(answered, _)| *answered >= sequence)
            {
                return Ok(rtt);
            }
            tokio::select! {
                () = answered => {}
                error = link.connection.closed() => return Err(link.end_of(error)),
            }
        }
    }

    pub(crate) fn stats(&self) -> SessionStats {
        self.link().stats()
    }

    pub(crate) fn send_datagram(&self, id: u32, payload: &Bytes) -> Result<(), DatagramError> {
        if id == 0 {
            return Err(DatagramError::NoFlow);
        }
        let (link, length) = (self.link(), payload.len());
        let too_large = || DatagramError::TooLarge { length, limit: self.max_datagram() };
        let mut datagram = BytesMut::with_capacity(FLOW_BYTES.saturating_add(length));
        datagram.put_slice(&flow(id));
        datagram.put_slice(payload);
        let queued = link.connection.datagram_send_buffer_space();
        link.connection.send_datagram(datagram.freeze()).map_err(|error| match error {
            SendDatagramError::UnsupportedByPeer
            | SendDatagramError::Disabled
            | SendDatagramError::TooLarge => too_large(),
            SendDatagramError::ConnectionLost(_) => DatagramError::NotOpen,
        })?;
        link.counters.datagrams_sent.fetch_add(1, Ordering::Relaxed);
        if queued < length.saturating_add(FLOW_BYTES) {
            // QUIC drops the oldest without a word; one at least.
            link.counters.datagrams_dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) async fn receive_datagram(&self) -> Option<(u32, Bytes)> {
        let link = self.link();
        loop {
            let mut datagram = link.connection.read_datagram().await.ok()?;
            let flow = datagram.try_get_u64().ok().and_then(flow_number);
            let counter = match flow {
                Some(_) => &link.counters.datagrams_received,
                None => &link.counters.datagrams_dropped,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(flow) = flow {
                return Some((flow, datagram));
            }
        }
    }

    pub(crate) fn max_datagram(&self) -> usize {
        let most = self.link().connection.max_datagram_size().unwrap_or(0);
        most.saturating_sub(FLOW_BYTES)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            carrier: Carrier::Quic,
            has_lossy_datagrams: true,
            keeps_streams_apart: true,
            survives_address_changes: true,
            has_priorities: true,
        }
    }

    fn link(&self) -> &Link {
        &self.life.link
    }
}

/// A head behind its length.
pub(super) fn framed(head: &Bytes) -> Result<Bytes, OpenError> {
    let length = u16::try_from(head.len()).ok().filter(|length| *length <= MAX_HEAD_BYTES);
    let length = length.ok_or(OpenError::HeadTooLarge { length: head.len() })?;
    let mut octets = BytesMut::with_capacity(head.len().saturating_add(2));
    octets.put_u16(length);
    octets.put_slice(head);
    Ok(octets.freeze())
}

/// What a datagram starts with.
const FLOW_BYTES: usize = 8;
