//! QUIC through the gateway: visitors whose port changes, servers that send Retry, floods from addresses that nobody has
//! proven.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{self, Local};
use adit_examples::provider;
use adit_examples::test_nat::TestNat;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Agent, PATIENCE, World, tls_tunnel};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const SERVER_ID: &[u8] = b"chosen by server";

#[tokio::test]
async fn q27_a_visitor_whose_port_changes_in_the_handshake_stays_with_the_agent() {
    let world = World::start().await;
    let (upstream, other) = (socket().await, socket().await);
    let _agent = agent(&world, "my-vault", &upstream).await;
    let _other_agent = agent(&world, "your-vault", &other).await;
    let flight = first_flight(&world.host("my-vault")).await;
    let visitor = [socket().await, socket().await, socket().await, socket().await];
    let gateway = world.gateway.quic_address().unwrap();

    // The hello has two datagrams; the port changes between them.
    visitor[0].send_to(&flight[0], gateway).await.unwrap();
    visitor[1].send_to(&flight[1], gateway).await.unwrap();
    let (first, from) = receive(&upstream).await;
    let (second, from_next) = receive(&upstream).await;
    assert!(first == flight[0] && second == flight[1]);
    assert_ne!(from, from_next, "the server sees that the visitor's address has changed");

    let answer = long(0xc0, &[], SERVER_ID, 100);
    upstream.send_to(&answer, from_next).await.unwrap();
    assert_eq!(receive(&visitor[1]).await.0, answer, "the answer goes where the last datagram came from");

    let handshake = long(0xe0, SERVER_ID, &[], 100);
    let after = [&[0x40], SERVER_ID, &[9; 40]].concat();
    for (socket, datagram) in [(&visitor[2], handshake), (&visitor[3], after)] {
        socket.send_to(&datagram, gateway).await.unwrap();
        assert_eq!(receive(&upstream).await.0, datagram);
    }
    assert!(other.try_recv_from(&mut [0; 10]).is_err(), "nobody else's service got anything");
}

#[tokio::test]
async fn q27_a_connection_goes_on_with_its_agent_when_the_visitors_port_changes() {
    let world = World::start().await;
    let service = Service::start(&world, "my-vault", false).await;
    let nat = TestNat::start(world.gateway.quic_address().unwrap()).await.unwrap();
    let (_endpoint, connection) = connect_by(&world, "my-vault", nat.address()).await;
    let mut seen = vec![exchange(&connection).await];
    for _ in 0..3 {
        nat.forget();
        exchange(&connection).await;
        // By now the server has asked the new address to prove itself, and goes by it.
        seen.push(exchange(&connection).await);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "the server has followed the visitor: {seen:?}");
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn q26_a_servers_retry_leads_the_visitor_to_the_same_tunnel() {
    let world = World::start().await;
    let service = Service::start(&world, "my-vault", true).await;
    let other = Service::start(&world, "your-vault", true).await;
    let (_endpoint, connection) = connect(&world, "my-vault").await;
    exchange(&connection).await;
    assert_eq!((service.retries(), service.connections()), (1, 1));
    assert_eq!((other.retries(), other.connections()), (0, 0));
}

#[tokio::test]
async fn q25_a_flood_for_one_tunnel_costs_no_visitor_of_another_and_lets_good_ones_through() {
    let world = World::start_with(|config, _| config.quic_unproven = 16).await;
    let service = Service::start(&world, "my-vault", true).await;
    let quiet = socket().await;
    let _quiet_agent = agent(&world, "your-vault", &quiet).await;
    let gateway = world.gateway.quic_address().unwrap();
    let (bystander, flood) = (socket().await, socket().await);

    let flight = first_flight(&world.host("your-vault")).await;
    for datagram in &flight {
        bystander.send_to(datagram, gateway).await.unwrap();
    }
    for datagram in &flight {
        assert_eq!(&receive(&quiet).await.0, datagram);
    }
    for _ in 0..40 {
        for datagram in first_flight(&world.host("my-vault")).await {
            flood.send_to(&datagram, gateway).await.unwrap();
        }
    }
    // 0-RTT of a connection that was forgotten would be dropped: it has no hello to route it by.
    let id_end = 6 + usize::from(flight[0][5]);
    let more = long(0xd0, &flight[0][6..id_end], &[], 50);
    let arrives = async {
        loop {
            bystander.send_to(&more, gateway).await.unwrap();
            if let Ok((datagram, _)) = timeout(Duration::from_millis(200), receive(&quiet)).await {
                break datagram;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, arrives).await.expect("the bystander was pushed out"), more);

    let (_endpoint, connection) = connect(&world, "my-vault").await;
    exchange(&connection).await;
    assert_eq!(service.connections(), 1, "who flooded has no connection");
}

/// An agent of a tunnel whose QUIC goes to `upstream`.
async fn agent(world: &World, name: &str, upstream: &UdpSocket) -> Agent {
    agent_to(world, name, upstream.local_addr().unwrap()).await
}

async fn agent_to(world: &World, name: &str, upstream: SocketAddr) -> Agent {
    let local = Local { quic: Some(upstream), ..Local::default() };
    let mut agent = Agent::start_with(tls_tunnel(upstream, name), world.link(), local, &world.secret);
    agent.serving().await;
    agent
}

/// A service behind an agent that says on every stream from where it is spoken to.
struct Service {
    _agent: Agent,
    connections: Arc<AtomicUsize>,
    retries: Arc<AtomicUsize>,
}

impl Service {
    async fn start(world: &World, name: &str, sends_retry: bool) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let agent = agent_to(world, name, socket.local_addr().unwrap()).await;
        let file = agent::certificate_path(&world.link().state, name);
        let chain = CertificateDer::pem_file_iter(&file).unwrap().collect::<Result<_, _>>().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&file).unwrap())
            .unwrap();
        let config = QuicServerConfig::try_from(config).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).unwrap();
        let service = Self { _agent: agent, connections: Arc::default(), retries: Arc::default() };
        let (connections, retries) = (Arc::clone(&service.connections), Arc::clone(&service.retries));
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if sends_retry && !incoming.remote_address_validated() {
                    retries.fetch_add(1, Ordering::SeqCst);
                    incoming.retry().unwrap();
                } else {
                    tokio::spawn(serve(incoming, Arc::clone(&connections)));
                }
            }
        });
        service
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn retries(&self) -> usize {
        self.retries.load(Ordering::SeqCst)
    }
}

