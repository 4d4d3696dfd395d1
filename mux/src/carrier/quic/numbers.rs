//! Numbers here and numbers of QUIC.

use adit_wire_proto::CloseCode;
use quinn::{Side, StreamId, VarInt};

/// The number of a stream in our order: odd for those of the dialler, even for those of the listener.
///
/// `u32::MAX` for streams past the two billionth: a session drains long before.
pub(super) fn number(id: StreamId) -> u32 {
    let first = match id.initiator() {
        Side::Client => 1,
        Side::Server => 2,
    };
    let number = id.index().saturating_mul(2).saturating_add(first);
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The id of a bidirectional stream on the wire: twice its index and two more bits (RFC 9000 section 2.1).
pub(super) const fn flow(number: u32) -> [u8; 8] {
    let index = widen(number.saturating_sub(1) / 2);
    let is_listener = number.is_multiple_of(2);
    (index * 4 + if is_listener { 1 } else { 0 }).to_be_bytes()
}

/// The number of a flow; `None` if it is no bidirectional stream that a session can have.
pub(super) fn flow_number(flow: u64) -> Option<u32> {
    let first = match flow % 4 {
        0 => 1,
        1 => 2,
        _ => return None,
    };
    u32::try_from((flow / 4).checked_mul(2)?.checked_add(first)?).ok()
}

pub(super) fn var_int(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.as_u32())
}

/// Codes of ours are four octets long; a longer one is none of ours.
pub(super) fn close_code(code: VarInt) -> CloseCode {
    CloseCode::from_u32(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
}

const fn widen(number: u32) -> u64 {
    let [a, b, c, d] = number.to_be_bytes();
    u64::from_be_bytes([0, 0, 0, 0, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::Dir;

    #[test]
    fn streams_have_the_numbers_that_they_have_on_the_native_carrier() {
        let id = |side, index| StreamId::new(side, Dir::Bi, index);
        assert_eq!([0, 1, 2].map(|index| number(id(Side::Client, index))), [1, 3, 5]);
        assert_eq!([0, 1, 2].map(|index| number(id(Side::Server, index))), [2, 4, 6]);
    }

    #[test]
    fn a_flow_is_its_streams_id_and_back() {
        for side in [Side::Client, Side::Server] {
            for index in [0, 1, 7, 0x1fff_ffff] {
                let id = StreamId::new(side, Dir::Bi, index);
                let wire = u64::from_be_bytes(flow(number(id)));
                assert_eq!(wire, VarInt::from(id).into_inner());
                assert_eq!(flow_number(wire).unwrap(), number(id));
            }
        }
        assert_eq!([2, 3, 1 << 40].map(flow_number), [None; 3]);
    }
}
