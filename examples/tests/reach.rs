//! Agents that reach the tunnels of others: invisible until granted, and no longer than that.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Event, Reach, Terms, Tunnel, Upstream};
use adit_mux::Stream;
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::raw_agent::RawAgent;
use support::streaming::{CLOSED_WITHIN, Ticker};
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_private_tunnel_has_no_public_address_and_agents_of_its_owner_reach_it() {
    let world = World::start().await;
    let upstream = Greeter::start("mine").await;
    let _agent = private(&world, upstream.address).await;
    let public = raw(world.http().await, &get(&world.host("my-db"))).await;
    assert!(public.starts_with("HTTP/1.1 404"), "{public}");
    let (_, view) = world.api("GET", "/tunnels/my-db", Value::Null).await;
    assert_eq!((&view["visibility"], &view["public_addresses"]), (&json!("private"), &json!([])));

    let reach = Reach::bind("my-db", 0).await.unwrap();
    let address = reach.local_address().unwrap();
    let (stop, secret, link) = (CancellationToken::new(), world.secret.parse().unwrap(), world.link());
    let (report, mut events) = mpsc::unbounded_channel();
    let asked = stop.clone();
    let running = tokio::spawn(async move {
        reach.run(&link, &secret, &asked, move |event| drop(report.send(event))).await
    });
    let told = loop {
        if let Event::Reachable { name, address } = events.recv().await.unwrap() {
            break (name, address);
        }
    };
    assert_eq!(told, ("my-db".to_owned(), address.to_string()));
    let visitor = tokio::net::TcpStream::connect(address).await.unwrap();
    assert!(
        raw(visitor, &get("any.example")).await.ends_with("mine"),
        "no host leads there, and none is asked for"
    );
    stop.cancel();
    assert!(running.await.unwrap(), "it stops when it is asked to");
}

#[tokio::test]
async fn who_may_not_see_a_tunnel_gets_the_answer_of_one_that_is_not_there() {
    let world = World::start().await;
    let upstream = Greeter::start("mine").await;
    let _agent = private(&world, upstream.address).await;
    let (id, key) = mint(&world).await;
    let stranger = Raw::enter(&world, &key).await;
    for name in ["my-db", "no-db", "No such name!", ""] {
        assert_eq!(stranger.refusal(name).await, CloseCode::UNKNOWN_TUNNEL, "{name:?}");
    }
    // Deleted and paused are told to those who may see it.
    grant(&world, json!({ "viewers": [id] })).await;
    assert_eq!(stranger.reply("my-db").await, "mine");
    world.api("POST", "/tunnels/my-db/pause", Value::Null).await;
    assert_eq!(stranger.refusal("my-db").await, CloseCode::REFUSED);
    grant(&world, json!({})).await;
    assert_eq!(stranger.refusal("my-db").await, CloseCode::UNKNOWN_TUNNEL);
    world.api("POST", "/tunnels/my-db/resume", Value::Null).await;
    grant(&world, json!({ "organisation": true })).await;
    assert_eq!(stranger.reply("my-db").await, "mine", "every credential of this gateway");
    world.api("DELETE", "/tunnels/my-db", Value::Null).await;
    assert_eq!(stranger.refusal("my-db").await, CloseCode::UNKNOWN_TUNNEL);
    assert_eq!(upstream.count(), 2, "nothing else came that far");
}

#[tokio::test]
async fn a_grant_that_is_taken_back_ends_the_streams_that_rest_on_it_and_no_others() {
    let world = World::start().await;
    let _agent = private(&world, Ticker::start().await).await;
    let (id, key) = mint(&world).await;
    let (own, guest) = (Raw::enter(&world, &world.secret).await, Raw::enter(&world, &key).await);
    grant(&world, json!({ "viewers": [id] })).await;
    let (mut own, mut guest) = (own.streaming("my-db").await, guest.streaming("my-db").await);
    grant(&world, json!({ "viewers": [] })).await;
    let rest = tokio::time::timeout(CLOSED_WITHIN, guest.read_to_end(&mut Vec::new())).await;
    assert!(rest.expect("the stream goes on").is_err(), "cut off, not ended");
    let mut octets = [0; 5];
    tokio::time::timeout(PATIENCE, own.read_exact(&mut octets)).await.expect("nothing comes").unwrap();
    world.api("DELETE", "/tunnels/my-db", Value::Null).await;
    let rest = tokio::time::timeout(CLOSED_WITHIN, own.read_to_end(&mut Vec::new())).await;
    assert!(rest.expect("the stream goes on").is_err(), "a deleted tunnel ends its owner's, too");
}

