//! The HTTPS port: who ends TLS is decided by the ClientHello, then it is ended here or passed through.

use super::agents::Gatekeeper;
use super::arrival::Arrival;
use super::failover::{self, Met};
use super::hub::{Facts, Hub};
use super::leased::Leased;
use super::proxy::{Edge, Visitor};
use super::{http, life, tcp};
use crate::BoxError;
use adit_mux::{RelayOptions, relay};
use adit_naming::{Destination, Host, HostSource};
use adit_router::{Traffic, Visit};
use adit_tls_modes::{
    AlertDescription, ClientHello, Domain, Ja4Transport, KeyShare, Mode, ModePolicy, NameStanding,
    ResumptionScope, ServerName, SniffError, SniffLimits, Sniffed, choose_mode, refuse,
};
use adit_wire_proto::{Protocol, StreamHeadBuilder, TlsFacts};
use bytes::Bytes;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

/// How long a visitor may take, from being accepted, until the ClientHello is whole, and again until TLS is set up.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Serves one connection that arrived on the HTTPS port: a visitor's, or that of an agent, which asks for the gateway.
pub(super) async fn serve(hub: Arc<Hub>, keeper: Arc<Gatekeeper>, socket: TcpStream, peer: SocketAddr) {
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    let Arrival { io, address, local } = match Arrival::take(&hub, socket, peer).await {
        Ok(arrival) => arrival,
        Err(error) => return tracing::debug!(%error, "a connection has no visitor"),
    };
    let seat = match hub.hellos.enter(address.ip()) {
        Ok(seat) => seat,
        Err(error) => return tracing::debug!(%error, "a visitor was refused at the door"),
    };
    match seat.sniff(io, SniffLimits::default(), deadline).await {
        Ok((hello, io)) if keeper.is_asked_for(&hello) => keeper.serve_io(flat(io), address).await,
        Ok((hello, io)) => {
            let post_quantum =
                hello.key_shares().iter().any(|share| share.group() == KeyShare::X25519MLKEM768);
            tracing::debug!(ja4 = %hello.ja4(Ja4Transport::Tcp), post_quantum, "a ClientHello");
            if let Err(error) = dispatch(hub, &hello, Arrival { io: flat(io), address, local }).await {
                tracing::debug!(%error, "a TLS visitor was not served");
            }
        }
        Err(SniffError::Refused { error, io, .. }) => {
            tracing::debug!(%error, "refused a ClientHello");
            end(flat(io), error.alert()).await;
        }
        Err(error) => tracing::debug!(%error, "no ClientHello"),
    }
}

/// One stream with everything in front that was read ahead: all of what came behind a PROXY header has been sniffed.
pub(super) fn flat(io: Sniffed<Sniffed<TcpStream>>) -> Sniffed<TcpStream> {
    let (received, below) = io.into_parts();
    let (unread, socket) = below.into_parts();
    Sniffed::new([received, unread].concat(), socket)
}

async fn dispatch(hub: Arc<Hub>, hello: &ClientHello, visitor: Arrival) -> Result<(), BoxError> {
    if let Some(config) = hub.board.tls_config(SystemTime::now(), hello) {
        return answer_challenge(config, visitor).await;
    }
    match choose_mode(hello, &ModePolicy::new(), |name| standing(&hub, name)) {
        Mode::Passthrough { name, .. } => pass_through(&hub, name, hello, visitor).await,
        Mode::Edge { name, .. } => end_at_the_edge(hub, name, visitor).await,
        Mode::Refuse { reason, .. } => {
            end(visitor.io, Some(reason.alert())).await;
            Err(reason.into())
        }
    }
}

/// Shows an authority the certificate that it looks for, and closes (RFC 8737 §3).
async fn answer_challenge(config: Arc<ServerConfig>, visitor: Arrival) -> Result<(), BoxError> {
    let accepted = TlsAcceptor::from(config).accept(visitor.io);
    let mut tls = timeout(HANDSHAKE_DEADLINE, accepted).await??;
    tls.shutdown().await?;
    Ok(())
}

