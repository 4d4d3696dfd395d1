//! TLS ended at the gateway, with rustls as the visitor: the cases E-01 to E-12.
#![cfg(all(feature = "edge", feature = "ca", feature = "agent", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::rustls::pki_types::{ServerName as PeerName, UnixTime};
use adit_tls_modes::rustls::server::WebPkiClientVerifier;
use adit_tls_modes::rustls::time_provider::TimeProvider;
use adit_tls_modes::rustls::version::{TLS12, TLS13};
use adit_tls_modes::rustls::{
    self, AlertDescription, ClientConfig, HandshakeKind, NamedGroup, RootCertStore,
};
use adit_tls_modes::{
    CertificateError, Edge, EdgeAcceptError, EdgeHost, EdgeInstallError, Issuance, KeyGenerator, LocalCa,
    NamePattern, NewCa, PrivateKey, ResumptionScope, ServerCertificate, ServerName, SniffLimits, sniff,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client, server};

use support::{HelloBuilder, handshake, key_share, record, server_name};

mod support;

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

#[tokio::test]
async fn e05_a_swap_under_load_fails_no_handshake() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "*.tunnel.example");
    let visits = async {
        for _ in 0..200 {
            house.connect(&edge, "a.tunnel.example", "scope").await.unwrap();
        }
    };
    let swaps = async {
        for _ in 0..50 {
            house.install(&edge, "*.tunnel.example");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(visits, swaps);
    let (visitor, _) = house.connect(&edge, "a.tunnel.example", "scope").await.unwrap();
    let shown = &visitor.get_ref().1.peer_certificates().unwrap()[0];
    assert_eq!(*shown, house.certificate_of(&edge, "*.tunnel.example"));
}

#[tokio::test]
async fn e06_what_is_no_good_is_refused_at_load_and_the_old_one_stays() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "a.tunnel.example");
    let before = house.certificate_of(&edge, "a.tunnel.example");
    let key = house.key();
    let names = ["a.tunnel.example".parse().unwrap()];
    let issued = house.ca.issue_own(&names, false, &key, Issuance::new(now(), [3; 16])).unwrap();
    let load = |key: &PrivateKey, at: SystemTime| {
        ServerCertificate::new(issued.chain.clone(), key.to_der(), &house.provider, at)
    };
    let day = Duration::from_secs(86_400);
    assert!(matches!(load(&key, now() + 91 * day), Err(CertificateError::Expired { .. })));
    assert!(matches!(load(&key, now() - day), Err(CertificateError::NotYetValid { .. })));
    assert!(matches!(load(&house.key(), now()), Err(CertificateError::Key)));
    let nothing = ServerCertificate::new(Vec::new(), key.to_der(), &house.provider, now());
    assert!(matches!(nothing, Err(CertificateError::Unreadable)));
    let garbage = ServerCertificate::new(vec![vec![0x30, 0x00].into()], key.to_der(), &house.provider, now());
    assert!(matches!(garbage, Err(CertificateError::Unreadable)));
    // Good in itself, but for another name.
    let host = EdgeHost::new(load(&key, now()).unwrap());
    for other in ["b.tunnel.example", "*.tunnel.example", "tunnel.example"] {
        let refused = edge.install(&other.parse().unwrap(), host.clone());
        assert!(matches!(refused, Err(EdgeInstallError::NotCovered { .. })), "{other}");
    }
    assert_eq!(house.certificate_of(&edge, "a.tunnel.example"), before);
    house.connect(&edge, "a.tunnel.example", "scope").await.unwrap();
}

#[tokio::test]
async fn e06_expiry_is_watched() {
    let house = House::new();
    let edge = house.edge();
    let hour = Duration::from_secs(3_600);
    let soon = house.certificate("soon.example", hour);
    let late = house.certificate("*.late.example", 48 * hour);
    let patterns: [NamePattern; 2] = ["soon.example".parse().unwrap(), "*.late.example".parse().unwrap()];
    edge.install_all([
        (patterns[0].clone(), EdgeHost::new(soon)),
        (patterns[1].clone(), EdgeHost::new(late)),
    ])
    .unwrap();
    let expiring = edge.expiring_before(now() + 24 * hour);
    assert_eq!(expiring, [(patterns[0].clone(), now() + hour)]);
    assert_eq!(edge.expiring_before(now() + 72 * hour).len(), 2);
}

#[tokio::test]
async fn e07_a_removed_name_is_unknown_and_open_connections_live_on() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "a.tunnel.example");
    let (mut visitor, mut gateway) = house.connect(&edge, "a.tunnel.example", "scope").await.unwrap();
    edge.remove(&"a.tunnel.example".parse().unwrap());
    assert!(!edge.serves(&"a.tunnel.example".parse().unwrap()));
    let (refused, _) = house.try_connect(&edge, "a.tunnel.example", "scope", house.client(&[&TLS13])).await;
    assert_eq!(alert_in(refused.unwrap_err()), Some(AlertDescription::UnrecognisedName));
    exchange(&mut visitor, &mut gateway).await;
}

