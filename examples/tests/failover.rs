//! Requests under way on a session that dies.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Event, Link};
use serde_json::Value;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::network::{Network, Wire};
use support::{Agent, PATIENCE, World, http_tunnel, raw, read_head};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An upstream that leaves every request line without an answer when it comes for the first time, and answers `again` to
/// each that comes once more.
struct Forgetful {
    address: SocketAddr,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Forgetful {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, lines) = mpsc::unbounded_channel();
        let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (tell, seen) = (tell.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let head = read_head(&mut socket).await;
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    let is_first = seen.lock().unwrap().insert(line.clone());
                    tell.send(line).unwrap();
                    if is_first {
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain").await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { address, lines }
    }

    /// The next so many request lines, in no order.
    async fn reached_by(&mut self, count: usize) -> HashSet<String> {
        let mut lines = HashSet::new();
        for _ in 0..count {
            let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("no request comes");
            lines.insert(line.unwrap().replace(" HTTP/1.1", ""));
        }
        lines
    }
}

/// A visit whose request has so long a body, all of which is sent.
async fn visit(world: &World, method: &str, path: &str, body: &str) -> JoinHandle<String> {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let host = world.host("my-app");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n");
    let request = format!("{head}connection: close\r\n{length}\r\n{body}");
    let socket = world.http().await;
    tokio::spawn(async move { raw(socket, request.as_bytes()).await })
}

fn code(reply: &str) -> (&str, String) {
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    (head.split(' ').nth(1).unwrap(), body["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m27_a_request_on_a_udp_path_that_dies_is_answered_by_the_next_session() {
    let world = World::start().await;
    let mut upstream = Forgetful::start().await;
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), true).await;
    let quic_gateway = Some(network.address.to_string());
    let link = Link { carriers: Carriers { quic_gateway, ..Carriers::default() }, ..world.link() };
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    let carrier = agent.event(|event| match event {
        Event::Chosen { carrier, .. } => Some(carrier.clone()),
        _ => None,
    });
    assert_eq!(carrier.await, "quic");
    agent.serving().await;
    let (safe, once) = (visit(&world, "GET", "/safe", "").await, visit(&world, "POST", "/once", "").await);
    upstream.reached_by(2).await;

    // Not a word of the old session's end comes through: it lives for half a minute more.
    network.open(false);
    assert!(safe.await.unwrap().ends_with("again"));
    assert!(!once.is_finished(), "what may be acted upon once only waits for its own session");
    assert_eq!(upstream.reached_by(1).await, HashSet::from(["GET /safe".to_owned()]));
    assert!(upstream.lines.try_recv().is_err(), "nothing else came twice");
    once.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_a_session_that_is_cut_are_repeated_where_that_is_safe_and_else_refused() {
    let world = World::start().await;
    let mut upstream = Forgetful::start().await;
    let wire = Wire::in_front_of(world.gateway.agent_address()).await;
    let link = Link { gateway: wire.address.to_string(), ..world.link() };
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    agent.serving().await;
    let safe = [
        visit(&world, "GET", "/get", "").await,
        visit(&world, "DELETE", "/delete", "").await,
        visit(&world, "PUT", "/empty", "").await,
    ];
    let not_safe = [
        visit(&world, "POST", "/post", "").await,
        visit(&world, "POST", "/body", "body").await,
        // Its body is gone with the first session.
        visit(&world, "PUT", "/put", "body").await,
    ];
    upstream.reached_by(6).await;
    wire.cut();
    for visit in safe {
        let reply = visit.await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("again"), "{reply}");
    }
    for visit in not_safe {
        assert_eq!(code(&visit.await.unwrap()), ("502", "AGENT_DISCONNECTED".to_owned()));
    }
    let repeated = ["GET /get", "DELETE /delete", "PUT /empty"].map(str::to_owned);
    assert_eq!(upstream.reached_by(3).await, HashSet::from(repeated));
    assert!(upstream.lines.try_recv().is_err(), "nothing else came twice");
}

#[tokio::test]
async fn a_request_whose_agent_does_not_come_back_is_refused_in_time() {
    let world = World::start().await;
    let mut upstream = Forgetful::start().await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let visit = visit(&world, "GET", "/", "").await;
    upstream.reached_by(1).await;
    agent.task.abort();
    assert_eq!(code(&visit.await.unwrap()), ("502", "AGENT_DISCONNECTED".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_ends_every_session_is_not_repeated_for_ever() {
    let world = World::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let wire = Wire::in_front_of(world.gateway.agent_address()).await;
    let link = Link { gateway: wire.address.to_string(), ..world.link() };
    let tunnel = http_tunnel(listener.local_addr().unwrap(), "my-app");
    let mut agent = Agent::start(tunnel, link, &world.secret);
    agent.serving().await;
    let mut visit = visit(&world, "GET", "/poison", "").await;
    let mut upstreams = Vec::new();
    let reply = loop {
        tokio::select! {
            reply = &mut visit => break reply.unwrap(),
            accepted = listener.accept() => {
                // Read before the session is cut: otherwise the agent may not have got it. And open still: an upstream that
                // closes without a word is another failure.
                let (mut socket, _) = accepted.unwrap();
                read_head(&mut socket).await;
                upstreams.push(socket);
                wire.cut();
            }
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("it is repeated no more, and not answered"),
        }
    };
    assert_eq!(code(&reply), ("502", "AGENT_DISCONNECTED".to_owned()));
    assert_eq!(upstreams.len(), 3);
}
