//! What a UDP tunnel adds to the time of a round trip, beside plain UDP relays.
//!
//! `cargo bench -p adit-benches --bench udp`
//!
//! A visitor asks, waits for the echo, and asks again; one datagram is on its way at a time, so this is latency and nothing
//! else. Every program has one thread: the echo, each relay, gateway and agent. The tunnel is put together from the
//! libraries as the example programs do it. Rounds are interleaved, each beginning with another contestant; a figure is a
//! median, and so are the ratios to the plain relay of the same round.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

use adit_benches::median;
use adit_mux::flow::{FlowReceiver, FlowSender, Flows};
use adit_mux::{Builder, Incoming, Role, Session};
use adit_router::{UdpAnswer, UdpFlowId, UdpFlowLimits, UdpFlows};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as Blocking};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

const ROUNDS: usize = 9;
const TRIPS: usize = 2_000;
const LENGTHS: [usize; 2] = [64, 1_200];

fn main() {
    let echo = on_a_thread(serve_echo);
    let relay = on_a_thread(move |tell| serve_relay(echo, tell));
    let second = on_a_thread(move |tell| serve_relay(echo, tell));
    let chain = on_a_thread(move |tell| serve_relay(second, tell));
    let tunnel = tunnel(echo, false);
    let secret = self::tunnel(echo, true);
    let contestants = [
        ("no relay", echo),
        ("one plain relay", relay),
        ("two plain relays", chain),
        ("tunnel, native on TCP", tunnel),
        ("tunnel, native on TLS", secret),
    ];
    for length in LENGTHS {
        compare(length, &contestants);
    }
}

fn compare(length: usize, contestants: &[(&str, SocketAddr)]) {
    let visitors: Vec<_> = contestants.iter().map(|(_, address)| visitor(*address)).collect();
    let mut figures = vec![Vec::new(); contestants.len()];
    for round in 0..=ROUNDS {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let trip = median_trip(&visitors[index], length);
            // The first round warms up.
            if round > 0 {
                figures[index].push(trip);
            }
        }
    }
    println!("\nround trip of {length} octets, median (aim: the tunnel at most x 1.5 of plain relays)");
    for ((name, _), ours) in contestants.iter().zip(&figures) {
        let ratio = |of: usize| {
            let ratios: Vec<f64> = ours.iter().zip(&figures[of]).map(|(ours, plain)| ours / plain).collect();
            median(&ratios).unwrap()
        };
        println!(
            "  {name:<24} {:>7.1} us   x {:.2} of one plain relay   x {:.2} of two",
            median(ours).unwrap(),
            ratio(1),
            ratio(2)
        );
    }
}

/// In microseconds.
fn median_trip(visitor: &Blocking, length: usize) -> f64 {
    let (question, mut answer) = (vec![7; length], vec![0; 65_535]);
    let mut trips = Vec::with_capacity(TRIPS);
    while trips.len() < TRIPS {
        let begin = Instant::now();
        visitor.send(&question).unwrap();
        // What got lost isn't counted.
        if visitor.recv(&mut answer).is_ok() {
            trips.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    }
    median(&trips).unwrap()
}

fn visitor(address: SocketAddr) -> Blocking {
    let socket = Blocking::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// Runs a program on a thread of its own; gives the address that it tells.
fn on_a_thread<F: Future<Output = ()>>(
    program: impl FnOnce(oneshot::Sender<SocketAddr>) -> F + Send + 'static,
) -> SocketAddr {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(program(tell));
    });
    told.blocking_recv().unwrap()
}

async fn bound() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn serve_echo(tell: oneshot::Sender<SocketAddr>) {
    let (socket, mut buffer) = (bound().await, vec![0; 65_535]);
    tell.send(socket.local_addr().unwrap()).unwrap();
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..length], peer).await.unwrap();
    }
}

/// The plainest relay: a socket and a task for each visitor.
async fn serve_relay(upstream: SocketAddr, tell: oneshot::Sender<SocketAddr>) {
    let (socket, mut buffer) = (Arc::new(bound().await), vec![0; 65_535]);
    tell.send(socket.local_addr().unwrap()).unwrap();
    let mut visitors: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        if let Entry::Vacant(vacant) = visitors.entry(peer) {
            let onward = Arc::new(bound().await);
            onward.connect(upstream).await.unwrap();
            vacant.insert(Arc::clone(&onward));
            let socket = Arc::clone(&socket);
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_535];
                loop {
                    let length = onward.recv(&mut buffer).await.unwrap();
                    socket.send_to(&buffer[..length], peer).await.unwrap();
                }
            });
        }
        visitors[&peer].send(&buffer[..length]).await.unwrap();
    }
}

