//! Ports of `auto` tunnels: what visitors speak is told from their first octets, and nobody gets around a rule by it.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Tunnel, Upstream};
use adit_router::Detector;
use adit_wire_proto::control::{Claim, Register};
use adit_wire_proto::{Protocol, StreamHead};
use serde_json::json;
use std::net::SocketAddr;
use support::raw_agent::RawAgent;
use support::{PATIENCE, Script, World, get, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[tokio::test]
async fn each_visitor_of_an_auto_port_is_treated_as_what_it_speaks() {
    let world = patient().await;
    let mut agent = Watcher::start(&world).await;
    for (first, expected) in [
        (&b"GET / HTTP/1.1\r\nhost: any.example\r\n\r\n"[..], Protocol::HTTP),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Protocol::HTTP),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", Protocol::HTTPS),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol::SSH),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Protocol::TCP),
        (b"*1\r\n$4\r\nPING\r\n", Protocol::TCP),
        (b"nothing that anybody knows\n", Protocol::TCP),
    ] {
        let mut visitor = TcpStream::connect(agent.port).await.unwrap();
        visitor.write_all(first).await.unwrap();
        if expected == Protocol::HTTP && first.starts_with(b"PRI") {
            // What follows the preface: a request in HPACK's static table and literals (RFC 7541 §6.2.2).
            visitor.write_all(H2_REQUEST).await.unwrap();
        }
        let head = agent.head().await;
        let shown = String::from_utf8_lossy(first).into_owned();
        assert_eq!(head.protocol(), expected, "{shown}");
        assert_eq!(head.port(), Some(agent.port.port()), "{shown}");
        assert_eq!(head.visitor(), Some(visitor.local_addr().unwrap()), "{shown}");
        let octets = agent.octets().await;
        if expected == Protocol::HTTP {
            assert!(octets.starts_with(b"GET / HTTP/1.1\r\n"), "{shown}");
        } else {
            assert_eq!(octets, first, "what was looked at is not lost, and nothing is added");
        }
    }
}

#[tokio::test]
async fn http_on_an_auto_port_is_screened_and_told_who_visits_as_on_the_http_port() {
    let world = patient().await;
    let upstream = Script::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let (port, host) = start(&world, upstream.address).await;
    for visitor in [TcpStream::connect(port).await.unwrap(), world.http().await] {
        let request = format!(
            "GET /x HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: 203.0.113.7\r\nconnection: close\r\n\r\n"
        );
        assert!(raw(visitor, request.as_bytes()).await.ends_with("ok"));
        let head = upstream.last().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n") && !head.contains("203.0.113.7"), "{head}");
    }
    let by_address = raw(TcpStream::connect(port).await.unwrap(), &get(&port.to_string())).await;
    assert!(by_address.ends_with("ok"), "the port leads there, whatever the host says: {by_address}");
    let twice = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let refused = raw(TcpStream::connect(port).await.unwrap(), twice.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn rules_about_requests_hold_on_an_auto_port_and_nothing_unread_gets_around_them() {
    let world = patient().await;
    let upstream = Script::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let (port, _) = start(&world, upstream.address).await;
    let rules = json!({ "deny_paths": ["/admin"] });
    assert_eq!(world.api("PUT", "/tunnels/my-any/policy", rules).await.0, 200);
    let ask = async |octets: &[u8]| {
        let mut visitor = TcpStream::connect(port).await.unwrap();
        visitor.write_all(octets).await.unwrap();
        let mut reply = Vec::new();
        // A reset is an answer, too.
        let _ = tokio::time::timeout(PATIENCE, visitor.read_to_end(&mut reply)).await.expect("no end");
        String::from_utf8(reply).unwrap()
    };
    assert!(ask(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await.ends_with("ok"));
    let denied = ask(b"GET /admin HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
    assert!(denied.starts_with("HTTP/1.1 403"), "{denied}");
    // Not HTTP to us, and perhaps to the upstream.
    for odd in [
        &b"\r\nGET /admin HTTP/1.1\r\nhost: a.example\r\n\r\n"[..],
        b"GET\t/admin HTTP/1.1\r\nhost: a.example\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ] {
        assert_eq!(ask(odd).await, "", "{}", String::from_utf8_lossy(odd));
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn who_waits_for_the_server_to_speak_hears_it() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, _) = start(&world, listener.local_addr().unwrap()).await;
    let mut visitor = TcpStream::connect(port).await.unwrap();
    let (mut server, _) =
        tokio::time::timeout(PATIENCE, listener.accept()).await.expect("nobody came").unwrap();
    server.write_all(b"220 ready\r\n").await.unwrap();
    let mut greeting = [0; 11];
    tokio::time::timeout(PATIENCE, visitor.read_exact(&mut greeting)).await.expect("no greeting").unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    visitor.write_all(b"QUIT\r\n").await.unwrap();
    let mut quit = [0; 6];
    tokio::time::timeout(PATIENCE, server.read_exact(&mut quit)).await.expect("nothing said").unwrap();
    assert_eq!(&quit, b"QUIT\r\n");
}

/// A gateway that takes nobody for silent who is slow.
async fn patient() -> World {
    World::start_with(|config, _| config.detector = Detector::new().patience(PATIENCE)).await
}

/// An `auto` tunnel `my-any`; gives its port and its host.
async fn start(world: &World, upstream: SocketAddr) -> (SocketAddr, String) {
    let tunnel = Tunnel::Auto {
        upstream: Upstream::from(upstream),
        name: Some("my-any".to_owned()),
        public_port: None,
    };
    let addresses = world.agent(tunnel).serving().await;
    let host = world.host("my-any");
    assert!(addresses[1].contains(&host), "by host, too: {addresses:?}");
    (addresses[0].strip_prefix("tcp://").unwrap().parse().unwrap(), host)
}

/// An agent that tells what head each stream has, and its first octets.
struct Watcher {
    port: SocketAddr,
    heads: mpsc::UnboundedReceiver<StreamHead>,
    octets: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Watcher {
    async fn start(world: &World) -> Self {
        let RawAgent { session, mut incoming, mut control } = RawAgent::enter(world, &world.secret).await;
        let wanted = Register::new(Protocol::AUTO, Claim::Name("my-any".to_owned()));
        let registered = control.register(wanted).await.unwrap();
        let port = registered.addresses[0].strip_prefix("tcp://").unwrap().parse().unwrap();
        let (tell, heads) = mpsc::unbounded_channel();
        let (show, octets) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let _stay = (control, session);
            let mut open = Vec::new();
            while let Some(visitor) = incoming.accept().await {
                let head = StreamHead::decode(visitor.head().clone()).unwrap();
                tell.send(head).unwrap();
                let mut stream = visitor.accept();
                show.send(stream.read_chunk().await.unwrap().unwrap_or_default().to_vec()).unwrap();
                open.push(stream);
            }
        });
        Self { port, heads, octets }
    }

    async fn head(&mut self) -> StreamHead {
        tokio::time::timeout(PATIENCE, self.heads.recv()).await.expect("no stream").unwrap()
    }

    async fn octets(&mut self) -> Vec<u8> {
        tokio::time::timeout(PATIENCE, self.octets.recv()).await.expect("no octets").unwrap()
    }
}

/// HEADERS of stream 1 with its end: `:method GET`, `:scheme http`, `:path /`, `:authority any.example`.
const H2_REQUEST: &[u8] = b"\0\0\x10\x01\x05\0\0\0\x01\x82\x86\x84\x41\x0bany.example";
