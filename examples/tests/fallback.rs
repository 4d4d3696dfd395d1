//! An agent in a network that lets UDP through at times.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Event, Link, Reach, statuses};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::network::{Network, Wire};
use support::{Agent, PATIENCE, World, get, http_tunnel, raw, read_head};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// An upstream that answers at once, or for `/slow` once it is told to.
async fn upstream(release: Arc<Notify>, is_reached: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (release, is_reached) = (Arc::clone(&release), Arc::clone(&is_reached));
            tokio::spawn(async move {
                if read_head(&mut socket).await.starts_with("GET /slow") {
                    is_reached.notify_one();
                    release.notified().await;
                }
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                let _ = socket.shutdown().await;
            });
        }
    });
    address
}

fn link(world: &World, network: &Network) -> Link {
    let probe = Duration::from_millis(300);
    let carriers = Carriers { quic_gateway: Some(network.address.to_string()), probe, ..Carriers::default() };
    Link { carriers, ..world.link() }
}

async fn chosen(agent: &mut Agent) -> (String, Vec<(String, String)>) {
    agent
        .event(|event| match event {
            Event::Chosen { carrier, others, .. } => Some((carrier.clone(), others.clone())),
            _ => None,
        })
        .await
}

async fn moved(agent: &mut Agent) -> (String, String) {
    agent
        .event(|event| match event {
            Event::Moved { from, to, .. } => Some((from.clone(), to.clone())),
            _ => None,
        })
        .await
}

/// Visits without a pause until it is told to stop; gives how many there were, of which none was lost.
struct Visitors {
    count: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Visitors {
    fn start(http: SocketAddr, request: Vec<u8>) -> Self {
        let (count, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, over) = (Arc::clone(&count), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let socket = TcpStream::connect(http).await.unwrap();
                let reply = raw(socket, &request).await;
                assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("hello"), "lost: {reply}");
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { count, is_over, task }
    }

    /// Waits for so many more visits.
    async fn more(&self, visits: usize) {
        let aim = self.count.load(Ordering::SeqCst) + visits;
        let wait = async {
            while self.count.load(Ordering::SeqCst) < aim && !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("visits stopped");
    }

    async fn stop(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.count.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m27_without_udp_the_agent_falls_back_and_returns_to_quic_without_a_lost_request() {
    let world = World::start().await;
    let (release, is_reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = upstream(Arc::clone(&release), Arc::clone(&is_reached)).await;
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), false).await;
    let link = link(&world, &network);
    let begun = Instant::now();
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), link.clone(), &world.secret);

    // The fallback serves before QUIC was given up, which takes twice the five seconds there are.
    let (carrier, others) = chosen(&mut agent).await;
    assert_eq!(carrier, "native");
    assert_eq!(others[0], ("quic".to_owned(), "no answer yet".to_owned()));
    agent.serving().await;
    // The bound is the issue's own.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let request = get(&world.host("my-app"));
    let visitors = Visitors::start(world.gateway.http_address(), request.clone());
    let slow = String::from_utf8(request).unwrap().replacen("GET /", "GET /slow", 1).into_bytes();
    let http = world.http().await;
    let slow = tokio::spawn(async move { raw(http, &slow).await });
    is_reached.notified().await;
    visitors.more(20).await;
    let blocked = network.dropped.load(Ordering::SeqCst);
    assert!(blocked > 0, "QUIC was tried");

    network.open(true);
    assert_eq!(moved(&mut agent).await, ("native".to_owned(), "quic".to_owned()));
    visitors.more(20).await;
    // What had begun on the old session ends there.
    release.notify_one();
    assert!(slow.await.unwrap().ends_with("hello"));
    visitors.more(1).await;
    let visits = visitors.stop().await;
    assert!(visits > 40);

    let (_, tunnels) = world.api("GET", "/tunnels", Value::Null).await;
    assert_eq!(
        tunnels.to_string().matches("\"is_connected\":true").count(),
        1,
        "one registration only: {tunnels}"
    );
    assert!(tunnels.to_string().contains("\"carrier\":\"quic\""), "{tunnels}");
    let status = &statuses(&link).unwrap()[0];
    assert_eq!((status.carrier.as_deref(), status.tunnel.as_deref()), (Some("quic"), Some("my-app")));
    assert_eq!(status.reason.as_deref(), Some("preferred, answers again"));
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    assert!(statuses(&link).unwrap().is_empty(), "the status goes with its agent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_udp_is_blocked_is_left_for_another_carrier_before_it_is_lost() {
    let world = World::start().await;
    let upstream = upstream(Arc::new(Notify::new()), Arc::new(Notify::new())).await;
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), true).await;
    let tunnel = http_tunnel(upstream, "my-app");
    let mut agent = Agent::start(tunnel, link(&world, &network), &world.secret);
    assert_eq!(chosen(&mut agent).await.0, "quic");
    agent.serving().await;
    let request = get(&world.host("my-app"));
    assert!(raw(world.http().await, &request).await.ends_with("hello"));

