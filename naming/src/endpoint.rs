//! Public addresses, and what people paste.

use alloc::boxed::Box;
use core::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::{Host, HostError, HostSource};

/// A public address of a tunnel: `https://my-app.tunnel.example`, `tcp://tunnel.example:35432`.
///
/// ```
/// use adit_naming::{Endpoint, Service};
///
/// let endpoint = Endpoint::parse("tcp://tunnel.example:35432").unwrap();
/// let service = Service::choose(None, 5432);
/// assert_eq!(endpoint.connect_with(service).to_string(), "postgresql://tunnel.example:35432/");
/// assert_eq!(endpoint.connect_with(Service::Ssh).to_string(), "ssh -p 35432 tunnel.example");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    host: EndpointHost,
    port: u16,
}

impl Endpoint {
    /// The address of a host, on the port beside it or the scheme's default.
    ///
    /// # Errors
    /// [`EndpointError::MissingPort`] for TCP and UDP without a port.
    pub fn new(scheme: Scheme, host: &Host) -> Result<Self, EndpointError> {
        let port = host.port().or_else(|| scheme.default_port()).ok_or(EndpointError::MissingPort {})?;
        let host = match host.address() {
            Some(address) => EndpointHost::Address(address),
            None => EndpointHost::Name(host.domain().unwrap_or_default().into()),
        };
        Ok(Self { scheme, host, port })
    }

    /// Reads an address as [`Display`](fmt::Display) writes it; a single slash may follow.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::UnknownScheme {})?;
        let scheme = Scheme::parse(scheme).ok_or(EndpointError::UnknownScheme {})?;
        let host = Host::parse(rest.strip_suffix('/').unwrap_or(rest).as_bytes(), HostSource::Header)?;
        Self::new(scheme, &host)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The port, 1–65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to paste to reach `service` at this address.
    pub fn connect_with(&self, service: Service) -> ConnectionString<'_> {
        ConnectionString { endpoint: self, service, user: None, database: None }
    }

    fn has_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text)
    }
}

/// As a URL, without the port where it is the scheme's default.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.scheme.default_port() == Some(self.port) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::text::Visitor::<Self>::new())
    }
}

/// How bytes reach a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// HTTP in clear, port 80.
    Http,
    /// HTTP over TLS, port 443; also where the agent ends the TLS.
    Https,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Scheme {
    /// The port that goes without saying; none for TCP and UDP.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Udp => None,
        }
    }

    /// The scheme as in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Tcp, Self::Udp].into_iter().find(|scheme| scheme.as_str() == text)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tunnel serves, as far as it matters for how to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// gRPC: `grpcurl`.
    Grpc,
    /// SSH: `ssh -p`.
    Ssh,
    /// PostgreSQL.
    PostgreSql,
    /// MySQL and MariaDB.
    MySql,
    /// Redis and Valkey.
    Redis,
    /// MongoDB.
    MongoDb,
    /// Any other protocol over TCP.
    Tcp,
    /// Any protocol over UDP.
    Udp,
}

impl Service {
    /// What to show for a tunnel: what its owner named, or what the port of its upstream is known for.
    ///
    /// TCP says little, so the port is asked there too: TCP to port 5432 is PostgreSQL, unless it isn't. Unknown is TCP.
    pub fn choose(named: Option<Self>, upstream_port: u16) -> Self {
        match (named, Self::of_port(upstream_port)) {
            (None, Some(known)) => known,
            (Some(Self::Tcp), Some(known)) if !known.is_http() => known,
            (Some(named), _) => named,
            (None, None) => Self::Tcp,
        }
    }

    /// What a port is known for: the registered one of each service, and the usual ones of web frameworks.
    pub fn of_port(port: u16) -> Option<Self> {
        match port {
            22 => Some(Self::Ssh),
            80 | 3000 | 5000 | 5173 | 8000 | 8080 => Some(Self::Http),
            443 | 8443 => Some(Self::Https),
            3306 => Some(Self::MySql),
            5432 => Some(Self::PostgreSql),
            6379 => Some(Self::Redis),
            27017 => Some(Self::MongoDb),
            50051 => Some(Self::Grpc),
            _ => None,
        }
    }