/// What the routes say about a name: a passthrough tunnel is never ended at the edge, whatever happens to it.
pub(super) fn standing(hub: &Hub, name: &ServerName) -> NameStanding {
    let Ok(host) = Host::parse(name.as_str().as_bytes(), HostSource::Sni) else {
        return NameStanding::Unknown;
    };
    let tunnel = hub.find(&host);
    let destination = hub.zones.classify(&host);
    match (&destination, tunnel) {
        (_, Some(tunnel)) if tunnel.facts().protocol == Protocol::HTTPS => {
            if tunnel.facts().record.visitor_refusal(tunnel.facts().life.moment().system()).is_some() {
                NameStanding::PassthroughClosed
            } else if tunnel.agents().is_empty() {
                NameStanding::AgentOffline
            } else {
                NameStanding::Passthrough(match destination {
                    Destination::Custom { .. } => Domain::Custom,
                    _ => Domain::Zone,
                })
            }
        }
        (_, Some(_)) | (Destination::TunnelByName { .. }, None) => NameStanding::Edge,
        _ => NameStanding::Unknown,
    }
}

async fn pass_through(
    hub: &Arc<Hub>,
    name: &ServerName,
    hello: &ClientHello,
    visitor: Arrival,
) -> Result<(), BoxError> {
    let host = Host::parse(name.as_str().as_bytes(), HostSource::Sni)?;
    let Arrival { io, address, local } = visitor;
    let alpn = hello.alpn().iter().next().unwrap_or_default();
    let alpn = Bytes::copy_from_slice(alpn);
    let Some(tunnel) = hub.find(&host) else {
        end(io, Some(AlertDescription::UNRECOGNIZED_NAME)).await;
        return Err("the tunnel has just gone".into());
    };
    let pass = match tcp::pass_of(Facts::decide(&tunnel, &Visit::connection(address.ip()))) {
        Ok(pass) => pass,
        Err(refusal) => {
            end(io, Some(AlertDescription::HANDSHAKE_FAILURE)).await;
            return Err(refusal.into());
        }
    };
    let describe = |head: StreamHeadBuilder| {
        let mut facts = TlsFacts::default();
        facts.alpn = alpn.clone();
        head.visitor(address).local(local).host(name.as_str()).tls(facts)
    };
    let (hello, mut socket) = io.into_parts();
    let mut dispatch = failover::by_address(address.ip());
    // A hello has no effect, so it may be said to one agent after the other. A visitor of an agent that takes the stream and
    // never says a word must not wait for ever (T-55).
    let met = failover::meet(hub, &mut dispatch, None, |hub| hub.find(&host), describe, &mut socket, &hello);
    let refusal: BoxError = match timeout(hub.answer_deadline, met).await {
        Ok(Ok(Met { stream, work, answer })) => {
            socket.write_all(&answer).await?;
            let ended = life::ended(Arc::clone(hub), &tunnel, pass);
            let socket = Leased::new(socket, ended, tunnel.facts(), &work, Traffic::Other);
            let report = relay(stream, socket, RelayOptions::default()).await;
            tracing::debug!(?report, "a passed-through connection ended");
            drop(work);
            return Ok(());
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => "the agent has no answer for a visitor".into(),
    };
    end(socket, Some(AlertDescription::INTERNAL_ERROR)).await;
    Err(refusal)
}

async fn end_at_the_edge(hub: Arc<Hub>, name: &ServerName, visitor: Arrival) -> Result<(), BoxError> {
    let host = Host::parse(name.as_str().as_bytes(), HostSource::Sni)?;
    let Arrival { io, address, local } = visitor;
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
    let visitor = Visitor { address, local, tls: Some(Edge { name: host, facts }), port: None };
    http::serve(hub, tls, visitor).await;
    Ok(())
}

/// Sends the alert, if one is due, and closes; a visitor who doesn't read is not waited for.
async fn end(mut io: impl AsyncWrite + Unpin, alert: Option<AlertDescription>) {
    let _ = timeout(Duration::from_secs(1), refuse(&mut io, alert)).await;
}
