//! Clients that attack QUIC itself (M-25): packets that no library would send, and what a gateway does under load.

use crate::pair::End;
use crate::quic::{configs, serve};
use adit_mux::Config;
use adit_mux::carrier::quic::{ALPN, start};
use quinn::{ConnectionError, Endpoint};
use rustls::Side;
use rustls::quic::{ClientConnection, Keys, Version};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A client of which only the Initial packets exist.
struct RawClient {
    socket: UdpSocket,
    keys: Keys,
    next_packet: u8,
}

impl RawClient {
    async fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(ANY_PORT).await.unwrap();
        socket.connect(server).await.unwrap();
        let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let keys = suite.quic_suite().unwrap().keys(DESTINATION, Side::Client, Version::V1);
        Self { socket, keys, next_packet: 0 }
    }

    /// Sends one Initial packet of 1,200 octets (RFC 9000 section 17.2.2) with these frames in it.
    async fn send(&mut self, frames: &[u8]) {
        let mut header = vec![0xc3, 0, 0, 0, 1, 8];
        header.extend_from_slice(DESTINATION);
        header.extend_from_slice(&[4, b's', b'r', b'c', b'x', 0]);
        let payload_bytes = 1_200 - header.len() - 2 - 4 - 16;
        let length = u16::try_from(4 + payload_bytes + 16).unwrap() | 0x4000;
        header.extend_from_slice(&length.to_be_bytes());
        let number_at = header.len();
        header.extend_from_slice(&[0, 0, 0, self.next_packet]);
        let mut payload = frames.to_vec();
        payload.resize(payload_bytes, 0);
        let number = u64::from(self.next_packet);
        let tag = self.keys.local.packet.encrypt_in_place(number, &header, &mut payload).unwrap();
        let mut packet = [header, payload, tag.as_ref().to_vec()].concat();
        let sample = packet[number_at + 4..number_at + 20].to_vec();
        let (front, rest) = packet.split_at_mut(number_at);
        let protection = &self.keys.local.header;
        protection.encrypt_in_place(&sample, &mut front[0], &mut rest[..4]).unwrap();
        self.next_packet += 1;
        self.socket.send(&packet).await.unwrap();
    }
}

/// A CRYPTO frame at an offset below 16,384.
fn crypto(offset: u16, octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap();
    let mut frame = vec![6];
    frame.extend_from_slice(&(offset | 0x4000).to_be_bytes());
    frame.extend_from_slice(&(length | 0x4000).to_be_bytes());
    frame.extend_from_slice(octets);
    frame
}

/// What became of the next client.
async fn outcome(server: &Endpoint) -> ConnectionError {
    match server.accept().await.unwrap().accept() {
        Ok(connecting) => connecting.await.unwrap_err(),
        Err(error) => error,
    }
}

/// A client that keeps the rules still gets a session.
async fn is_alive(server: &Endpoint, client: quinn::ClientConfig) {
    let endpoint = Endpoint::client(ANY_PORT).unwrap();
    let dial = endpoint.connect_with(client, server.local_addr().unwrap(), "gateway.test").unwrap();
    let (dialled, accepted) = tokio::join!(dial, async { server.accept().await.unwrap().await });
    let agent = End::new(start(dialled.unwrap(), &Config::default()));
    let mut gateway = End::new(start(accepted.unwrap(), &Config::default()));
    let _ours = agent.session.open("alive").await.unwrap();
    assert_eq!(gateway.incoming.accept().await.unwrap().head().as_ref(), b"alive");
}

fn transport_code(error: &ConnectionError) -> u64 {
    let ConnectionError::TransportError(error) = error else { panic!("{error}") };
    u64::from(error.code)
}

#[tokio::test]
async fn m25_an_unknown_frame_closes_its_connection_and_no_other() {
    let (server, client, _) = serve(&Config::default());
    RawClient::new(server.local_addr().unwrap()).await.send(&[0x3f]).await;
    assert_eq!(transport_code(&outcome(&server).await), 0x7, "FRAME_ENCODING_ERROR");
    is_alive(&server, client).await;
}

