//! How long a body is, by its fields: the one question that attackers want answered in two ways.

use http::header::{self, HeaderMap, HeaderName};

/// What the fields say about the body's end (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Neither field.
    None,
    /// So many bytes.
    Length(u64),
    /// Until the last chunk.
    Chunked,
    /// Both fields.
    Both,
    /// A good list of codings that ends in `chunked` but has others.
    OtherCoding,
    /// Content-Length is there and is not one plain number.
    Unclear,
    /// Transfer-Encoding is there and does not end in one `chunked`.
    UnclearCoding,
}

pub(super) fn of(headers: &HeaderMap) -> Framing {
    let has_length = headers.contains_key(header::CONTENT_LENGTH);
    match (has_length, headers.contains_key(header::TRANSFER_ENCODING)) {
        (false, false) => Framing::None,
        (true, true) => Framing::Both,
        (true, false) => content_length(headers).map_or(Framing::Unclear, Framing::Length),
        (false, true) => transfer_encoding(headers),
    }
}

/// One field of digits. Not even two equal ones: which of them did the other reader take?
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut fields = headers.get_all(header::CONTENT_LENGTH).iter();
    let digits = fields.next()?.as_bytes();
    if fields.next().is_some() || digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        length.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn transfer_encoding(headers: &HeaderMap) -> Framing {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Framing::UnclearCoding };
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = field.as_bytes().rsplit(|byte| *byte == b',');
    if !codings.next().is_some_and(is_chunked) {
        return Framing::UnclearCoding;
    }
    let mut others = codings.peekable();
    if others.peek().is_none() {
        return Framing::Chunked;
    }
    if others.any(is_chunked) { Framing::UnclearCoding } else { Framing::OtherCoding }
}

/// A field that HTTP/2 and HTTP/3 must not have (RFC 9113 §8.2.2).
pub(super) fn has_connection_field(headers: &HeaderMap) -> bool {
    let is_te_allowed = |value: &[u8]| value.eq_ignore_ascii_case(b"trailers");
    CONNECTION_FIELDS.iter().any(|name| headers.contains_key(name))
        || !headers.get_all(header::TE).iter().all(|value| is_te_allowed(value.as_bytes()))
}

const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_length_is_one_plain_number() {
        for (value, expected) in [
            ("0", Framing::Length(0)),
            ("007", Framing::Length(7)),
            ("18446744073709551615", Framing::Length(u64::MAX)),
            ("18446744073709551616", Framing::Unclear),
            ("99999999999999999999999", Framing::Unclear),
            ("", Framing::Unclear),
            ("+5", Framing::Unclear),
            ("-5", Framing::Unclear),
            ("0x5", Framing::Unclear),
            ("5 ", Framing::Unclear),
            ("5, 5", Framing::Unclear),
            ("5.0", Framing::Unclear),
            ("1_000", Framing::Unclear),
        ] {
            assert_eq!(of(&headers(&[("content-length", value)])), expected, "{value:?}");
        }
        assert_eq!(of(&headers(&[("content-length", "5"), ("content-length", "5")])), Framing::Unclear);
    }

    #[test]
    fn a_coding_is_chunked_and_nothing_else() {
        for (value, expected) in [
            ("chunked", Framing::Chunked),
            ("CHUNKED", Framing::Chunked),
            ("gzip, chunked", Framing::OtherCoding),
            ("gzip", Framing::UnclearCoding),
            ("identity", Framing::UnclearCoding),
            ("xchunked", Framing::UnclearCoding),
            ("chunked;q=1", Framing::UnclearCoding),
            ("chunked, chunked", Framing::UnclearCoding),
            ("chunked, gzip", Framing::UnclearCoding),
            ("chunked,", Framing::UnclearCoding),
            ("\x0bchunked", Framing::UnclearCoding),
            ("", Framing::UnclearCoding),
        ] {
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert(header::TRANSFER_ENCODING, value.clone());
            assert_eq!(of(&headers), expected, "{value:?}");
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }
}
