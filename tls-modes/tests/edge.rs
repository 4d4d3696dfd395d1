//! TLS ended at the gateway, with rustls as the visitor: the cases E-01 to E-12.
#![cfg(all(feature = "edge", feature = "ca", feature = "agent", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::rustls::pki_types::{ServerName as PeerName, UnixTime};
use adit_tls_modes::rustls::time_provider::TimeProvider;
use adit_tls_modes::rustls::version::{TLS12, TLS13};
use adit_tls_modes::rustls::{self, AlertDescription, ClientConfig, RootCertStore};
use adit_tls_modes::{
    Edge, EdgeAcceptError, EdgeHost, Issuance, KeyGenerator, LocalCa, NamePattern, NewCa, PrivateKey,
    ResumptionScope, ServerCertificate, ServerName, SniffLimits, sniff,
};
use tokio::io::{DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client, server};

#[tokio::test]
async fn e01_own_certificate_before_wildcard() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "*.tunnel.example");
    house.install(&edge, "own.tunnel.example");
    for (host, sans) in
        [("own.tunnel.example", "own.tunnel.example"), ("any.tunnel.example", "*.tunnel.example")]
    {
        let (visitor, _) = house.connect(&edge, host, "scope").await.unwrap();
        let shown = visitor.get_ref().1.peer_certificates().unwrap()[0].clone();
        let expected = house.certificate_of(&edge, sans);
        assert_eq!(shown, expected, "{host}");
    }
}

#[tokio::test]
async fn e02_e03_other_names_get_unrecognized_name() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "*.tunnel.example");
    for host in [
        "other.example",
        "a.b.tunnel.example",
        "tunnel.example",
        "xtunnel.example",
        "tunnel.example.evil.test",
    ] {
        let (visitor, gateway) =
            house.try_connect(&edge, host, "scope", house.client(&[&TLS13, &TLS12])).await;
        assert!(matches!(gateway.unwrap_err(), EdgeAcceptError::UnknownName { .. }), "{host}");
        assert_eq!(alert_in(visitor.unwrap_err()), Some(AlertDescription::UnrecognisedName), "{host}");
    }
}

#[tokio::test]
async fn e04_capitals_are_the_same_name() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "app.tunnel.example");
    house.connect(&edge, "APP.Tunnel.Example", "scope").await.unwrap();
    // A trailing dot never becomes a name at all; the sniffer refuses it first (T-26).
    assert!("app.tunnel.example.".parse::<ServerName>().is_err());
}

struct House {
    provider: Arc<CryptoProvider>,
    ca: LocalCa,
}

impl House {
    fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let new = NewCa::new("Test CA", now() - Duration::from_secs(3_600), [1; 16]);
        let ca = LocalCa::generate(KeyGenerator::RING, &provider, new).unwrap();
        Self { provider, ca }
    }

    fn edge(&self) -> Edge {
        Edge::builder(Arc::clone(&self.provider)).resumption(ring::Ticketer::new().unwrap()).build()
    }

    fn certificate(&self, pattern: &str, lifetime: Duration) -> ServerCertificate {
        let pattern: NamePattern = pattern.parse().unwrap();
        let key = PrivateKey::generate(KeyGenerator::RING, &self.provider).unwrap();
        let issuance = Issuance::new(now(), [2; 16]).lifetime(lifetime);
        let names = [pattern.name().clone()];
        let issued = self.ca.issue_own(&names, pattern.is_wildcard(), &key, issuance).unwrap();
        ServerCertificate::new(issued.chain, key.to_der(), &self.provider, now()).unwrap()
    }

    fn install(&self, edge: &Edge, pattern: &str) {
        let certificate = self.certificate(pattern, Duration::from_secs(3_600));
        edge.install(&pattern.parse().unwrap(), EdgeHost::new(certificate)).unwrap();
    }

    fn certificate_of(&self, edge: &Edge, pattern: &str) -> rustls::pki_types::CertificateDer<'static> {
        edge.certificate(&pattern.parse().unwrap()).unwrap().chain()[0].clone()
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(Frozen {}));
        let mut config = builder
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    async fn connect(
        &self,
        edge: &Edge,
        host: &str,
        scope: &str,
    ) -> Result<(client::TlsStream<DuplexStream>, ServerStream), std::io::Error> {
        let (visitor, gateway) = self.try_connect(edge, host, scope, self.client(&[&TLS13, &TLS12])).await;
        Ok((visitor?, gateway.unwrap()))
    }

    async fn try_connect(
        &self,
        edge: &Edge,
        host: &str,
        scope: &str,
        config: ClientConfig,
    ) -> (std::io::Result<client::TlsStream<DuplexStream>>, Result<ServerStream, EdgeAcceptError>) {
        let (near, far) = duplex(65_536);
        let host = PeerName::try_from(host.to_owned()).unwrap();
        let visitor = TlsConnector::from(Arc::new(config)).connect(host, near);
        let gateway = async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            let (hello, io) = sniff(far, SniffLimits::new(), deadline).await.unwrap();
            edge.accept(io, hello.server_name().unwrap(), &ResumptionScope::new(scope)).await
        };
        tokio::join!(visitor, gateway)
    }
}

type ServerStream = server::TlsStream<adit_tls_modes::Sniffed<DuplexStream>>;

/// The visitor's clock, standing still at [`now`].
#[derive(Debug)]
struct Frozen {}

impl TimeProvider for Frozen {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(now().duration_since(SystemTime::UNIX_EPOCH).unwrap()))
    }
}

fn alert_in(error: std::io::Error) -> Option<AlertDescription> {
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::AlertReceived(alert)) => Some(alert),
        _ => None,
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
