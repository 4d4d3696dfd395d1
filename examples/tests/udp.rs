//! UDP tunnels over real sockets: honest visitors, and strangers who aren't.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Link, Terms, Tunnel, Upstream};
use adit_mux::Carrier;
use adit_router::UdpFlowLimits;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Agent, PATIENCE, World};
use tokio::net::UdpSocket;

#[tokio::test]
async fn visitors_and_a_service_exchange_datagrams_of_all_lengths() {
    let world = World::start().await;
    let upstream = Echo::start().await;
    let (_agent, public) = tunnel(&world, &upstream).await;
    let (one, two) = (visitor(public).await, visitor(public).await);
    for length in [1, 0, 1200, 1472, 16_376, 16_377, 65_507] {
        let sent = vec![7; length];
        assert_eq!(ask(&one, &sent).await, sent);
        assert_eq!(ask(&two, b"beside it").await, b"beside it");
    }
    assert_eq!(upstream.visitors(), 2, "each visitor has a socket of its own to the service");
}

#[tokio::test]
async fn datagrams_travel_on_every_carrier() {
    let world = World::start().await;
    let upstream = Echo::start().await;
    for carrier in Carrier::ALL {
        let quic_gateway = world.gateway.quic_address().map(|address| address.to_string());
        let carriers = Carriers { quic_gateway, ..Carriers::only(carrier) };
        let link = Link { carriers, ..world.link() };
        let mut agent = Agent::start(udp(&upstream, &format!("by-{carrier}"), None), link, &world.secret);
        let public = agent.serving().await[0].strip_prefix("udp://").unwrap().parse().unwrap();
        let visitor = visitor(public).await;
        // On QUIC the longer ones are records, since no datagram of it may be cut.
        for length in [1, 0, 1100, 1472, 9000, 65_507, 5] {
            let sent = vec![7; length];
            assert_eq!(ask(&visitor, &sent).await, sent, "{length} octets by {carrier}");
        }
    }
}

#[tokio::test]
async fn a_tunnel_gets_the_port_that_it_asks_for_and_keeps_it_from_others() {
    let world = World::start().await;
    let upstream = Echo::start().await;
    let mut first = world.agent(udp(&upstream, "my-game", Some(36_050)));
    assert_eq!(first.serving().await, ["udp://127.0.0.1:36050"]);
    let mut second = world.agent(udp(&upstream, "your-game", Some(36_050)));
    assert_eq!(second.stopped().await.0, "PORT_UNAVAILABLE");
    // A TCP port of the same number is another port.
    let tcp = Tunnel::Tcp {
        upstream: Upstream::from(upstream.address),
        name: Some("my-web".to_owned()),
        public_port: Some(36_050),
    };
    assert_eq!(world.agent(tcp).serving().await, ["tcp://127.0.0.1:36050"]);
    let visitor = visitor("127.0.0.1:36050".parse().unwrap()).await;
    assert_eq!(ask(&visitor, b"still there").await, b"still there");
}

#[tokio::test]
async fn m33_a_silent_visitor_is_forgotten_and_begins_anew() {
    let limits = UdpFlowLimits::new().idle_timeout(Duration::from_millis(300));
    let world = World::start_with(|config, _| config.udp_limits = limits).await;
    let upstream = Echo::start().await;
    let (_agent, public) = tunnel(&world, &upstream).await;
    let visitor = visitor(public).await;
    assert_eq!(ask(&visitor, b"one").await, b"one");
    let before = upstream.last();
    // The upstream sees another socket once the flow was forgotten.
    let forgotten = async {
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            assert_eq!(ask(&visitor, b"two").await, b"two");
            if upstream.last() != before {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the flow is forgotten");
    // What the service sends to the old flow reaches nobody: this port may be another visitor's now.
    upstream.socket.send_to(b"late", before).await.unwrap();
    assert_eq!(ask(&visitor, b"three").await, b"three");
}

#[tokio::test]
async fn m33_a_flood_of_new_visitors_displaces_the_oldest_and_never_those_that_converse() {
    let limits =
        UdpFlowLimits::new().max_flows(20).max_flows_per_address(1000).new_per_second(10_000, 10_000);
    let world = World::start_with(|config, _| config.udp_limits = limits).await;
    let upstream = Echo::start().await;
    let (_agent, public) = tunnel(&world, &upstream).await;
    let genuine = visitor(public).await;
    assert_eq!(ask(&genuine, b"hello").await, b"hello");
    assert_eq!(ask(&genuine, b"again").await, b"again");
    let mut flood = Vec::new();
    for _ in 0..200 {
        let stranger = visitor(public).await;
        stranger.send(b"flood").await.unwrap();
        flood.push(stranger);
    }
    assert_eq!(ask(&genuine, b"still here").await, b"still here");
    assert_eq!(upstream.who_asked(b"still here"), upstream.who_asked(b"hello"), "its flow is the same");
    // Whoever was displaced begins anew.
    assert_eq!(ask(&flood[0], b"me too").await, b"me too");
}

#[tokio::test]
async fn h21_an_unproven_visitor_is_sent_no_more_than_three_times_what_came() {
    let world = World::start().await;
    let upstream = Echo::answering(|_| vec![0; 1000]).await;
    let (_agent, public) = tunnel(&world, &upstream).await;
    let visitor = visitor(public).await;
    visitor.send(b"short").await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while upstream.visitors() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    // 33 octets with headers came, which pay for 99. A question that pays for its answer gets one.
    let question = vec![1; 400];
    visitor.send(&question).await.unwrap();
    assert_eq!(receive(&visitor).await.len(), 1000, "the second question is paid for");
    let nothing = tokio::time::timeout(Duration::from_millis(200), visitor.recv(&mut [0; 2000])).await;
    assert!(nothing.is_err(), "the first was not");
    // It has been heard of since it was answered, once it asks again.
    visitor.send(b"short").await.unwrap();
    assert_eq!(receive(&visitor).await.len(), 1000);
}

#[tokio::test]
async fn a_denied_visitor_begins_no_flow_and_a_running_one_ends_when_it_is_denied() {
    let world = World::start().await;
    let upstream = Echo::start().await;
    let (_agent, public) = tunnel(&world, &upstream).await;
    let visitor = visitor(public).await;
    assert_eq!(ask(&visitor, b"in").await, b"in");
    let policy = serde_json::json!({ "deny_networks": ["127.0.0.0/8"] });
    let (status, answer) = world.api("PUT", "/tunnels/my-game/policy", policy).await;
    assert_eq!(status, 200, "{answer}");
    let silent = async {
        // The running flow ends some time after the change.
        loop {
            visitor.send(b"out").await.unwrap();
            if tokio::time::timeout(Duration::from_millis(300), visitor.recv(&mut [0; 100])).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, silent).await.expect("the flow ends");
    let after = upstream.count();
    visitor.send(b"out").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), visitor.recv(&mut [0; 100])).await.is_err());
    assert_eq!(upstream.count(), after, "nothing of it reaches the service");
}

