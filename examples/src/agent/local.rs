//! What the local service is told beside what visitors send.

use super::domain::OwnDomain;
use super::ports::Ports;
use adit_tls_modes::{ProxyHeader, ProxyVersion};
use adit_wire_proto::StreamHead;
use clap::{Args, ValueEnum};
use std::net::SocketAddr;

/// How the local service is spoken to.
#[derive(Clone, Debug, Default, Args)]
pub struct Local {
    /// Begins each connection to the local service with a PROXY header that tells who visits; the service has to expect
    /// it.
    #[arg(long, global = true, value_enum)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The local service for QUIC, as address:port, of a tunnel whose TLS the agent's side ends: it gets the visitors'
    /// datagrams as they are, and has to end QUIC itself, with the certificate and key in the agent's state.
    #[arg(long, global = true)]
    pub quic: Option<SocketAddr>,
    /// Ports of the local service's host, as `3000` or `8000-8100`, that visitors may name in hosts of the form
    /// `{port}-{key}`; the gateway's owner sees the key. Of no other port such a host leads anywhere.
    #[arg(long = "allow-port", global = true, value_delimiter = ',')]
    pub ports: Vec<Ports>,
    /// A domain of the owner's, beside the tunnel's own host.
    #[command(flatten)]
    pub domain: OwnDomain,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyProtocol {
    /// The header for the visitor that `head` names; the gateway's own connection if it names none.
    pub(super) fn header(self, head: &StreamHead) -> Vec<u8> {
        let header = match (head.visitor(), head.local()) {
            (Some(visitor), Some(local)) => ProxyHeader::new(visitor, local),
            _ => ProxyHeader::local(),
        };
        header.encode(match self {
            Self::V1 => ProxyVersion::V1,
            Self::V2 => ProxyVersion::V2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire_proto::Protocol;
    use adit_wire_proto::control::{Generation, RegistrationId};

    #[test]
    fn a_header_names_the_visitor_of_the_stream_head() {
        let head = StreamHead::builder(Protocol::TCP)
            .registration(RegistrationId::FIRST, Generation::new(1).unwrap())
            .visitor("203.0.113.7:4711".parse().unwrap());
        let nameless = head.clone().build().unwrap();
        let named = head.local("192.0.2.1:443".parse().unwrap()).build().unwrap();
        let line = ProxyProtocol::V1.header(&named);
        assert_eq!(line, b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n");
        assert_eq!(ProxyProtocol::V1.header(&nameless), b"PROXY UNKNOWN\r\n");
        assert_eq!(ProxyProtocol::V2.header(&named).len(), 28);
    }
}
