//! Certificates by ACME, renewed, and taken back: a gateway, agents and a test authority over real sockets.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::acme::Authority;
use adit_examples::agent::{Event, Local, OwnDomain, certificate_path};
use adit_examples::test_authority::{TestAuthority, ValidationPorts};
use adit_naming::{CustomDomain, TunnelName};
use adit_tls_modes::{CertificateSerial, ChallengeKind, RevocationList, RevocationReason};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::time::Duration;
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw, tls_tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn hosts_at_the_edge_are_certified_by_http_01() {
    let (world, authority) = certified_world(ChallengeKind::Http01).await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let host = world.host("my-app");
    let tls = publicly_trusted(&world, &authority, &host).await;
    assert!(raw(tls, &get(&host)).await.ends_with('a'));
    let stored = certificate_path(&world.folder.0.join("gateway/edge"), &host);
    assert!(CertificateDer::pem_file_iter(stored).unwrap().count() >= 1, "kept for the next start");
}

#[tokio::test]
async fn an_agents_own_request_is_certified_by_either_challenge() {
    for challenge in [ChallengeKind::Http01, ChallengeKind::TlsAlpn01] {
        let (world, authority) = certified_world(challenge).await;
        let upstream = Greeter::start("a").await;
        let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
        agent.serving().await;
        let host = world.host("my-vault");
        let tls = publicly_trusted(&world, &authority, &host).await;
        assert!(raw(tls, &get(&host)).await.ends_with('a'));
        only_the_agent_has_its_key(&world, "my-vault");
    }
}

