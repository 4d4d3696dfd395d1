use std::fmt;

use rustls::quic;

/// A version number of QUIC as it stands in long headers, open: clients send drafts, GREASE and numbers of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuicVersion(u32);

impl QuicVersion {
    /// QUIC version 1 (RFC 9000).
    pub const V1: Self = Self(0x0000_0001);
    /// QUIC version 2 (RFC 9369).
    pub const V2: Self = Self(0x6b33_43cf);
    /// What stands there in a Version Negotiation packet (RFC 8999 §6).
    pub(super) const NEGOTIATION: Self = Self(0);

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// Whether the Initials of this version can be read here: version 1 and 2, and no draft.
    pub const fn is_supported(self) -> bool {
        self.protection().is_some()
    }

    /// Which salt and labels protect Initials (RFC 9001 §5.2, RFC 9369 §3.3).
    pub(super) const fn protection(self) -> Option<quic::Version> {
        match self {
            Self::V1 => Some(quic::Version::V1),
            Self::V2 => Some(quic::Version::V2),
            Self(_) => None,
        }
    }
}

impl From<u32> for QuicVersion {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl fmt::Debug for QuicVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// A Version Negotiation packet that offers what is supported (RFC 8999 §6, RFC 9000 §17.2.1).
///
/// ```text
///  byte  0      1..5        5                                    then
///       +------+-----------+------+--------+------+--------+-----------+-----------+
///       | 0xc0 | 00 00 00 00 | len | dest. | len  | source | version 1 | version 2 |
///       +------+-----------+------+--------+------+--------+-----------+-----------+
/// ```
///
/// The ids are those of the client's packet, changed round, of any length up to 255: other versions may have longer
/// ones. So the packet has at most 525 bytes, less than half of the smallest datagram that is ever answered.
pub(super) fn version_negotiation(client_source: &[u8], client_destination: &[u8]) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(FIXED_BYTES + client_source.len() + client_destination.len());
    packet.push(LONG_FORM_AND_FIXED_BIT);
    packet.extend(QuicVersion::NEGOTIATION.code().to_be_bytes());
    for id in [client_source, client_destination] {
        packet.push(u8::try_from(id.len()).ok()?);
        packet.extend(id);
    }
    for version in [QuicVersion::V1, QuicVersion::V2] {
        packet.extend(version.code().to_be_bytes());
    }
    Some(packet)
}

/// RFC 9000 §17.2.1 asks for the fixed bit, so that the packet passes for QUIC where other protocols share the port.
const LONG_FORM_AND_FIXED_BIT: u8 = 0xc0;
const FIXED_BYTES: usize = 1 + 4 + 1 + 1 + 2 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_turns_the_ids_round_and_offers_both_versions() {
        let packet = version_negotiation(&[0xaa, 0xbb], &[0xcc]).unwrap();
        assert_eq!(packet, b"\xc0\0\0\0\0\x02\xaa\xbb\x01\xcc\0\0\0\x01\x6b\x33\x43\xcf");
        assert_eq!(version_negotiation(&[1; 255], &[2; 255]).unwrap().len(), 525);
    }

    #[test]
    fn drafts_are_not_supported() {
        assert!(QuicVersion::V1.is_supported() && QuicVersion::V2.is_supported());
        for code in [0, 2, 0xff00_001d, 0x5130_3530, 0xface_b002, 0x0a0a_0a0a, 0x709a_50c4] {
            assert!(!QuicVersion::from(code).is_supported(), "{code:x}");
        }
    }
}
