//! What only QUIC does.

use crate::pair::{End, Pair};
use adit_mux::carrier::quic::{ALPN, channel_binding, start, transport};
use adit_mux::{Config, SessionEnd, StreamError, Timeout};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::Frame;
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, VarInt};
use rustls::crypto::{CryptoProvider, ring};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The providers of cryptography that QUIC can have.
fn providers() -> [CryptoProvider; 2] {
    use rustls::crypto::aws_lc_rs;
    [ring::default_provider(), aws_lc_rs::default_provider()]
}

pub(crate) async fn pair(config: &Config) -> Pair {
    pair_by(ring::default_provider(), config).await
}

async fn pair_by(provider: CryptoProvider, config: &Config) -> Pair {
    let (near, far) = connections_by(provider, config, None).await;
    let mut agent = End::new(start(near.1, config));
    let mut gateway = End::new(start(far.1, config));
    agent.endpoint = Some(near.0);
    gateway.endpoint = Some(far.0);
    Pair { agent, gateway }
}

/// A network between the two that can be blocked.
#[derive(Clone, Default)]
struct Network {
    is_blocked: Arc<AtomicBool>,
}

impl Network {
    /// The address at which the client finds `server` behind this network.
    async fn in_front_of(&self, server: SocketAddr) -> SocketAddr {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = tokio::net::UdpSocket::bind(any_port).await.unwrap();
        let (address, is_blocked) = (socket.local_addr().unwrap(), Arc::clone(&self.is_blocked));
        tokio::spawn(async move {
            let (mut client, mut packet) = (None, vec![0; 65_536]);
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let to = if from == server { client } else { Some(server) };
                if from != server {
                    client = Some(from);
                }
                if let (Some(to), false) = (to, is_blocked.load(Ordering::Relaxed)) {
                    let _ = socket.send_to(&packet[..length], to).await;
                }
            }
        });
        address
    }
}

async fn connections(config: &Config) -> ((Endpoint, Connection), (Endpoint, Connection)) {
    connections_by(ring::default_provider(), config, None).await
}

/// A client and a server over loopback, connected.
async fn connections_by(
    provider: CryptoProvider,
    config: &Config,
    network: Option<&Network>,
) -> ((Endpoint, Connection), (Endpoint, Connection)) {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (far, client, _) = serve_by(provider, config);
    let near = Endpoint::client(any_port).unwrap();
    let mut address = far.local_addr().unwrap();
    if let Some(network) = network {
        address = network.in_front_of(address).await;
    }
    let dial = near.connect_with(client, address, "gateway.test").unwrap();
    let (dialled, accepted) = tokio::join!(dial, async { far.accept().await.unwrap().await });
    ((near, dialled.unwrap()), (far, accepted.unwrap()))
}

/// A server on loopback, and what a client needs for it.
pub(crate) fn serve(config: &Config) -> (Endpoint, ClientConfig, Arc<rustls::ClientConfig>) {
    serve_by(ring::default_provider(), config)
}

fn serve_by(
    provider: CryptoProvider,
    config: &Config,
) -> (Endpoint, ClientConfig, Arc<rustls::ClientConfig>) {
    let (any_port, provider) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::new(provider));
    let identity = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let server = configs::server(Arc::clone(&provider), &identity, config);
    let server = Endpoint::server(server, any_port).unwrap();
    let tls = configs::tls(provider, &identity);
    (server, configs::client(tls.clone(), config), Arc::new(tls))
}

/// Configurations of both sides.
pub(crate) mod configs {
    use super::*;

    type Identity = rcgen::CertifiedKey<rcgen::KeyPair>;

    pub(crate) fn server(
        provider: Arc<CryptoProvider>,
        identity: &Identity,
        config: &Config,
    ) -> ServerConfig {
        let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        server.transport_config(Arc::new(transport(config)));
        server
    }

    pub(crate) fn tls(provider: Arc<CryptoProvider>, identity: &Identity) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(identity.cert.der().clone()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls
    }

