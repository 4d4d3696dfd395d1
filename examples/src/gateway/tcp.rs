//! Public TCP ports: each connection is a stream to the tunnel's agent.

use super::arrival::Arrival;
use super::hub::Hub;
use crate::BoxError;
use adit_mux::{RelayOptions, relay};
use adit_router::RouteKey;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves one connection that arrived on a public port.
pub(super) async fn serve(hub: Arc<Hub>, socket: TcpStream, address: SocketAddr) {
    if let Err(error) = visit(&hub, socket, address).await {
        tracing::debug!(%error, "a TCP visitor was not served");
    }
}

/// TCP has no words for a refusal: a visitor who can't be served is reset.
async fn visit(hub: &Hub, socket: TcpStream, address: SocketAddr) -> Result<(), BoxError> {
    let port = socket.local_addr()?.port();
    let Arrival { io, address, local } = Arrival::take(hub, socket, address).await?;
    let find = |hub: &Hub| hub.routes.find(RouteKey::tcp_port(port));
    match hub.open(find, |head| head.visitor(address).local(local).port(port)).await {
        Ok((stream, work)) => {
            let report = relay(stream, io, RelayOptions::default()).await;
            tracing::debug!(?report, "a TCP visit ended");
            drop(work);
            Ok(())
        }
        Err(refusal) => {
            io.get_ref().set_zero_linger()?;
            Err(refusal.into())
        }
    }
}