#[tokio::test]
async fn a_visitor_goes_on_with_the_next_agent_when_one_is_gone() {
    // An agent that goes waits for visits that run, and a flow runs until its visitor has been silent.
    let limits = UdpFlowLimits::new().idle_timeout(Duration::from_millis(500));
    let world = World::start_with(|config, _| config.udp_limits = limits).await;
    let upstream = Echo::start().await;
    let (mut agent, public) = tunnel(&world, &upstream).await;
    let visitor = visitor(public).await;
    assert_eq!(ask(&visitor, b"one").await, b"one");
    agent.stop.cancel();
    (&mut agent.task).await.unwrap();
    let mut next = world.agent_on(udp(&upstream, "my-game", None), Terms::default());
    assert_eq!(next.serving().await, [format!("udp://{public}")], "the port has waited");
    let again = async {
        loop {
            visitor.send(b"two").await.unwrap();
            let mut answer = [0; 100];
            if let Ok(length) =
                tokio::time::timeout(Duration::from_millis(300), visitor.recv(&mut answer)).await
            {
                return answer[..length.unwrap()].to_vec();
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, again).await.unwrap(), b"two");
}

/// A service that answers every datagram, and remembers who asked what.
struct Echo {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    seen: Arc<Mutex<Vec<Question>>>,
}

type Question = (SocketAddr, Vec<u8>);

impl Echo {
    async fn start() -> Self {
        Self::answering(<[u8]>::to_vec).await
    }

    async fn answering(answer: fn(&[u8]) -> Vec<u8>) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let (address, seen) = (socket.local_addr().unwrap(), Arc::<Mutex<Vec<Question>>>::default());
        let (served, memory) = (Arc::clone(&socket), Arc::clone(&seen));
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_535];
            loop {
                // ICMP may say that somebody has gone.
                let Ok((length, peer)) = served.recv_from(&mut buffer).await else { continue };
                memory.lock().unwrap().push((peer, buffer[..length].to_vec()));
                let _ = served.send_to(&answer(&buffer[..length]), peer).await;
            }
        });
        Self { address, socket, seen }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> SocketAddr {
        self.seen.lock().unwrap().last().unwrap().0
    }

    fn who_asked(&self, question: &[u8]) -> SocketAddr {
        self.seen.lock().unwrap().iter().find(|(_, asked)| asked == question).unwrap().0
    }

    fn visitors(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|(peer, _)| *peer).collect::<HashSet<_>>().len()
    }
}

fn udp(upstream: &Echo, name: &str, public_port: Option<u16>) -> Tunnel {
    Tunnel::Udp { upstream: Upstream::from(upstream.address), name: Some(name.to_owned()), public_port }
}

/// An agent, and where visitors go.
async fn tunnel(world: &World, upstream: &Echo) -> (Agent, SocketAddr) {
    let mut agent = world.agent(udp(upstream, "my-game", None));
    let addresses = agent.serving().await;
    (agent, addresses[0].strip_prefix("udp://").unwrap().parse().unwrap())
}

async fn visitor(public: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(public).await.unwrap();
    socket
}

/// Asks until the echo comes: UDP may lose either way, and a slow machine does. Echoes of what was asked before are passed
/// over.
async fn ask(visitor: &UdpSocket, question: &[u8]) -> Vec<u8> {
    let asking = async {
        loop {
            visitor.send(question).await.unwrap();
            let echo = async { while receive(visitor).await != question {} };
            if tokio::time::timeout(Duration::from_secs(2), echo).await.is_ok() {
                return question.to_vec();
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer")
}

async fn receive(visitor: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 65_535];
    let length = tokio::time::timeout(PATIENCE, visitor.recv(&mut answer)).await.expect("an answer").unwrap();
    answer.truncate(length);
    answer
}
