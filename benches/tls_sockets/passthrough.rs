//! A ClientHello and then bulk, through a proxy that forwards what it can't read; and short connections, where finding the
//! way is all there is.

use super::foreign::Foreign;
use super::{Figures, runtime, thread_time};
use adit_benches::hello;
use adit_tls_modes::{
    Domain, Mode, ModePolicy, NameStanding, RoomLimits, SniffLimits, SniffRoom, Sniffed, choose_mode,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const BULK_MIB: u32 = 16;
const CHUNK_BYTES: usize = 64 * 1024;
const CONNECTIONS: u32 = 20;
const ROUNDS: usize = 100;

pub(crate) fn run() {
    let sink = sink();
    let (plain, ours) = (Proxy::start(sink, false), Proxy::start(sink, true));
    let mut names = vec!["copy_bidirectional", "adit: sniff, choose, copy"];
    let mut addresses = vec![plain.address, ours.address];
    let foreign =
        [("nginx, ssl_preread", Foreign::nginx(sink)), ("HAProxy, req.ssl_sni", Foreign::haproxy(sink))];
    for (name, started) in &foreign {
        match started {
            Ok(foreign) => {
                names.push(*name);
                addresses.push(foreign.address);
            }
            Err(why) => println!("left out: {why}"),
        }
    }
    let processor = Figures::collect(&names[..2], 2 * ROUNDS, |index| {
        bulk(addresses[index]);
        [&plain, &ours][index].took() / f64::from(BULK_MIB)
    });
    processor.print("passthrough: processor time of the proxy for bulk (aim: at most x 1.05)", "us a MiB");
    Figures::collect(&names, ROUNDS, |index| bulk(addresses[index]))
        .print("passthrough: bulk after the hello, by the clock (aim: at least x 0.95)", "MiB/s");
    Figures::collect(&names, ROUNDS, |index| short(addresses[index]))
        .print("passthrough: connections of one post-quantum hello and one byte back", "a second");
}

/// Nothing is allocated for each chunk: twice the bulk, the same number of allocations.
pub(crate) fn count_allocations() {
    let count = |chunks: u32| {
        allocation_counter::measure(|| {
            runtime().block_on(async {
                let (mut visitor, gateway) = pair().await;
                let (agent, mut upstream) = pair().await;
                let forward = async {
                    let mut front = Sniffed::new(hello::post_quantum(), gateway);
                    let mut agent = agent;
                    copy_bidirectional(&mut front, &mut agent).await.unwrap();
                };
                let send = async {
                    let chunk = [7; 8_192];
                    for _ in 0..chunks {
                        tokio::io::AsyncWriteExt::write_all(&mut visitor, &chunk).await.unwrap();
                    }
                    tokio::io::AsyncWriteExt::shutdown(&mut visitor).await.unwrap();
                };
                let read = async {
                    let mut buffer = [0; 8_192];
                    while tokio::io::AsyncReadExt::read(&mut upstream, &mut buffer).await.unwrap() > 0 {}
                    drop(upstream);
                };
                tokio::join!(forward, send, read);
            });
        })
        .count_total
    };
    count(100);
    let (few, many) = (count(1_000), count(2_000));
    println!("\nallocations: {few} for 1,000 chunks, {many} for 2,000");
    assert_eq!(few, many, "something is allocated for each chunk");
}

/// MiB a second, from the connection to the end of the upload, which the server has read by then.
fn bulk(address: SocketAddr) -> f64 {
    let chunk = vec![0x17; CHUNK_BYTES];
    let begin = Instant::now();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.write_all(&hello::post_quantum()).unwrap();
    for _ in 0..BULK_MIB * 16 {
        socket.write_all(&chunk).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
    // A byte for the hello, then the end.
    socket.read_to_end(&mut Vec::new()).unwrap();
    f64::from(BULK_MIB) / begin.elapsed().as_secs_f64()
}

/// Connections a second, one after the other.
fn short(address: SocketAddr) -> f64 {
    let hello = hello::post_quantum();
    let begin = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(&hello).unwrap();
        socket.read_exact(&mut [0]).unwrap();
    }
    f64::from(CONNECTIONS) / begin.elapsed().as_secs_f64()
}

/// A server that answers the first bytes with one, reads the rest, and closes.
fn sink() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; CHUNK_BYTES];
                let mut is_first = true;
                while let Ok(count) = socket.read(&mut buffer)
                    && count > 0
                {
                    if is_first && socket.write_all(b"!").is_err() {
                        return;
                    }
                    is_first = false;
                }
            });
        }
    });
    address
}

/// A proxy in a thread of its own: ours looks at the hello, the other doesn't.
struct Proxy {
    address: SocketAddr,
    /// The thread's time so far, in microseconds, after each connection.
    times: mpsc::Receiver<f64>,
    before: std::cell::Cell<f64>,
}

impl Proxy {
    fn start(upstream: SocketAddr, ours: bool) -> Self {
        let (address, addresses) = mpsc::channel();
        let (time, times) = mpsc::channel();
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                address.send(listener.local_addr().unwrap()).unwrap();
                let room = SniffRoom::new(RoomLimits::new());
                loop {
                    let (socket, peer) = listener.accept().await.unwrap();
                    let (room, time) = (room.clone(), time.clone());
                    tokio::spawn(async move {
                        if ours {
                            pass_through(&room, socket, peer, upstream).await;
                        } else {
                            forward(socket, upstream).await;
                        }
                        // Nobody listens where only the clock counts, and then the channel takes it all the same.
                        let _ = time.send(1e6 * thread_time().as_secs_f64());
                    });
                }
            });
        });
        Self { address: addresses.recv().unwrap(), times, before: std::cell::Cell::new(0.0) }
    }

    /// What the last connection took of the thread's time, in microseconds.
    fn took(&self) -> f64 {
        let now = self.times.recv().unwrap();
        now - self.before.replace(now)
    }
}

async fn pass_through(room: &SniffRoom, socket: TcpStream, peer: SocketAddr, upstream: SocketAddr) {
    let seat = room.enter(peer.ip()).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let (hello, io) = seat.sniff(socket, SniffLimits::new(), deadline).await.unwrap();
    let mode = choose_mode(&hello, &ModePolicy::new(), |name| {
        if name.as_str() == hello::HOST {
            NameStanding::Passthrough(Domain::Zone)
        } else {
            NameStanding::Unknown
        }
    });
    if let Mode::Passthrough { .. } = mode {
        forward(io, upstream).await;
    }
}

async fn forward(
    mut visitor: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    upstream: SocketAddr,
) {
    let mut agent = TcpStream::connect(upstream).await.unwrap();
    // Visitors of short connections are gone as soon as they have their byte.
    let _ = copy_bidirectional(&mut visitor, &mut agent).await;
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}
