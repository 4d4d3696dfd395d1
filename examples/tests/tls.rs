//! What the gateway does about TLS: certificates swapped while serving, certificates of visitors, load balancers in front,
//! agents without an answer.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Local, ProxyProtocol};
use adit_naming::{CustomDomain, TunnelName};
use adit_tls_modes::{ProxyHeader, ProxyVersion};
use adit_wire_proto::control::{Claim, Register, TlsMode};
use adit_wire_proto::{CloseCode, Protocol};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::time::{Duration, SystemTime};
use support::raw_agent::RawAgent;
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::test]
async fn e05_certificates_are_swapped_without_a_handshake_that_fails() {
    let world = World::start().await;
    let host = world.host("nobody-here");
    let before = certificate(&world, &host).await;
    let mut visitors = JoinSet::new();
    let (gateway, host) = (std::sync::Arc::new(world), std::sync::Arc::new(host));
    for number in 0..200 {
        let (world, host) = (std::sync::Arc::clone(&gateway), std::sync::Arc::clone(&host));
        visitors.spawn(async move {
            if number % 20 == 10 {
                world.gateway.renew_certificates().unwrap();
            }
            certificate(&world, &host).await
        });
    }
    while let Some(seen) = visitors.join_next().await {
        seen.unwrap();
    }
    assert_ne!(certificate(&gateway, &host).await, before);
}

#[tokio::test]
async fn e01_e06_certificates_of_a_folder_are_served_and_bad_ones_left_out() {
    let authority = Authority::new();
    let world = World::start_with(|config, folder| {
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).unwrap();
        config.certificates = Some(certificates);
    })
    .await;
    let (own, other) = (world.host("own"), world.host("other"));
    let file = world.folder.0.join("certificates").join("own.pem");
    let wildcard = certificate(&world, &own).await;
    let good = authority.issue(&[&own], Use::Server, 1);
    std::fs::write(&file, good.pem()).unwrap();
    world.gateway.renew_certificates().unwrap();
    assert_eq!(certificate(&world, &own).await, good.certificate, "its own before the wildcard");
    assert_ne!(certificate(&world, &other).await, good.certificate);
    let expired = authority.issue(&[&own], Use::Server, -1);
    let foreign_key = authority.issue(&[&own], Use::Server, 1).with_key_of(&good);
    for bad in [expired.pem(), foreign_key.pem(), "no certificate".to_owned()] {
        std::fs::write(&file, bad).unwrap();
        world.gateway.renew_certificates().unwrap();
        assert_eq!(certificate(&world, &own).await, good.certificate, "what was served before stays");
        assert_ne!(certificate(&world, &other).await, wildcard, "and the others are renewed");
    }
}

