//! The ways to a tunnel: what a lookup asks for, and what an entry keeps of it.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A tunnel's own number, 128 bits wide. It is what the key of a `{port}-{key}.{zone}` host opens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(u128);

impl TunnelId {
    /// The tunnel with this number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One way to a tunnel, as a visitor takes it. Looking one up copies nothing.
///
/// Names and domains are compared byte for byte: give them in the canonical form that `adit-naming` makes (lower case,
/// no trailing dot), or nothing will be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteKey<'a> {
    /// The tunnel's number: a `{port}-{key}.{zone}` host, once its key is opened.
    Id(TunnelId),
    /// The label of a `{name}.{zone}` host.
    Name(&'a str),
    /// A whole host that belongs to the tunnel's owner: a custom domain.
    Domain(&'a str),
    /// A public TCP port.
    TcpPort(u16),
    /// A public UDP port.
    UdpPort(u16),
}

impl RouteKey<'_> {
    /// A copy that a tunnel's entry can keep.
    #[must_use]
    pub fn into_owned(self) -> OwnedRouteKey {
        OwnedRouteKey(match self {
            Self::Id(id) => Repr::Id(id),
            Self::Name(name) => Repr::Name(Text::new(name)),
            Self::Domain(host) => Repr::Domain(Text::new(host)),
            Self::TcpPort(port) => Repr::TcpPort(port),
            Self::UdpPort(port) => Repr::UdpPort(port),
        })
    }
}

// A one-byte tag, where the derived form would feed eight to the hasher for each lookup.
impl Hash for RouteKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Id(id) => (0u8, id).hash(state),
            Self::Name(name) => (1u8, name).hash(state),
            Self::Domain(host) => (2u8, host).hash(state),
            Self::TcpPort(port) => (3u8, port).hash(state),
            Self::UdpPort(port) => (4u8, port).hash(state),
        }
    }
}

/// A [`RouteKey`] that owns its text; names up to 21 bytes live in the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRouteKey(Repr);

impl OwnedRouteKey {
    /// The borrowed form.
    #[must_use]
    pub fn as_key(&self) -> RouteKey<'_> {
        match &self.0 {
            Repr::Id(id) => RouteKey::Id(*id),
            Repr::Name(name) => RouteKey::Name(name.as_str()),
            Repr::Domain(host) => RouteKey::Domain(host.as_str()),
            Repr::TcpPort(port) => RouteKey::TcpPort(*port),
            Repr::UdpPort(port) => RouteKey::UdpPort(*port),
        }
    }

    /// Whether this is `key`, without building a borrowed form first.
    #[inline]
    pub(crate) fn is(&self, key: RouteKey<'_>) -> bool {
        match (&self.0, key) {
            (Repr::Name(ours), RouteKey::Name(theirs)) | (Repr::Domain(ours), RouteKey::Domain(theirs)) => {
                ours.as_bytes() == theirs.as_bytes()
            }
            (Repr::Id(ours), RouteKey::Id(theirs)) => *ours == theirs,
            (Repr::TcpPort(ours), RouteKey::TcpPort(theirs)) => *ours == theirs,
            (Repr::UdpPort(ours), RouteKey::UdpPort(theirs)) => *ours == theirs,
            _ => false,
        }
    }
}

impl From<RouteKey<'_>> for OwnedRouteKey {
    fn from(key: RouteKey<'_>) -> Self {
        key.into_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Id(TunnelId),
    Name(Text),
    Domain(Text),
    TcpPort(u16),
    UdpPort(u16),
}

/// Text that needs no memory of its own while it is short: one miss of the cache less on each lookup.
#[derive(Clone, PartialEq, Eq)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl Text {
    fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let (Some(room), Ok(len)) = (bytes.get_mut(..text.len()), u8::try_from(text.len())) else {
            return Self::Long(text.into());
        };
        room.copy_from_slice(text.as_bytes());
        Self::Short { len, bytes }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // Filled from a `str` as a whole, so this never takes the default.
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

const SHORT: usize = 21;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn text_of_each_length_comes_back() {
        for length in 0..100 {
            let text = "n".repeat(length);
            assert_eq!(Text::new(&text).as_str(), text);
            let key = RouteKey::Name(&text);
            assert_eq!(key.into_owned().as_key(), key);
            assert!(key.into_owned().is(key));
        }
    }

    #[test]
    fn keys_of_different_kinds_are_never_equal() {
        let keys = [
            RouteKey::Id(TunnelId::new(80)),
            RouteKey::Name("80"),
            RouteKey::Domain("80"),
            RouteKey::TcpPort(80),
            RouteKey::UdpPort(80),
        ];
        let hasher = RandomState::new();
        for (at, one) in keys.iter().enumerate() {
            for (other_at, other) in keys.iter().enumerate() {
                assert_eq!(one.into_owned().is(*other), at == other_at);
                assert_eq!(hasher.hash_one(one) == hasher.hash_one(other), at == other_at);
            }
        }
    }

    #[test]
    fn an_owned_key_is_three_words() {
        assert_eq!(size_of::<OwnedRouteKey>(), 32);
    }
}
