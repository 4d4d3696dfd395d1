//! From an agent's key to a certificate that TLS peers accept: the cases C-01 to C-40 that concern this crate.
#![cfg(all(feature = "ca", feature = "agent", feature = "edge", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::{
    AuthorisedNames, CertificateRequest, CsrCheck, Issuance, KeyGenerator, LocalCa, NewCa, PrivateKey,
    ServerName,
};

#[test]
fn c01_a_p256_request_becomes_a_certificate() {
    let provider = provider();
    let ca = ca(&provider);
    let key = PrivateKey::generate(KeyGenerator::RING, &provider).unwrap();
    let request = CertificateRequest::new(&[host()], &key).unwrap();
    let names = AuthorisedNames::new([host()]).unwrap();
    let approved = CsrCheck::new(provider).check_der(request.der(), &names).unwrap();
    let issued = ca.issue(&approved, Issuance::new(now(), [9; 16])).unwrap();
    assert_eq!(issued.chain.len(), 2);
}

fn host() -> ServerName {
    "demo-7.tunnel.example".parse().unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn ca(provider: &Arc<CryptoProvider>) -> LocalCa {
    LocalCa::generate(
        KeyGenerator::RING,
        provider,
        NewCa::new("Test CA", now() - Duration::from_secs(60), [1; 16]),
    )
    .unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