#[tokio::test]
async fn certificates_of_files_that_are_gone_are_served_no_longer() {
    let authority = Authority::new();
    let world = World::start_with(|config, folder| {
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).unwrap();
        config.certificates = Some(certificates);
        let domain = CustomDomain::parse("vault.example").unwrap();
        config.custom_domains = vec![(domain, TunnelName::parse("my-app").unwrap())];
    })
    .await;
    let (status, _) = world.api("POST", "/tunnels", serde_json::json!({ "name": "my-app" })).await;
    assert_eq!(status, 201);
    let folder = world.folder.0.join("certificates");
    let (own, domain) = (world.host("own"), "vault.example".to_owned());
    let first = authority.issue(&[&own, &domain], Use::Server, 1);
    let second = authority.issue(&[&domain], Use::Server, 1);
    std::fs::write(folder.join("a.pem"), first.pem()).unwrap();
    std::fs::write(folder.join("b.pem"), second.pem()).unwrap();
    world.gateway.renew_certificates().unwrap();
    assert_eq!(certificate(&world, &own).await, first.certificate);
    assert_eq!(
        certificate(&world, &domain).await,
        second.certificate,
        "of two files the last by name counts"
    );

    std::fs::remove_file(folder.join("b.pem")).unwrap();
    world.gateway.renew_certificates().unwrap();
    assert_eq!(certificate(&world, &domain).await, first.certificate, "what the other file says");
    let narrower = authority.issue(&[&own], Use::Server, 1);
    std::fs::write(folder.join("a.pem"), narrower.pem()).unwrap();
    world.gateway.renew_certificates().unwrap();
    assert_eq!(certificate(&world, &own).await, narrower.certificate);
    let unknown = world.https_with(&domain, world.visitor_of_anybody()).await.unwrap_err().to_string();
    assert!(unknown.contains("UnrecognisedName") || unknown.contains("UnrecognizedName"), "{unknown}");

    std::fs::rename(&folder, folder.with_extension("away")).unwrap();
    world.gateway.renew_certificates().unwrap();
    assert_eq!(
        certificate(&world, &own).await,
        narrower.certificate,
        "a folder that can't be read says nothing"
    );
    std::fs::rename(folder.with_extension("away"), &folder).unwrap();
    std::fs::remove_file(folder.join("a.pem")).unwrap();
    world.gateway.renew_certificates().unwrap();
    let wildcard = certificate(&world, &world.host("other")).await;
    assert_eq!(certificate(&world, &own).await, wildcard, "the gateway's own is back");
}

#[tokio::test]
async fn e08_a_session_is_resumed_by_the_same_tunnel_alone() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut first = world.agent(http_tunnel(upstream.address, "my-app"));
    let mut second = world.agent(http_tunnel(upstream.address, "your-app"));
    first.serving().await;
    second.serving().await;
    let config = world.visitor(None);
    let kind = async |name: &str| {
        let host = world.host(name);
        let mut io = world.https_with(&host, config.clone()).await.unwrap();
        io.write_all(&get(&host)).await.unwrap();
        io.read_to_end(&mut Vec::new()).await.unwrap();
        io.get_ref().1.handshake_kind().unwrap()
    };
    assert_eq!(kind("my-app").await, rustls::HandshakeKind::Full);
    assert_eq!(kind("my-app").await, rustls::HandshakeKind::Resumed);
    assert_eq!(kind("your-app").await, rustls::HandshakeKind::Full);
}

#[tokio::test]
async fn visitors_show_certificates_where_their_tunnel_asks_for_them() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let world = World::start_with(|config, folder| {
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join("clients.pem");
        std::fs::write(&file, ours.pem()).unwrap();
        config.client_ca = vec![("my-safe".to_owned(), file)];
    })
    .await;
    let upstream = Greeter::start("a").await;
    let mut safe = world.agent(http_tunnel(upstream.address, "my-safe"));
    let mut open = world.agent(http_tunnel(upstream.address, "my-app"));
    safe.serving().await;
    open.serving().await;
    let visit = async |name: &str, shown: Option<Issued>| {
        let host = world.host(name);
        let mut io = world.https_with(&host, world.visitor(shown.map(Issued::into_identity))).await.ok()?;
        let mut reply = String::new();
        io.write_all(&get(&host)).await.ok()?;
        io.read_to_string(&mut reply).await.ok()?;
        Some(reply)
    };
    assert_eq!(visit("my-safe", None).await, None);
    assert_eq!(visit("my-safe", Some(theirs.issue(&["visitor"], Use::Client, 1))).await, None);
    assert_eq!(visit("my-safe", Some(ours.issue(&["visitor"], Use::Client, -1))).await, None);
    assert_eq!(upstream.count(), 0, "nothing was forwarded");
    assert!(visit("my-safe", Some(ours.issue(&["visitor"], Use::Client, 1))).await.unwrap().ends_with('a'));
    assert!(visit("my-app", None).await.unwrap().ends_with('a'), "others are asked for none");
    world.gateway.renew_certificates().unwrap();
    assert_eq!(visit("my-safe", None).await, None, "a renewal opens no door");
}

