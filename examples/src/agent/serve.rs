//! What the agent does with a visitor's stream: it dials the local service and relays, ending TLS first if it is the
//! one who does.

use super::config::{Config, Upstream};
use super::domain::{Domain, Met};
use super::local::Local;
use super::ports;
use super::udp;
use super::vault::Vault;
use adit_mux::flow::Flows;
use adit_mux::{IncomingStream, RelayOptions, Stream, relay};
use adit_tls_modes::{SniffLimits, sniff};
use adit_wire_proto::control::{Generation, Registered, RegistrationId};
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the local service may take to accept a connection, unless the stream's head says less.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a visitor may take to set up TLS.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Serves the visitors of one registration.
#[derive(Clone)]
pub(super) struct Server {
    upstream: Arc<Upstream>,
    /// What gets visitors' datagrams, if anything does.
    udp: Option<Arc<Upstream>>,
    registration: RegistrationId,
    generation: Generation,
    local: Local,
    flows: Flows,
    vault: Option<Arc<Vault>>,
    domain: Option<Arc<Domain>>,
}

impl Server {
    /// Serves `registered` as `config` says; with a `vault`, this is where visitors' TLS ends.
    pub(super) fn new(
        config: &Config,
        flows: Flows,
        registered: &Registered,
        vault: Option<Arc<Vault>>,
        domain: Option<Arc<Domain>>,
    ) -> Self {
        let (registration, generation) = (registered.registration, registered.generation);
        Self {
            upstream: Arc::new(config.tunnel.upstream().clone()),
            udp: config.udp_upstream().map(Arc::new),
            registration,
            generation,
            local: config.local.clone(),
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
            return self.visit_by_udp(stream).await;
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

    /// Carries a visitor's datagrams.
    async fn visit_by_udp(self, stream: IncomingStream) {
        let socket = match &self.udp {
            Some(upstream) => udp::socket(upstream).await,
            None => return stream.refuse(CloseCode::UPSTREAM_UNREACHABLE),
        };
        match socket {
            Ok(socket) => udp::carry(self.flows.accepted(stream.accept()), &socket).await,
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "the local service can't be reached");
                stream.refuse(CloseCode::UPSTREAM_UNREACHABLE);
            }
        }
    }

    async fn connect(&self, head: &StreamHead) -> Result<TcpStream, CloseCode> {
        let deadline = head.deadline().unwrap_or(CONNECT_DEADLINE).min(CONNECT_DEADLINE);
        let (host, port) = self.upstream.address();
        let port = ports::chosen(head, &self.local.ports, port).ok_or_else(|| {
            tracing::warn!("a visitor named a port that isn't allowed (--allow-port)");
            CloseCode::UPSTREAM_UNREACHABLE
        })?;
        let connect = async {
            let mut socket = TcpStream::connect((host, port)).await?;
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

fn unreachable(error: &io::Error) -> CloseCode {
    match error.kind() {
        io::ErrorKind::TimedOut => CloseCode::UPSTREAM_TIMEOUT,
        _ => CloseCode::UPSTREAM_UNREACHABLE,
    }
}