    pub(crate) fn client(tls: rustls::ClientConfig, config: &Config) -> ClientConfig {
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        client.transport_config(Arc::new(transport(config)));
        client
    }
}

/// A gateway's session, and the bare connection of an agent that the test plays.
async fn scripted() -> (End, Connection, Endpoint) {
    let config = Config::default();
    let (near, far) = connections(&config).await;
    let mut gateway = End::new(start(far.1, &config));
    gateway.endpoint = Some(far.0);
    (gateway, near.1, near.0)
}

fn octets(frame: &Frame) -> Vec<u8> {
    let mut octets = BytesMut::new();
    frame.encode(&mut octets);
    octets.to_vec()
}

/// The code with which the gateway closed.
async fn close_code(connection: &Connection) -> u64 {
    let error = connection.closed().await;
    let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    close.error_code.into_inner()
}

#[tokio::test]
async fn m25_a_session_survives_a_new_address_in_the_middle_of_a_transfer_with_either_provider() {
    for provider in providers() {
        moves_about(pair_by(provider, &Config::default()).await).await;
    }
}

async fn moves_about(mut pair: Pair) {
    let mut ours = pair.gateway.session.open("download").await.unwrap();
    let mut theirs = pair.agent.accept().await;
    let endpoint = pair.agent.endpoint.clone().unwrap();
    let before = endpoint.local_addr().unwrap();
    let sender = tokio::spawn(async move {
        for round in 0..200_u8 {
            theirs.write_all(&[round; 10_000]).await.unwrap();
            if round % 50 == 49 {
                // Another port, as a phone gets it that changes its network.
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                endpoint.rebind(socket).unwrap();
            }
        }
        theirs.shutdown().await.unwrap();
        (theirs, endpoint)
    });
    for round in 0..200_u8 {
        let mut block = vec![0; 10_000];
        ours.read_exact(&mut block).await.unwrap();
        assert!(block.iter().all(|octet| *octet == round));
    }
    assert_eq!(ours.read_chunk().await.unwrap(), None);
    let (_theirs, endpoint) = sender.await.unwrap();
    assert_ne!(endpoint.local_addr().unwrap(), before);
    assert_eq!(pair.gateway.session.end(), None);
    pair.agent.session.ping().await.unwrap();
}

#[tokio::test]
async fn m25_a_key_update_changes_nothing() {
    let config = Config::default();
    let (near, far) = connections(&config).await;
    let connection = near.1.clone();
    let agent = End::new(start(near.1, &config));
    let mut gateway = End::new(start(far.1, &config));
    let mut ours = agent.session.open("x").await.unwrap();
    let mut theirs = gateway.accept().await;
    for round in 0..3_u8 {
        connection.force_key_update();
        ours.write_all(&[round; 5_000]).await.unwrap();
        let mut block = [0; 5_000];
        theirs.read_exact(&mut block).await.unwrap();
        assert_eq!(block, [round; 5_000]);
    }
}

#[tokio::test]
async fn both_ends_export_the_same_binding_and_no_other_connection_has_it_with_either_provider() {
    for provider in providers() {
        let (near, far) = connections_by(provider.clone(), &Config::default(), None).await;
        let (other, _keep) = connections_by(provider, &Config::default(), None).await;
        let binding = channel_binding(&near.1).unwrap();
        assert_eq!(Some(binding), channel_binding(&far.1));
        assert_ne!(Some(binding), channel_binding(&other.1));
    }
}

#[tokio::test]
async fn a_head_that_comes_octet_by_octet_is_taken_and_doesnt_hold_others_up() {
    let (mut gateway, agent, _endpoint) = scripted().await;
    let (mut slow, _r) = agent.open_bi().await.unwrap();
    slow.write_all(&[0]).await.unwrap();
    let (mut quick, _r) = agent.open_bi().await.unwrap();
    quick.write_all(b"\0\x05quick").await.unwrap();
    assert_eq!(gateway.incoming.accept().await.unwrap().head().as_ref(), b"quick");
    for octet in b"\x04slow" {
        slow.write_all(&[*octet]).await.unwrap();
    }
    assert_eq!(gateway.incoming.accept().await.unwrap().head().as_ref(), b"slow");
}