/// A gateway and an agent, each on its thread; gives the public port.
fn tunnel(upstream: SocketAddr, has_tls: bool) -> SocketAddr {
    let (agents, public) =
        (std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), oneshot::channel());
    let address = agents.local_addr().unwrap();
    agents.set_nonblocking(true).unwrap();
    let tls = tls();
    let (acceptor, connector) = (tls.0, tls.1);
    let (tell, told) = public;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (socket, _) = TcpListener::from_std(agents).unwrap().accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            if has_tls {
                gateway(acceptor.accept(socket).await.unwrap(), tell).await;
            } else {
                gateway(socket, tell).await;
            }
        });
    });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = TcpStream::connect(address).await.unwrap();
            socket.set_nodelay(true).unwrap();
            if has_tls {
                let name = "localhost".try_into().unwrap();
                agent(connector.connect(name, socket).await.unwrap(), upstream).await;
            } else {
                agent(socket, upstream).await;
            }
        });
    });
    told.blocking_recv().unwrap()
}

/// What is kept with a visitor's flow: what comes before there is a stream, and then where it goes.
enum Kept {
    Opening(Vec<Bytes>),
    Open(FlowSender),
}

type Table = Arc<Mutex<UdpFlows<Kept>>>;

async fn gateway(io: impl AsyncRead + AsyncWrite + Send + 'static, tell: oneshot::Sender<SocketAddr>) {
    let (session, _incoming, driver) = Builder::new(Role::Listener).build(io);
    tokio::spawn(driver);
    let (flows, delivery) = Flows::new(session.clone());
    tokio::spawn(delivery);
    let (socket, mut buffer) = (Arc::new(bound().await), vec![0; 65_535]);
    let table: Table = Arc::new(Mutex::new(UdpFlows::new(UdpFlowLimits::new())));
    tell.send(socket.local_addr().unwrap()).unwrap();
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let (now, datagram) = (Instant::now(), Bytes::copy_from_slice(&buffer[..length]));
        let mut known = table.lock().unwrap();
        match known.receive(now, peer, length) {
            Some((_, Kept::Open(sender))) => drop(sender.send(datagram).unwrap()),
            Some((_, Kept::Opening(held))) => held.push(datagram),
            None => {
                let id = known.open(now, peer, length, Kept::Opening(vec![datagram])).unwrap();
                tokio::spawn(carry(
                    session.clone(),
                    flows.clone(),
                    Arc::clone(&table),
                    Arc::clone(&socket),
                    id,
                ));
            }
        }
    }
}

async fn carry(session: Session, flows: Flows, table: Table, socket: Arc<UdpSocket>, id: UdpFlowId) {
    let (sender, mut receiver) = flows.opened(session.open("udp").await.unwrap());
    if let Some(kept) = table.lock().unwrap().get_mut(id)
        && let Kept::Opening(held) = &*kept
    {
        for datagram in held {
            let _ = sender.send(datagram.clone()).unwrap();
        }
        *kept = Kept::Open(sender);
    }
    while let Some(answer) = receiver.receive().await.unwrap() {
        let verdict = table.lock().unwrap().answer(Instant::now(), id, answer.len());
        if let UdpAnswer::Send(peer) = verdict {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn agent(io: impl AsyncRead + AsyncWrite + Send + 'static, upstream: SocketAddr) {
    let (session, mut incoming, driver): (Session, Incoming, _) = Builder::new(Role::Dialler).build(io);
    tokio::spawn(driver);
    let (flows, delivery) = Flows::new(session);
    tokio::spawn(delivery);
    while let Some(stream) = incoming.accept().await {
        let (sender, receiver) = flows.accepted(stream.accept());
        tokio::spawn(serve(sender, receiver, upstream));
    }
}

async fn serve(sender: FlowSender, mut receiver: FlowReceiver, upstream: SocketAddr) {
    let (socket, mut buffer) = (bound().await, vec![0; 65_535]);
    socket.connect(upstream).await.unwrap();
    loop {
        tokio::select! {
            datagram = receiver.receive() => match datagram.unwrap() {
                Some(datagram) => drop(socket.send(&datagram).await.unwrap()),
                None => return,
            },
            length = socket.recv(&mut buffer) => {
                sender.send(Bytes::copy_from_slice(&buffer[..length.unwrap()])).unwrap();
            }
        }
    }
}

fn tls() -> (tokio_rustls::TlsAcceptor, tokio_rustls::TlsConnector) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = issued.signing_key.serialize_der();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], rustls::pki_types::PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}