    network.open(false);
    let (from, to) = moved(&mut agent).await;
    assert_eq!(from, "quic");
    assert_ne!(to, "quic");
    assert!(raw(world.http().await, &request).await.ends_with("hello"));

    network.open(true);
    assert_eq!(moved(&mut agent).await.1, "quic");
    assert!(raw(world.http().await, &request).await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m27_what_worked_is_asked_first_after_a_restart_of_the_agent() {
    let world = World::start().await;
    let upstream = upstream(Arc::new(Notify::new()), Arc::new(Notify::new())).await;
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), false).await;
    let link = link(&world, &network);
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), link.clone(), &world.secret);
    assert_eq!(chosen(&mut agent).await.0, "native");
    agent.serving().await;
    let memory = link.state.join("carrier.json");
    let written = async {
        while !memory.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("nothing is remembered");
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());

    // Nobody else is asked before this has passed.
    let patient = Carriers { head_start: PATIENCE, ..link.carriers.clone() };
    let link = Link { carriers: patient, ..link };
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), link.clone(), &world.secret);
    let (carrier, others) = chosen(&mut agent).await;
    assert_eq!(
        (carrier.as_str(), others[0].clone()),
        ("native", ("quic".to_owned(), "not asked".to_owned()))
    );
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());

    std::fs::write(&memory, b"{ damaged").unwrap();
    network.open(true);
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), link, &world.secret);
    assert_eq!(chosen(&mut agent).await.0, "quic", "in the order of the command line");
    agent.serving().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m27_reach_moves_to_another_carrier_and_back_and_its_connections_go_on() {
    let world = World::start().await;
    let upstream = upstream(Arc::new(Notify::new()), Arc::new(Notify::new())).await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    let network = Network::in_front_of(world.gateway.quic_address().unwrap(), true).await;
    let (reach, stop) = (Reach::bind("my-app", 0).await.unwrap(), CancellationToken::new());
    let (address, link) = (reach.local_address().unwrap(), link(&world, &network));
    let (report, mut events) = mpsc::unbounded_channel();
    let (asked, secret, state) = (stop.clone(), world.secret.parse().unwrap(), link.clone());
    let running = tokio::spawn(async move {
        reach.run(&link, &secret, &asked, move |event| drop(report.send(event))).await
    });
    let moved = async |events: &mut mpsc::UnboundedReceiver<Event>| loop {
        if let Event::Moved { from, to, .. } = events.recv().await.unwrap() {
            return (from, to);
        }
    };
    let reply = async || raw(TcpStream::connect(address).await.unwrap(), &get("any.example")).await;
    assert!(reply().await.ends_with("hello"));
    let status = statuses(&state).unwrap();
    assert!(status.iter().any(|status| status.carrier.as_deref() == Some("quic")), "{status:?}");

    network.open(false);
    let (from, to) = tokio::time::timeout(PATIENCE, moved(&mut events)).await.expect("it stays");
    assert_eq!((from.as_str(), to.as_str()), ("quic", "native"));
    assert!(reply().await.ends_with("hello"));
    // One that is open stays where it is while others begin elsewhere.
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    network.open(true);
    let (from, to) = tokio::time::timeout(PATIENCE, moved(&mut events)).await.expect("it doesn't return");
    assert_eq!((from.as_str(), to.as_str()), ("native", "quic"));
    assert!(reply().await.ends_with("hello"));
    assert!(raw(open, b"host: any.example\r\n\r\n").await.ends_with("hello"));
    stop.cancel();
    assert!(running.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reach_dials_again_when_its_session_is_cut() {
    let world = World::start().await;
    let upstream = upstream(Arc::new(Notify::new()), Arc::new(Notify::new())).await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    let wire = Wire::in_front_of(world.gateway.agent_address()).await;
    let link = Link { gateway: wire.address.to_string(), ..world.link() };
    let (reach, stop) = (Reach::bind("my-app", 0).await.unwrap(), CancellationToken::new());
    let (address, secret, asked) =
        (reach.local_address().unwrap(), world.secret.parse().unwrap(), stop.clone());
    let (report, mut events) = mpsc::unbounded_channel();
    let running = tokio::spawn(async move {
        reach.run(&link, &secret, &asked, move |event| drop(report.send(event))).await
    });
    for _ in 0..3 {
        let reachable = async { while !matches!(events.recv().await.unwrap(), Event::Reachable { .. }) {} };
        tokio::time::timeout(PATIENCE, reachable).await.expect("it doesn't come back");
        let reply = raw(TcpStream::connect(address).await.unwrap(), &get("any.example")).await;
        assert!(reply.ends_with("hello"), "{reply}");
        wire.cut();
    }
    stop.cancel();
    assert!(running.await.unwrap());
}
