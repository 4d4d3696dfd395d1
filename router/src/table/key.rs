//! The ways to a tunnel: what a lookup asks for, and what an entry keeps of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use adit_naming::{CustomDomainRef, Destination, KeyLabelRef, TunnelId, TunnelNameRef};

/// One way to a tunnel, as a visitor takes it. Looking one up copies nothing.
///
/// Text comes in by the types of `adit-naming` only, which have it in canonical form, so that two spellings of one name
/// can't be two keys. A name means the same tunnel in each zone of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteKey<'a>(Kind<'a>);

impl<'a> RouteKey<'a> {
    /// The tunnel's number: a `{port}-{key}.{zone}` host, once its key is opened.
    #[must_use]
    pub const fn id(id: TunnelId) -> Self {
        Self(Kind::Id(id))
    }

    /// The first label of a `{name}.{zone}` host.
    #[must_use]
    pub fn name(name: TunnelNameRef<'a>) -> Self {
        Self(Kind::Name(name.as_str()))
    }

    /// The tunnel's name as other agents reach it. No host leads there: a private tunnel has only this way.
    #[must_use]
    pub fn private(name: TunnelNameRef<'a>) -> Self {
        Self(Kind::Private(name.as_str()))
    }

    /// A whole host that belongs to the tunnel's owner.
    #[must_use]
    pub fn domain(domain: CustomDomainRef<'a>) -> Self {
        Self(Kind::Domain(domain.as_str()))
    }

    /// A public TCP port.
    #[must_use]
    pub const fn tcp_port(port: u16) -> Self {
        Self(Kind::TcpPort(port))
    }

    /// A public UDP port.
    #[must_use]
    pub const fn udp_port(port: u16) -> Self {
        Self(Kind::UdpPort(port))
    }

    /// The way that a visitor's host takes, be it from a `Host` header, an `:authority` or the server name of TLS.
    ///
    /// `open` opens the key of a `{port}-{key}` host: a key ring's work, no lookup. `None` for the zone itself and for
    /// hosts that lead nowhere; the answer to those is that for a tunnel which doesn't exist (cases R-03, R-04, R-12).
    ///
    /// ```
    /// use adit_naming::{Host, HostSource, Zone, Zones};
    /// use adit_router::{RouteKey, TunnelId};
    ///
    /// let zones = Zones::new([Zone::parse("tunnel.example").unwrap()]).unwrap();
    /// let host = Host::parse(b"my-app.tunnel.example", HostSource::Header).unwrap();
    /// assert!(RouteKey::of(zones.classify(&host), |_| None).is_some());
    ///
    /// let host = Host::parse(b"3000-k2x.tunnel.example", HostSource::Header).unwrap();
    /// let opened = RouteKey::of(zones.classify(&host), |_| Some(TunnelId::from_u128(7)));
    /// assert_eq!(opened, Some(RouteKey::id(TunnelId::from_u128(7))));
    /// ```
    #[must_use]
    pub fn of(
        destination: Destination<'a>,
        open: impl FnOnce(KeyLabelRef<'a>) -> Option<TunnelId>,
    ) -> Option<Self> {
        match destination {
            Destination::TunnelByName { name, .. } => Some(Self::name(name)),
            Destination::TunnelByKey { key, .. } => open(key).map(Self::id),
            Destination::Custom { domain } => Some(Self::domain(domain)),
            Destination::Zone { .. } | Destination::Foreign => None,
        }
    }

    /// A copy that a tunnel's entry can keep.
    #[must_use]
    pub fn into_owned(self) -> OwnedRouteKey {
        OwnedRouteKey(match self.0 {
            Kind::Id(id) => Repr::Id(id.as_u128().to_ne_bytes()),
            Kind::Name(name) => Repr::text(Role::Name, name),
            Kind::Private(name) => Repr::text(Role::Private, name),
            Kind::Domain(host) => Repr::text(Role::Domain, host),
            Kind::TcpPort(port) => Repr::TcpPort(port),
            Kind::UdpPort(port) => Repr::UdpPort(port),
        })
    }

    pub(crate) fn is_port(&self) -> bool {
        matches!(self.0, Kind::TcpPort(_) | Kind::UdpPort(_))
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self.0, Kind::Name(_) | Kind::Private(_))
    }

    pub(crate) fn as_id(&self) -> Option<TunnelId> {
        match self.0 {
            Kind::Id(id) => Some(id),
            Kind::Name(_) | Kind::Private(_) | Kind::Domain(_) | Kind::TcpPort(_) | Kind::UdpPort(_) => None,
        }
    }
}