#[tokio::test]
async fn a_head_over_its_limit_ends_the_session() {
    let (mut gateway, agent, _endpoint) = scripted().await;
    let (mut send, _receive) = agent.open_bi().await.unwrap();
    send.write_all(&4_097_u16.to_be_bytes()).await.unwrap();
    assert!(gateway.incoming.accept().await.is_none());
    assert_eq!(gateway.session.closed().await.close_code(), CloseCode::FRAME_TOO_LARGE);
    assert_eq!(close_code(&agent).await, u64::from(CloseCode::FRAME_TOO_LARGE.as_u32()));
}

#[tokio::test]
async fn a_head_that_ends_early_is_malformed_and_costs_its_stream_alone() {
    let (mut gateway, agent, _endpoint) = scripted().await;
    let (mut send, mut receive) = agent.open_bi().await.unwrap();
    send.write_all(b"\0\x09short").await.unwrap();
    send.finish().unwrap();
    let (mut good, _r) = agent.open_bi().await.unwrap();
    good.write_all(b"\0\x04good").await.unwrap();
    assert_eq!(gateway.incoming.accept().await.unwrap().head().as_ref(), b"good");
    let error = receive.read_to_end(10).await.unwrap_err();
    let code = VarInt::from_u32(CloseCode::MALFORMED.as_u32());
    assert_eq!(error, quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)));
}