#[tokio::test]
async fn a_public_tunnel_is_reached_by_its_owner_and_becomes_private_when_its_agent_says_so() {
    let world = World::start().await;
    let upstream = Greeter::start("both").await;
    world.agent(http_tunnel(upstream.address, "my-db")).serving().await;
    let own = Raw::enter(&world, &world.secret).await;
    assert_eq!(own.reply("my-db").await, "both");
    assert!(raw(world.http().await, &get(&world.host("my-db"))).await.ends_with("both"));
    let terms = Terms { private: true, ..Terms::default() };
    world.agent_on(http_tunnel(upstream.address, "my-db"), terms).serving().await;
    assert!(raw(world.http().await, &get(&world.host("my-db"))).await.starts_with("HTTP/1.1 404"));
    assert_eq!(own.reply("my-db").await, "both");
    // Who says nothing of it opens nothing.
    world.agent(http_tunnel(upstream.address, "my-db")).serving().await;
    assert!(raw(world.http().await, &get(&world.host("my-db"))).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_viewer_that_is_no_credential_is_refused_and_agents_grant_nothing() {
    let world = World::start().await;
    let upstream = Greeter::start("mine").await;
    let _agent = private(&world, upstream.address).await;
    for wrong in
        [json!({ "viewers": ["0123456789abcdef"] }), json!({ "viewers": ["x"] }), json!({ "all": 1 })]
    {
        let (status, answer) = world.api("PUT", "/tunnels/my-db/reach", wrong).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("VALIDATION_FAILED")), "{answer}");
    }
    let (_, key) = mint(&world).await;
    let (status, _, _) =
        world.api_as(&key, &[], "PUT", "/tunnels/my-db/reach", json!({ "organisation": true })).await;
    assert_eq!(status, 403);
    assert_eq!(Raw::enter(&world, &key).await.refusal("my-db").await, CloseCode::UNKNOWN_TUNNEL);
}

/// A private TCP tunnel `my-db`.
async fn private(world: &World, upstream: SocketAddr) -> Agent {
    let tunnel =
        Tunnel::Tcp { upstream: Upstream::from(upstream), name: Some("my-db".to_owned()), public_port: None };
    let mut agent = world.agent_on(tunnel, Terms { private: true, ..Terms::default() });
    let addresses = agent.serving().await;
    assert!(addresses.is_empty(), "{addresses:?}");
    agent
}

async fn mint(world: &World) -> (String, String) {
    world.mint(json!({ "name": "a colleague's" })).await
}

async fn grant(world: &World, document: Value) {
    let (status, answer) = world.api("PUT", "/tunnels/my-db/reach", document).await;
    assert_eq!(status, 200, "{answer}");
}

/// A session that serves nothing, so that the codes can be seen that an agent's user doesn't see.
struct Raw(RawAgent);

impl Raw {
    async fn enter(world: &World, key: &str) -> Self {
        Self(RawAgent::enter(world, key).await)
    }

    async fn open(&self, name: &str) -> Stream {
        let head = StreamHead::builder(Protocol::REACH).target(name).build().unwrap();
        self.0.session.open(head.encode()).await.unwrap()
    }

    async fn refusal(&self, name: &str) -> CloseCode {
        let mut stream = self.open(name).await;
        let read = tokio::time::timeout(PATIENCE, stream.read_chunk()).await.expect("no answer");
        read.expect_err("let through").close_code()
    }

    async fn reply(&self, name: &str) -> String {
        let reply = raw(self.open(name).await, &get("any.example")).await;
        reply.rsplit("\r\n").next().unwrap().to_owned()
    }

    async fn streaming(&self, name: &str) -> Stream {
        let mut stream = self.open(name).await;
        stream.write_all(&get("any.example")).await.unwrap();
        let mut head = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("no answer").unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    }
}
