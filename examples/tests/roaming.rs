//! Agents in networks that change their address, cut some carriers, or may forge addresses.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Event, Link};
use adit_mux::Carrier;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::network::Network;
use support::streaming::{Streaming, Ticker};
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

fn by_quic(world: &World, network: &Network) -> Link {
    let quic_gateway = Some(network.address.to_string());
    Link { carriers: Carriers { quic_gateway, ..Carriers::only(Carrier::Quic) }, ..world.link() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m25_an_agent_whose_address_changes_in_mid_download_keeps_its_session_and_registration() {
    let (world, upstream) = (World::start().await, Ticker::start().await);
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), true).await;
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), by_quic(&world, &network), &world.secret);
    agent.serving().await;
    let mut visitor = Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    for _ in 0..3 {
        network.change_address();
        let moved = Instant::now();
        // More than what was under way.
        while moved.elapsed() < Duration::from_millis(500) {
            visitor.goes_on().await;
        }
    }
    assert_eq!(network.addresses.load(Ordering::SeqCst), 4, "the gateway saw four");
    let after = world.api("GET", "/tunnels/my-app", Value::Null).await.1;
    assert_eq!((after["is_connected"].as_bool(), after["carrier"].as_str()), (Some(true), Some("quic")));
    // No other session, and so no other generation: nothing happened, as far as the agent knows.
    while let Ok(event) = agent.events.try_recv() {
        let is_news = matches!(
            event,
            Event::Moved { .. }
                | Event::Connected { .. }
                | Event::Serving { .. }
                | Event::Reconnecting { .. }
        );
        assert!(!is_news, "{event:?}");
    }
}

#[tokio::test]
async fn q25_a_crowd_of_agents_without_a_credential_has_quic_addresses_proved_by_retry() {
    for (crowd, is_asked) in [(0, true), (1_024, false)] {
        let world = World::start_with(|config, _| config.waiting_crowd = crowd).await;
        // One that waits for ever makes the crowd.
        let _waiting = TcpStream::connect(world.gateway.agent_address()).await.unwrap();
        let network = Network::in_front_of(world.gateway.quic_address().unwrap(), true).await;
        let upstream = Greeter::start("a").await;
        let tunnel = http_tunnel(upstream.address, "my-app");
        let mut agent = Agent::start(tunnel, by_quic(&world, &network), &world.secret);
        agent.serving().await;
        assert!(raw(world.http().await, &get(&world.host("my-app"))).await.ends_with('a'));
        assert_eq!(network.retries.load(Ordering::SeqCst) > 0, is_asked, "{crowd}");
    }
}

/// What a middlebox does with a connection on which HTTP/2 is offered to the gateway.
#[derive(Clone, Copy, Debug)]
enum Middlebox {
    /// It closes it when it has read the ClientHello.
    Refuses,
    /// It lets the handshake through, and cuts soon after.
    Cuts,
}

impl Middlebox {
    /// The address at which an agent finds `server` behind this.
    async fn in_front_of(self, server: SocketAddr) -> SocketAddr {
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = front.accept().await {
                tokio::spawn(self.relay(client, server));
            }
        });
        address
    }

    async fn relay(self, mut client: TcpStream, server: SocketAddr) {
        let mut hello = vec![0; 4_096];
        let length = client.read(&mut hello).await.unwrap_or(0);
        let is_h2 = hello[..length].windows(9).any(|part| part == b"adit-h2/1");
        if is_h2 && matches!(self, Self::Refuses) {
            return;
        }
        let mut behind = TcpStream::connect(server).await.unwrap();
        behind.write_all(&hello[..length]).await.unwrap();
        let life = if is_h2 { Duration::from_millis(300) } else { Duration::MAX };
        let _ = tokio::time::timeout(life, copy_bidirectional(&mut client, &mut behind)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m27_where_h2_is_refused_or_cut_the_next_carrier_serves_within_5_s_with_one_registration() {
    for middlebox in [Middlebox::Refuses, Middlebox::Cuts] {
        let (world, upstream) = (World::start().await, Greeter::start("hello").await);
        let gateway = middlebox.in_front_of(world.gateway.agent_address()).await.to_string();
        let carriers = Carriers { order: vec![Carrier::Http2, Carrier::WebSocket], ..Carriers::default() };
        let link = Link { gateway, carriers, ..world.link() };
        let begun = Instant::now();
        let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
        let is_by_websocket = async {
            let mut carrier = String::new();
            loop {
                match agent.events.recv().await.unwrap() {
                    Event::Chosen { carrier: chosen, .. } => carrier = chosen,
                    Event::Serving { .. } if carrier == "websocket" => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, is_by_websocket).await.expect("no other carrier was taken");
        // The bound is the issue's own.
        assert!(begun.elapsed() < Duration::from_secs(5), "{middlebox:?}: {:?}", begun.elapsed());
        assert!(raw(world.http().await, &get(&world.host("my-app"))).await.ends_with("hello"));
        let (_, tunnels) = world.api("GET", "/tunnels", Value::Null).await;
        let tunnels = tunnels.to_string();
        assert_eq!(tunnels.matches("\"is_connected\":true").count(), 1, "{tunnels}");
        assert_eq!(tunnels.matches("\"carrier\":\"websocket\"").count(), 1, "{tunnels}");
    }
}
