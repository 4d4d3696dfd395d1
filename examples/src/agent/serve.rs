//! What the agent does with a visitor's stream: it dials the local service and relays, ending TLS first if it is the
//! one who does.

use super::config::Upstream;
use super::domain::{Domain, Met};
use super::local::Local;
use super::vault::Vault;
use crate::udp::{Flow, Flows};
use adit_mux::{IncomingStream, RelayOptions, Stream, relay};
use adit_tls_modes::{SniffLimits, sniff};
use adit_wire_proto::control::{Generation, Registered, RegistrationId};
use adit_wire_proto::datagram::Datagram;
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the local service may take to accept a connection, unless the stream's head says less.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a visitor may take to set up TLS.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Serves the visitors of one registration.
#[derive(Clone)]
pub(super) struct Server {
    upstream: Arc<Upstream>,
    registration: RegistrationId,
    generation: Generation,
    local: Local,
    flows: Flows,
    vault: Option<Arc<Vault>>,
    domain: Option<Arc<Domain>>,
}

impl Server {
    /// Serves `registered` from `upstream`; with a `vault`, this is where visitors' TLS ends.
    pub(super) fn new(
        upstream: Upstream,
        local: &Local,
        flows: Flows,
        registered: &Registered,
        vault: Option<Arc<Vault>>,
        domain: Option<Arc<Domain>>,
    ) -> Self {
        let (registration, generation) = (registered.registration, registered.generation);
        Self {
            upstream: Arc::new(upstream),
            registration,
            generation,
            local: local.clone(),
            flows,
            vault,
            domain,
        }
    }

    /// Serves one visitor, to the end.
    pub(super) async fn visit(self, stream: IncomingStream) {
        let head = match StreamHead::decode(stream.head().clone()) {
            Ok(head) => head,
            Err(error) => {
                tracing::debug!(%error, "a stream head can't be read");
                return stream.refuse(CloseCode::MALFORMED);
            }
        };
        if head.registration() != Some(self.registration) || head.generation() != Some(self.generation) {
            return stream.refuse(CloseCode::UNKNOWN_TUNNEL);
        }
        if head.protocol() == Protocol::UDP {
            return self.visit_by_quic(stream).await;
        }
        // The head says who visits, never where to connect to: that is our owner's choice alone (W-28, R-25).
        let socket = match self.connect(&head).await {
            Ok(socket) => socket,
            Err(code) => return stream.refuse(code),
        };
        match &self.vault {
            None => {
                let options = RelayOptions::new().read_failure(CloseCode::UPSTREAM_RESET);
                let report = relay(stream.accept(), socket, options).await;
                tracing::debug!(?report, "a visit ended");
            }
            Some(vault) => match end_tls(vault, self.domain.as_deref(), stream.accept(), socket).await {
                Ok(bytes) => tracing::debug!(?bytes, "a visit ended"),
                Err(error) => tracing::debug!(%error, "a visit failed"),
            },
        }
    }

    /// Carries a QUIC connection's datagrams, which only the local service can read.
    async fn visit_by_quic(self, stream: IncomingStream) {
        let socket = match self.local.quic {
            Some(upstream) => udp_socket(upstream).await,
            None => return stream.refuse(CloseCode::UPSTREAM_UNREACHABLE),
        };
        match socket {
            Ok(socket) => carry(self.flows.accepted(stream.accept()), &socket).await,
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "the local service can't be reached");
                stream.refuse(CloseCode::UPSTREAM_UNREACHABLE);
            }
        }
    }

    async fn connect(&self, head: &StreamHead) -> Result<TcpStream, CloseCode> {
        let deadline = head.deadline().unwrap_or(CONNECT_DEADLINE).min(CONNECT_DEADLINE);
        let connect = async {
            let mut socket = TcpStream::connect(self.upstream.address()).await?;
            // Small answers shouldn't wait for a full segment; without it they merely come later.
            let _ = socket.set_nodelay(true);
            if let Some(version) = self.local.proxy_protocol {
                socket.write_all(&version.header(head)).await?;
            }
            Ok::<_, io::Error>(socket)
        };
        match timeout(deadline, connect).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => {
                tracing::warn!(kind = ?error.kind(), "the local service can't be reached");
                Err(unreachable(&error))
            }
            Err(_) => Err(CloseCode::UPSTREAM_TIMEOUT),
        }
    }
}

/// Ends the visitor's TLS here, and forwards what was in it. Returns how many octets went each way.
async fn end_tls(
    vault: &Vault,
    domain: Option<&Domain>,
    stream: Stream,
    mut socket: TcpStream,
) -> io::Result<(u64, u64)> {
    let Some(domain) = domain else {
        let mut visitor = timeout(HANDSHAKE_DEADLINE, vault.acceptor().accept(stream)).await??;
        return tokio::io::copy_bidirectional(&mut visitor, &mut socket).await;
    };
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    let (hello, stream) = sniff(stream, SniffLimits::default(), deadline)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    let accepted = match domain.meet(&hello) {
        Met::Tunnel => vault.acceptor().accept(stream),
        Met::Domain(acceptor) => acceptor.accept(stream),
        Met::Challenge(acceptor) => {
            timeout_at(deadline, acceptor.accept(stream)).await??.shutdown().await?;
            return Ok((0, 0));
        }
    };
    let mut visitor = timeout_at(deadline, accepted).await??;
    tokio::io::copy_bidirectional(&mut visitor, &mut socket).await
}

/// A socket of its own for each visitor, on any port, of the family of `upstream`.
async fn udp_socket(upstream: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match upstream {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    Ok(socket)
}

/// Until the gateway ends the flow, which it does when both sides are silent.
async fn carry(mut flow: Flow, socket: &UdpSocket) {
    let mut buffer = vec![0; Datagram::MAX_PAYLOAD_BYTES];
    loop {
        tokio::select! {
            datagram = flow.receive() => match datagram {
                // What can't be sent is lost, as on any way.
                Some(datagram) => drop(socket.send(&datagram).await),
                None => return,
            },
            received = socket.recv(&mut buffer) => {
                // An error is what ICMP said of a datagram before.
                let Ok(length) = received else { continue };
                if flow.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn unreachable(error: &io::Error) -> CloseCode {
    match error.kind() {
        io::ErrorKind::TimedOut => CloseCode::UPSTREAM_TIMEOUT,
        _ => CloseCode::UPSTREAM_UNREACHABLE,
    }
}