#[tokio::test]
async fn e08_tickets_open_in_their_scope_only() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "*.tunnel.example");
    for version in [&TLS13, &TLS12] {
        for (host, scope, expected) in [
            ("a.tunnel.example", "a, generation 1", HandshakeKind::Resumed),
            ("b.tunnel.example", "a, generation 1", HandshakeKind::Full),
            ("b.tunnel.example", "b, generation 1", HandshakeKind::Full),
            ("a.tunnel.example", "a, generation 2", HandshakeKind::Full),
        ] {
            let mut config = house.client(&[version]);
            config.resumption = Resumption::store(Arc::new(OneDrawer::default()));
            let first = house.visit(&edge, "a.tunnel.example", "a, generation 1", config.clone()).await;
            assert_eq!(first, HandshakeKind::Full);
            let second = house.visit(&edge, host, scope, config).await;
            assert_eq!(second, expected, "{version:?} {host} {scope}");
        }
    }
}

#[tokio::test]
async fn e08_another_rule_for_client_certificates_ends_resumption() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "a.tunnel.example");
    let config = house.client(&[&TLS13]);
    assert_eq!(house.visit(&edge, "a.tunnel.example", "a", config.clone()).await, HandshakeKind::Full);
    assert_eq!(house.visit(&edge, "a.tunnel.example", "a", config.clone()).await, HandshakeKind::Resumed);
    house.install_with_clients(&edge, "a.tunnel.example");
    let (_, refused) = house.try_connect(&edge, "a.tunnel.example", "a", config).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("no certificates"), "{error}");
}

#[tokio::test]
async fn mutual_tls_is_asked_for_by_name() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "open.tunnel.example");
    house.install_with_clients(&edge, "closed.tunnel.example");
    house.connect(&edge, "open.tunnel.example", "s").await.unwrap();
    let (_, refused) = house.try_connect(&edge, "closed.tunnel.example", "s", house.client(&[&TLS13])).await;
    assert!(matches!(refused, Err(EdgeAcceptError::Handshake { .. })));
}

#[test]
fn e09_e10_the_authority_of_each_request_must_be_the_name_of_the_connection() {
    let name: ServerName = "a.tunnel.example".parse().unwrap();
    for authority in
        ["a.tunnel.example", "A.TUNNEL.EXAMPLE", "a.tunnel.example:443", "a.tunnel.example.:8443"]
    {
        assert!(name.covers_authority(authority), "{authority}");
    }
    for authority in
        ["b.tunnel.example", "tunnel.example", "a.tunnel.example.evil.test", "a.tunnel.example@b", ""]
    {
        assert!(!name.covers_authority(authority), "{authority}");
    }
}

#[tokio::test]
async fn e11_early_data_is_not_offered() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "a.tunnel.example");
    let mut config = house.client(&[&TLS13]);
    config.enable_early_data = true;
    house.visit(&edge, "a.tunnel.example", "a", config.clone()).await;
    let name = PeerName::try_from("a.tunnel.example").unwrap();
    let mut resuming = rustls::ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    assert!(resuming.early_data().is_none(), "the ticket permits no early data");
    assert_eq!(house.visit(&edge, "a.tunnel.example", "a", config).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn e12_t43_what_only_speaks_tls_11_gets_protocol_version() {
    let mut old = HelloBuilder::host("a.tunnel.example").without(43).without(51);
    old.legacy_version = 0x0302;
    assert_eq!(alerts_to(&[old.stream()]).await, [u8::from(AlertDescription::ProtocolVersion)]);
    // Only ciphers without encryption, or for export.
    let mut weak = HelloBuilder::host("a.tunnel.example");
    weak.cipher_suites = vec![0x00, 0x02, 0x00, 0x08, 0x00, 0x3b];
    assert_eq!(alerts_to(&[weak.stream()]).await, [u8::from(AlertDescription::HandshakeFailure)]);
    // Nothing but compression.
    let mut compressed = HelloBuilder::host("a.tunnel.example");
    compressed.compression = vec![1];
    assert_eq!(alerts_to(&[compressed.stream()]).await, [u8::from(AlertDescription::IllegalParameter)]);
}

#[tokio::test]
async fn t42_another_name_after_a_retry_request_is_illegal() {
    let first = HelloBuilder::host("a.tunnel.example").without(51).extension(51, key_share(&[]));
    let second = |name: &str| {
        let hello = HelloBuilder::new().without(51).extension(51, key_share(&[(0x1d, 32)]));
        hello.extension(0, server_name(name.as_bytes())).stream()
    };
    let alerts = alerts_to(&[first.stream(), second("b.tunnel.example")]).await;
    assert_eq!(alerts, [u8::from(AlertDescription::IllegalParameter)]);
}

#[tokio::test]
async fn t40_a_second_message_beside_the_hello_is_refused_at_the_edge() {
    let message = HelloBuilder::host("a.tunnel.example").message();
    let stream = record(22, &[&message[..], &handshake(20, &[9; 32])].concat());
    assert_eq!(alerts_to(&[stream]).await, [u8::from(AlertDescription::UnexpectedMessage)]);
}

#[tokio::test]
async fn alpn_and_versions_are_negotiated() {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "a.tunnel.example");
    for version in [&TLS13, &TLS12] {
        for (offered, chosen) in [(&b"h2"[..], &b"h2"[..]), (b"http/1.1", b"http/1.1")] {
            let mut config = house.client(&[version]);
            config.alpn_protocols = vec![offered.to_vec()];
            let (visitor, gateway) = house.try_connect(&edge, "a.tunnel.example", "s", config).await;
            let visitor = visitor.unwrap();
            assert_eq!(visitor.get_ref().1.alpn_protocol(), Some(chosen));
            assert_eq!(visitor.get_ref().1.protocol_version(), Some(version.version));
            gateway.unwrap();
        }
    }
}

