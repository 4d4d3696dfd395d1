//! What it means for a session what it travels on.

use crate::Carrier;

/// What a session can do on its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub(crate) carrier: Carrier,
    pub(crate) has_lossy_datagrams: bool,
    pub(crate) keeps_streams_apart: bool,
    pub(crate) survives_address_changes: bool,
    pub(crate) has_priorities: bool,
}

impl Capabilities {
    pub(crate) const fn over_tcp(carrier: Carrier) -> Self {
        Self {
            carrier,
            has_lossy_datagrams: false,
            keeps_streams_apart: false,
            survives_address_changes: false,
            has_priorities: !matches!(carrier, Carrier::Http2),
        }
    }

    /// What the session travels on.
    pub const fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether a lost datagram delays nothing. On the others datagrams wait behind what was lost before them.
    pub const fn has_lossy_datagrams(&self) -> bool {
        self.has_lossy_datagrams
    }

    /// Whether a packet lost on one stream leaves the others alone.
    pub const fn keeps_streams_apart(&self) -> bool {
        self.keeps_streams_apart
    }

    /// Whether the session goes on when an end gets another address.
    pub const fn survives_address_changes(&self) -> bool {
        self.survives_address_changes
    }

    /// Whether [`SendStream::set_priority`](crate::SendStream::set_priority) has an effect. On HTTP/2 it has none: crate `h2` takes
    /// its streams in turn, whatever is asked for.
    pub const fn has_priorities(&self) -> bool {
        self.has_priorities
    }
}