async fn serve(incoming: Incoming, connections: Arc<AtomicUsize>) {
    let Ok(connection) = incoming.await else { return };
    connections.fetch_add(1, Ordering::SeqCst);
    while let Ok((mut sender, mut receiver)) = connection.accept_bi().await {
        receiver.read_to_end(100).await.unwrap();
        sender.write_all(connection.remote_address().to_string().as_bytes()).await.unwrap();
        sender.finish().unwrap();
    }
}

/// A visitor of `name`, who trusts the gateway's authority.
async fn connect(world: &World, name: &str) -> (Endpoint, Connection) {
    connect_by(world, name, world.gateway.quic_address().unwrap()).await
}

async fn connect_by(world: &World, name: &str, gateway: SocketAddr) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.gateway.anchor_pem().as_bytes()).unwrap()).unwrap();
    let connecting = endpoint.connect_with(client(roots), gateway, &world.host(name)).unwrap();
    let connection = timeout(PATIENCE, connecting).await.expect("no connection").unwrap();
    (endpoint, connection)
}

/// Where the service says that the visitor is.
async fn exchange(connection: &Connection) -> String {
    let exchange = async {
        let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
        sender.write_all(b"where am I?").await.unwrap();
        sender.finish().unwrap();
        String::from_utf8(receiver.read_to_end(100).await.unwrap()).unwrap()
    };
    timeout(PATIENCE, exchange).await.expect("no answer")
}

/// The two datagrams by which a client says hello, as real ones do: with a post-quantum key share.
async fn first_flight(host: &str) -> Vec<Vec<u8>> {
    let sink = socket().await;
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting =
        endpoint.connect_with(client(rustls::RootCertStore::empty()), sink.local_addr().unwrap(), host);
    let flight = vec![receive(&sink).await.0, receive(&sink).await.0];
    drop(connecting);
    flight
}

fn client(roots: rustls::RootCertStore) -> quinn::ClientConfig {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    let (length, from) =
        timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("nothing came").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// A packet with a long header of version 1, whose `length` octets of content nobody can read.
fn long(first: u8, destination: &[u8], source: &[u8], length: u8) -> Vec<u8> {
    let id = |id: &[u8]| [&[u8::try_from(id.len()).unwrap()], id].concat();
    let token: &[u8] = if first == 0xc0 { &[0] } else { &[] };
    [
        &[first, 0, 0, 0, 1][..],
        &id(destination),
        &id(source),
        token,
        &[0x40, length],
        &vec![9; usize::from(length)],
    ]
    .concat()
}
