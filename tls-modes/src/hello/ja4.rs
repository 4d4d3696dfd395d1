use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::{ALPN, ClientHello, ProtocolVersion, SERVER_NAME, is_grease};

/// The JA4 fingerprint of a ClientHello: which client this is, as far as its hello tells, whatever it says of itself.
///
/// ```text
///  t13d1516h2_8daaf6152771_e5627efa2ab1
///  || || | |  |            '- SHA-256, cut to 12 digits, of the sorted extensions and the signature algorithms
///  || || | |  '- the same of the sorted cipher suites
///  || || | '- first and last character of the first ALPN protocol, 00 without one
///  || || '- how many cipher suites, how many extensions
///  || |'- d if a server name is asked for, i if not
///  |'- the highest version offered
///  '- t over TCP, q over QUIC
/// ```
///
/// GREASE counts nowhere. The definition is FoxIO's (`technical_details/JA4.md` of `FoxIO-LLC/ja4`, in the text that s2n-tls
/// cites in its code, with the rule for protocols that are no text). It is made of what the client sent in the clear, and
/// any client can imitate another: use it to count and to compare, not to let anybody in.
///
/// ```
/// # use adit_tls_modes::{ClientHello, Ja4Transport};
/// # let hello = [
/// #     &[3, 3][..], &[7; 32], &[0, 0, 4, 0x1a, 0x1a, 0x13, 1, 1, 0, 0, 23],
/// #     &[0, 0, 0, 14, 0, 12, 0, 0, 9], b"a.example", &[0x2a, 0x2a, 0, 1, 0],
/// # ].concat();
/// let hello = ClientHello::from_body(&hello)?;
/// assert_eq!(hello.ja4(Ja4Transport::Tcp).as_str(), "t12d010100_0f2cb44170f4_000000000000");
/// # Ok::<(), adit_tls_modes::HelloError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ja4(String);

impl Ja4 {
    fn of(hello: &ClientHello, transport: Ja4Transport) -> Self {
        let suites: Vec<u16> = without_grease(hello.cipher_suites()).collect();
        let extensions: Vec<u16> = without_grease(hello.extension_types()).collect();
        let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
        let [first, last] = ends_of_alpn(hello);
        let hashed = extensions.iter().copied().filter(|kind| !matches!(*kind, SERVER_NAME | ALPN));
        Self(format!(
            "{}{}{name}{:02}{:02}{first}{last}_{}_{}",
            transport.letter(),
            digits_of_version(hello),
            suites.len().min(MAX_COUNT),
            extensions.len().min(MAX_COUNT),
            hash(&sorted_list(suites.iter().copied())),
            hash(&with_algorithms(sorted_list(hashed), hello)),
        ))
    }

    /// The fingerprint as it is written everywhere: 36 characters of ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClientHello {
    /// The JA4 fingerprint of this hello. Sorts and hashes what was offered: a few microseconds.
    pub fn ja4(&self, transport: Ja4Transport) -> Ja4 {
        Ja4::of(self, transport)
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a hello came over; a hello doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ja4Transport {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
}

impl Ja4Transport {
    const fn letter(self) -> char {
        match self {
            Self::Tcp => 't',
            Self::Quic => 'q',
        }
    }
}

fn digits_of_version(hello: &ClientHello) -> &'static str {
    let offered = hello.versions().iter().map(|version| version.code()).filter(|code| !is_grease(*code));
    match offered.max().unwrap_or_else(|| hello.legacy_version().code()) {
        code if code == ProtocolVersion::TLS13.code() => "13",
        code if code == ProtocolVersion::TLS12.code() => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// A protocol that begins or ends with something else than a letter or a digit is told of in hex.
fn ends_of_alpn(hello: &ClientHello) -> [char; 2] {
    let is_named = |name: &&[u8]| !name.as_array().is_some_and(|code| is_grease(u16::from_be_bytes(*code)));
    let Some((&first, &last)) =
        hello.alpn().iter().find(is_named).and_then(|name| name.first().zip(name.last()))
    else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first.into(), last.into()];
    }
    [hex_digit(first >> 4), hex_digit(last & 0x0f)]
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('0')
}

fn sorted_list(codes: impl Iterator<Item = u16>) -> String {
    let mut codes: Vec<u16> = codes.collect();
    codes.sort_unstable();
    list(codes)
}

/// Not sorted: the client's preference is part of what it is. Without any, and without their underscore.
fn with_algorithms(mut extensions: String, hello: &ClientHello) -> String {
    let algorithms = list(without_grease(hello.signature_algorithms()));
    if !extensions.is_empty() && !algorithms.is_empty() {
        extensions.push('_');
        extensions.push_str(&algorithms);
    }
    extensions
}

fn list(codes: impl IntoIterator<Item = u16>) -> String {
    let mut list = String::new();
    for code in codes {
        let comma = if list.is_empty() { "" } else { "," };
        // Writing to a string can't fail.
        let _ = write!(list, "{comma}{code:04x}");
    }
    list
}

fn hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(HASH_DIGITS);
    }
    let digest = Sha256::digest(list.as_bytes());
    let mut digits = String::with_capacity(HASH_DIGITS);
    for byte in digest.iter().take(HASH_DIGITS / 2) {
        // Writing to a string can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn without_grease(codes: &[u16]) -> impl Iterator<Item = u16> {
    codes.iter().copied().filter(|code| !is_grease(*code))
}

const HASH_DIGITS: usize = 12;
/// Two digits.
const MAX_COUNT: usize = 99;
