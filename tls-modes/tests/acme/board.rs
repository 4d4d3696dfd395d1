use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use adit_tls_modes::rustls::crypto::verify_tls13_signature_with_raw_key;
use adit_tls_modes::rustls::pki_types::{
    CertificateDer, ServerName as PeerName, SubjectPublicKeyInfoDer, UnixTime,
};
use adit_tls_modes::rustls::{
    self, ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme,
};
use adit_tls_modes::{BoardError, ChallengeBoard, KeyGenerator, Posting, Sniff, SniffLimits, Sniffer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{name, provider};

#[test]
fn an_answer_is_given_for_its_host_until_it_is_taken_down() {
    let (board, host) = (ChallengeBoard::default(), name("app.example"));
    let posting = board.post_http(now(), &host, "tok_En-1", "tok_En-1.print").unwrap();
    let path = "/.well-known/acme-challenge/tok_En-1";
    let ask = |host: &str, path: &str| board.http_answer(now(), &name(host), path);
    assert_eq!(ask("app.example", path).as_deref(), Some("tok_En-1.print"));
    assert_eq!(ask("APP.example", path).as_deref(), Some("tok_En-1.print"));
    assert_eq!(ask("other.example", path), None, "another tenant's host");
    for path in [
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/tok_En-2",
        "/.well-known/acme-challenge/tok_En-1/",
        "/.well-known/acme-challenge/../acme-challenge/tok_En-1",
        "/.well-known/acme-challenge//tok_En-1",
        "/.well-known/acme-challenge/tok%5fEn-1",
        "//.well-known/acme-challenge/tok_En-1",
        "/tok_En-1",
        "",
    ] {
        assert_eq!(ask("app.example", path), None, "{path}");
    }
    let late = now() + Duration::from_secs(600);
    assert_eq!(board.http_answer(late, &host, path), None, "even if nobody took it down");
    drop(posting);
    assert_eq!(ask("app.example", path), None);
}

#[test]
fn tokens_of_an_authority_are_base64url_and_short() {
    let board = ChallengeBoard::default();
    let long = "x".repeat(257);
    for token in ["", "a/b", "a.b", "a b", "a\n", "\u{e9}", "..", &long] {
        let refused = board.post_http(now(), &name("app.example"), token, "x").unwrap_err();
        assert_eq!(refused, BoardError::Token, "{token:?}");
    }
}

#[test]
fn a_board_is_bounded_and_one_order_does_not_take_the_answer_of_another() {
    let board = ChallengeBoard::new(1, Duration::from_secs(60));
    let first = board.post_http(now(), &name("a.example"), "t1", "x").unwrap();
    assert_eq!(board.post_http(now(), &name("a.example"), "t1", "y").unwrap_err(), BoardError::Busy);
    assert_eq!(board.post_http(now(), &name("b.example"), "t2", "x").unwrap_err(), BoardError::Full);
    let tls = post_tls(&board, "a.example");
    let busy = board.post_tls(now(), &name("a.example"), "x", KeyGenerator::RING, &provider());
    assert_eq!(busy.unwrap_err(), BoardError::Busy);
    drop((first, tls));
    let _next = board.post_http(now(), &name("b.example"), "t2", "x").unwrap();
}

#[test]
fn a_challenge_certificate_is_that_of_rfc_8737() {
    let board = ChallengeBoard::default();
    let _posting = post_tls(&board, "app.example");
    let config = offer(&board, "app.example", &[b"acme-tls/1"]).unwrap();
    let (seen, alpn) = handshake(config, "app.example", &[b"acme-tls/1"]).unwrap();
    assert_eq!(alpn.as_deref(), Some(&b"acme-tls/1"[..]));
    let (_, certificate) = X509Certificate::from_der(&seen).unwrap();
    let san = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(format!("{:?}", san.value.general_names), "[DNSName(\"app.example\")]");
    assert_eq!(certificate.issuer(), certificate.subject(), "signed by itself");
    let identifier = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
        .unwrap();
    assert!(identifier.critical);
    // The SHA-256 of "token.print", by sha256sum.
    let digest = data_encoding::HEXLOWER
        .decode(b"81e19769cd23a67aff181a0619721bf279f283396cd5360b0b78a67aa81948bc")
        .unwrap();
    assert_eq!(identifier.value.len(), 34);
    assert_eq!(&identifier.value[..2], [4, 32]);
    assert_eq!(&identifier.value[2..], digest);
}

#[test]
fn t49_only_a_hello_that_is_nothing_but_a_challenge_meets_the_board() {
    let board = ChallengeBoard::default();
    let posting = post_tls(&board, "app.example");
    assert!(offer(&board, "app.example", &[b"acme-tls/1"]).is_some());
    assert!(offer(&board, "app.example", &[b"h2", b"acme-tls/1"]).is_none());
    assert!(offer(&board, "app.example", &[b"acme-tls/1", b"h2"]).is_none());
    assert!(offer(&board, "app.example", &[b"http/1.1"]).is_none());
    assert!(offer(&board, "app.example", &[]).is_none());
    assert!(offer(&board, "other.example", &[b"acme-tls/1"]).is_none());
    // A configuration that was kept answers for its host and for its protocol only.
    let config = offer(&board, "app.example", &[b"acme-tls/1"]).unwrap();
    assert!(handshake(Arc::clone(&config), "other.example", &[b"acme-tls/1"]).is_err());
    assert!(handshake(config, "app.example", &[b"h2"]).is_err());
    drop(posting);
    assert!(offer(&board, "app.example", &[b"acme-tls/1"]).is_none());
}

fn post_tls(board: &ChallengeBoard, host: &str) -> Posting {
    board.post_tls(now(), &name(host), "token.print", KeyGenerator::RING, &provider()).unwrap()
}

/// What the board has for a client's hello.
fn offer(board: &ChallengeBoard, host: &str, alpn: &[&[u8]]) -> Option<Arc<ServerConfig>> {
    let mut octets = Vec::new();
    client(host, alpn).write_tls(&mut octets).unwrap();
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let Sniff::Hello(hello) = sniffer.receive(&octets) else { panic!("no hello") };
    board.tls_config(now(), hello)
}

/// The certificate and the protocol that a client sees.
fn handshake(
    config: Arc<ServerConfig>,
    host: &str,
    alpn: &[&[u8]],
) -> Result<(CertificateDer<'static>, Option<Vec<u8>>), rustls::Error> {
    let (mut client, mut server) = (client(host, alpn), ServerConnection::new(config).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).unwrap();
        }
        server.read_tls(&mut &octets[..]).unwrap();
        server.process_new_packets()?;
        let mut octets = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut octets).unwrap();
        }
        client.read_tls(&mut &octets[..]).unwrap();
        client.process_new_packets()?;
    }
    let certificate = client.peer_certificates().unwrap()[0].clone().into_owned();
    Ok((certificate, client.alpn_protocol().map(<[u8]>::to_vec)))
}

fn client(host: &str, alpn: &[&[u8]]) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    ClientConnection::new(Arc::new(config), PeerName::try_from(host.to_owned()).unwrap()).unwrap()
}

/// A validating authority looks into the certificate itself (RFC 8737 §3). The examples have another one of these, which
/// this crate stands below.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &PeerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone is asked for".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // webpki refuses the critical extension that makes this certificate what it is.
        let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