// The text comes first and a tag of one octet last, so that a hash in words of eight takes it as it lies in memory.
impl Hash for RouteKey<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Kind::Id(id) => tagged(state, &id.as_u128().to_le_bytes(), 0),
            Kind::Name(name) => tagged(state, name.as_bytes(), 1),
            Kind::Domain(host) => tagged(state, host.as_bytes(), 2),
            Kind::TcpPort(port) => tagged(state, &port.to_le_bytes(), 3),
            Kind::UdpPort(port) => tagged(state, &port.to_le_bytes(), 4),
            Kind::Private(name) => tagged(state, name.as_bytes(), 5),
        }
    }
}

#[inline]
fn tagged(state: &mut impl Hasher, octets: &[u8], tag: u8) {
    state.write(octets);
    state.write_u8(tag);
}

/// As a person would write it: `my-app`, `shop.example`, `tcp 35432`; the number of a tunnel in hexadecimal digits.
impl fmt::Display for RouteKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Id(id) => id.fmt(f),
            Kind::Name(text) | Kind::Domain(text) => f.pad(text),
            Kind::Private(name) => write!(f, "private {name}"),
            Kind::TcpPort(port) => write!(f, "tcp {port}"),
            Kind::UdpPort(port) => write!(f, "udp {port}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<'a> {
    Id(TunnelId),
    Name(&'a str),
    Private(&'a str),
    Domain(&'a str),
    TcpPort(u16),
    UdpPort(u16),
}

/// A [`RouteKey`] that owns its text; up to 21 bytes of it live in the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRouteKey(Repr);

impl OwnedRouteKey {
    /// The borrowed form.
    #[must_use]
    pub fn as_key(&self) -> RouteKey<'_> {
        RouteKey(match &self.0 {
            Repr::Id(id) => Kind::Id(TunnelId::from_u128(u128::from_ne_bytes(*id))),
            Repr::Short(role, text) => role.kind(text.as_str()),
            Repr::Long(role, text) => role.kind(text),
            Repr::TcpPort(port) => Kind::TcpPort(*port),
            Repr::UdpPort(port) => Kind::UdpPort(*port),
        })
    }

    /// Whether this is `key`, without building a borrowed form first.
    #[inline]
    pub(crate) fn is(&self, key: RouteKey<'_>) -> bool {
        match key.0 {
            Kind::Name(text) => self.0.is_text(Role::Name, text),
            Kind::Private(text) => self.0.is_text(Role::Private, text),
            Kind::Domain(text) => self.0.is_text(Role::Domain, text),
            Kind::Id(_) | Kind::TcpPort(_) | Kind::UdpPort(_) => self.as_key() == key,
        }
    }
}

impl From<RouteKey<'_>> for OwnedRouteKey {
    fn from(key: RouteKey<'_>) -> Self {
        key.into_owned()
    }
}

// Three words: the table keeps one in each of its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Short(Role, Short),
    /// Shared, since the table copies slots with each change.
    Long(Role, Arc<str>),
    /// The octets of a number, which may lie anywhere.
    Id([u8; 16]),
    TcpPort(u16),
    UdpPort(u16),
}

impl Repr {
    fn text(role: Role, text: &str) -> Self {
        Short::new(text).map_or_else(|| Self::Long(role, text.into()), |short| Self::Short(role, short))
    }

    #[inline]
    fn is_text(&self, asked: Role, text: &str) -> bool {
        match self {
            Self::Short(role, ours) => *role == asked && ours.as_bytes() == text.as_bytes(),
            Self::Long(role, ours) => *role == asked && **ours == *text,
            Self::Id(_) | Self::TcpPort(_) | Self::UdpPort(_) => false,
        }
    }
}

/// What a text is to a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Private,
    Domain,
}

impl Role {
    fn kind(self, text: &str) -> Kind<'_> {
        match self {
            Self::Name => Kind::Name(text),
            Self::Private => Kind::Private(text),
            Self::Domain => Kind::Domain(text),
        }
    }
}

/// Text that needs no memory of its own: one miss of the cache less on each lookup.
#[derive(Clone, PartialEq, Eq)]
struct Short {
    len: u8,
    bytes: [u8; SHORT],
}

impl Short {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        // Filled from a `str` as a whole, so this never takes the default.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Short {
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
            assert_eq!(Short::new(&text).is_some_and(|short| short.as_str() == text), length <= SHORT);
            let key = RouteKey(Kind::Name(&text));
            assert_eq!(key.into_owned().as_key(), key);
            assert!(key.into_owned().is(key));
        }
    }

    #[test]
    fn keys_of_different_kinds_are_never_equal() {
        let keys = [
            RouteKey::id(TunnelId::from_u128(80)),
            RouteKey(Kind::Name("80")),
            RouteKey(Kind::Private("80")),
            RouteKey(Kind::Domain("80")),
            RouteKey::tcp_port(80),
            RouteKey::udp_port(80),
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
        assert_eq!(size_of::<OwnedRouteKey>(), 24);
        assert_eq!(size_of::<Option<OwnedRouteKey>>(), 24);
    }
}
