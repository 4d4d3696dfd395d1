//! The domain under which public hosts live.

use alloc::{boxed::Box, string::String};

use thiserror::Error;

use crate::{
    KeyLabelRef, PortPrefix, TunnelNameRef,
    label::{LabelError, LabelRef},
    name::TunnelName,
};

/// The domain under which public hosts live: `{name}.{zone}` and `{port}-{key}.{zone}`.
///
/// A zone is lower case, has no trailing dot, and leaves room for the longest name in front of it: `name.zone` has at
/// most 253 octets (RFC 1035 §2.3.4), so a zone has at most 189. That is checked here, when the gateway starts, and not
/// when somebody's tunnel happens to be too long (case N-18).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    domain: Box<str>,
    port_keys: bool,
}

impl Zone {
    /// Octets of the longest zone.
    pub const MAX_LEN: usize = MAX_DOMAIN - 1 - TunnelName::MAX_LEN;

    /// Checks `domain` and makes a zone of it, with port-and-key hosts on.
    ///
    /// One label is enough: `localhost` is a zone for development.
    ///
    /// # Errors
    /// [`ZoneError`]; nothing is folded or trimmed, since configuration is better corrected than guessed.
    pub fn parse(domain: &str) -> Result<Self, ZoneError> {
        if domain.is_empty() {
            return Err(ZoneError::Empty {});
        }
        if domain.len() > Self::MAX_LEN {
            return Err(ZoneError::TooLong { length: domain.len() });
        }
        let mut at = 0;
        for label in domain.split('.') {
            LabelRef::parse(label).map_err(|source| ZoneError::Label { at, source })?;
            at += label.len() + 1;
        }
        if ends_in_number(domain) {
            return Err(ZoneError::EndsInNumber {});
        }
        Ok(Self { domain: domain.into(), port_keys: true })
    }

    /// The zone with `{port}-{key}.{zone}` hosts on or off. Default: on.
    ///
    /// On, no tunnel may have a name like `3000-x`, because its host would mean port 3000 of key `x` (case N-07). Off,
    /// such a name is one like any other. Turning it on for a zone that already has such names hides them.
    pub fn with_port_keys(self, port_keys: bool) -> Self {
        Self { port_keys, ..self }
    }

    /// The zone's domain as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.domain
    }

    /// Whether `{port}-{key}.{zone}` hosts are on.
    #[inline]
    pub fn has_port_keys(&self) -> bool {
        self.port_keys
    }

    /// The public host of a tunnel: `{name}.{zone}`.
    pub fn host_of(&self, name: TunnelNameRef<'_>) -> String {
        [name.as_str(), self.as_str()].join(".")
    }

    /// The public host of a port of a tunnel that is known by its key: `{port}-{key}.{zone}`.
    pub fn host_of_key(&self, port: u16, key: KeyLabelRef<'_>) -> String {
        alloc::format!("{port}-{key}.{}", self.domain)
    }

    /// Whether `name` can be reached in this zone: false if its host would be read as a port and a key.
    pub fn can_hold(&self, name: TunnelNameRef<'_>) -> bool {
        !self.port_keys || PortPrefix::of(name.as_str()).is_none()
    }
}

impl core::str::FromStr for Zone {
    type Err = ZoneError;

    fn from_str(domain: &str) -> Result<Self, ZoneError> {
        Self::parse(domain)
    }
}

impl core::fmt::Display for Zone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a domain is no [`Zone`]. Positions count bytes from zero.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// No text at all.
    #[error("the zone is empty")]
    Empty {},
    /// A name of 63 octets in front of it would make a host of more than 253.
    #[error("the zone has {length} octets, 189 are the most that leave room for a name")]
    TooLong {
        /// Octets found.
        length: usize,
    },
    /// One of its labels is none; also where it begins or ends with a dot.
    #[error("the label at byte {at} of the zone is not valid: {source}")]
    Label {
        /// Where the label begins.
        at: usize,
        /// What is wrong with it.
        source: LabelError,
    },
    /// The last label is a number, as in an IP address.
    #[error("the last label of the zone is a number")]
    EndsInNumber {},
}

/// Octets of the longest domain in text form without a trailing dot: 255 on the wire (RFC 1035 §3.1) are 253 in text.
pub(crate) const MAX_DOMAIN: usize = 253;

/// Whether the last label is one that some parser of IPv4 addresses takes for a number: digits, or `0x` and hex digits.
///
/// Such a host is an address to that parser and a name to us, so it is never routed anywhere.
pub(crate) fn ends_in_number(domain: &str) -> bool {
    let last = match domain.bytes().rposition(|byte| byte == b'.') {
        Some(dot) => &domain[dot + 1..],
        None => domain,
    };
    if !last.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    match last.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n18_a_zone_without_room_for_the_longest_name_is_refused_at_once() {
        let label = "a".repeat(62);
        let longest = [&label[..], &label, &label].join(".");
        assert_eq!(longest.len(), 188);
        let zone = Zone::parse(&longest).unwrap();
        let name = TunnelName::parse(&"n".repeat(63)).unwrap();
        assert_eq!(zone.host_of(name.borrowed()).len(), 252);
        assert!(Zone::parse(&["b", &longest].concat()).is_ok());
        assert_eq!(Zone::parse(&["bb", &longest].concat()), Err(ZoneError::TooLong { length: 190 }));
    }

    #[test]
    fn zones_are_canonical_domains() {
        for domain in ["tunnel.example", "localhost", "a.b.c", "xn--bcher-kva.example"] {
            assert_eq!(Zone::parse(domain).unwrap().as_str(), domain);
        }
        assert_eq!(Zone::parse(""), Err(ZoneError::Empty {}));
        assert_eq!(Zone::parse("10.0.0.1"), Err(ZoneError::EndsInNumber {}));
        assert_eq!(Zone::parse("a.0x1f"), Err(ZoneError::EndsInNumber {}));
        let empty = LabelError::Empty {};
        assert_eq!(Zone::parse("a.example."), Err(ZoneError::Label { at: 10, source: empty.clone() }));
        assert_eq!(Zone::parse(".example"), Err(ZoneError::Label { at: 0, source: empty }));
        let capital = LabelError::ForbiddenByte { at: 1 };
        assert_eq!(Zone::parse("a.eXample"), Err(ZoneError::Label { at: 2, source: capital }));
    }

    #[test]
    fn n07_names_like_a_port_and_a_key_have_no_place_where_those_hosts_are_on() {
        let zone = Zone::parse("tunnel.example").unwrap();
        for (text, fits) in [
            ("3000-x", false),
            ("1-abc", false),
            ("99999-x", false),
            ("00-x", false),
            ("123456-x", true),
            ("3000", true),
            ("3000x-y", true),
            ("x-3000", true),
        ] {
            let name = TunnelNameRef::parse(text).ok();
            let Some(name) = name else { panic!("{text} is no name") };
            assert_eq!(zone.can_hold(name), fits, "{text}");
            assert!(zone.clone().with_port_keys(false).can_hold(name), "{text}");
        }
    }
}
