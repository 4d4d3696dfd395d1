//! How each protocol begins.

use super::{Match, Spoken};

/// A question to the first octets.
type Signature = fn(&[u8]) -> Match;

/// In the order in which they are asked. Those that need fewer octets stand first, and no octets are taken for two of
/// them: each of the binary ones begins with octets that rule out the others and all text.
pub(super) const SIGNATURES: [(Spoken, Signature); 7] = [
    (Spoken::Tls, tls),
    (Spoken::Ssh, ssh),
    (Spoken::PostgreSql, postgresql),
    (Spoken::MongoDb, mongodb),
    (Spoken::Redis, redis),
    (Spoken::Http2, http2),
    (Spoken::Http1, http1),
];

/// Octets of the longest signature of fixed length.
pub(super) const LONGEST: usize = PREFACE.len();

/// A handshake record with a ClientHello: `16 03 0x`, a length up to 2¹⁴, `01` (RFC 8446 §5.1, §4).
fn tls(octets: &[u8]) -> Match {
    let is_length = |high: u8, low: u8| matches!(u16::from_be_bytes([high, low]), 1..=MAX_RECORD);
    match octets {
        [22, 3, 0..=4, high, low, 1, ..] if is_length(*high, *low) => Match::Yes,
        [22, 3, 0..=4, high, low] if is_length(*high, *low) => Match::Maybe,
        [] | [22] | [22, 3] | [22, 3, 0..=4] | [22, 3, 0..=4, 0..=0x40] => Match::Maybe,
        _ => Match::No,
    }
}

/// `SSH-2.0-`, and the versions of old (RFC 4253 §4.2, §5).
fn ssh(octets: &[u8]) -> Match {
    literal(octets, b"SSH-2.0-").or(|| literal(octets, b"SSH-1."))
}

/// A length and a code, both of four octets: version 3 of the protocol, or a wish for TLS, for GSSAPI, or to cancel
/// (PostgreSQL, "Message Formats").
fn postgresql(octets: &[u8]) -> Match {
    let [a, b, c, d, rest @ ..] = octets else {
        return if octets.iter().all(|octet| *octet == 0) || matches!(octets, [0, 0, 0..=0x27]) {
            Match::Maybe
        } else {
            Match::No
        };
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    let is_code = |code: &[u8]| match code {
        [0, 3, ..] => (8..=MAX_STARTUP).contains(&length),
        [4, 0xd2, 0x16, 0x2f | 0x30] => length == 8,
        [4, 0xd2, 0x16, 0x2e] => (16..=MAX_CANCEL).contains(&length),
        _ => false,
    };
    match rest.get(..4) {
        Some(code) if is_code(code) => Match::Yes,
        Some(_) => Match::No,
        None if !(8..=MAX_STARTUP).contains(&length) => Match::No,
        None if [0, 3].starts_with(rest.get(..2).unwrap_or(rest)) || CANCEL_OR_TLS.starts_with(rest) => {
            Match::Maybe
        }
        None => Match::No,
    }
}

/// A header of four little-endian numbers: a length, an id, nothing answered, and an operation that clients begin with
/// (MongoDB, "Standard Message Header").
fn mongodb(octets: &[u8]) -> Match {
    let number = |at: usize| {
        let octets = octets.get(at..at + 4).and_then(|octets| octets.first_chunk::<4>());
        octets.map(|octets| i32::from_le_bytes(*octets))
    };
    let Some(length) = number(0) else { return Match::Maybe };
    if !(16..=MAX_MONGODB).contains(&length) {
        return Match::No;
    }
    let answered = octets.get(8..12.min(octets.len())).unwrap_or_default();
    if answered.iter().any(|octet| *octet != 0) {
        return Match::No;
    }
    match number(12) {
        Some(OP_QUERY | OP_COMPRESSED | OP_MSG) => Match::Yes,
        Some(_) => Match::No,
        None => Match::Maybe,
    }
}

/// An array of bulk strings, the form in which clients send commands: `*2\r\n$`.
fn redis(octets: &[u8]) -> Match {
    let Some((b'*', rest)) = octets.split_first() else {
        return if octets.is_empty() { Match::Maybe } else { Match::No };
    };
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (count, end) = rest.split_at(digits);
    match (count, end) {
        ([b'0', ..], _) => Match::No,
        (_, _) if digits > MAX_REDIS_DIGITS => Match::No,
        ([], []) => Match::Maybe,
        ([], _) => Match::No,
        (_, end) => literal(end, b"\r\n$"),
    }
}

fn http2(octets: &[u8]) -> Match {
    literal(octets, PREFACE)
}

/// `GET /`, or with any method the whole line up to `HTTP/1.` (RFC 9112 §3).
fn http1(octets: &[u8]) -> Match {
    let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    let length = octets.iter().take_while(|octet| is_token(octet)).count();
    let (method, rest) = octets.split_at(length);
    let target = match rest {
        [] if length <= MAX_METHOD => return Match::Maybe,
        [b' ', target @ ..] if (1..=MAX_METHOD).contains(&length) => target,
        _ => return Match::No,
    };
    match target.first() {
        None => return Match::Maybe,
        Some(b'/') if METHODS.contains(&method) => return Match::Yes,
        Some(_) => {}
    }
    let length = target.iter().take_while(|octet| octet.is_ascii_graphic()).count();
    match target.get(length..) {
        Some([]) => Match::Maybe,
        Some([b' ', version @ ..]) if length > 0 => literal(version, b"HTTP/1."),
        _ => Match::No,
    }
}

fn literal(octets: &[u8], expected: &[u8]) -> Match {
    if octets.starts_with(expected) {
        return Match::Yes;
    }
    if expected.starts_with(octets) { Match::Maybe } else { Match::No }
}

impl Match {
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes => Self::Yes,
            Self::No => other(),
            Self::Maybe => match other() {
                Self::Yes => Self::Yes,
                Self::Maybe | Self::No => Self::Maybe,
            },
        }
    }
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Those that open nearly all conversations; others are known by their whole line.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"PATCH", b"PROPFIND"];

const MAX_METHOD: usize = 32;
const MAX_RECORD: u16 = 1 << 14;
/// What servers take (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP: u32 = 10_000;
/// Since protocol 3.2 the secret of a cancellation has up to 256 octets.
const MAX_CANCEL: u32 = 12 + 256;
const CANCEL_OR_TLS: [u8; 3] = [4, 0xd2, 0x16];
const MAX_MONGODB: i32 = 48_000_000;
const OP_QUERY: i32 = 2004;
const OP_COMPRESSED: i32 = 2012;
const OP_MSG: i32 = 2013;
/// A million arguments.
const MAX_REDIS_DIGITS: usize = 7;
