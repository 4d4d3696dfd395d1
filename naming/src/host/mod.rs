//! The host that a visitor asked for, in the one canonical form that everything behind compares.

use alloc::boxed::Box;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use self::{
    domain::{Room, fold_long},
    fold::Folded,
};
use crate::{label::MAX_LABEL, zone::MAX_DOMAIN};

mod domain;
mod fold;

/// The host that a visitor asked for: a domain in canonical form, or an IP address, and the port beside it.
///
/// The same function reads the `Host` header, `:authority` and the server name of TLS, so that no two layers can differ
/// about what a byte means. The canonical domain is lower case (ASCII only), without trailing dot, at most 253 octets in
/// labels of 1–63 with letters, digits, underscores and inner hyphens. A host borrows nothing. Its text is inside, and parsing
/// one allocates nothing, up to 96 octets of domain: room for the longest label in a zone of 32. A longer domain is allocated.
///
/// ```
/// use adit_naming::{Host, HostSource};
///
/// let host = Host::parse(b"My-App.Tunnel.Example.:443", HostSource::Header).unwrap();
/// assert_eq!(host.domain(), Some("my-app.tunnel.example"));
/// assert_eq!(host.port(), Some(443));
///
/// let sni = Host::parse(b"my-app.tunnel.example", HostSource::Sni).unwrap();
/// assert_eq!(host.domain(), sni.domain());
/// ```
#[derive(Clone)]
pub struct Host {
    /// Beside the target and not in it, since what isn't in a variant is moved in whole blocks.
    room: Room,
    target: Target,
    /// Of a domain.
    marks: Folded,
    port: Option<u16>,
}

impl Host {
    /// Reads a host as it stands in `source`.
    ///
    /// | | `Header`, `Authority` | `Sni` |
    /// |---|---|---|
    /// | capitals | made small | made small |
    /// | one trailing dot | dropped | refused |
    /// | `:port` | 1–65535, or nothing behind the colon | refused |
    /// | IPv4 `192.0.2.1` | an address | an address, to be treated as if no name was sent |
    /// | IPv6 | an address, in brackets only | an address, without brackets only |
    /// | `127.1`, `0x7f.1`, `2130706433` | a name that leads nowhere | the same |
    /// | underscore | taken, but never part of a tunnel's name | the same |
    /// | user info, space, `%`, `*`, `/`, control bytes, anything beyond ASCII | refused | refused |
    ///
    /// # Errors
    /// [`HostError`]: for HTTP the answer is 400, for TLS the end of the handshake (alert 112).
    pub fn parse(input: &[u8], source: HostSource) -> Result<Self, HostError> {
        match input {
            [] => Err(HostError::Empty {}),
            // Bounds all work below; the longest good input is a full domain with a dot and a port.
            _ if input.len() > MAX_INPUT => Err(HostError::TooLong { length: input.len() }),
            [b'[', ..] if source.is_http() => Self::read_bracketed(input),
            _ => Self::read_named(input, source),
        }
    }

    /// Reads everything but an address in brackets. Hosts are nearly always good: what is wrong with one, [`explain`] finds
    /// out.
    #[inline]
    fn read_named(input: &[u8], source: HostSource) -> Result<Self, HostError> {
        let end = if source.is_http() { end_of_name(input) } else { input.len() };
        let name = match &input[..end] {
            // The dot that may end a domain is no part of it.
            [name @ .., b'.'] if source.is_http() => name,
            name => name,
        };
        if name.len() > Room::OCTETS {
            return Self::read_long(input, name, source);
        }
        let mut room = Room::EMPTY;
        let Some(marks) = room.fold(name) else {
            return explain(input, source).map(|address| Self::of(Target::Address(address), None));
        };
        let port = if end < input.len() { port(input, end)? } else { None };
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        // Names that end in a digit are rare, so the look at addresses costs other hosts nothing.
        if name.last().is_some_and(u8::is_ascii_digit)
            && let Ok(address) = Ipv4Addr::from_str(room.as_str(len))
        {
            return Ok(Self::of(Target::Address(IpAddr::V4(address)), port));
        }
        Ok(Self { room, target: Target::Room { len }, marks, port })
    }

    #[cold]
    fn read_long(input: &[u8], name: &[u8], source: HostSource) -> Result<Self, HostError> {
        let Some((domain, marks)) = fold_long(name) else {
            return explain(input, source).map(|address| Self::of(Target::Address(address), None));
        };
        let port = if source.is_http() { port(input, end_of_name(input))? } else { None };
        Ok(Self { marks, ..Self::of(Target::Long(domain), port) })
    }

    fn of(target: Target, port: Option<u16>) -> Self {
        Self { room: Room::EMPTY, target, marks: Folded { first_dot: 0, is_odd: false }, port }
    }

