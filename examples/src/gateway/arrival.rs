//! How a visitor's connection begins: behind a load balancer it says first whose it is.

use super::hub::Hub;
use crate::BoxError;
use adit_tls_modes::{ProxyLimits, Sniffed, TrustedSources, read_proxy_header};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a load balancer may take to say whose connection this is.
const PROXY_DEADLINE: Duration = Duration::from_secs(5);

/// A visitor's connection, what was read of it so far in front.
pub(super) struct Arrival {
    pub(super) io: Sniffed<TcpStream>,
    /// Where the visitor connects from.
    pub(super) address: SocketAddr,
    /// What the visitor connected to.
    pub(super) local: SocketAddr,
}

impl Arrival {
    /// Takes a connection that was accepted from `peer`.
    ///
    /// Where load balancers are trusted, every connection has to come from one of them and to begin with a PROXY header:
    /// guessing whether there is one would let anybody write it (T-58).
    ///
    /// # Errors
    /// What is wrong with the header, or with the socket: nobody is to be answered.
    pub(super) async fn take(hub: &Hub, socket: TcpStream, peer: SocketAddr) -> Result<Self, BoxError> {
        let local = socket.local_addr()?;
        let Some(trusted) = &hub.proxies else {
            return Ok(Self { io: Sniffed::new(Vec::new(), socket), address: peer, local });
        };
        let deadline = Instant::now() + PROXY_DEADLINE;
        let limits = ProxyLimits::new();
        let (header, io) = read_proxy_header(socket, peer.ip(), trusted, limits, deadline).await?;
        // Without addresses it is the load balancer's own connection, a health check perhaps.
        let address = header.source().unwrap_or(peer);
        Ok(Self { io, address, local: header.destination().unwrap_or(local) })
    }
}

/// Whose word is taken for where visitors come from; `None` where visitors connect by themselves.
pub(super) type Proxies = Option<TrustedSources>;
