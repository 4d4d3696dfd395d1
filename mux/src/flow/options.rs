//! Limits, counters and errors of flows.

use crate::StreamError;
use adit_wire_proto::MessageError;
use adit_wire_proto::datagram::Datagram;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a message that is longer than the session's datagrams may be now
/// ([`Session::max_datagram`](crate::Session::max_datagram)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversize {
    /// It travels as a record on the flow's stream: whole, but behind what was lost before it there. The default, since
    /// packets over the path's MTU would otherwise meet a black hole.
    #[default]
    Record,
    /// It is dropped, as by a path with that MTU: for applications that look for it, and for which late is lost. A session
    /// without datagrams carries all as records all the same.
    Drop,
}

/// Limits of the flows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    pub(super) max_message_bytes: usize,
    pub(super) max_unread_bytes: usize,
    pub(super) oversize: Oversize,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self {
            max_message_bytes: Datagram::MAX_PAYLOAD_BYTES,
            max_unread_bytes: 256 * 1024,
            oversize: Oversize::default(),
        }
    }
}

impl FlowOptions {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest message that is sent, in octets; default and most 65,507, what fits a datagram of UDP over IPv4. Longer
    /// ones are dropped and counted, never cut.
    #[must_use]
    pub fn max_message_bytes(self, bytes: usize) -> Self {
        Self { max_message_bytes: bytes.min(Datagram::MAX_PAYLOAD_BYTES), ..self }
    }

    /// How many octets of received datagrams may wait in one flow, each counted with 64 octets more; default 256 KiB. Then
    /// the oldest go. So flows that aren't read hold this times [`Config::max_peer_streams`](crate::Config::max_peer_streams)
    /// at most.
    #[must_use]
    pub fn max_unread_bytes(self, bytes: usize) -> Self {
        Self { max_unread_bytes: bytes, ..self }
    }

    /// What becomes of messages that are longer than a datagram may be; default [`Oversize::Record`].
    #[must_use]
    pub fn oversize(self, oversize: Oversize) -> Self {
        Self { oversize, ..self }
    }
}

/// What became of the messages of a session's flows, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStats {
    /// Sent as datagrams. What their queue drops is in
    /// [`SessionStats::datagrams_dropped`](crate::SessionStats::datagrams_dropped).
    pub datagrams_sent: u64,
    /// Sent as records.
    pub records_sent: u64,
    /// Received as datagrams, and kept for their flow.
    pub datagrams_received: u64,
    /// Received as records.
    pub records_received: u64,
    /// Not sent: longer than [`FlowOptions::max_message_bytes`], or than a datagram where [`Oversize::Drop`] was asked for.
    pub too_long: u64,
    /// Not sent: a record for which its stream had no room.
    pub no_room: u64,
    /// Received, and dropped because their flow isn't read.
    pub unread: u64,
    /// Received for a flow that isn't there, or no longer.
    pub unknown: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) datagrams_sent: AtomicU64,
    pub(super) records_sent: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) records_received: AtomicU64,
    pub(super) too_long: AtomicU64,
    pub(super) no_room: AtomicU64,
    pub(super) unread: AtomicU64,
    pub(super) unknown: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> FlowStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FlowStats {
            datagrams_sent: read(&self.datagrams_sent),
            records_sent: read(&self.records_sent),
            datagrams_received: read(&self.datagrams_received),
            records_received: read(&self.records_received),
            too_long: read(&self.too_long),
            no_room: read(&self.no_room),
            unread: read(&self.unread),
            unknown: read(&self.unknown),
        }
    }
}

/// Why a flow ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The peer announced a record that is longer than any message. The flow was ended both ways with the error's code; the
    /// session lives.
    #[error("the peer announced {source}")]
    Record {
        /// How long.
        source: MessageError,
    },
    /// Its stream ended early, or the session did.
    #[error(transparent)]
    Stream(#[from] StreamError),
}
