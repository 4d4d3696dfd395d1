//! Two crypto providers in one program: each is used where it was passed in, and neither becomes everybody's.
#![cfg(all(feature = "aws-lc-rs", feature = "ca", feature = "edge", feature = "quic", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use adit_tls_modes::{
    Edge, EdgeHost, Issuance, KeyGenerator, LocalCa, NewCa, PrivateKey, QuicCrypto, ResumptionScope,
    ServerCertificate, SniffLimits, sniff,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use tokio::io::duplex;
use tokio_rustls::TlsConnector;

const HOST: &str = "a.tunnel.example";

#[tokio::test]
async fn both_providers_serve_side_by_side_and_none_is_installed() {
    let (ring, aws) = (Arc::new(ring::default_provider()), Arc::new(aws_lc_rs::default_provider()));
    let gateways = [(KeyGenerator::RING, &ring), (KeyGenerator::AWS_LC_RS, &aws)];
    for (generator, gateway) in gateways {
        for visitor in [&ring, &aws] {
            handshake(generator, gateway, visitor).await;
        }
        QuicCrypto::new(gateway).unwrap();
    }
    assert!(CryptoProvider::get_default().is_none());
}

#[tokio::test]
async fn an_edge_with_aws_lc_rs_agrees_on_a_post_quantum_key() {
    let mut hybrid = aws_lc_rs::default_provider();
    hybrid.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    let gateway = Arc::new(aws_lc_rs::default_provider());
    let group = handshake(KeyGenerator::AWS_LC_RS, &gateway, &Arc::new(hybrid)).await;
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

/// Which group the two agreed on.
async fn handshake(
    generator: KeyGenerator,
    gateway: &Arc<CryptoProvider>,
    visitor: &Arc<CryptoProvider>,
) -> NamedGroup {
    let now = SystemTime::now();
    let new = NewCa::new("Test CA", now - Duration::from_secs(3_600), [1; 16]);
    let ca = LocalCa::generate(generator, gateway, new).unwrap();
    let key = PrivateKey::generate(generator, gateway).unwrap();
    let issued = ca.issue_own(&[HOST.parse().unwrap()], false, &key, Issuance::new(now, [2; 16])).unwrap();
    let certificate = ServerCertificate::new(issued.chain, key.to_der(), gateway, now).unwrap();
    let edge = Edge::builder(Arc::clone(gateway)).build();
    edge.install(&HOST.parse().unwrap(), EdgeHost::new(certificate)).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(visitor))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = duplex(1 << 16);
    let connect = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), near);
    let accept = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let (hello, io) = sniff(far, SniffLimits::new(), deadline).await.unwrap();
        edge.accept(io, hello.server_name().unwrap(), &ResumptionScope::new("s")).await.unwrap()
    };
    let (connected, accepted) = tokio::join!(connect, accept);
    connected.unwrap();
    accepted.get_ref().1.negotiated_key_exchange_group().unwrap().name()
}
