//! The HTTPS port: who ends TLS is decided by the ClientHello, then it is ended here or passed through.

use super::http;
use super::hub::Hub;
use super::proxy::{Edge, Visitor};
use crate::BoxError;
use adit_mux::{RelayOptions, relay};
use adit_naming::{Destination, Host, HostSource};
use adit_tls_modes::{
    AlertDescription, ClientHello, Domain, Mode, ModePolicy, NameStanding, ResumptionScope, ServerName,
    SniffError, SniffLimits, Sniffed, choose_mode, refuse, sniff,
};
use adit_wire_proto::{Protocol, TlsFacts};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a visitor may take, from being accepted, until the ClientHello is whole, and again until TLS is set up.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Serves one connection that arrived on the HTTPS port.
pub(super) async fn serve(hub: Arc<Hub>, socket: TcpStream, address: SocketAddr) {
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    match sniff(socket, SniffLimits::default(), deadline).await {
        Ok((hello, io)) => {
            if let Err(error) = dispatch(hub, &hello, io, address).await {
                tracing::debug!(%error, "a TLS visitor was not served");
            }
        }
        Err(SniffError::Refused { error, io, .. }) => {
            tracing::debug!(%error, "refused a ClientHello");
            end(io, error.alert()).await;
        }
        Err(error) => tracing::debug!(%error, "no ClientHello"),
    }
}

async fn dispatch(
    hub: Arc<Hub>,
    hello: &ClientHello,
    io: Sniffed<TcpStream>,
    address: SocketAddr,
) -> Result<(), BoxError> {
    match choose_mode(hello, &ModePolicy::new(), |name| standing(&hub, name)) {
        Mode::Passthrough { name, .. } => pass_through(&hub, name, hello, io, address).await,
        Mode::Edge { name, .. } => end_at_the_edge(hub, name, io, address).await,
        Mode::Refuse { reason, .. } => {
            end(io, Some(reason.alert())).await;
            Err(reason.into())
        }
    }
}

/// What the routes say about a name: a passthrough tunnel is never ended at the edge, whatever happens to it.
fn standing(hub: &Hub, name: &ServerName) -> NameStanding {
    let Ok(host) = Host::parse(name.as_str().as_bytes(), HostSource::Sni) else {
        return NameStanding::Unknown;
    };
    let tunnel = hub.find(&host);
    match (hub.zones.classify(&host), tunnel) {
        (_, Some(tunnel)) if tunnel.facts().protocol == Protocol::HTTPS => {
            if tunnel.facts().record.visitor_refusal(SystemTime::now()).is_some() {
                NameStanding::PassthroughClosed
            } else if tunnel.agents().is_empty() {
                NameStanding::AgentOffline
            } else {
                NameStanding::Passthrough(Domain::Zone)
            }
        }
        (_, Some(_)) | (Destination::TunnelByName { .. }, None) => NameStanding::Edge,
        _ => NameStanding::Unknown,
    }
}

async fn pass_through(
    hub: &Hub,
    name: &ServerName,
    hello: &ClientHello,
    io: Sniffed<TcpStream>,
    address: SocketAddr,
) -> Result<(), BoxError> {
    let host = Host::parse(name.as_str().as_bytes(), HostSource::Sni)?;
    let local = io.get_ref().local_addr()?;
    let alpn = hello.alpn().iter().next().unwrap_or_default();
    let alpn = Bytes::copy_from_slice(alpn);
    let opened = hub.open(
        |hub| hub.find(&host),
        |head| {
            let mut facts = TlsFacts::default();
            facts.alpn = alpn.clone();
            head.visitor(address).local(local).host(name.as_str()).tls(facts)
        },
    );
    match opened.await {
        Ok((stream, work)) => {
            let report = relay(stream, io, RelayOptions::default()).await;
            tracing::debug!(?report, "a passed-through connection ended");
            drop(work);
            Ok(())
        }
        Err(refusal) => {
            end(io, Some(AlertDescription::INTERNAL_ERROR)).await;
            Err(refusal.into())
        }
    }
}

async fn end_at_the_edge(
    hub: Arc<Hub>,
    name: &ServerName,
    io: Sniffed<TcpStream>,
    address: SocketAddr,
) -> Result<(), BoxError> {
    let host = Host::parse(name.as_str().as_bytes(), HostSource::Sni)?;
    let local = io.get_ref().local_addr()?;
    // Who had the name before must not resume what was set up then (E-08).
    let scope =
        ResumptionScope::new(hub.find(&host).map_or(0_u128, |tunnel| tunnel.id().as_u128()).to_be_bytes());
    let tls = timeout(HANDSHAKE_DEADLINE, hub.edge.accept(io, name, &scope)).await??;
    let session = tls.get_ref().1;
    let mut facts = TlsFacts::default();
    facts.version = session.protocol_version().map_or(0, u16::from);
    facts.cipher_suite = session.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite()));
    facts.alpn = Bytes::copy_from_slice(session.alpn_protocol().unwrap_or_default());
    facts.ended_at_edge = true;
    let visitor = Visitor { address, local, tls: Some(Edge { name: host, facts }) };
    http::serve(hub, tls, visitor).await;
    Ok(())
}

/// Sends the alert, if one is due, and closes; a visitor who doesn't read is not waited for.
async fn end(mut io: Sniffed<TcpStream>, alert: Option<AlertDescription>) {
    let _ = timeout(Duration::from_secs(1), refuse(&mut io, alert)).await;
}