#[tokio::test]
async fn t58_behind_a_load_balancer_visitors_are_whom_its_header_names() {
    let world = World::start_with(|config, _| config.proxy_from = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let told = Teller::start().await;
    let mut first = Agent::start_with(
        http_tunnel(told.address, "my-app"),
        world.link(),
        Local { proxy_protocol: Some(ProxyProtocol::V1), ..Local::default() },
        &world.secret,
    );
    first.serving().await;
    let header = ProxyHeader::new("203.0.113.7:4711".parse().unwrap(), "198.51.100.1:80".parse().unwrap());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let request = [header.encode(version), get(&world.host("my-app"))].concat();
        let reply = raw(world.http().await, &request).await;
        assert!(reply.contains("PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\r\n"), "{reply}");
        assert!(reply.to_ascii_lowercase().contains("x-forwarded-for: 203.0.113.7\r\n"), "{reply}");
    }
    let without = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert_eq!(without, "", "who has no header is nobody's visitor");
    let https = TcpStream::connect(world.gateway.https_address()).await.unwrap();
    assert_eq!(
        raw(https, &[&header.encode(ProxyVersion::V2)[..], b"GET / HTTP/1.1\r\n\r\n"].concat()).await,
        ""
    );
}

#[tokio::test]
async fn t58_where_load_balancers_are_elsewhere_nobody_here_is_believed() {
    let world =
        World::start_with(|config, _| config.proxy_from = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let header = ProxyHeader::new("203.0.113.7:4711".parse().unwrap(), "198.51.100.1:80".parse().unwrap());
    let request = [header.encode(ProxyVersion::V1), get(&world.host("my-app"))].concat();
    let mut io = world.http().await;
    // The gateway may have closed before all of it is written.
    let _ = io.write_all(&request).await;
    let mut reply = Vec::new();
    let _ = io.read_to_end(&mut reply).await;
    assert!(reply.is_empty());
}

#[tokio::test]
async fn t55_a_visitor_of_an_agent_without_an_answer_gets_an_alert_and_no_hang() {
    for behaviour in [Behaviour::Resets, Behaviour::Refuses, Behaviour::NeverAccepts, Behaviour::NeverAnswers]
    {
        let world = World::start_with(|config, _| config.answer_deadline = Duration::from_millis(300)).await;
        let agent = MuteAgent::start(&world, "my-vault", behaviour).await;
        let refused = tokio::time::timeout(PATIENCE, world.https(&world.host("my-vault"))).await.unwrap();
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("InternalError"), "{behaviour:?}: {error}");
        agent.abort();
    }
}

#[tokio::test]
async fn t41_t42_t53_what_follows_a_hello_is_passed_through_and_not_looked_at() {
    let world = World::start().await;
    let agent = MuteAgent::start(&world, "my-vault", Behaviour::Echoes).await;
    let other = MuteAgent::start(&world, "your-vault", Behaviour::Refuses).await;
    let mut io = TcpStream::connect(world.gateway.https_address()).await.unwrap();
    // Early data, a change of ciphers, and the second hello after a retry request, for another host.
    let early = [&[20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 5][..], b"early"].concat();
    for octets in [hello(&world, "my-vault"), early, hello(&world, "your-vault"), b"no TLS at all".to_vec()] {
        io.write_all(&octets).await.unwrap();
        let mut back = vec![0; octets.len()];
        tokio::time::timeout(PATIENCE, io.read_exact(&mut back)).await.expect("no answer").unwrap();
        assert_eq!(back, octets);
    }
    io.shutdown().await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, io.read_to_string(&mut rest)).await.expect("no end").unwrap();
    assert_eq!(rest, "the end", "who has nothing more to say still hears");
    agent.abort();
    other.abort();
}