#[tokio::test]
async fn anything_but_goaway_and_ping_on_the_control_stream_ends_the_session() {
    let stray = [
        octets(&Frame::Data { id: 1, payload: Bytes::from_static(b"x"), fin: false }),
        octets(&Frame::Close { code: CloseCode::NONE, reason: Bytes::new() }),
    ];
    for octets in stray {
        let (gateway, agent, _endpoint) = scripted().await;
        let mut control = agent.open_uni().await.unwrap();
        control.write_all(&octets).await.unwrap();
        assert_eq!(gateway.session.closed().await.close_code(), CloseCode::UNEXPECTED);
        assert_eq!(close_code(&agent).await, u64::from(CloseCode::UNEXPECTED.as_u32()));
    }
    let (gateway, agent, _endpoint) = scripted().await;
    let mut control = agent.open_uni().await.unwrap();
    control.write_all(&[0x7f, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(gateway.session.closed().await.close_code(), CloseCode::UNKNOWN_FRAME);
    let (gateway, agent, _endpoint) = scripted().await;
    let mut control = agent.open_uni().await.unwrap();
    control.write_all(&[0x8f, 0, 0, 1, 0, 0, 0, 0, 9]).await.unwrap();
    control.finish().unwrap();
    assert_eq!(gateway.session.closed().await.close_code(), CloseCode::UNEXPECTED, "it never ends");
}

#[tokio::test]
async fn sequences_of_pings_begin_above_0_and_0_is_a_broken_rule_both_ways() {
    let (gateway, agent, _endpoint) = scripted().await;
    tokio::spawn(async move { gateway.session.ping().await });
    let mut frame = [0; 16];
    agent.accept_uni().await.unwrap().read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[..8], [7, 0, 0, 8, 0, 0, 0, 0], "a PING");
    assert_ne!(frame[8..], [0; 8]);
    for ack in [false, true] {
        let (gateway, agent, _endpoint) = scripted().await;
        let mut control = agent.open_uni().await.unwrap();
        control.write_all(&octets(&Frame::Ping { sequence: 0, ack })).await.unwrap();
        assert_eq!(gateway.session.closed().await.close_code(), CloseCode::PROTOCOL);
        assert_eq!(close_code(&agent).await, u64::from(CloseCode::PROTOCOL.as_u32()));
    }
}

/// A client's configuration by which the server's control stream has room for one PING and a part of another.
fn narrow(client: &mut ClientConfig) {
    let mut narrow = transport(&Config::default());
    narrow.stream_receive_window(VarInt::from_u32(20));
    client.transport_config(Arc::new(narrow));
}

#[tokio::test]
async fn m22_a_peer_that_takes_nothing_of_the_control_stream_is_owed_one_answer_and_then_cut() {
    let config = Config::default().write_stall_timeout(Duration::from_secs(1));
    let (server, mut client, _) = serve(&config);
    narrow(&mut client);
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let dial = endpoint.connect_with(client, server.local_addr().unwrap(), "gateway.test").unwrap();
    let (agent, accepted) = tokio::join!(dial, async { server.accept().await.unwrap().await });
    let (agent, gateway) = (agent.unwrap(), End::new(start(accepted.unwrap(), &config)));
    let mut control = agent.open_uni().await.unwrap();
    for sequence in 1..=100 {
        control.write_all(&octets(&Frame::Ping { sequence, ack: false })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut theirs = agent.accept_uni().await.unwrap();
    let mut answers = Vec::new();
    while answers.last() != Some(&100) {
        let mut frame = [0; 16];
        theirs.read_exact(&mut frame).await.unwrap();
        answers.push(u64::from_be_bytes(frame[8..].try_into().unwrap()));
    }
    assert!(answers.len() < 50, "{answers:?}");
    for sequence in 101..=103 {
        control.write_all(&octets(&Frame::Ping { sequence, ack: false })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let which = Timeout::WriteStall;
    assert_eq!(gateway.session.closed().await, SessionEnd::TimedOut { which });
}

#[tokio::test]
async fn m03_a_second_control_stream_and_a_stream_over_the_limit_are_no_option() {
    let (_gateway, agent, _endpoint) = scripted().await;
    let _control = agent.open_uni().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(200), agent.open_uni()).await;
    assert!(second.is_err(), "QUIC itself holds it back");
}

#[tokio::test]
async fn datagrams_of_no_stream_are_dropped_and_counted() {
    let (gateway, agent, _endpoint) = scripted().await;
    for datagram in [&b"short"[..], &[0, 0, 0, 0, 0, 0, 0, 2, 1], &[0xff; 9]] {
        agent.send_datagram(Bytes::copy_from_slice(datagram)).unwrap();
    }
    agent.send_datagram(Bytes::from_static(b"\0\0\0\0\0\0\0\x04fine")).unwrap();
    let received = gateway.session.receive_datagram().await.unwrap();
    assert_eq!(received, (3, Bytes::from_static(b"fine")));
    assert_eq!(gateway.session.stats().datagrams_dropped, 3);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_found_dead_and_an_idle_one_is_not() {
    let config = Config::default().keepalive(Duration::from_millis(100), Duration::from_millis(300));
    let network = Network::default();
    let (near, far) = connections_by(ring::default_provider(), &config, Some(&network)).await;
    let (agent, mut gateway) = (End::new(start(near.1, &config)), End::new(start(far.1, &config)));
    let mut ours = agent.session.open("x").await.unwrap();
    let _theirs = gateway.accept().await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(gateway.session.end(), None, "idle is not dead");
    network.is_blocked.store(true, Ordering::Relaxed);
    let silence = SessionEnd::TimedOut { which: Timeout::Silence };
    assert_eq!(ours.read_chunk().await, Err(StreamError::Session(silence.clone())));
    assert_eq!(gateway.session.closed().await, silence);
    assert_eq!(agent.driver.await.unwrap(), silence);
}

#[tokio::test]
async fn an_unknown_code_of_the_peer_survives() {
    let (mut gateway, agent, _endpoint) = scripted().await;
    let (mut send, _receive) = agent.open_bi().await.unwrap();
    send.write_all(b"\0\0").await.unwrap();
    let mut stream = gateway.accept().await;
    send.reset(VarInt::from_u32(0x0012_3456)).unwrap();
    let code = CloseCode::from_u32(0x0012_3456);
    assert_eq!(stream.read_chunk().await.unwrap_err(), StreamError::Reset { code });
}
