//! Pebble, the authority that Let's Encrypt's authors test clients with, where it is installed. It checks every nonce
//! and signature, refuses one nonce in twenty for no reason, and looks at our ports as a public authority would.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as Probe};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::RootCertStore;
use adit_tls_modes::rustls::client::WebPkiServerVerifier;
use adit_tls_modes::rustls::client::danger::ServerCertVerifier;
use adit_tls_modes::rustls::pki_types::pem::PemObject;
use adit_tls_modes::rustls::pki_types::{CertificateDer, ServerName as PeerName, UnixTime};
use adit_tls_modes::{
    AcmeAccount, AcmeError, AcmeNext, AcmeSigner, AcmeTransport, ChallengeBoard, ChallengeKind, Issuance,
    IssuedCertificate, KeyGenerator, NewAcmeAccount, ServerCertificate, Signer,
};
use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;

use crate::gateway::{listen, serve_http, serve_tls};
use crate::transport::Https;
use crate::{approve, name, new_ca, new_key, provider};

#[tokio::test]
async fn pebble_certifies_agents_requests_by_either_challenge() {
    let Some(pebble) = Pebble::start().await else { return };
    let account = pebble.account().await;
    for challenge in [ChallengeKind::Http01, ChallengeKind::TlsAlpn01] {
        let account = AcmeAccount::from_json(&account.to_json()).unwrap();
        let signer: Arc<dyn Signer> = Arc::new(pebble.signer(account, challenge));
        let names = [name("app.tunnel.example"), name("shop.example")];
        let key = new_key();
        let issuance = Issuance::new(SystemTime::now(), [1; 16]);
        let issued = signer.sign(&approve(&names, &key), issuance).await.unwrap();
        pebble.verify(&issued, &["app.tunnel.example", "shop.example"]).await;
        ServerCertificate::new(issued.chain, key.to_der(), &provider(), SystemTime::now()).unwrap();
    }
}

#[tokio::test]
async fn pebble_finds_no_answer_where_none_is_served() {
    let Some(pebble) = Pebble::start().await else { return };
    // The answers hang on a board that nobody serves.
    let (account, transport) = (pebble.account().await, Arc::clone(&pebble.transport));
    let board = ChallengeBoard::default();
    let signer = AcmeSigner::builder(account, transport, board, KeyGenerator::RING, provider()).build();
    let error =
        signer.order(&approve(&[name("b.example")], &new_key()), SystemTime::now()).await.unwrap_err();
    assert!(matches!(error, AcmeError::ChallengeFailed { .. }), "{error:?}");
    assert_eq!(error.next(), AcmeNext::CheckNames);
}

#[tokio::test]
async fn pebble_asks_for_agreement_to_its_terms() {
    let Some(pebble) = Pebble::start().await else { return };
    let new = NewAcmeAccount::new(&pebble.directory);
    let error = AcmeAccount::create(&pebble.transport, &new, SystemTime::now()).await.unwrap_err();
    assert!(matches!(error, AcmeError::Refused { .. }), "{error:?}");
}

/// A Pebble, the name server that leads it to us, and the ports of a gateway.
struct Pebble {
    directory: String,
    management: SocketAddr,
    transport: Arc<dyn AcmeTransport>,
    board: ChallengeBoard,
    folder: PathBuf,
    children: Vec<Child>,
}

impl Pebble {
    async fn start() -> Option<Self> {
        if Command::new("pebble").arg("-h").output().is_err() {
            println!("skipped: pebble is not installed");
            return None;
        }
        let board = ChallengeBoard::default();
        let ((http, http_at), (tls, tls_at)) = (listen().await, listen().await);
        tokio::spawn(serve_http(http, board.clone()));
        tokio::spawn(serve_tls(tls, board.clone()));
        let (acme, management, dns) = (free_port(), free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("adit-pebble-{}-{}", std::process::id(), acme.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let (ca, key) = (new_ca(), new_key());
        let issued = ca
            .issue_own(&[name("localhost")], false, &key, Issuance::new(SystemTime::now(), [2; 16]))
            .unwrap();
        let pem = data_encoding::BASE64.encode(&issued.chain[0]);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
        std::fs::write(folder.join("cert.pem"), pem).unwrap();
        std::fs::write(folder.join("key.pem"), key.to_pem().as_bytes()).unwrap();
        let config = format!(
            r#"{{"pebble":{{"listenAddress":"{acme}","managementListenAddress":"{management}",
            "certificate":"cert.pem","privateKey":"key.pem","httpPort":{},"tlsPort":{},
            "ocspResponderURL":"","externalAccountBindingRequired":false}}}}"#,
            http_at.port(),
            tls_at.port()
        );
        std::fs::write(folder.join("config.json"), config).unwrap();
        let names = Command::new("pebble-challtestsrv")
            .args(["-dns01", &dns.to_string(), "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &free_port().to_string(), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let authority = Command::new("pebble")
            .args(["-strict", "-config", "config.json", "-dnsserver", &dns.to_string()])
            .current_dir(&folder)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let transport = Https::trusting(ca.certificate());
        let directory = format!("https://localhost:{}/dir", acme.port());
        let pebble =
            Self { directory, management, transport, board, folder, children: vec![names, authority] };
        for address in [acme, management] {
            wait_for(address).await;
        }
        Some(pebble)
    }

    async fn account(&self) -> AcmeAccount {
        let new =
            NewAcmeAccount::new(&self.directory).contact("mailto:ops@gateway.example").agree_to_terms(true);
        AcmeAccount::create(&self.transport, &new, SystemTime::now()).await.unwrap()
    }

    fn signer(&self, account: AcmeAccount, challenge: ChallengeKind) -> AcmeSigner {
        let (transport, board) = (Arc::clone(&self.transport), self.board.clone());
        AcmeSigner::builder(account, transport, board, KeyGenerator::RING, provider())
            .challenge(challenge)
            .build()
    }

    /// As a client that trusts Pebble's root would.
    async fn verify(&self, issued: &IssuedCertificate, hosts: &[&str]) {
        let root = Request::get(format!("https://localhost:{}/roots/0", self.management.port()));
        let root = self.transport.send(root.body(Bytes::new()).unwrap()).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.body()).unwrap()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let verify = |host: &str| {
            let host = PeerName::try_from(host.to_owned()).unwrap();
            let (leaf, rest) = issued.chain.split_first().unwrap();
            verifier.verify_server_cert(leaf, rest, &host, &[], UnixTime::now())
        };
        for host in hosts {
            verify(host).unwrap();
        }
        assert!(verify("bank.example").is_err());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> SocketAddr {
    Probe::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn wait_for(address: SocketAddr) {
    let connected = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), connected).await.expect("pebble did not start");
}
