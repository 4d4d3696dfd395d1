use std::fmt;

/// A TLS alert code (RFC 8446 §6), open: any byte may stand here.
///
/// ```
/// use adit_tls_modes::AlertDescription;
///
/// assert_eq!(AlertDescription::UNRECOGNIZED_NAME.fatal_record(), [0x15, 3, 3, 0, 2, 2, 112]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertDescription(u8);

impl AlertDescription {
    /// An inappropriate message was received.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record was longer than 2^14 bytes.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// The parties agree on nothing.
    pub const HANDSHAKE_FAILURE: Self = Self(40);
    /// A field was out of range or contradicts another.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message could not be decoded.
    pub const DECODE_ERROR: Self = Self(50);
    /// The version offered is known but not served.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// Something failed that is no fault of the peer, such as a tunnel without its agent.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// An extension that must be there is not (TLS 1.3 only).
    pub const MISSING_EXTENSION: Self = Self(109);
    /// Nobody is served under that name (RFC 6066 §3).
    pub const UNRECOGNIZED_NAME: Self = Self(112);
    /// No application protocol in common (RFC 7301 §3.2).
    pub const NO_APPLICATION_PROTOCOL: Self = Self(120);

    /// The code as it stands on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The record that tells the peer, complete, in the clear: what a server may send before it has answered the
    /// ClientHello.
    ///
    /// ```text
    ///  byte  0      1..3     3..5     5       6
    ///       +------+--------+--------+-------+------+
    ///       | 0x15 | 03 03  | 00 02  | 02    | code |
    ///       +------+--------+--------+-------+------+
    ///        alert  legacy   length   fatal
    /// ```
    pub const fn fatal_record(self) -> [u8; 7] {
        [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, self.0]
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::UNEXPECTED_MESSAGE => "unexpected_message",
            Self::RECORD_OVERFLOW => "record_overflow",
            Self::HANDSHAKE_FAILURE => "handshake_failure",
            Self::ILLEGAL_PARAMETER => "illegal_parameter",
            Self::DECODE_ERROR => "decode_error",
            Self::PROTOCOL_VERSION => "protocol_version",
            Self::INTERNAL_ERROR => "internal_error",
            Self::MISSING_EXTENSION => "missing_extension",
            Self::UNRECOGNIZED_NAME => "unrecognized_name",
            Self::NO_APPLICATION_PROTOCOL => "no_application_protocol",
            Self(_) => return None,
        })
    }
}

impl From<u8> for AlertDescription {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl fmt::Debug for AlertDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "alert({})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_survive() {
        let alert = AlertDescription::from(200);
        assert_eq!(alert.code(), 200);
        assert_eq!(alert.to_string(), "alert(200)");
        assert_eq!(format!("{:?}", AlertDescription::from(112)), "unrecognized_name(112)");
    }
}