#[tokio::test]
async fn m25_a_malformed_transport_parameter_closes_its_connection_and_no_other() {
    let (server, client, tls) = serve(&Config::default());
    // ack_delay_exponent is 20 at most (RFC 9000 section 18.2); initial_source_connection_id as it was sent.
    let parameters = [&[0x0a, 1, 21, 0x0f, 4][..], b"srcx"].concat();
    let name = "gateway.test".try_into().unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(tls, Version::V1, name, parameters).unwrap().write_hs(&mut hello);
    let mut raw = RawClient::new(server.local_addr().unwrap()).await;
    // A hello with a post-quantum share takes more than one packet.
    let pieces: Vec<_> = hello.chunks(1_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        raw.send(&crypto(u16::try_from(at * 1_000).unwrap(), piece)).await;
    }
    assert_eq!(transport_code(&outcome(&server).await), 0x8, "TRANSPORT_PARAMETER_ERROR");
    is_alive(&server, client).await;
}

#[tokio::test]
async fn m25_a_flood_of_gaps_closes_its_connection_at_a_thousand_of_them() {
    let (server, client, _) = serve(&Config::default());
    let mut raw = RawClient::new(server.local_addr().unwrap()).await;
    // Single octets with a gap behind each, 150 in a packet. quinn-proto keeps 1,024 (RUSTSEC-2026-0185).
    raw.send(&crypto(1, &[0])).await;
    let connecting = server.accept().await.unwrap().accept().unwrap();
    for packet in 0..50_u16 {
        let frames: Vec<u8> = (0..150).flat_map(|at| crypto((packet * 150 + at) * 2 + 1, &[0])).collect();
        raw.send(&frames).await;
    }
    let error = connecting.await.unwrap_err();
    assert_eq!(transport_code(&error), 0x1, "INTERNAL_ERROR: too many gaps");
    is_alive(&server, client).await;
}

#[tokio::test]
async fn m25_a_gateway_under_load_has_addresses_proved_by_retry_and_sessions_work() {
    let (server, client, _) = serve(&Config::default());
    let endpoint = Endpoint::client(ANY_PORT).unwrap();
    let dial = endpoint.connect_with(client, server.local_addr().unwrap(), "gateway.test").unwrap();
    let accept = async {
        let first = server.accept().await.unwrap();
        assert!(!first.remote_address_validated() && first.may_retry());
        first.retry().unwrap();
        let second = server.accept().await.unwrap();
        assert!(second.remote_address_validated());
        second.await.unwrap()
    };
    let (dialled, accepted) = tokio::join!(dial, accept);
    let agent = End::new(start(dialled.unwrap(), &Config::default()));
    let mut gateway = End::new(start(accepted, &Config::default()));
    let _ours = agent.session.open("x").await.unwrap();
    assert!(gateway.incoming.accept().await.is_some());
}

#[tokio::test]
async fn m25_early_data_is_refused() {
    let (server, _, tls) = serve(&Config::default());
    // A client that would like to: it asks for early data, and remembers the server.
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.enable_early_data = true;
    assert_eq!(tls.alpn_protocols, [ALPN.to_vec()]);
    let client = configs::client(tls, &Config::default());
    let endpoint = Endpoint::client(ANY_PORT).unwrap();
    for _ in 0..2 {
        let address = server.local_addr().unwrap();
        let dial = endpoint.connect_with(client.clone(), address, "gateway.test").unwrap();
        let Err(dial) = dial.into_0rtt() else { panic!("early data would be sent") };
        let (dialled, accepted) = tokio::join!(dial, async { server.accept().await.unwrap().await });
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        // The ticket comes with the first octets of the server.
        let mut stream = accepted.open_uni().await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut received = dialled.accept_uni().await.unwrap();
        received.read_exact(&mut [0]).await.unwrap();
        dialled.close(0_u8.into(), b"");
        accepted.closed().await;
    }
}

/// The connection id that the client chooses for the server, from which the keys of Initial packets come.
const DESTINATION: &[u8] = b"\x01\x02\x03\x04\x05\x06\x07\x08";
