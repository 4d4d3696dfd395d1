//! Upstreams: where an agent forwards to.

use alloc::boxed::Box;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use crate::{Host, HostError, HostSource, zone::ends_in_number};

/// Where an agent forwards to: `host:port`, an address or a name, as the agent's owner configured it.
///
/// Written as `host:port`, as `[2001:db8::1]:3000`, or as a port alone, which means `localhost`. With the feature `serde`
/// also as an object `{"host": …, "port": …}`.
///
/// ```
/// use adit_naming::Target;
///
/// let target = Target::parse("3000").unwrap();
/// assert_eq!((target.to_string().as_str(), target.port()), ("localhost:3000", 3000));
/// assert!(Target::parse("169.254.169.254:80").unwrap().risk().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: TargetHost,
    port: u16,
}

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = text.parse().ok().filter(|port| *port != 0).ok_or(TargetError::InvalidPort {})?;
            return Ok(Self { host: TargetHost::Name(LOCALHOST.into()), port });
        }
        let host = Host::parse(text.as_bytes(), HostSource::Header)?;
        let port = host.port().ok_or(TargetError::MissingPort {})?;
        Ok(Self { host: TargetHost::of(&host)?, port })
    }

    /// A target of its two parts; the host without brackets or port.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(host: &str, port: u16) -> Result<Self, TargetError> {
        if port == 0 {
            return Err(TargetError::InvalidPort {});
        }
        if let Ok(address) = IpAddr::from_str(host) {
            return Ok(Self { host: TargetHost::Address(address), port });
        }
        let host = Host::parse(host.as_bytes(), HostSource::Header)?;
        if host.port().is_some() {
            return Err(TargetError::InvalidPort {});
        }
        Ok(Self { host: TargetHost::of(&host)?, port })
    }

    /// The host.
    pub fn host(&self) -> &TargetHost {
        &self.host
    }

    /// The port, 1–65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Why an agent should not dial this without being told to, if it shouldn't (case R-25).
    ///
    /// A name may lead to any address: ask [`TargetRisk::of_address`] about what it was resolved to, as well.
    pub fn risk(&self) -> Option<TargetRisk> {
        match &self.host {
            TargetHost::Name(name) => METADATA_NAMES.contains(&&**name).then_some(TargetRisk::Metadata),
            TargetHost::Address(address) => TargetRisk::of_address(*address),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TargetHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            TargetHost::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            TargetHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// The host of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "what is dialled is resolved, or needs no resolving")]
pub enum TargetHost {
    /// A name to resolve, in lower case, such as `localhost`, `db_1` or `api.internal`.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl TargetHost {
    fn of(host: &Host) -> Result<Self, TargetError> {
        match (host.address(), host.domain()) {
            (Some(address), _) => Ok(Self::Address(address)),
            // Resolvers take `127.1` or `0x7f000001` for an address, past every check of addresses.
            (None, Some(domain)) if ends_in_number(domain) => Err(TargetError::NumericName {}),
            (None, domain) => Ok(Self::Name(domain.unwrap_or_default().into())),
        }
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.pad(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why dialling an address is dangerous where somebody else may have chosen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetRisk {
    /// A cloud's metadata service, which hands credentials to whoever asks.
    Metadata,
    /// Link-local: 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291).
    LinkLocal,
    /// Unspecified: 0.0.0.0 or ::, which some systems take for the machine itself.
    Unspecified,
    /// Multicast or broadcast.
    Multicast,
}

impl TargetRisk {
    /// The risk of an address. IPv4 inside IPv6 (`::ffff:169.254.169.254`) counts as what it is.
    pub fn of_address(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if METADATA_ADDRESSES.contains(&address) => Some(Self::Metadata),
            IpAddr::V4(v4) if v4.is_link_local() => Some(Self::LinkLocal),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Self::LinkLocal),
            IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(Self::Unspecified),
            IpAddr::V4(v4) if v4.is_broadcast() => Some(Self::Multicast),
            address if address.is_unspecified() => Some(Self::Unspecified),
            address if address.is_multicast() => Some(Self::Multicast),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

/// Why a text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The host is none.
    #[error("the target's host is not valid: {source}")]
    Host {
        /// What is wrong with it.
        #[from]
        source: HostError,
    },
    /// There is no port: write `host:port`.
    #[error("the target has no port")]
    MissingPort {},
    /// The port is not from 1 to 65535, or given twice.
    #[error("the target's port is not a number from 1 to 65535")]
    InvalidPort {},
    /// A name that ends in a number, which resolvers take for an address.
    #[error("the target's host ends in a number but is not an address")]
    NumericName {},
}

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl<'de> serde::Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

#[cfg(feature = "serde")]
struct TargetVisitor;

#[cfg(feature = "serde")]
impl<'de> serde::de::Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"host:port\" or an object with host and port")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
        Target::parse(text).map_err(E::custom)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Target, A::Error> {
        use serde::de::Error;
        let (mut host, mut port) = (None, None);
        while let Some(field) = map.next_key::<alloc::string::String>()? {
            match field.as_str() {
                "host" if host.is_some() => return Err(A::Error::duplicate_field("host")),
                "port" if port.is_some() => return Err(A::Error::duplicate_field("port")),
                "host" => host = Some(map.next_value::<alloc::string::String>()?),
                "port" => port = Some(map.next_value::<u16>()?),
                _ => return Err(A::Error::unknown_field(&field, &["host", "port"])),
            }
        }
        let host = host.ok_or_else(|| A::Error::missing_field("host"))?;
        let port = port.ok_or_else(|| A::Error::missing_field("port"))?;
        Target::new(&host, port).map_err(A::Error::custom)
    }
}

const LOCALHOST: &str = "localhost";

/// Where clouds answer questions about the machine: AWS, Azure, GCP and others; AWS over IPv6; Alibaba; Oracle.
const METADATA_ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata", "instance-data"];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_are_hosts_with_ports() {
        for (text, canonical) in [
            ("localhost:3000", "localhost:3000"),
            ("3000", "localhost:3000"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:3000", "[::1]:3000"),
            ("DB_1:5432", "db_1:5432"),
            ("api.internal.:443", "api.internal:443"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.to_string(), canonical, "{text}");
            assert_eq!(Target::new(&target.host().to_string(), target.port()).unwrap(), target);
        }
        for (text, error) in [
            ("localhost", TargetError::MissingPort {}),
            ("localhost:", TargetError::MissingPort {}),
            ("0", TargetError::InvalidPort {}),
            ("65536", TargetError::InvalidPort {}),
            ("127.1:80", TargetError::NumericName {}),
            ("0x7f000001:80", TargetError::NumericName {}),
            ("", TargetError::Host { source: HostError::Empty {} }),
            ("user@host:80", TargetError::Host { source: HostError::UserInfo {} }),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        assert_eq!(Target::new("localhost:80", 80), Err(TargetError::InvalidPort {}));
        assert_eq!(Target::new("localhost", 0), Err(TargetError::InvalidPort {}));
        assert!(Target::parse("unix:/run/app.sock").is_err());
    }

    #[test]
    fn r25_metadata_and_link_local_addresses_are_risks_in_every_spelling() {
        for (text, risk) in [
            ("169.254.169.254:80", TargetRisk::Metadata),
            ("[::ffff:169.254.169.254]:80", TargetRisk::Metadata),
            ("[fd00:ec2::254]:80", TargetRisk::Metadata),
            ("Metadata.Google.Internal:80", TargetRisk::Metadata),
            ("169.254.1.1:80", TargetRisk::LinkLocal),
            ("[fe80::1]:80", TargetRisk::LinkLocal),
            ("0.0.0.0:80", TargetRisk::Unspecified),
            ("0.1.2.3:80", TargetRisk::Unspecified),
            ("[::]:80", TargetRisk::Unspecified),
            ("224.0.0.1:80", TargetRisk::Multicast),
            ("255.255.255.255:80", TargetRisk::Multicast),
            ("[ff02::1]:80", TargetRisk::Multicast),
        ] {
            assert_eq!(Target::parse(text).unwrap().risk(), Some(risk), "{text}");
        }
        for text in
            ["localhost:80", "127.0.0.1:80", "10.0.0.1:80", "[::1]:80", "[fd00::1]:80", "example.com:80"]
        {
            assert_eq!(Target::parse(text).unwrap().risk(), None, "{text}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn targets_are_strings_or_objects_in_json() {
        let target: Target = serde_json::from_str(r#"{"port": 5432, "host": "db"}"#).unwrap();
        assert_eq!(serde_json::to_string(&target).unwrap(), r#""db:5432""#);
        assert_eq!(serde_json::from_str::<Target>(r#""db:5432""#).unwrap(), target);
        for json in [
            r#"{"host":"db"}"#,
            r#"{"port":1}"#,
            r#"{"host":"db","port":0}"#,
            r#"{"host":"db","port":70000}"#,
            r#"{"host":"db","port":1,"path":"/"}"#,
            r#"{"host":"db","host":"db2","port":1}"#,
            "3000",
            "null",
        ] {
            assert!(serde_json::from_str::<Target>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(text in "[a-zA-Z0-9_.:\\[\\]-]{1,30}") {
            if let Ok(target) = Target::parse(&text) {
                prop_assert_eq!(Target::parse(&target.to_string()).unwrap(), target);
            }
        }
    }
}