    /// Reads an IPv6 address in brackets, and perhaps a port.
    fn read_bracketed(input: &[u8]) -> Result<Self, HostError> {
        let close = input.iter().position(|&byte| byte == b']').ok_or(HostError::InvalidAddress {})?;
        let address = ipv6(&input[1..close]).ok_or(HostError::InvalidAddress {})?;
        match input.get(close + 1) {
            None | Some(b':') => {}
            Some(_) => return Err(HostError::InvalidAddress {}),
        }
        Ok(Self::of(Target::Address(IpAddr::V6(address)), port(input, close + 1)?))
    }

    /// The canonical domain; `None` if the host is an IP address.
    #[inline]
    pub fn domain(&self) -> Option<&str> {
        match &self.target {
            Target::Room { len } => Some(self.room.as_str(*len)),
            Target::Long(domain) => Some(domain),
            Target::Address(_) => None,
        }
    }

    /// The domain's first label and what follows its dot; `None` if there is no dot.
    #[inline]
    pub(crate) fn split_first_label(&self) -> Option<(&str, &str)> {
        let (label, rest) = self.domain()?.split_at_checked(usize::from(self.marks.first_dot))?;
        Some((label, rest.get(1..)?))
    }

    /// Whether all hyphens stand alone and there is no underscore, so that names need not be looked at again.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.marks.is_odd
    }

    /// The address, if the host is one. It is never a place to connect to (case R-12).
    pub fn address(&self) -> Option<IpAddr> {
        match self.target {
            Target::Room { .. } | Target::Long(_) => None,
            Target::Address(address) => Some(address),
        }
    }

    /// The port behind the colon, if there was one.
    #[inline]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Two hosts are the same if domain or address is; the port doesn't count, as visitors add it or leave it out.
impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        (self.domain(), self.address()) == (other.domain(), other.address())
    }
}

impl Eq for Host {}

/// The domain or address, without port; IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            None => f.pad(self.domain().unwrap_or_default()),
            Some(IpAddr::V4(address)) => write!(f, "{address}"),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "Host({self}:{port})"),
            None => write!(f, "Host({self})"),
        }
    }
}

/// Where a host stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are no other places in which a visitor names a host")]
pub enum HostSource {
    /// The `Host` header of HTTP/1 (RFC 9110 §7.2), or the authority of an absolute target.
    Header,
    /// `:authority` of HTTP/2 and HTTP/3 (RFC 9113 §8.3.1).
    Authority,
    /// `server_name` of TLS (RFC 6066 §3).
    Sni,
}

impl HostSource {
    #[inline]
    fn is_http(self) -> bool {
        match self {
            Self::Header | Self::Authority => true,
            Self::Sni => false,
        }
    }
}

/// Why an input is no host. Positions count bytes from zero; the input isn't kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostError {
    /// No text, or nothing before the colon.
    #[error("the host is empty")]
    Empty {},
    /// More than 253 octets without dot and port.
    #[error("the host is too long: {length} octets")]
    TooLong {
        /// Octets found, or looked at.
        length: usize,
    },
    /// A byte that no host name has; also a colon in the server name of TLS, and each byte beyond ASCII.
    #[error("byte {at} of the host, {:?}, is not allowed there", char::from(*.byte))]
    ForbiddenByte {
        /// Position of the byte.
        at: usize,
        /// The byte, printed escaped.
        byte: u8,
    },
    /// Nothing between two dots, or before the first; a lone dot.
    #[error("the host has an empty label at byte {at}")]
    EmptyLabel {
        /// Where the label should begin.
        at: usize,
    },
    /// A label of more than 63 octets.
    #[error("the host has a label of more than 63 octets at byte {at}")]
    LabelTooLong {
        /// Where the label begins.
        at: usize,
    },
    /// A label that begins or ends with a hyphen.
    #[error("the label at byte {at} of the host has a hyphen at its edge")]
    HyphenAtEdge {
        /// Where the label begins.
        at: usize,
    },
    /// A dot at the end of the server name of TLS, where RFC 6066 §3 has none.
    #[error("a server name has no trailing dot")]
    TrailingDot {},
    /// `user@`: never part of a host that a visitor sends (case R-07).
    #[error("a host has no user information")]
    UserInfo {},
    /// What follows the colon is no port from 1 to 65535.
    #[error("the port at byte {at} is not a number from 1 to 65535")]
    InvalidPort {
        /// Position behind the colon.
        at: usize,
    },
    /// What stands in brackets is no IPv6 address, or something else than a port follows.
    #[error("the address in brackets is not an IPv6 address")]
    InvalidAddress {},
}

