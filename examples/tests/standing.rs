//! What visitors meet as tunnels pause, go and come again, and when they ask one tunnel's connection for another's host.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{Greeter, PATIENCE, World, get, http_tunnel, raw, read_head, tls_tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

#[tokio::test]
async fn t30_a_passthrough_tunnel_that_is_paused_or_deleted_is_unknown_and_never_ended_at_the_edge() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
    agent.serving().await;
    let host = world.host("my-vault");
    let visit = async || {
        let io = world.https(&host).await?;
        Ok::<_, adit_examples::BoxError>(raw(io, &get(&host)).await)
    };
    assert!(visit().await.unwrap().ends_with('a'));
    for (method, path, is_served) in [
        ("POST", "/tunnels/my-vault/pause", false),
        ("POST", "/tunnels/my-vault/resume", true),
        ("DELETE", "/tunnels/my-vault", false),
        ("DELETE", "/tunnels/my-vault/force", false),
    ] {
        assert_eq!(world.api(method, path, Value::Null).await.0, 200, "{path}");
        if path.ends_with("force") {
            // Nobody's name by now, so the edge's: it has nobody behind it, and no key of the tunnel's.
            let reply = visit().await.unwrap();
            assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
        } else {
            let alert = visit().await.map_err(|error| error.to_string());
            assert_eq!(alert.is_ok(), is_served, "{path}");
            assert!(is_served || alert.unwrap_err().contains("UnrecognisedName"), "{path}");
        }
    }
    let nobody = world.host("nobody-here");
    let reply = raw(world.https(&nobody).await.unwrap(), &get(&nobody)).await;
    assert!(reply.starts_with("HTTP/1.1 404"), "a name that is no passthrough tunnel's: {reply}");
}

#[tokio::test]
async fn t32_the_gateways_own_names_are_nobodys_to_register_and_lead_to_the_gateway() {
    let world = World::start().await;
    let own = world.gateway.server_name().to_owned();
    assert_eq!(own, world.host("gateway"));
    for name in ["gateway", "webhooks"] {
        for protocol in ["http", "https"] {
            let wanted = json!({ "name": name, "protocol": protocol });
            let (status, refused) = world.api("POST", "/tunnels", wanted).await;
            assert_eq!(status, 409, "{refused}");
        }
        let mut visitor = world.visitor(None);
        visitor.alpn_protocols.clear();
        let io = world.https_with(&world.host(name), visitor).await.unwrap();
        let reply = raw(io, &get(&world.host(name))).await;
        assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    }
    // Who asks it for what agents speak is let in at the visitors' port, too.
    let mut agent = world.visitor(None);
    agent.alpn_protocols = vec![b"adit/1".to_vec()];
    let io = world.https_with(&own, agent).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"adit/1"[..]));
}

#[tokio::test]
async fn e07_open_connections_of_a_tunnel_end_when_it_is_deleted() {
    for is_passthrough in [false, true] {
        let world = World::start().await;
        let upstream = endless().await;
        let tunnel = if is_passthrough { tls_tunnel } else { http_tunnel };
        let mut agent = world.agent(tunnel(upstream, "my-app"));
        agent.serving().await;
        let host = world.host("my-app");
        let mut io = world.https(&host).await.unwrap();
        io.write_all(&get(&host)).await.unwrap();
        let head = read_head(&mut io).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(world.api("DELETE", "/tunnels/my-app", Value::Null).await.0, 200);
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, io.read_to_end(&mut rest)).await.expect("it goes on");
        assert!(end.is_err() || !rest.ends_with(b"0\r\n\r\n"), "an end that was cut off is no clean one");
    }
}

