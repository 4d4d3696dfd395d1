//! The eight octets in front of every frame.

use super::{FrameError, FrameKind};

/// The length of a header, in octets.
pub const HEADER_BYTES: usize = 8;

/// The body of a full DATA frame, in octets: with its header exactly one TLS record.
pub const MAX_DATA_BYTES: u16 = 16_376;

/// The header of a frame: kind, flags, length of the body, id.
///
/// ```
/// use adit_wire_proto::frame::{FrameHeader, FrameKind};
///
/// let header = FrameHeader::new(FrameKind::DATA, FrameHeader::FIN, 5, 7);
/// assert_eq!(header.encode(), [0x02, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x07]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    kind: FrameKind,
    flags: u8,
    length: u16,
    id: u32,
}

impl FrameHeader {
    /// On OPEN and DATA: nothing follows on this half of the stream.
    pub const FIN: u8 = 0x01;
    /// On PING: the answer to one.
    pub const ACK: u8 = 0x01;
    /// On GOAWAY: a first warning; the id that counts comes in a second one.
    pub const HEADS_UP: u8 = 0x01;

    /// A header to be sent. Only bit 0 of `flags` has a meaning in this version; send the others as zero.
    pub const fn new(kind: FrameKind, flags: u8, length: u16, id: u32) -> Self {
        Self { kind, flags, length, id }
    }

    /// Reads a header and checks all that it alone can prove wrong: unknown mandatory kinds, lengths outside the
    /// kind's limits, ids that the kind can't carry. Reserved flag bits are cleared (W-06).
    ///
    /// # Errors
    /// A [`FrameError`]: the session is to be closed, and nothing is to be reserved for the body.
    #[inline]
    pub fn decode(octets: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, flags, l0, l1, i0, i1, i2, i3] = octets;
        let kind = FrameKind::from_u8(kind);
        let (length, id) = (u16::from_be_bytes([l0, l1]), u32::from_be_bytes([i0, i1, i2, i3]));
        let rule = kind.rule();
        let is_empty = length == 0 && kind == FrameKind::DATA && flags & Self::FIN == 0;
        if rule.allows_id(id) && rule.allows_length(length) && !is_empty {
            return Ok(Self { kind, flags: flags & rule.flags, length, id });
        }
        Err(Self { kind, flags, length, id }.breach())
    }

    /// Which rule a header breaks that breaks one, in the order of SPEC 3.1.
    #[cold]
    fn breach(self) -> FrameError {
        let Self { kind, length, id, .. } = self;
        let rule = kind.rule();
        if !kind.is_known() {
            return FrameError::UnknownKind { kind };
        }
        if !rule.allows_id(id) {
            return FrameError::WrongId { kind, id };
        }
        let (least, limit) = (rule.least, rule.most);
        if length < least {
            return FrameError::TooShort { kind, length, least };
        }
        if length > limit && least == limit {
            return FrameError::Trailing { kind, length, exact: limit };
        }
        if length > limit {
            return FrameError::TooLarge { kind, length, limit };
        }
        FrameError::EmptyData
    }

    /// The eight octets.
    pub const fn encode(self) -> [u8; HEADER_BYTES] {
        let [l0, l1] = self.length.to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        [self.kind.as_u8(), self.flags, l0, l1, i0, i1, i2, i3]
    }

    /// What the frame is.
    pub const fn kind(self) -> FrameKind {
        self.kind
    }

    /// Whether bit 0 of the flags is set: [`FIN`](Self::FIN), [`ACK`](Self::ACK) or [`HEADS_UP`](Self::HEADS_UP).
    pub const fn is_flagged(self) -> bool {
        self.flags & 1 != 0
    }

    /// The length of the body, in octets, without the header.
    pub const fn length(self) -> u16 {
        self.length
    }

    /// The id of the stream or flow, or 0.
    pub const fn id(self) -> u32 {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseCode;

    fn refused(octets: [u8; 8]) -> CloseCode {
        FrameHeader::decode(octets).unwrap_err().close_code()
    }

    #[test]
    fn w05_unknown_kinds_are_skipped_or_refused_by_their_high_bit() {
        let header = FrameHeader::decode([0xaa, 0xff, 0x12, 0x34, 0, 0, 0, 9]).unwrap();
        assert_eq!((header.length(), header.id()), (0x1234, 9));
        assert_eq!(refused([0x2a, 0, 0, 0, 0, 0, 0, 0]), CloseCode::UNKNOWN_FRAME);
    }

    #[test]
    fn w06_reserved_flag_bits_are_ignored() {
        let header = FrameHeader::decode([0x02, 0xfe, 0, 1, 0, 0, 0, 1]).unwrap();
        assert_eq!(header, FrameHeader::new(FrameKind::DATA, 0, 1, 1));
    }

    #[test]
    fn w07_id_zero_on_a_stream_frame_and_others_on_a_session_frame_end_the_session() {
        assert_eq!(refused([0x02, 0, 0, 1, 0, 0, 0, 0]), CloseCode::PROTOCOL);
        assert_eq!(refused([0x07, 0, 0, 8, 0, 0, 0, 1]), CloseCode::PROTOCOL);
    }

    #[test]
    fn w03_a_length_over_the_limit_of_its_kind_is_refused_on_the_header_alone() {
        assert_eq!(refused([0x00, 0, 0x04, 0x01, 0, 0, 0, 0]), CloseCode::FRAME_TOO_LARGE);
        assert_eq!(refused([0x01, 0, 0x10, 0x05, 0, 0, 0, 1]), CloseCode::FRAME_TOO_LARGE);
    }

    #[test]
    fn w12_octets_after_a_body_of_fixed_length_are_malformed() {
        for kind in [0x03, 0x04, 0x05, 0x06, 0x07, 0x81] {
            let id = u8::from(matches!(kind, 0x03 | 0x05 | 0x06));
            assert_eq!(refused([kind, 0, 0, 9, 0, 0, 0, id]), CloseCode::MALFORMED, "kind {kind}");
        }
    }

    #[test]
    fn w04_empty_bodies_where_one_is_needed_are_malformed() {
        for kind in [0x00, 0x01, 0x02, 0x03, 0x05, 0x06] {
            let id = u8::from(kind != 0);
            assert_eq!(refused([kind, 0, 0, 0, 0, 0, 0, id]), CloseCode::MALFORMED, "kind {kind}");
        }
    }
}
