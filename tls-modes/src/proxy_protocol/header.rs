use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Builder, Command, Protocol, Version};
use ppp::{v1, v2};

use super::ProxyError;

/// What a proxy says of the connection behind its own: a header of the PROXY protocol (HAProxy's `proxy-protocol.txt`).
///
/// ```
/// use adit_tls_modes::{ProxyHeader, ProxyVersion};
///
/// let header = ProxyHeader::new("192.0.2.1:51000".parse()?, "198.51.100.2:443".parse()?);
/// assert_eq!(header.encode(ProxyVersion::V1), b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\r\n");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Source and destination, of the same family.
    addresses: Option<(SocketAddr, SocketAddr)>,
}

impl ProxyHeader {
    /// Says that the connection comes from `source` and was made to `destination`.
    ///
    /// Both are written in the same family: as IPv4 if both can be, else as IPv6 (`::ffff:0:0/96` for the IPv4 one).
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let (source_ip, destination_ip) = same_family(source.ip(), destination.ip());
        let source = SocketAddr::new(source_ip, source.port());
        let destination = SocketAddr::new(destination_ip, destination.port());
        Self { addresses: Some((source, destination)) }
    }

    /// Says that the connection is the proxy's own, as in a health check: `LOCAL` in version 2, `UNKNOWN` in version 1.
    pub const fn local() -> Self {
        Self { addresses: None }
    }

    /// Where the connection comes from. `None`: from the proxy itself, or from where there are no addresses, so that the
    /// address of the proxy's own connection counts.
    ///
    /// Never an IPv4 address in IPv6 form, so that lists of addresses are compared with what they are meant for.
    pub fn source(&self) -> Option<SocketAddr> {
        self.addresses.map(|(source, _)| canonical(source))
    }

    /// What it was made to, in the same form.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.addresses.map(|(_, destination)| canonical(destination))
    }

    /// The bytes to write to an upstream ahead of everything else: at most 107 in version 1, 16, 28 or 52 in version 2.
    ///
    /// ```text
    ///  v1   "PROXY TCP4 " source " " destination " " port " " port CR LF        (or TCP6, or UNKNOWN CR LF)
    ///
    ///  v2   0              12     13       14        16
    ///       +--------------+------+--------+---------+------------------------------------------+
    ///       | signature    | 0x21 | 0x11   | length  | source, destination, port, port (network |
    ///       |              | 0x20 | 0x21   |         | order; 4 or 16 bytes each, then 2 each)  |
    ///       +--------------+------+--------+---------+------------------------------------------+
    ///                       PROXY  TCP v4
    ///                       LOCAL  TCP v6
    /// ```
    pub fn encode(&self, version: ProxyVersion) -> Vec<u8> {
        match version {
            ProxyVersion::V1 => self.encode_v1(),
            ProxyVersion::V2 => self.encode_v2(),
        }
    }

    fn encode_v1(&self) -> Vec<u8> {
        let addresses = self.addresses.map_or(v1::Addresses::Unknown, v1::Addresses::from);
        addresses.to_string().into_bytes()
    }

    fn encode_v2(&self) -> Vec<u8> {
        let builder = match self.addresses {
            Some(addresses) => {
                Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
            }
            None => Builder::new(Version::Two | Command::Local, UNSPECIFIED),
        };
        builder.build().expect("nothing but addresses is written, and 36 bytes fit into a length of 16 bits")
    }

    /// Reads a line that ends with the only LF in it.
    pub(super) fn read_v1(line: &[u8]) -> Result<Self, ProxyError> {
        // Rust's numbers may have a plus sign in front, those of a port may not: another reader would say otherwise.
        let is_plain = line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n') && *byte != b'+');
        let header = v1::Header::try_from(line).ok().filter(|_| is_plain).ok_or(ProxyError::Malformed)?;
        Ok(match header.addresses {
            v1::Addresses::Tcp4(ipv4) => Self::new(
                (ipv4.source_address, ipv4.source_port).into(),
                (ipv4.destination_address, ipv4.destination_port).into(),
            ),
            v1::Addresses::Tcp6(ipv6) => Self::new(
                (ipv6.source_address, ipv6.source_port).into(),
                (ipv6.destination_address, ipv6.destination_port).into(),
            ),
            v1::Addresses::Unknown => Self::local(),
        })
    }

    /// Reads a header of which all bytes are there, and no others.
    pub(super) fn read_v2(bytes: &[u8]) -> Result<Self, ProxyError> {
        let header = v2::Header::try_from(bytes).map_err(|_| ProxyError::Malformed)?;
        if header.tlvs().any(|tlv| tlv.is_err()) {
            return Err(ProxyError::Malformed);
        }
        match (header.command, header.protocol, header.addresses) {
            (Command::Local, _, _) => Ok(Self::local()),
            // The sender is to be taken for its own source if it gives no address.
            (Command::Proxy, Protocol::Unspecified, _) => Ok(Self::local()),
            (Command::Proxy, Protocol::Datagram, _) => Err(ProxyError::Malformed),
            (Command::Proxy, Protocol::Stream, v2::Addresses::IPv4(ipv4)) => Ok(Self::new(
                (ipv4.source_address, ipv4.source_port).into(),
                (ipv4.destination_address, ipv4.destination_port).into(),
            )),
            (Command::Proxy, Protocol::Stream, v2::Addresses::IPv6(ipv6)) => Ok(Self::new(
                (ipv6.source_address, ipv6.source_port).into(),
                (ipv6.destination_address, ipv6.destination_port).into(),
            )),
            (Command::Proxy, Protocol::Stream, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => {
                Ok(Self::local())
            }
        }
    }
}

/// The version of the PROXY protocol to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary: shorter, and quicker to read.
    #[default]
    V2,
}

fn same_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V6(destination)) => (source.to_ipv6_mapped().into(), destination.into()),
        (IpAddr::V6(source), IpAddr::V4(destination)) => (source.into(), destination.to_ipv6_mapped().into()),
        same => same,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// No address family, no transport.
const UNSPECIFIED: u8 = 0;
