//! The carriers by name.

use std::fmt;
use std::str::FromStr;

/// What a session travels on. All have the same sessions and streams; a session's
/// `capabilities` say what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// Frames on a connection, as TLS over TCP.
    Native,
    /// The same frames in WebSocket messages.
    WebSocket,
    /// QUIC's streams and datagrams.
    Quic,
    /// HTTP/2's streams.
    Http2,
}

impl Carrier {
    /// All of them, the best first: the order in which an agent tries them by default.
    ///
    /// QUIC loses no time to another stream's lost packet and survives a change of address; the native carrier is the
    /// fastest on TCP; HTTP/2 and WebSocket pass where those don't.
    pub const ALL: [Self; 4] = [Self::Quic, Self::Native, Self::Http2, Self::WebSocket];

    /// The name that configurations and logs use: `native`, `websocket`, `quic` or `h2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
            Self::Http2 => "h2",
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Carrier {
    type Err = UnknownCarrier;

    /// Reads a [`name`](Self::name).
    fn from_str(text: &str) -> Result<Self, UnknownCarrier> {
        Self::ALL.into_iter().find(|carrier| carrier.name() == text).ok_or(UnknownCarrier {})
    }
}

/// A name that no carrier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such carrier; there are quic, native, h2 and websocket")]
#[non_exhaustive]
pub struct UnknownCarrier {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_is_found_by_its_name_and_by_nothing_else() {
        for carrier in Carrier::ALL {
            assert_eq!(carrier.to_string().parse(), Ok(carrier));
        }
        for wrong in ["", "QUIC", "http2", " native"] {
            assert_eq!(wrong.parse::<Carrier>(), Err(UnknownCarrier {}), "{wrong}");
        }
    }
}
