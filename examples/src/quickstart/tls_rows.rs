//! The checks of what a gateway does about TLS and about who visits.

use super::clients::Identity;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{self, exchange, get, text};
use super::world::start_agent;
use super::{World, http3};
use crate::BoxError;
use crate::agent::{Local, ProxyProtocol, Tunnel};
use crate::gateway::{Config, Gateway};
use crate::test_nat::TestNat;
use adit_tls_modes::{ProxyHeader, ProxyLimits, ProxyVersion, TrustedSources, read_proxy_header};
use bytes::Bytes;
use http::{Request, StatusCode};
use rustls::pki_types::CertificateDer;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many visitors set up TLS while the certificate under them is swapped.
const HANDSHAKES: usize = 200;

/// The edge's certificate is renewed while visitors come: none of them fails, and the new one is seen at once.
pub(crate) async fn certificate_swapped(world: &World) -> Outcome {
    let host = world.host(World::HTTP);
    let before = edge_certificate(world, &host).await?;
    let mut visitors = JoinSet::new();
    for number in 0..HANDSHAKES {
        let (address, host, anchor) = (world.https_address(), host.clone(), world.anchor().clone());
        visitors.spawn(async move {
            visitor::tls(visitor::connect(address).await?, &host, &anchor).await.map(drop)
        });
        if number == HANDSHAKES / 2 {
            world.renew_certificates()?;
        }
    }
    while let Some(visited) = visitors.join_next().await {
        visited??;
    }
    let after = edge_certificate(world, &host).await?;
    expect(before != after, "the new certificate is served")?;
    Ok(moved(before.len() + after.len()))
}

/// One tunnel's visitors have to show a certificate; nobody else's have to.
pub(crate) async fn mutual_tls(world: &World) -> Outcome {
    let host = world.host(World::SAFE);
    expect(visit(world, &host, None).await.is_err(), "who shows no certificate isn't let in")?;
    let body = visit(world, &host, Some(world.client()?)).await?;
    expect(body.starts_with("hello"), "who shows a good one is")?;
    let open = visit(world, &world.host(World::HTTP), None).await?;
    Ok(moved(body.len() + open.len()))
}

/// HTTP/3 with the agent's own service, over a QUIC connection that is found by the name in its encrypted first flight,
/// which nobody between reads further. The certificate that the visitor sees is the one in the agent's store, and what
/// the visitor has begun goes on when a NAT on the way gives it another port.
pub(crate) async fn http3_passthrough(world: &World) -> Outcome {
    let address = world.quic().ok_or("the gateway has no QUIC port")?;
    let host = world.host(World::TLS);
    let nat = TestNat::start(address).await?;
    let mut visitor = http3::Visitor::connect(nat.address(), &host, world.anchor()).await?;
    expect(visitor.certificate()? == world.agent_certificate()?, "the certificate seen is the agent's")?;
    let get = |host: &str, path: &str| Request::get(format!("https://{host}{path}")).body(Bytes::new());
    let (status, body) = visitor.exchange(get(&host, "/first")?).await?;
    expect(status == StatusCode::OK && body == "hello /first\n", "GET is answered by the agent's service")?;
    let (status, _) = visitor.exchange(get(&world.host(World::HTTP), "/")?).await?;
    expect(status == StatusCode::MISDIRECTED_REQUEST, "a request for another's host is answered 421")?;
    let sent = Bytes::from(vec![7; 1_000_000]);
    let (_, echo) =
        visitor.exchange(Request::post(format!("https://{host}/echo")).body(sent.clone())?).await?;
    expect(echo == sent, "what was sent comes back")?;
    nat.forget();
    let (status, moved_on) = visitor.exchange(get(&host, "/second")?).await?;
    expect(status == StatusCode::OK && moved_on == "hello /second\n", "it goes on from another port")?;
    visitor.close().await;
    let unknown = http3::Visitor::connect(address, &world.host("nobody-here"), world.anchor()).await;
    let refused = unknown.err().map(|error| error.to_string()).unwrap_or_default();
    expect(refused.contains("120"), "a name whose TLS is ended at the edge is refused with an alert")?;
    Ok(moved(body.len() + 2 * sent.len() + moved_on.len()))
}

/// Behind a load balancer the visitor is the one that its PROXY header names, and the local service is told so by another.
pub(crate) async fn proxy_protocol(world: &World) -> Outcome {
    let folder = world.folder().join("behind-a-balancer");
    let mut config = Config::on_loopback(folder.join("gateway"), (35_000, 35_999));
    config.proxy_from = vec!["127.0.0.1".parse()?];
    let gateway = Gateway::start(config).await?;
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let tunnel = Tunnel::Tcp { upstream: service.local_addr()?.into(), name: None, public_port: None };
    let local = Local { proxy_protocol: Some(ProxyProtocol::V2), ..Local::default() };
    let (agent, addresses) = start_agent(&gateway, &folder.join("agent"), tunnel, local).await?;
    let address = super::world::port_of(&addresses).ok_or("the TCP tunnel has no port")?;

    let outcome = through_a_balancer(address, &service).await;
    agent.shutdown_background();
    gateway.stop(Duration::from_secs(1)).await;
    outcome
}

async fn through_a_balancer(address: SocketAddr, service: &TcpListener) -> Outcome {
    let visitor: SocketAddr = "203.0.113.7:4711".parse()?;
    let mut balancer = TcpStream::connect(address).await?;
    let header = ProxyHeader::new(visitor, address).encode(ProxyVersion::V1);
    balancer.write_all(&[&header[..], b"hello"].concat()).await?;
    balancer.shutdown().await?;

    let (socket, agents) = service.accept().await?;
    let trusted = TrustedSources::new([agents.ip().into()]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let (told, mut io) =
        read_proxy_header(socket, agents.ip(), &trusted, ProxyLimits::new(), deadline).await?;
    let mut sent = Vec::new();
    io.read_to_end(&mut sent).await?;
    expect(told.source() == Some(visitor), "the local service is told who visits")?;
    expect(sent == b"hello", "what follows the header arrives, and nothing else")?;
    Ok(moved(header.len() + sent.len()))
}

async fn edge_certificate(world: &World, host: &str) -> Result<CertificateDer<'static>, BoxError> {
    let io = visitor::tls(world.https().await?, host, world.anchor()).await?;
    let chain = io.get_ref().1.peer_certificates();
    Ok(chain.and_then(<[_]>::first).cloned().ok_or("no certificate")?)
}

async fn visit(world: &World, host: &str, identity: Option<Identity>) -> Result<String, BoxError> {
    let io = visitor::tls_as(world.https().await?, host, world.anchor(), identity).await?;
    let response = exchange(io, get(host, "/")?).await?;
    expect_status(&response, StatusCode::OK)?;
    text(response).await
}