    /// The service of a name: `http`, `https`, `grpc`, `ssh`, `postgresql` (or `postgres`), `mysql`, `redis`, `mongodb`,
    /// `tcp`, `udp`.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "grpc" => Some(Self::Grpc),
            "ssh" => Some(Self::Ssh),
            "postgresql" | "postgres" => Some(Self::PostgreSql),
            "mysql" => Some(Self::MySql),
            "redis" => Some(Self::Redis),
            "mongodb" => Some(Self::MongoDb),
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

    fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// What people paste into a shell or a client to reach a service. Display writes it.
///
/// All its parts are checked words, so nothing in it can be an option or a second command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionString<'a> {
    endpoint: &'a Endpoint,
    service: Service,
    user: Option<&'a str>,
    database: Option<&'a str>,
}

impl<'a> ConnectionString<'a> {
    /// With the user to log in as: SSH and databases.
    ///
    /// # Errors
    /// [`EndpointError::UnsafeWord`] unless it has 1–64 letters, digits, dots, hyphens and underscores, and no hyphen first.
    pub fn with_user(self, user: &'a str) -> Result<Self, EndpointError> {
        Ok(Self { user: Some(checked_word(user)?), ..self })
    }

    /// With the database to open.
    ///
    /// # Errors
    /// As [`with_user`](Self::with_user).
    pub fn with_database(self, database: &'a str) -> Result<Self, EndpointError> {
        Ok(Self { database: Some(checked_word(database)?), ..self })
    }

    fn url(&self, f: &mut fmt::Formatter<'_>, scheme: &str, end: &str) -> fmt::Result {
        write!(f, "{scheme}://{}{}:{}{end}", self.user_at(), self.endpoint.host, self.endpoint.port)?;
        f.write_str(self.database.unwrap_or_default())
    }

    fn ssh(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ssh -p {} {}", self.endpoint.port, self.user_at())?;
        match &self.endpoint.host {
            EndpointHost::Address(address) => write!(f, "{address}"), // ssh wants no brackets
            EndpointHost::Name(name) => f.write_str(name),
        }
    }

    fn grpcurl(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plaintext = if self.endpoint.has_tls() { "" } else { "-plaintext " };
        write!(f, "grpcurl {plaintext}{}:{} list", self.endpoint.host, self.endpoint.port)
    }

    fn user_at(&self) -> UserAt<'a> {
        UserAt(self.user)
    }
}

impl fmt::Display for ConnectionString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service {
            Service::Http | Service::Https | Service::Tcp | Service::Udp => self.endpoint.fmt(f),
            Service::Grpc => self.grpcurl(f),
            Service::Ssh => self.ssh(f),
            Service::PostgreSql => self.url(f, "postgresql", "/"),
            Service::MySql => self.url(f, "mysql", "/"),
            Service::Redis => self.url(f, if self.endpoint.has_tls() { "rediss" } else { "redis" }, "/"),
            Service::MongoDb => self.url(f, "mongodb", "/"),
        }
    }
}

/// Why a text is no public address, or no part of a connection string.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It doesn't begin with `http://`, `https://`, `tcp://` or `udp://`.
    #[error("the address begins with none of http://, https://, tcp://, udp://")]
    UnknownScheme {},
    /// The host is none; also where a path follows.
    #[error("the host of the address is not valid: {source}")]
    Host {
        /// What is wrong with it.
        #[from]
        source: HostError,
    },
    /// TCP and UDP need a port.
    #[error("the address has no port")]
    MissingPort {},
    /// A user or database with characters that a shell or a URL might take for something else.
    #[error("only letters, digits, dots, hyphens and underscores can stand in a connection string")]
    UnsafeWord {},
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum EndpointHost {
    Name(Box<str>),
    Address(IpAddr),
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

struct UserAt<'a>(Option<&'a str>);

impl fmt::Display for UserAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |user| write!(f, "{user}@"))
    }
}

