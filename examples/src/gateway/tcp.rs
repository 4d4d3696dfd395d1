//! Public TCP ports: each connection is a stream to the tunnel's agent.

use super::arrival::Arrival;
use super::failover::{self, Met};
use super::hub::{Facts, Hub};
use super::leased::Leased;
use super::{auto, life};
use crate::BoxError;
use adit_errors::{Code, Refusal};
use adit_mux::{RelayOptions, relay};
use adit_router::{Decision, Pass, RouteKey, Traffic, Verdict, Visit};
use adit_wire_proto::{Protocol, StreamHeadBuilder};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Serves one connection that arrived on a public port.
pub(super) async fn serve(hub: Arc<Hub>, socket: TcpStream, address: SocketAddr) {
    if let Err(error) = visit(&hub, socket, address).await {
        tracing::debug!(%error, "a TCP visitor was not served");
    }
}

async fn visit(hub: &Arc<Hub>, socket: TcpStream, address: SocketAddr) -> Result<(), BoxError> {
    let port = socket.local_addr()?.port();
    let arrival = Arrival::take(hub, socket, address).await?;
    let tunnel = hub.look_up(RouteKey::tcp_port(port)).ok_or("no tunnel has this port")?;
    match tunnel.facts().protocol {
        Protocol::AUTO => auto::visit(hub, arrival, port).await,
        protocol => carry(hub, arrival, port, protocol).await,
    }
}

/// Carries a connection's octets, as a stream of `protocol`, to the agent of the tunnel that has the port.
///
/// TCP has no words for a refusal: a visitor who can't be served is reset.
pub(super) async fn carry(
    hub: &Arc<Hub>,
    arrival: Arrival,
    port: u16,
    protocol: Protocol,
) -> Result<(), BoxError> {
    let Arrival { mut io, address, local } = arrival;
    let find = |hub: &Hub| hub.look_up(RouteKey::tcp_port(port));
    let tunnel = find(hub).ok_or("no tunnel has this port")?;
    let facts = tunnel.facts();
    let opened = match unread(facts, Facts::decide(&tunnel, &Visit::connection(address.ip()))) {
        Ok(pass) => {
            let describe = |head: StreamHeadBuilder| head.visitor(address).local(local).port(port);
            let mut dispatch = failover::by_address(address.ip());
            let met = match failover::is_shared(&tunnel) {
                true => {
                    failover::meet(hub, &mut dispatch, Some(protocol), find, describe, &mut io, &[]).await
                }
                false => failover::open(hub, &mut dispatch, Some(protocol), find, describe).await,
            };
            met.map(|met| (met, life::ended(Arc::clone(hub), &tunnel, pass)))
        }
        Err(refusal) => Err(refusal.into()),
    };
    match opened {
        Ok((Met { stream, work, answer }, ended)) => {
            io.write_all(&answer).await?;
            let io = Leased::new(io, ended, facts, &work, Traffic::Other);
            let report = relay(stream, io, RelayOptions::default()).await;
            tracing::debug!(?report, "a TCP visit ended");
            drop(work);
            Ok(())
        }
        Err(refusal) => {
            io.get_ref().set_zero_linger()?;
            Err(refusal)
        }
    }
}

/// The same for a tunnel on whose port requests are read, too.
fn unread(facts: &Facts, decision: Decision) -> Result<Pass, Refusal> {
    if facts.protocol == Protocol::AUTO && facts.rules_requests {
        return Err(Refusal::from(Code::ACCESS_DENIED));
    }
    pass_of(decision)
}

/// What a connection of which nothing is read rests on, if it is let in.
pub(super) fn pass_of(decision: Decision) -> Result<Pass, Refusal> {
    tracing::debug!(%decision, "decided about a connection");
    match decision.into_verdict() {
        Verdict::Forward(forward) => Ok(*forward.pass()),
        Verdict::Deny(denial) => Err(denial.into()),
        // These are for HTTP.
        Verdict::Wake(_) | Verdict::AwaitBody(_) | Verdict::Enter(_) => {
            Err(Refusal::from(Code::TUNNEL_OFFLINE))
        }
    }
}