#[tokio::test]
async fn e08_a_ticket_outlives_its_tunnel_to_no_avail() {
    let world = World::start().await;
    let config = world.visitor(None);
    let create = async || world.api("POST", "/tunnels", json!({ "name": "my-app" })).await.0;
    assert_eq!(create().await, 201);
    assert_eq!(handshake(&world, "my-app", &config).await, HandshakeKind::Full);
    assert_eq!(handshake(&world, "my-app", &config).await, HandshakeKind::Resumed);
    for path in ["/tunnels/my-app", "/tunnels/my-app/force"] {
        assert_eq!(world.api("DELETE", path, Value::Null).await.0, 200);
    }
    assert_eq!(create().await, 201);
    assert_eq!(
        handshake(&world, "my-app", &config).await,
        HandshakeKind::Full,
        "another tunnel of that name"
    );
}

#[tokio::test]
async fn r11_e09_each_request_of_a_connection_is_compared_with_the_name_of_its_tls() {
    let world = World::start().await;
    let (a, b) = (Greeter::start("a").await, Greeter::start("b").await);
    let mut first = world.agent(http_tunnel(a.address, "my-app"));
    let mut second = world.agent(http_tunnel(b.address, "your-app"));
    first.serving().await;
    second.serving().await;
    let (own, other) = (world.host("my-app"), world.host("your-app"));
    let zone = world.gateway.zone();
    for (host, is_own) in [
        (own.to_uppercase(), true),
        (format!("{own}:8443"), true),
        (other.clone(), false),
        (other.to_uppercase(), false),
        (format!("{other}:443"), false),
        (format!("nobody-here.{zone}"), false),
        (zone.to_owned(), false),
    ] {
        let mut io = world.https(&own).await.unwrap();
        // The second request of a connection has to pass as well.
        io.write_all(format!("GET / HTTP/1.1\r\nhost: {own}\r\n\r\n").as_bytes()).await.unwrap();
        assert!(read_head(&mut io).await.starts_with("HTTP/1.1 200"));
        assert_eq!(io.read_u8().await.unwrap(), b'a');
        let (seen_a, seen_b) = (a.count(), b.count());
        let reply = raw(io, &get(&host)).await;
        let status = if is_own { "HTTP/1.1 200" } else { "HTTP/1.1 421" };
        assert!(reply.starts_with(status), "{host}: {reply}");
        assert_eq!((a.count() - seen_a, b.count() - seen_b), (usize::from(is_own), 0), "{host}");
    }
}

#[tokio::test]
async fn e10_a_stream_for_another_host_is_misdirected_and_the_others_go_on() {
    let world = World::start().await;
    let (a, b) = (Greeter::start("a").await, Greeter::start("b").await);
    let mut first = world.agent(http_tunnel(a.address, "my-app"));
    let mut second = world.agent(http_tunnel(b.address, "your-app"));
    first.serving().await;
    second.serving().await;
    let io = TokioIo::new(world.https_h2(&world.host("my-app")).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<Bytes>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    for (name, status, body) in
        [("my-app", 200, "a"), ("your-app", 421, ""), ("nobody-here", 421, ""), ("my-app", 200, "a")]
    {
        let uri = format!("https://{}/", world.host(name));
        let request = Request::get(uri).body(http_body_util::Empty::new()).unwrap();
        let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("no answer").unwrap();
        assert_eq!(answer.status(), status, "{name}");
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status != 200 || said == body, "{name}: {said:?}");
    }
    assert_eq!((a.count(), b.count()), (2, 0));
}

async fn handshake(world: &World, name: &str, config: &ClientConfig) -> HandshakeKind {
    let host = world.host(name);
    let mut io = world.https_with(&host, config.clone()).await.unwrap();
    io.write_all(&get(&host)).await.unwrap();
    // The tickets come with the answer, whatever that is.
    io.read_to_end(&mut Vec::new()).await.unwrap();
    io.get_ref().1.handshake_kind().unwrap()
}

/// An upstream whose answers have a beginning and no end.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            read_head(&mut socket).await;
            let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
            socket.write_all(begin).await.unwrap();
            kept.push(socket);
        }
    });
    address
}
