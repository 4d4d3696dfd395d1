//! Certificates by ACME: what is served for an authority to look at, what is made of its refusals, and a real one.
#![cfg(all(feature = "acme", feature = "agent", feature = "ca", feature = "ring", feature = "tokio"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::sync::Arc;
use std::time::SystemTime;

use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::{
    ApprovedRequest, AuthorisedNames, CertificateRequest, CsrCheck, KeyGenerator, LocalCa, NewCa, PrivateKey,
    ServerName,
};

mod board;
mod gateway;
mod pebble;
mod refusals;
mod transport;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyGenerator::RING, &provider()).unwrap()
}

/// The request of an agent with `key`, as the gateway approves it.
fn approve(names: &[ServerName], key: &PrivateKey) -> ApprovedRequest {
    let authorised = AuthorisedNames::new(names.to_vec()).unwrap();
    let request = CertificateRequest::new(names, key).unwrap();
    CsrCheck::new(provider()).check_der(request.der(), &authorised).unwrap()
}

fn new_ca() -> LocalCa {
    let new = NewCa::new("Test CA", SystemTime::now(), [1; 16]);
    LocalCa::generate(KeyGenerator::RING, &provider(), new).unwrap()
}
