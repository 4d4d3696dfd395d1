use super::InitialRefusal;
use super::packet::read_varint;
use crate::reader::Reader;

/// Walks the frames of an Initial packet's payload and hands each piece of CRYPTO data to `on_crypto`, with its offset.
///
/// Which frames may stand there is in RFC 9000 §12.4: PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE.
pub(super) fn read_frames(
    payload: &[u8],
    mut on_crypto: impl FnMut(u64, &[u8]) -> Result<(), InitialRefusal>,
) -> Result<(), InitialRefusal> {
    if payload.is_empty() {
        return Err(InitialRefusal::EmptyPacket);
    }
    let mut reader = Reader::new(payload);
    loop {
        skip_padding(&mut reader);
        if reader.is_empty() {
            return Ok(());
        }
        let frame_type = read_frame_type(&mut reader)?;
        let malformed = InitialRefusal::MalformedFrame { frame_type };
        match frame_type {
            PING => {}
            ACK => read_ack(&mut reader).ok_or(malformed)?,
            ACK_ECN => {
                read_ack(&mut reader).ok_or(malformed)?;
                read_ecn_counts(&mut reader).ok_or(malformed)?;
            }
            CRYPTO => {
                let (offset, data) = read_crypto(&mut reader).ok_or(malformed)?;
                on_crypto(offset, data)?;
            }
            CONNECTION_CLOSE => return Err(InitialRefusal::Closed),
            _ => return Err(InitialRefusal::ForbiddenFrame { frame_type }),
        }
    }
}

/// Most of a first flight is padding, so it is skipped in runs.
fn skip_padding(reader: &mut Reader<'_>) {
    let padding = reader.rest().iter().take_while(|byte| **byte == PADDING).count();
    let _zeros = reader.take(padding);
}

/// A frame type must have its shortest form (RFC 9000 §12.4), which for all known ones is a single byte: a longer form
/// of the same number is not the same frame here, so that no two readers can differ about it.
fn read_frame_type(reader: &mut Reader<'_>) -> Result<u64, InitialRefusal> {
    let first = reader.rest().first().copied().unwrap_or_default();
    let cut_short = InitialRefusal::MalformedFrame { frame_type: first.into() };
    let frame_type = read_varint(reader).ok_or(cut_short)?;
    if frame_type == u64::from(first) {
        Ok(frame_type)
    } else {
        Err(InitialRefusal::ForbiddenFrame { frame_type })
    }
}

/// ```text
///  +------------+------------+-----------+
///  | offset (i) | length (i) | data ...  |
///  +------------+------------+-----------+
/// ```
fn read_crypto<'a>(reader: &mut Reader<'a>) -> Option<(u64, &'a [u8])> {
    let offset = read_varint(reader)?;
    let length = read_varint(reader)?;
    Some((offset, reader.take(length.try_into().ok()?)?))
}

/// RFC 9000 §19.3: ranges that reach below packet number 0 are an error.
///
/// ```text
///  +-------------+-----------+-----------+-----------------+---------------------------+
///  | largest (i) | delay (i) | count (i) | first range (i) | count times gap, length (i)
///  +-------------+-----------+-----------+-----------------+---------------------------+
/// ```
fn read_ack(reader: &mut Reader<'_>) -> Option<()> {
    let largest = read_varint(reader)?;
    let _delay = read_varint(reader)?;
    let count = read_varint(reader)?;
    let mut smallest = largest.checked_sub(read_varint(reader)?)?;
    // A range takes two bytes at least, so that a lying count ends with the payload.
    for _ in 0..count {
        let gap = read_varint(reader)?;
        let length = read_varint(reader)?;
        smallest = smallest.checked_sub(gap)?.checked_sub(2)?.checked_sub(length)?;
    }
    Some(())
}

fn read_ecn_counts(reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..3 {
        read_varint(reader)?;
    }
    Some(())
}

// Frame types (RFC 9000 §19).
const PADDING: u8 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
const CONNECTION_CLOSE: u64 = 0x1c;

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(payload: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, InitialRefusal> {
        let mut crypto = Vec::new();
        read_frames(payload, |offset, data| {
            crypto.push((offset, data.to_vec()));
            Ok(())
        })?;
        Ok(crypto)
    }

    #[test]
    fn crypto_between_padding_ping_and_acks() {
        let payload = b"\0\0\x01\x06\x05\x02ab\x02\x09\0\x01\x02\x01\x01\x03\x01\0\0\0\x01\x02\x03\x06\0\0\0";
        assert_eq!(frames(payload), Ok(vec![(5, b"ab".to_vec()), (0, vec![])]));
    }

    #[test]
    fn acks_that_reach_below_zero_or_beyond_the_packet() {
        for payload in [
            &b"\x02\x01\0\0\x02"[..],
            b"\x02\x05\0\x01\x02\x02\0",
            b"\x02\x05\0\xc0\xff\xff\xff\xff\xff\xff\xff\0",
            b"\x03\x05\0\0\0\x01\x02",
        ] {
            let error = frames(payload).unwrap_err();
            assert!(matches!(error, InitialRefusal::MalformedFrame { frame_type: 2 | 3 }), "{payload:?}");
        }
    }

    #[test]
    fn long_forms_of_a_frame_type_are_not_taken() {
        assert_eq!(frames(b"\x40\x06\0\x01a"), Err(InitialRefusal::ForbiddenFrame { frame_type: 6 }));
        assert_eq!(frames(b"\x40\x01"), Err(InitialRefusal::ForbiddenFrame { frame_type: 1 }));
        assert_eq!(frames(b"\x80\0"), Err(InitialRefusal::MalformedFrame { frame_type: 0x80 }));
        assert_eq!(frames(b""), Err(InitialRefusal::EmptyPacket));
    }
}