fn checked_word(word: &str) -> Result<&str, EndpointError> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&word.len()) && !word.starts_with('-') && word.bytes().all(safe) {
        Ok(word)
    } else {
        Err(EndpointError::UnsafeWord {})
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    fn connect(endpoint: &str, service: Service) -> String {
        Endpoint::parse(endpoint).unwrap().connect_with(service).to_string()
    }

    #[test]
    fn addresses_are_urls() {
        for (text, canonical) in [
            ("https://my-app.tunnel.example", "https://my-app.tunnel.example"),
            ("https://My-App.tunnel.example:443/", "https://my-app.tunnel.example"),
            ("https://my-app.tunnel.example:8443", "https://my-app.tunnel.example:8443"),
            ("http://my-app.localhost:8080", "http://my-app.localhost:8080"),
            ("http://a.test:443", "http://a.test:443"),
            ("tcp://tunnel.example:35432", "tcp://tunnel.example:35432"),
            ("udp://[2001:db8::1]:19132", "udp://[2001:db8::1]:19132"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        assert_eq!(Endpoint::parse("tcp://a.test"), Err(EndpointError::MissingPort {}));
        for text in ["a.test", "ftp://a.test", "HTTP://a.test", "://a.test", ""] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::UnknownScheme {}), "{text}");
        }
        for text in ["https://", "https://a.test/path", "https://a.test//", "https://u@a.test", "https://a?b"]
        {
            assert!(matches!(Endpoint::parse(text), Err(EndpointError::Host { .. })), "{text}");
        }
    }

    #[test]
    fn each_service_has_its_own_way_to_connect() {
        let tcp = "tcp://tunnel.example:35432";
        for (endpoint, service, pasted) in [
            ("https://my-app.tunnel.example", Service::Http, "https://my-app.tunnel.example"),
            (tcp, Service::Tcp, "tcp://tunnel.example:35432"),
            ("udp://tunnel.example:19132", Service::Udp, "udp://tunnel.example:19132"),
            (tcp, Service::Ssh, "ssh -p 35432 tunnel.example"),
            ("tcp://[2001:db8::1]:22", Service::Ssh, "ssh -p 22 2001:db8::1"),
            ("https://my-app.tunnel.example", Service::Grpc, "grpcurl my-app.tunnel.example:443 list"),
            (tcp, Service::Grpc, "grpcurl -plaintext tunnel.example:35432 list"),
            (tcp, Service::PostgreSql, "postgresql://tunnel.example:35432/"),
            (tcp, Service::MySql, "mysql://tunnel.example:35432/"),
            (tcp, Service::Redis, "redis://tunnel.example:35432/"),
            ("https://my-app.tunnel.example", Service::Redis, "rediss://my-app.tunnel.example:443/"),
            ("tcp://[::1]:27017", Service::MongoDb, "mongodb://[::1]:27017/"),
        ] {
            assert_eq!(connect(endpoint, service), pasted);
        }
    }

    #[test]
    fn users_and_databases_are_words() {
        let endpoint = Endpoint::parse("tcp://tunnel.example:35432").unwrap();
        let string = endpoint
            .connect_with(Service::PostgreSql)
            .with_user("app")
            .unwrap()
            .with_database("prod")
            .unwrap();
        assert_eq!(string.to_string(), "postgresql://app@tunnel.example:35432/prod");
        let string = endpoint.connect_with(Service::Ssh).with_user("root").unwrap();
        assert_eq!(string.to_string(), "ssh -p 35432 root@tunnel.example");
        let long = "a".repeat(65);
        for word in ["", "-oProxyCommand=x", "a b", "a;b", "a@b", "a/b", "$(x)", "a\nb", "ä", &long] {
            let refused = endpoint.connect_with(Service::Ssh).with_user(word);
            assert_eq!(refused, Err(EndpointError::UnsafeWord {}), "{word}");
        }
    }

    #[test]
    fn services_are_chosen_by_name_or_port() {
        for (named, port, service) in [
            (None, 5432, Service::PostgreSql),
            (None, 3306, Service::MySql),
            (None, 6379, Service::Redis),
            (None, 27017, Service::MongoDb),
            (None, 8080, Service::Http),
            (None, 443, Service::Https),
            (None, 22, Service::Ssh),
            (None, 50051, Service::Grpc),
            (None, 9999, Service::Tcp),
            (Some(Service::Tcp), 5432, Service::PostgreSql),
            (Some(Service::Tcp), 8080, Service::Tcp),
            (Some(Service::Http), 5432, Service::Http),
            (Some(Service::Udp), 5432, Service::Udp),
        ] {
            assert_eq!(Service::choose(named, port), service, "{named:?} {port}");
        }
        assert_eq!(Service::of_name("postgres"), Service::of_name("postgresql"));
        assert_eq!(Service::of_name("gopher"), None);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(text in "(http|https|tcp|udp)://[a-zA-Z0-9_.:\\[\\]/-]{1,30}") {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
            }
        }
    }
}
