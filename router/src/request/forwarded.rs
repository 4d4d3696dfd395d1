//! What the upstream is told about the visitor, in the two vocabularies that upstreams read.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use adit_naming::Host;
use http::HeaderValue;

/// Who asks, as the gateway saw it with its own eyes.
#[derive(Clone, Debug)]
pub struct Visitor<'a> {
    address: SocketAddr,
    host: &'a Host,
    is_tls: bool,
    public_port: u16,
}

impl<'a> Visitor<'a> {
    /// The visitor at `address`, who asked for `host`, over TLS or not, at the gateway's port `public_port`.
    #[must_use]
    pub fn new(address: SocketAddr, host: &'a Host, is_tls: bool, public_port: u16) -> Self {
        Self { address, host, is_tls, public_port }
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// `X-Forwarded-For`: the address without port.
    pub(super) fn forwarded_for(&self) -> Option<HeaderValue> {
        value(&self.ip().to_string())
    }

    /// `X-Forwarded-Host`: host, with the port if the visitor sent one.
    pub(super) fn forwarded_host(&self) -> Option<HeaderValue> {
        value(&self.authority())
    }

    /// `X-Forwarded-Port`: where the visitor came in.
    pub(super) fn forwarded_port(&self) -> HeaderValue {
        HeaderValue::from(self.public_port)
    }

    /// `Forwarded` (RFC 7239 §4): `for=192.0.2.1;host=app.example;proto=https`. What is no token is quoted.
    pub(super) fn forwarded(&self) -> Option<HeaderValue> {
        let mut text = match self.ip() {
            IpAddr::V4(ip) => format!("for={ip}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
        };
        let authority = self.authority();
        // Writing to a string doesn't fail.
        let _ = match authority.contains([':', '[']) {
            true => write!(text, ";host=\"{authority}\";proto={}", self.scheme()),
            false => write!(text, ";host={authority};proto={}", self.scheme()),
        };
        value(&text)
    }

    fn authority(&self) -> String {
        match self.host.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }

    /// A dual-stack socket shows IPv4 visitors as `::ffff:192.0.2.1`; upstreams compare with `192.0.2.1`.
    fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }
}

/// Hosts and addresses in canonical form have no byte that a field value refuses.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}
