//! What is between an agent and its gateway, to be taken away in the middle of things.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

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
}

impl Network {
    pub async fn in_front_of(server: SocketAddr, is_open: bool) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let network = Self {
            address: front.local_addr().unwrap(),
            is_open: Arc::new(AtomicBool::new(is_open)),
            dropped: Arc::default(),
        };
        let (is_open, dropped) = (Arc::clone(&network.is_open), Arc::clone(&network.dropped));
        tokio::spawn(async move {
            let (mut behind, mut packet) = (HashMap::new(), vec![0; 65_536]);
            while let Ok((length, client)) = front.recv_from(&mut packet).await {
                if !is_open.load(Ordering::SeqCst) {
                    dropped.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                if let Entry::Vacant(place) = behind.entry(client) {
                    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                    socket.connect(server).await.unwrap();
                    let back = answers(Arc::clone(&socket), Arc::clone(&front), client, Arc::clone(&is_open));
                    tokio::spawn(back);
                    place.insert(socket);
                }
                let _ = behind[&client].send(&packet[..length]).await;
            }
        });
        network
    }

    pub fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::SeqCst);
    }
}

async fn answers(
    socket: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    is_open: Arc<AtomicBool>,
) {
    let mut packet = vec![0; 65_536];
    while let Ok(length) = socket.recv(&mut packet).await {
        if is_open.load(Ordering::SeqCst) {
            let _ = front.send_to(&packet[..length], client).await;
        }
    }
}