/// What a visitor of `name` says first.
fn hello(world: &World, name: &str) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(world.host(name)).unwrap();
    let config = std::sync::Arc::new(world.visitor(None));
    let mut octets = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut octets).unwrap();
    octets
}

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Echoes,
    Resets,
    Refuses,
    NeverAccepts,
    NeverAnswers,
}

/// An agent that registers for passthrough and has no answer for anybody, or only what it hears.
struct MuteAgent;

impl MuteAgent {
    async fn start(world: &World, name: &str, behaviour: Behaviour) -> tokio::task::AbortHandle {
        let RawAgent { session, mut incoming, mut control } = RawAgent::enter(world, &world.secret).await;
        let mut register = Register::new(Protocol::HTTPS, Claim::Name(name.to_owned()));
        register.tls_mode = TlsMode::PASSTHROUGH;
        let registered = control.register(register).await.unwrap();
        let name: adit_tls_modes::ServerName = registered.certificate.names[0].parse().unwrap();
        let provider = adit_examples::provider();
        let key =
            adit_tls_modes::PrivateKey::generate(adit_tls_modes::KeyGenerator::AWS_LC_RS, &provider).unwrap();
        let request = adit_tls_modes::CertificateRequest::new(&[name], &key).unwrap();
        control.sign_csr(registered.registration, request.der().to_vec()).await.unwrap();
        tokio::spawn(async move {
            let _stay = (control, session);
            let mut kept = Vec::new();
            while let Some(visitor) = incoming.accept().await {
                match behaviour {
                    Behaviour::Echoes => {
                        tokio::spawn(async move {
                            let (mut reader, mut writer) = tokio::io::split(visitor.accept());
                            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                            writer.write_all(b"the end").await.unwrap();
                            writer.shutdown().await.unwrap();
                        });
                    }
                    Behaviour::Resets => {
                        let mut stream = visitor.accept();
                        stream.reset(CloseCode::UPSTREAM_RESET);
                        stream.stop(CloseCode::UPSTREAM_RESET);
                    }
                    Behaviour::Refuses => visitor.refuse(CloseCode::REFUSED),
                    Behaviour::NeverAccepts => kept.push((Some(visitor), None)),
                    Behaviour::NeverAnswers => kept.push((None, Some(visitor.accept()))),
                }
            }
        })
        .abort_handle()
    }
}

/// An upstream that answers with what it was sent.
struct Teller {
    address: std::net::SocketAddr,
}

impl Teller {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    while !told.ends_with(b"\r\n\r\n") {
                        if socket.read_buf(&mut told).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", told.len());
                    let _ = socket.write_all(&[head.as_bytes(), &told].concat()).await;
                });
            }
        });
        Self { address }
    }
}

async fn certificate(world: &World, host: &str) -> CertificateDer<'static> {
    let io = world.https_with(host, world.visitor_of_anybody()).await.unwrap();
    io.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// An authority for certificates of either side.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

enum Use {
    Server,
    Client,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn pem(&self) -> &str {
        &self.pem
    }

    /// Valid from ten days ago until in `days`.
    fn issue(&self, names: &[&str], purpose: Use, days: i64) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let day = Duration::from_secs(86_400);
        let end = SystemTime::now() + day * 10 - day * u32::try_from(10 - days).unwrap();
        params.not_before = (SystemTime::now() - day * 10).into();
        params.not_after = end.into();
        params.extended_key_usages = vec![match purpose {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { pem: certificate.pem(), certificate: certificate.into(), key_pem: key.serialize_pem(), key }
    }
}

struct Issued {
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: String,
    key: KeyPair,
}

impl Issued {
    fn pem(&self) -> String {
        format!("{}{}", self.pem, self.key_pem)
    }

    fn with_key_of(self, other: &Self) -> Self {
        Self { key_pem: other.key_pem.clone(), ..self }
    }

    fn into_identity(self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        (self.certificate, PrivateKeyDer::Pkcs8(self.key.serialize_der().into()))
    }
}
