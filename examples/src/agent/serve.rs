//! What the agent does with a visitor's stream: it dials the local service and relays, ending TLS first if it is the
//! one who does.

use super::config::Upstream;
use super::vault::Vault;
use adit_mux::{IncomingStream, RelayOptions, Stream, relay};
use adit_wire_proto::control::{Generation, Registered, RegistrationId};
use adit_wire_proto::{CloseCode, StreamHead};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

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
    vault: Option<Arc<Vault>>,
}

impl Server {
    /// Serves `registered` from `upstream`; with a `vault`, this is where visitors' TLS ends.
    pub(super) fn new(upstream: Upstream, registered: &Registered, vault: Option<Arc<Vault>>) -> Self {
        let (registration, generation) = (registered.registration, registered.generation);
        Self { upstream: Arc::new(upstream), registration, generation, vault }
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
        // The head says who visits, never where to connect to: that is our owner's choice alone (W-28, R-25).
        let socket = match self.connect(head.deadline().unwrap_or(CONNECT_DEADLINE)).await {
            Ok(socket) => socket,
            Err(code) => return stream.refuse(code),
        };
        match &self.vault {
            None => {
                let options = RelayOptions::new().read_failure(CloseCode::UPSTREAM_RESET);
                let report = relay(stream.accept(), socket, options).await;
                tracing::debug!(?report, "a visit ended");
            }
            Some(vault) => match end_tls(vault, stream.accept(), socket).await {
                Ok(bytes) => tracing::debug!(?bytes, "a visit ended"),
                Err(error) => tracing::debug!(%error, "a visit failed"),
            },
        }
    }

    async fn connect(&self, deadline: Duration) -> Result<TcpStream, CloseCode> {
        let connect = TcpStream::connect(self.upstream.address());
        match timeout(deadline.min(CONNECT_DEADLINE), connect).await {
            Ok(Ok(socket)) => {
                // Small answers shouldn't wait for a full segment; without it they merely come later.
                let _ = socket.set_nodelay(true);
                Ok(socket)
            }
            Ok(Err(error)) => {
                tracing::warn!(kind = ?error.kind(), "the local service can't be reached");
                Err(unreachable(&error))
            }
            Err(_) => Err(CloseCode::UPSTREAM_TIMEOUT),
        }
    }
}

/// Ends the visitor's TLS here, and forwards what was in it. Returns how many octets went each way.
async fn end_tls(vault: &Vault, stream: Stream, mut socket: TcpStream) -> io::Result<(u64, u64)> {
    let mut visitor = timeout(HANDSHAKE_DEADLINE, vault.accept(stream)).await??;
    tokio::io::copy_bidirectional(&mut visitor, &mut socket).await
}

fn unreachable(error: &io::Error) -> CloseCode {
    match error.kind() {
        io::ErrorKind::TimedOut => CloseCode::UPSTREAM_TIMEOUT,
        _ => CloseCode::UPSTREAM_UNREACHABLE,
    }
}
