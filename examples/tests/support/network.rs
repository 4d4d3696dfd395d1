//! What is between an agent and its gateway, to be taken away in the middle of things.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

/// A TCP relay in front of the gateway whose connections can be cut.
pub struct Wire {
    pub address: SocketAddr,
    relays: Arc<Mutex<JoinSet<()>>>,
}

impl Wire {
    pub async fn in_front_of(server: SocketAddr) -> Self {
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let wire = Self { address: front.local_addr().unwrap(), relays: Arc::default() };
        let relays = Arc::clone(&wire.relays);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = front.accept().await {
                relays.lock().unwrap().spawn(async move {
                    let mut behind = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut behind).await;
                });
            }
        });
        wire
    }

    /// Cuts every connection that there is; new ones are let through.
    pub fn cut(&self) {
        self.relays.lock().unwrap().abort_all();
    }
}

/// A UDP relay in front of the gateway that can be blocked; each client has a port of its own behind it.
pub struct Network {
    pub address: SocketAddr,
    is_open: Arc<AtomicBool>,
    pub dropped: Arc<AtomicUsize>,
    /// The Retry packets of the server (RFC 9000 section 17.2.5).
    pub retries: Arc<AtomicUsize>,
    /// From how many addresses clients came to the server.
    pub addresses: Arc<AtomicUsize>,
    behind: Arc<Mutex<HashMap<SocketAddr, Behind>>>,
}

/// A client's own socket behind the network, and the task that brings it what comes there.
struct Behind {
    socket: Arc<UdpSocket>,
    answers: AbortHandle,
}

impl Network {
    pub async fn in_front_of(server: SocketAddr, is_open: bool) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let network = Self {
            address: front.local_addr().unwrap(),
            is_open: Arc::new(AtomicBool::new(is_open)),
            dropped: Arc::default(),
            retries: Arc::default(),
            addresses: Arc::default(),
            behind: Arc::default(),
        };
        let (is_open, dropped) = (Arc::clone(&network.is_open), Arc::clone(&network.dropped));
        let (retries, addresses) = (Arc::clone(&network.retries), Arc::clone(&network.addresses));
        let behind = Arc::clone(&network.behind);
        tokio::spawn(async move {
            let mut packet = vec![0; 65_536];
            while let Ok((length, client)) = front.recv_from(&mut packet).await {
                if !is_open.load(Ordering::SeqCst) {
                    dropped.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let known = behind.lock().unwrap().get(&client).map(|behind| Arc::clone(&behind.socket));
                let socket = match known {
                    Some(socket) => socket,
                    None => {
                        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                        socket.connect(server).await.unwrap();
                        let (is_open, retries) = (Arc::clone(&is_open), Arc::clone(&retries));
                        let back = answers(Arc::clone(&socket), Arc::clone(&front), client, is_open, retries);
                        let answers = tokio::spawn(back).abort_handle();
                        addresses.fetch_add(1, Ordering::SeqCst);
                        let place = Behind { socket: Arc::clone(&socket), answers };
                        behind.lock().unwrap().insert(client, place);
                        socket
                    }
                };
                let _ = socket.send(&packet[..length]).await;
            }
        });
        network
    }

    pub fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::SeqCst);
    }

    /// Each client gets another port, and what comes to the old one is lost: as when it changes its network.
    pub fn change_address(&self) {
        for (_, behind) in self.behind.lock().unwrap().drain() {
            behind.answers.abort();
        }
    }
}

async fn answers(
    socket: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    is_open: Arc<AtomicBool>,
    retries: Arc<AtomicUsize>,
) {
    let mut packet = vec![0; 65_536];
    while let Ok(length) = socket.recv(&mut packet).await {
        if packet[0] & 0xf0 == 0xf0 {
            retries.fetch_add(1, Ordering::SeqCst);
        }
        if is_open.load(Ordering::SeqCst) {
            let _ = front.send_to(&packet[..length], client).await;
        }
    }
}
