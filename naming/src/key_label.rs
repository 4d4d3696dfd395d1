//! The first label of `{port}-{key}.{zone}`.

use crate::{LabelRef, label::MAX_LABEL};

/// The key part of `{port}-{key}.{zone}`: 1–57 octets of lower-case letters, digits and inner hyphens, so that with the
/// longest port (`65535-`) it still fits a label of 63.
///
/// This is the form only. A key that the key ring (feature `keys`) sealed is opened with it; a gateway that hands out
/// keys of its own looks them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyLabelRef<'a>(&'a str);

impl<'a> KeyLabelRef<'a> {
    /// Octets of the longest key.
    pub const MAX_LEN: usize = MAX_LABEL - "65535-".len();

    /// Checks `text` and borrows it; `None` if it is too long or no label.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > Self::MAX_LEN {
            return None;
        }
        LabelRef::parse(text).ok().map(|_| Self(text))
    }

    /// Takes the end of a label of a host, whose bytes and last byte were checked already. A plain host has no underscore.
    pub(crate) fn of_host(text: &'a str, is_plain: bool) -> Option<Self> {
        let good = (1..=Self::MAX_LEN).contains(&text.len())
            && !text.starts_with('-')
            && (is_plain || !text.contains('_'));
        debug_assert_eq!(good, Self::parse(text).is_some());
        good.then_some(Self(text))
    }

    /// Takes a text that is known to be a key label, because it was sealed here.
    #[cfg(feature = "keys")]
    pub(crate) fn assume_valid(text: &'a str) -> Self {
        debug_assert!(Self::parse(text).is_some());
        Self(text)
    }

    /// The key as text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl core::fmt::Display for KeyLabelRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.0)
    }
}

/// A label that begins like `{port}-{key}`: one to five digits, a hyphen, and something behind it.
///
/// Whatever has this form is never a tunnel name in a zone with port-and-key hosts, also where the number is no port or
/// the rest is no key: so one look at the beginning decides which of the two a label is (case N-07).
///
/// ```
/// use adit_naming::PortPrefix;
///
/// let prefix = PortPrefix::of("3000-k2x").unwrap();
/// assert_eq!(prefix.port(), Some(3000));
/// assert_eq!(prefix.key().unwrap().as_str(), "k2x");
/// assert!(PortPrefix::of("my-app").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPrefix<'a> {
    digits: &'a str,
    rest: &'a str,
}

impl<'a> PortPrefix<'a> {
    /// Reads the beginning of a label; `None` if it has another form.
    pub fn of(label: &'a str) -> Option<Self> {
        let digits = label.bytes().take(MAX_DIGITS + 1).take_while(u8::is_ascii_digit).count();
        if !(1..=MAX_DIGITS).contains(&digits) {
            return None;
        }
        let (digits, rest) = label.split_at(digits);
        Some(Self { digits, rest: rest.strip_prefix('-')? })
    }

    /// The port, 1–65535; `None` for a number above, for zero, and for one with leading zeros: each port has one host.
    pub fn port(self) -> Option<u16> {
        if self.digits.starts_with('0') {
            return None;
        }
        self.digits.parse().ok()
    }

    /// Like [`key`](Self::key), of a label of a host.
    pub(crate) fn key_of_host(self, is_plain: bool) -> Option<KeyLabelRef<'a>> {
        KeyLabelRef::of_host(self.rest, is_plain)
    }

    /// The key; `None` if what follows has not the form of one.
    pub fn key(self) -> Option<KeyLabelRef<'a>> {
        KeyLabelRef::parse(self.rest)
    }
}

/// Digits of the largest port.
const MAX_DIGITS: usize = 5;

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use super::*;

    #[test]
    fn the_longest_port_and_key_fill_a_label() {
        let key = "k".repeat(KeyLabelRef::MAX_LEN);
        let label = format!("65535-{key}");
        assert_eq!(label.len(), 63);
        let prefix = PortPrefix::of(&label).unwrap();
        assert_eq!((prefix.port(), prefix.key().map(KeyLabelRef::as_str)), (Some(65535), Some(&*key)));
        assert!(KeyLabelRef::parse(&"k".repeat(58)).is_none());
    }

    #[test]
    fn only_ports_in_their_one_spelling_count() {
        for (label, port) in [
            ("1-k", Some(1)),
            ("65535-k", Some(65535)),
            ("65536-k", None),
            ("99999-k", None),
            ("0-k", None),
            ("03000-k", None),
        ] {
            assert_eq!(PortPrefix::of(label).unwrap().port(), port, "{label}");
        }
        for label in ["100000-k", "k", "-k", "3000", "3000k-", "+3000-k", ""] {
            assert!(PortPrefix::of(label).is_none(), "{label}");
        }
        for label in ["3000-", "3000--k", "3000-k-", "3000-k_"] {
            assert!(PortPrefix::of(label).unwrap().key().is_none(), "{label}");
        }
        let hostile = String::from("1").repeat(1 << 20);
        assert!(PortPrefix::of(&hostile).is_none());
    }
}