#[tokio::test]
async fn t49_an_agent_certifies_its_own_domain_through_the_gateway_and_no_host_of_the_zone() {
    let authority = TestAuthority::start().await.unwrap();
    let world = World::start_with(|config, _| {
        let domain = CustomDomain::parse("vault.example").unwrap();
        config.custom_domains = vec![(domain, TunnelName::parse("my-vault").unwrap())];
    })
    .await;
    look(&authority, &world);
    let roots = root_file(&authority, &world.folder.0);
    let upstream = Greeter::start("a").await;
    let local = Local {
        domain: OwnDomain {
            domain: Some("vault.example".to_owned()),
            acme_directory: Some(authority.directory().to_owned()),
            acme_roots: Some(roots),
            acme_agree_to_terms: true,
            ..OwnDomain::default()
        },
        ..Local::default()
    };
    let tunnel = tls_tunnel(upstream.address, "my-vault");
    let mut agent = Agent::start_with(tunnel, world.link(), local, &world.secret);
    agent
        .event(|event| {
            matches!(event, Event::CertificateIssued { names } if names == &["vault.example"]).then_some(())
        })
        .await;
    let tls = publicly_trusted(&world, &authority, "vault.example").await;
    assert!(raw(tls, &get("vault.example")).await.ends_with('a'));
    let by_the_zone = world.https(&world.host("my-vault")).await.unwrap();
    assert!(raw(by_the_zone, &get(&world.host("my-vault"))).await.ends_with('a'));
    only_the_agent_has_its_key(&world, "vault.example");
    // The same for a host of the zone, which the gateway could give to another tenant tomorrow.
    let mut visitor = trusting(&authority);
    visitor.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let error = world.https_with(&world.host("my-vault"), visitor).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn a_tenant_proves_no_host_of_the_zone_by_http() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let host = world.host("my-app");
    let ask = format!(
        "GET /.well-known/acme-challenge/token HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    );
    let reply = raw(world.http().await, ask.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    assert_eq!(upstream.count(), 0, "nothing reached the upstream");
}

#[tokio::test]
async fn an_agents_certificate_is_renewed_while_it_serves() {
    let world = World::start_with(|config, _| config.certificate_lifetime = Duration::from_secs(6)).await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
    agent.serving().await;
    let host = world.host("my-vault");
    let mut open = world.https(&host).await.unwrap();
    let first = seen(&open);
    let renewed = async {
        loop {
            let tls = world.https(&host).await.expect("no handshake fails meanwhile");
            if seen(&tls) != first {
                return seen(&tls);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let second = tokio::time::timeout(PATIENCE, renewed).await.expect("no new certificate");
    let file = certificate_path(&world.folder.0.join("agent"), "my-vault");
    let stored: Vec<_> = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect();
    assert!(stored.contains(&second) && !stored.contains(&first), "the store has the new one");
    open.write_all(&get(&host)).await.unwrap();
    let mut reply = String::new();
    open.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with('a'), "a connection made before goes on with the old one");
    only_the_agent_has_its_key(&world, "my-vault");
}

#[tokio::test]
async fn what_is_revoked_stands_on_the_list_that_the_gateway_serves() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
    agent.serving().await;
    let certificate = seen(&world.https(&world.host("my-vault")).await.unwrap());
    let serial = CertificateSerial::of(&certificate).unwrap();
    let before = list(&world).await;
    assert_eq!(before.reason(&serial), None);
    world.gateway.revoke(&certificate, RevocationReason::KeyCompromise).unwrap();
    let after = list(&world).await;
    assert_eq!(after.reason(&serial), Some(RevocationReason::KeyCompromise));
    assert!(after.number() > before.number());
}

async fn list(world: &World) -> RevocationList {
    RevocationList::from_crl(&world.revocation_list().await, 10).unwrap()
}

/// A gateway whose certificates come from a test authority.
async fn certified_world(challenge: ChallengeKind) -> (World, TestAuthority) {
    let authority = TestAuthority::start().await.unwrap();
    let world = World::start_with(|config, folder| {
        let acme = Authority {
            directory: authority.directory().to_owned(),
            contact: Some("mailto:ops@gateway.example".to_owned()),
            roots: Some(root_file(&authority, folder)),
            agrees_to_terms: true,
        };
        config.acme = Some((acme, challenge));
    })
    .await;
    look(&authority, &world);
    (world, authority)
}

fn look(authority: &TestAuthority, world: &World) {
    let (http, https) = (world.gateway.http_address(), world.gateway.https_address());
    authority.look_at(ValidationPorts { http, https });
}

fn root_file(authority: &TestAuthority, folder: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join("test-root.pem");
    std::fs::write(&file, authority.root_pem()).unwrap();
    file
}

/// Who trusts the test authority alone.
fn trusting(authority: &TestAuthority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(adit_examples::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A connection, once the host has a certificate by the test authority.
async fn publicly_trusted(
    world: &World,
    authority: &TestAuthority,
    host: &str,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let connect = async {
        loop {
            match world.https_with(host, trusting(authority)).await {
                Ok(tls) => return tls,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, connect).await.expect("no certificate by the test authority")
}

fn seen(tls: &tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> CertificateDer<'static> {
    tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// The private key stands in the agent's folder, closed to others, and nowhere else below the test's.
fn only_the_agent_has_its_key(world: &World, name: &str) {
    use std::os::unix::fs::PermissionsExt;

    let folder = world.folder.0.join("agent");
    let file = certificate_path(&folder, name);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let key = PrivateKeyDer::from_pem_file(&file).unwrap();
    // The secret number itself, in whatever form it is written: RFC 5915 has it as an OCTET STRING of 32.
    let der = key.secret_der();
    let at = der.windows(2).position(|tag| tag == [0x04, 0x20]).unwrap() + 2;
    let secret = &der[at..at + 32];
    let mut files = 0;
    let mut folders = vec![world.folder.0.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&content).replace('\n', "");
            let holds = content.windows(32).any(|window| window == secret)
                || pem_bodies(&text).any(|der| der.windows(32).any(|window| window == secret));
            assert_eq!(holds, path == file, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 3, "there was something to look at");
}

fn pem_bodies(text: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
    text.split("-----").filter_map(|body| data_encoding::BASE64.decode(body.as_bytes()).ok())
}
