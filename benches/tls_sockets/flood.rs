//! Half hellos from one address, and what they cost visitors from another (T-56).

use super::handshakes::{Certificate, end_at_the_edge, visit};
use super::runtime;
use adit_benches::{float, hello, percentile};
use adit_tls_modes::{Edge, RoomLimits, SniffRoom};
use rustls::ClientConfig;
use rustls::crypto::ring;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const HALF_HELLOS: usize = 10_000;
/// As many begin in each pause: 5,000 a second, evenly, since behind a burst of its own making everybody waits.
const BATCH: usize = 5;
const PAUSE: Duration = Duration::from_millis(1);
const VISITS: u32 = 3_000;
/// The visitors come from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Handshakes of one visitor: alone, while half hellos of another address come, and while they stay.
pub(crate) fn run() {
    let provider = Arc::new(ring::default_provider());
    let certificate = Certificate::new();
    let visitor = Arc::new(certificate.client_config(&provider));
    let room = SniffRoom::new(RoomLimits::new());
    let address = serve(certificate.edge(&provider), room.clone());
    (0..VISITS / 10).for_each(|_| visit(&visitor, address));
    let idle = visits(&visitor, address, |count| count < VISITS);
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || flood(address, &is_over)
    });
    let coming = visits(&visitor, address, |_| !is_over.load(Ordering::Relaxed));
    let kept = flood.join().unwrap();
    let staying = visits(&visitor, address, |count| count < VISITS);
    println!(
        "\nedge: {} half hellos of one address, and handshakes of another by its clock (aim: p99 under x 2)",
        kept.len()
    );
    for (when, [p50, p99]) in [("idle", idle), ("while they come", coming), ("while they stay", staying)] {
        println!("  {when:<28} p50 {p50:>8.1} us   p99 {p99:>8.1} us   x {:.2}", p99 / idle[1]);
    }
    println!("  {} of them were let in at a time, the others refused when accepted", room.len());
}

/// Median and 99th percentile of the handshakes, in microseconds.
fn visits(visitor: &Arc<ClientConfig>, address: SocketAddr, more: impl Fn(u32) -> bool) -> [f64; 2] {
    let mut took = Vec::new();
    for count in 0.. {
        if !more(count) {
            break;
        }
        let begin = Instant::now();
        visit(visitor, address);
        took.push(u64::try_from(begin.elapsed().as_nanos()).unwrap());
    }
    [500, 990].map(|permille| float(percentile(&mut took, permille).unwrap()) / 1e3)
}

/// An edge as a gateway has it: each connection in a task of its own, with a seat in the room until its hello is known.
fn serve(edge: Edge, room: SniffRoom) -> SocketAddr {
    let (address, addresses) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let edge = Arc::new(edge);
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                let Ok(seat) = room.enter(peer.ip()) else { continue };
                let edge = Arc::clone(&edge);
                tokio::spawn(async move { end_at_the_edge(&edge, seat, socket).await });
            }
        });
    });
    addresses.recv().unwrap()
}

/// Opens them and keeps them open.
fn flood(address: SocketAddr, is_over: &AtomicBool) -> Vec<TcpStream> {
    let half = hello::post_quantum();
    let half = &half[..half.len() / 2];
    let kept = runtime().block_on(async {
        let mut kept = Vec::with_capacity(HALF_HELLOS);
        while kept.len() < HALF_HELLOS {
            for _ in 0..BATCH {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((ATTACKER, 0).into()).unwrap();
                let mut socket = socket.connect(address).await.unwrap();
                // Refused already, if that fails.
                let _ = socket.write_all(half).await;
                kept.push(socket);
            }
            tokio::time::sleep(PAUSE).await;
        }
        kept
    });
    is_over.store(true, Ordering::Relaxed);
    kept
}