/// What the edge answers to the flights, each sent after the answer to the one before: the codes of its alerts.
async fn alerts_to(flights: &[Vec<u8>]) -> Vec<u8> {
    let house = House::new();
    let edge = house.edge();
    house.install(&edge, "*.tunnel.example");
    let (mut near, far) = duplex(1 << 16);
    let gateway = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let (hello, io) = sniff(far, SniffLimits::new(), deadline).await.unwrap();
        let accepted = edge.accept(io, hello.server_name().unwrap(), &ResumptionScope::new("s")).await;
        assert!(accepted.is_err());
    };
    let visitor = async {
        let mut received = Vec::new();
        for flight in flights {
            near.write_all(flight).await.unwrap();
            let mut answer = vec![0; 4_096];
            let count = near.read(&mut answer).await.unwrap();
            received.extend(&answer[..count]);
        }
        near.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(gateway, visitor);
    let mut alerts = Vec::new();
    let mut rest = &received[..];
    while let [kind, _, _, high, low, after @ ..] = rest {
        let (content, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *kind == 21 {
            alerts.push(content[1]);
        }
        rest = next;
    }
    alerts
}

async fn exchange(visitor: &mut client::TlsStream<DuplexStream>, gateway: &mut ServerStream) {
    for _ in 0..2 {
        gateway.write_all(b"down").await.unwrap();
        gateway.flush().await.unwrap();
        let mut down = [0; 4];
        visitor.read_exact(&mut down).await.unwrap();
        visitor.write_all(b"up").await.unwrap();
        visitor.flush().await.unwrap();
        let mut up = [0; 2];
        gateway.read_exact(&mut up).await.unwrap();
        assert_eq!((&down, &up), (b"down", b"up"));
    }
}

/// Keeps the last session and hands it out for whatever name: what no honest client does.
#[derive(Debug, Default)]
struct OneDrawer {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for OneDrawer {
    fn set_kx_hint(&self, _: PeerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &PeerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: PeerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &PeerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &PeerName<'static>) {
        *self.tls12.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: PeerName<'static>, value: Tls13ClientSessionValue) {
        *self.tls13.lock().unwrap() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &PeerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().take()
    }
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
        let key = self.key();
        let issuance = Issuance::new(now(), [2; 16]).lifetime(lifetime);
        let names = [pattern.name().clone()];
        let issued = self.ca.issue_own(&names, pattern.is_wildcard(), &key, issuance).unwrap();
        ServerCertificate::new(issued.chain, key.to_der(), &self.provider, now()).unwrap()
    }

    fn key(&self) -> PrivateKey {
        PrivateKey::generate(KeyGenerator::RING, &self.provider).unwrap()
    }

    fn install_with_clients(&self, edge: &Edge, pattern: &str) {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let provider = Arc::clone(&self.provider);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let certificate = self.certificate(pattern, Duration::from_secs(3_600));
        edge.install(&pattern.parse().unwrap(), EdgeHost::new(certificate).client_verifier(verifier))
            .unwrap();
    }

    /// Connects, exchanges a few bytes so that tickets arrive, and says how the handshake went.
    async fn visit(&self, edge: &Edge, host: &str, scope: &str, config: ClientConfig) -> HandshakeKind {
        let (visitor, gateway) = self.try_connect(edge, host, scope, config).await;
        let (mut visitor, mut gateway) = (visitor.unwrap(), gateway.unwrap());
        exchange(&mut visitor, &mut gateway).await;
        visitor.get_ref().1.handshake_kind().unwrap()
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
    ) -> std::io::Result<(client::TlsStream<DuplexStream>, ServerStream)> {
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
