use super::{ConnectionId, DatagramError, QuicVersion};
use crate::reader::Reader;

/// What long headers of every version have in common (RFC 8999 §5.1). Only known versions have ids of at most 20
/// bytes.
///
/// ```text
///  byte  0            1..5      5                              then
///       +------------+---------+-----+-------------+-----+--------+-------------------+
///       | 1 ......   | version | len | destination | len | source | as the version says
///       +------------+---------+-----+-------------+-----+--------+-------------------+
/// ```
pub(super) struct LongHeader<'a> {
    first: u8,
    pub(super) version: QuicVersion,
    pub(super) destination: &'a [u8],
    pub(super) source: &'a [u8],
    rest: Reader<'a>,
}

impl<'a> LongHeader<'a> {
    pub(super) fn read(datagram: &'a [u8]) -> Result<Self, DatagramError> {
        if !is_long(datagram) {
            return Err(DatagramError::UnknownConnection);
        }
        Self::read_long(Reader::new(datagram)).ok_or(DatagramError::Truncated)
    }

    fn read_long(mut reader: Reader<'a>) -> Option<Self> {
        let first = reader.u8()?;
        let version = u32::from_be_bytes(reader.array()?).into();
        let destination = reader.vector8()?.rest();
        let source = reader.vector8()?.rest();
        Some(Self { first, version, destination, source, rest: reader })
    }
}

/// One packet with a long header of version 1 or 2 (RFC 9000 §17.2, RFC 9369 §3.2).
pub(super) struct Packet<'a> {
    pub(super) kind: PacketKind,
    pub(super) version: QuicVersion,
    pub(super) destination: ConnectionId,
    pub(super) source: ConnectionId,
    pub(super) has_token: bool,
    /// From the first byte to the last of the payload; of a Retry, everything.
    pub(super) bytes: &'a [u8],
    /// Where in `bytes` the packet number starts.
    pub(super) number_at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketKind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
}

impl<'a> Packet<'a> {
    /// Takes the first packet off a datagram, and what is coalesced behind it (RFC 9000 §12.2).
    ///
    /// ```text
    ///  long header, then   Initial    0-RTT, Handshake   Retry
    ///   varint + token     yes        no                 no (all the rest)
    ///   varint + payload   yes        yes                no
    /// ```
    pub(super) fn split(datagram: &'a [u8]) -> Result<(Self, &'a [u8]), DatagramError> {
        let header = LongHeader::read(datagram)?;
        let kind = PacketKind::of(header.first, header.version)
            .ok_or(DatagramError::OtherVersion { version: header.version })?;
        let destination = checked_id(header.destination)?;
        let source = checked_id(header.source)?;
        let mut body = header.rest;
        let (has_token, length) = kind.read_lengths(&mut body).ok_or(DatagramError::Truncated)?;
        // Invariant: `body` is a tail of `datagram`, and holds `length` bytes at least.
        let number_at = datagram.len() - body.rest().len();
        let (bytes, rest) = datagram.split_at_checked(number_at + length).ok_or(DatagramError::Truncated)?;
        let version = header.version;
        Ok((Self { kind, version, destination, source, has_token, bytes, number_at }, rest))
    }
}

impl Packet<'_> {
    /// Whether the bit is one that versions 1 and 2 fix (RFC 9000 §17.2). Ends that have agreed on it clear it at random
    /// (RFC 9287), which no client has in its first flight.
    pub(super) fn has_fixed_bit(&self) -> bool {
        self.bytes.first().is_some_and(|first| first & FIXED_BIT != 0)
    }
}

impl PacketKind {
    fn of(first: u8, version: QuicVersion) -> Option<Self> {
        use PacketKind::{Handshake, Initial, Retry, ZeroRtt};
        let [a, b, c, d] = match version {
            QuicVersion::V1 => [Initial, ZeroRtt, Handshake, Retry],
            QuicVersion::V2 => [Retry, Initial, ZeroRtt, Handshake],
            _ => return None,
        };
        Some(match first & TYPE_BITS {
            0x00 => a,
            0x10 => b,
            0x20 => c,
            _ => d,
        })
    }

    /// Whether there is a token, and the length of packet number and payload together.
    fn read_lengths(self, body: &mut Reader<'_>) -> Option<(bool, usize)> {
        let has_token = match self {
            Self::Initial => {
                let token_bytes = read_varint(body)?;
                let token = body.take(token_bytes.try_into().ok()?)?;
                !token.is_empty()
            }
            Self::ZeroRtt | Self::Handshake => false,
            Self::Retry => return Some((true, body.rest().len())),
        };
        let length = usize::try_from(read_varint(body)?).ok()?;
        (length <= body.rest().len()).then_some((has_token, length))
    }
}

/// Whether the first byte has the bit of a long header (RFC 8999 §5.1).
pub(super) fn is_long(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG_FORM != 0)
}

/// Whether this can be a short header (RFC 8999 §5.2). The bit that version 1 fixes behind may have any value: ends that
/// have agreed on it clear it at random (RFC 9287).
pub(super) fn is_short(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG_FORM == 0)
}

/// A variable-length integer (RFC 9000 §16), and `None` (with a step of a byte at most) if it is cut short.
///
/// ```text
///  00xxxxxx                                       6 bits
///  01xxxxxx xxxxxxxx                             14 bits
///  10xxxxxx xxxxxxxx xxxxxxxx xxxxxxxx           30 bits
///  11xxxxxx ... 7 more bytes                     62 bits
/// ```
pub(super) fn read_varint(reader: &mut Reader<'_>) -> Option<u64> {
    let first = reader.u8()?;
    let more = reader.take((1 << (first >> 6)) - 1)?;
    let head = u64::from(first & 0x3f);
    Some(more.iter().fold(head, |value, byte| (value << 8) | u64::from(*byte)))
}

fn checked_id(bytes: &[u8]) -> Result<ConnectionId, DatagramError> {
    ConnectionId::new(bytes).ok_or(DatagramError::ConnectionIdTooLong { bytes: bytes.len() })
}

const LONG_FORM: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;
const TYPE_BITS: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000 §A.1.
    #[test]
    fn varints_of_the_specification() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(read_varint(&mut reader), Some(value));
            assert!(reader.is_empty());
            assert_eq!(read_varint(&mut Reader::new(&bytes[..bytes.len() - 1])), None);
        }
    }

    #[test]
    fn packet_types_of_version_2_are_turned_by_one() {
        for (first, v1, v2) in [
            (0xc0, PacketKind::Initial, PacketKind::Retry),
            (0xd0, PacketKind::ZeroRtt, PacketKind::Initial),
            (0xe0, PacketKind::Handshake, PacketKind::ZeroRtt),
            (0xf0, PacketKind::Retry, PacketKind::Handshake),
        ] {
            assert_eq!(PacketKind::of(first, QuicVersion::V1), Some(v1));
            assert_eq!(PacketKind::of(first, QuicVersion::V2), Some(v2));
            assert_eq!(PacketKind::of(first, 9.into()), None);
        }
    }
}
