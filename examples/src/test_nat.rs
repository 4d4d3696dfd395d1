//! A NAT for tests and the quickstart: one visitor behind it, whose port outside changes when it forgets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// The longest datagram of UDP over IPv4.
const MAX_DATAGRAM: usize = 65_507;

/// Between one visitor and one address, until it is dropped.
pub struct TestNat {
    address: SocketAddr,
    forgets: Arc<AtomicBool>,
    task: AbortHandle,
}

impl TestNat {
    /// Starts one that leads to `outside`.
    ///
    /// # Errors
    /// No socket to be had.
    pub async fn start(outside: SocketAddr) -> io::Result<Self> {
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = inner.local_addr()?;
        let outer = connected(outside).await?;
        let forgets = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(translate(inner, outer, outside, Arc::clone(&forgets))).abort_handle();
        Ok(Self { address, forgets, task })
    }

    /// Where the visitor finds it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the visitor sends next goes out from another port; what comes for the port before is lost.
    pub fn forget(&self) {
        self.forgets.store(true, Ordering::SeqCst);
    }
}

impl Drop for TestNat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn translate(
    inner: UdpSocket,
    mut outer: UdpSocket,
    outside: SocketAddr,
    forgets: Arc<AtomicBool>,
) -> io::Result<()> {
    let (mut sent, mut answer) = (vec![0; MAX_DATAGRAM], vec![0; MAX_DATAGRAM]);
    let mut visitor = None;
    loop {
        tokio::select! {
            received = inner.recv_from(&mut sent) => {
                let (length, from) = received?;
                visitor = Some(from);
                if forgets.swap(false, Ordering::SeqCst) {
                    outer = connected(outside).await?;
                }
                outer.send(&sent[..length]).await?;
            }
            received = outer.recv(&mut answer) => {
                if let (Ok(length), Some(visitor)) = (received, visitor) {
                    inner.send_to(&answer[..length], visitor).await?;
                }
            }
        }
    }
}

async fn connected(outside: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(outside).await?;
    Ok(socket)
}