impl HostError {
    /// All rules, as [`HostError::rule`] names them.
    pub const RULES: &'static [&'static str] = &[
        "empty",
        "too_long",
        "forbidden_byte",
        "empty_label",
        "label_too_long",
        "hyphen_at_edge",
        "trailing_dot",
        "user_info",
        "invalid_port",
        "invalid_address",
    ];

    /// The name of the rule that is broken, the same in every language: what `vectors/hosts.json` calls it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Empty {} => "empty",
            Self::TooLong { .. } => "too_long",
            Self::ForbiddenByte { .. } => "forbidden_byte",
            Self::EmptyLabel { .. } => "empty_label",
            Self::LabelTooLong { .. } => "label_too_long",
            Self::HyphenAtEdge { .. } => "hyphen_at_edge",
            Self::TrailingDot {} => "trailing_dot",
            Self::UserInfo {} => "user_info",
            Self::InvalidPort { .. } => "invalid_port",
            Self::InvalidAddress {} => "invalid_address",
        }
    }

    /// The byte, or the beginning of the label, at which it is broken; none where the rule is about the whole.
    pub fn at(&self) -> Option<usize> {
        match *self {
            Self::ForbiddenByte { at, .. }
            | Self::EmptyLabel { at }
            | Self::LabelTooLong { at }
            | Self::HyphenAtEdge { at }
            | Self::InvalidPort { at } => Some(at),
            Self::Empty {}
            | Self::TooLong { .. }
            | Self::TrailingDot {}
            | Self::UserInfo {}
            | Self::InvalidAddress {} => None,
        }
    }
}

#[derive(Clone)]
enum Target {
    /// A domain: so many octets in the host's room.
    Room {
        len: u8,
    },
    /// A domain that is longer.
    Long(Box<str>),
    Address(IpAddr),
}

/// Where the colon before a good port stands; the end of the input if there is none.
#[inline]
fn end_of_name(input: &[u8]) -> usize {
    let digits = input.len().saturating_sub(":65535".len());
    input[digits..].iter().position(|octet| *octet == b':').map_or(input.len(), |colon| digits + colon)
}

/// Names the rule that is broken, or reads the address that has colons.
#[cold]
fn explain(input: &[u8], source: HostSource) -> Result<IpAddr, HostError> {
    let end = input.iter().position(|&byte| !may_stand(byte)).unwrap_or(input.len());
    match input.get(end) {
        Some(b':') if source.is_http() => {}
        Some(b':') => return address_without_brackets(input, end),
        Some(_) => return Err(forbidden(input, end)),
        None => {}
    }
    let text = &input[..end];
    let labels = match text {
        [] => return Err(HostError::Empty {}),
        [head @ .., b'.'] if !head.is_empty() => head,
        _ => text,
    };
    if labels.len() > MAX_DOMAIN {
        return Err(HostError::TooLong { length: labels.len() });
    }
    let mut begin = 0;
    for label in labels.split(|&byte| byte == b'.') {
        check_label(label, begin)?;
        begin += label.len() + 1;
    }
    if source.is_http() {
        port(input, end)?; // longer than any good one, or it would have been found
    }
    Err(HostError::TrailingDot {})
}

/// Checks one label, which begins at `begin`, and whose bytes are known to be good.
fn check_label(label: &[u8], begin: usize) -> Result<(), HostError> {
    match label {
        [] => Err(HostError::EmptyLabel { at: begin }),
        _ if label.len() > MAX_LABEL => Err(HostError::LabelTooLong { at: begin }),
        [b'-', ..] | [.., b'-'] => Err(HostError::HyphenAtEdge { at: begin }),
        _ => Ok(()),
    }
}

/// Reads what follows the host, which ends at `end`: nothing, a colon, or a colon and a port.
fn port(input: &[u8], end: usize) -> Result<Option<u16>, HostError> {
    let Some([b':', digits @ ..]) = input.get(end..) else { return Ok(None) };
    if digits.is_empty() {
        return Ok(None); // RFC 3986 §3.2.3: a port may be empty
    }
    match parse_port(digits) {
        Some(port) => Ok(Some(port)),
        None if digits.contains(&b'@') => Err(HostError::UserInfo {}),
        None => Err(HostError::InvalidPort { at: end + 1 }),
    }
}

/// One to five digits with a value from 1 to 65535.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 {
        return None;
    }
    let mut value = 0u32;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value = value * 10 + u32::from(digit);
    }
    u16::try_from(value).ok().filter(|port| *port != 0)
}

/// Some clients send a bare IPv6 address as server name; with any other colon the name is wrong.
fn address_without_brackets(input: &[u8], colon: usize) -> Result<IpAddr, HostError> {
    match ipv6(input) {
        Some(address) => Ok(IpAddr::V6(address)),
        None => Err(HostError::ForbiddenByte { at: colon, byte: b':' }),
    }
}

fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cold]
fn forbidden(input: &[u8], at: usize) -> HostError {
    if input[at..].contains(&b'@') {
        return HostError::UserInfo {};
    }
    HostError::ForbiddenByte { at, byte: input[at] }
}

/// The longest input worth reading: domain, trailing dot, colon, five digits.
const MAX_INPUT: usize = MAX_DOMAIN + ".:65535".len();

/// Whether an octet may stand in a domain.
const fn may_stand(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests;
