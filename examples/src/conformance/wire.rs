//! Octets as text, and patterns over them.

use crate::BoxError;
use adit_wire_proto::frame::{Frame, FrameHeader, HEADER_BYTES};
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER_PERMISSIVE;

/// Reads hexadecimal digits; blanks between them mean nothing.
pub(super) fn octets(text: &str) -> Result<Bytes, BoxError> {
    let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    Ok(HEXLOWER_PERMISSIVE.decode(digits.as_bytes())?.into())
}

/// Whether `frame` is as `pattern` says: octets in hexadecimal, `..` for any octet, a final `*` for any rest.
pub(super) fn matches(pattern: &str, frame: &[u8]) -> Result<bool, BoxError> {
    let digits: String = pattern.chars().filter(|character| !character.is_whitespace()).collect();
    let (digits, is_open) = match digits.strip_suffix('*') {
        Some(digits) => (digits, true),
        None => (digits.as_str(), false),
    };
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return Err(format!("the pattern `{pattern}` has half an octet").into());
    };
    if frame.len() < pairs.len() || (frame.len() > pairs.len() && !is_open) {
        return Ok(false);
    }
    for (pair, octet) in pairs.iter().zip(frame) {
        if pair != b".." && HEXLOWER_PERMISSIVE.decode(pair)? != [*octet] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A frame, and its octets as they came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) octets: Bytes,
    pub(super) frame: Frame,
}

/// Takes the next frame off `input`, if all of it is there.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Received>, BoxError> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = FrameHeader::decode(*header)?;
    let length = HEADER_BYTES + usize::from(header.length());
    if input.len() < length {
        return Ok(None);
    }
    let octets = input.split_to(length).freeze();
    let frame = Frame::decode(header, octets.slice(HEADER_BYTES..))?;
    Ok(Some(Received { octets, frame }))
}

/// A frame as octets.
pub(super) fn encode(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_gaps_and_an_open_end() {
        let is = |pattern| matches(pattern, &[7, 1, 0xff]).unwrap();
        assert!(is("07 01 ff") && is("07..FF") && is("07 *") && is("*"));
        assert!(!is("07 01") && !is("0701ff00") && !is("08*") && !is("07..fe"));
        assert!(matches("070", &[7]).is_err());
    }
}
