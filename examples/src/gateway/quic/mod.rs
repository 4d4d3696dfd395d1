//! The QUIC port: each connection goes, unread, to the agent of the tunnel that its first flight names. Those that ask for
//! the gateway itself are agents', and end here.
//!
//! ```text
//!  visitor ══ UDP ══► socket ─► QuicFront ─► flow and address ─► a UDP flow in the agent's session ─► its upstream
//!          ◄══════════════════ may it be sent? ◄──────────────────────────────┘
//!    agent ══ UDP ══► socket ─► its ids, or QuicFront ─► our own endpoint
//! ```
//!
//! Every address of a visitor has a flow of its own to the agent, and so a socket of its own to the upstream: QUIC servers
//! have to see when a visitor's address changes.

mod unproven;

use super::https::standing;
use super::hub::{Facts, Hub};
use super::meter::Meter;
use super::quic_agents::QuicAgents;
use super::udp_socket::{BUFFER_BYTES, SharedSocket};
use super::{failover, life, tcp};
use crate::{BoxError, provider};
use adit_naming::{Host, HostSource};
use adit_router::{Traffic, Visit};
use adit_tls_modes::{
    AlertDescription, ClientHello, ConnectionId, FlowId, FlowLimits, HeldDatagram, Mode, ModePolicy,
    QuicCrypto, QuicFront, QuicLimits, QuicVerdict, Reply, ServerName, choose_mode,
};
use adit_wire_proto::Protocol;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use unproven::Unproven;

/// Datagrams that wait for one flow's task, or for the socket; more are dropped.
const MAX_WAITING: usize = 256;

/// Addresses of visitors that have a flow to an agent; datagrams from more are dropped.
const MAX_PATHS: usize = 16_384;

/// How long a flow to an agent may be silent: as long as the table of connections remembers one.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// How often it is looked which flows have gone. The task rests no longer, since it has to look.
const SWEEP: Duration = Duration::from_secs(1);

/// Serves the port until the gateway stops. `max_unproven` connections may be from addresses that may be spoofed.
pub(super) async fn serve(
    hub: Arc<Hub>,
    agents: QuicAgents,
    own: Host,
    socket: Arc<SharedSocket>,
    max_unproven: usize,
) {
    let crypto = match QuicCrypto::new(&provider()) {
        Ok(crypto) => crypto,
        Err(error) => return tracing::error!(%error, "QUIC is not served"),
    };
    let (said, mut saying) = mpsc::channel(MAX_WAITING);
    let limits = QuicLimits::new().flows(FlowLimits::new().max_unvalidated(max_unproven));
    let mut port = Port {
        hub,
        agents,
        own,
        socket,
        front: QuicFront::new(crypto, limits),
        unproven: Unproven::new(max_unproven),
        paths: BTreeMap::new(),
        said,
    };
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        tokio::select! {
            received = port.socket.receive(&mut buffer) => match received {
                Ok((peer, datagrams)) => for datagram in datagrams {
                    port.receive(peer, datagram).await;
                },
                // What ICMP says of one visitor is no reason to stop for the others.
                Err(error) => tracing::debug!(%error, "a datagram was not received"),
            },
            Some(said) = saying.recv() => port.hear(said).await,
            _ = sweep.tick() => port.sweep(),
        }
    }
}

struct Port {
    hub: Arc<Hub>,
    agents: QuicAgents,
    /// The gateway's own name, which agents ask for.
    own: Host,
    socket: Arc<SharedSocket>,
    /// The host that a connection asked for is its route.
    front: QuicFront<Host>,
    unproven: Unproven,
    /// At most [`MAX_PATHS`]; each ends by itself, or when its flow has gone.
    paths: BTreeMap<Path, mpsc::Sender<Bytes>>,
    said: mpsc::Sender<Said>,
}

/// A connection, from one of the addresses of its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    flow: FlowId,
    peer: SocketAddr,
}

/// What the task of a path says.
enum Said {
    Answer(Path, Bytes),
    Ended(Path),
}

impl Port {
    async fn receive(&mut self, peer: SocketAddr, datagram: &[u8]) {
        if self.agents.owns(datagram) {
            return self.agents.deliver(peer, datagram);
        }
        let now = Instant::now();
        let answer = match self.front.receive(now, peer, datagram) {
            QuicVerdict::Forward { flow, route, .. } => {
                let host = route.clone();
                return self.forward(Path { flow, peer }, &host, Bytes::copy_from_slice(datagram));
            }
            QuicVerdict::Hello { connection, hello, wants_retry, .. } => {
                match route(&self.hub, &self.own, hello.client_hello()) {
                    Ok(host) => return self.admit(now, &connection, &host, wants_retry),
                    Err(alert) => self.front.refuse(&connection, alert),
                }
            }
            QuicVerdict::Refused { answer, .. } => answer,
            QuicVerdict::Reply(answer) => Some(answer),
            _ => None,
        };
        if let Some(answer) = answer {
            self.send(peer, &answer).await;
        }
    }

    /// Forwards what a new connection has sent so far. While addresses had better be proven, it takes the place of an
    /// older one of the same tunnel, if that has its share.
    fn admit(&mut self, now: Instant, connection: &ConnectionId, host: &Host, wants_retry: bool) {
        let Some(admitted) = self.front.admit(now, connection, host.clone()) else { return };
        let (flow, flows) = (admitted.flow(), self.front.flows());
        let is_unproven = |flow| flows.is_validated(flow) == Some(false);
        // Only the server can tell a token from one that was made up: here it buys no place.
        let is_crowded = wants_retry || flows.is_crowded();
        for gone in self.unproven.admit(&host.to_string(), flow, is_crowded, is_unproven) {
            self.front.flows_mut().remove(gone);
            self.end(gone);
        }
        for held in admitted.held() {
            self.forward_held(flow, host, held);
        }
    }

    /// Ends the flows to agents of a connection that has gone.
    fn end(&mut self, flow: FlowId) {
        let first = Path { flow, peer: (Ipv4Addr::UNSPECIFIED, 0).into() };
        let ended: Vec<_> =
            self.paths.range(first..).map(|(path, _)| *path).take_while(|path| path.flow == flow).collect();
        for path in ended {
            self.paths.remove(&path);
        }
    }

    /// What was silent for too long goes, and what led to it.
    fn sweep(&mut self) {
        self.front.handle_timeout(Instant::now());
        let flows = self.front.flows();
        self.paths.retain(|path, _| flows.route(path.flow).is_some());
        self.unproven.sweep(|flow| flows.is_validated(flow) == Some(false));
    }

    fn forward_held(&mut self, flow: FlowId, host: &Host, held: &HeldDatagram) {
        let path = Path { flow, peer: held.peer() };
        self.forward(path, host, Bytes::copy_from_slice(held.datagram()));
    }

    fn forward(&mut self, path: Path, host: &Host, datagram: Bytes) {
        if *host == self.own {
            return self.agents.deliver(path.peer, &datagram);
        }
        if !self.paths.contains_key(&path) {
            if self.paths.len() >= MAX_PATHS {
                return;
            }
            let (sender, waiting) = mpsc::channel(MAX_WAITING);
            self.paths.insert(path, sender);
            let (hub, said, host) = (Arc::clone(&self.hub), self.said.clone(), host.clone());
            tokio::spawn(async move {
                if let Err(error) = carry(&hub, path, &host, waiting, &said).await {
                    tracing::debug!(%error, "a QUIC flow ended early");
                }
                // Only the port's end can have been before.
                let _ = said.send(Said::Ended(path)).await;
            });
        }
        if let Some(sender) = self.paths.get(&path) {
            // A full queue loses datagrams; QUIC sends them again, and slower.
            let _ = sender.try_send(datagram);
        }
    }

    async fn hear(&mut self, said: Said) {
        match said {
            Said::Answer(path, datagram) => {
                let reply = self.front.receive_from_upstream(Instant::now(), path.flow, path.peer, &datagram);
                if reply == Reply::Send {
                    self.send(path.peer, &datagram).await;
                }
            }
            Said::Ended(path) => drop(self.paths.remove(&path)),
        }
    }

    async fn send(&self, peer: SocketAddr, datagram: &[u8]) {
        if let Err(error) = self.socket.send(datagram, peer).await {
            tracing::debug!(%error, "a datagram was not sent");
        }
    }
}

/// Where a connection leads: to ourselves if it asks for us, and else only to agents that end TLS themselves, since nobody
/// here ends a visitor's QUIC.
fn route(hub: &Hub, own: &Host, hello: &ClientHello) -> Result<Host, AlertDescription> {
    if hub.draining.is_cancelled() {
        return Err(AlertDescription::INTERNAL_ERROR);
    }
    let host = |name: &ServerName| Host::parse(name.as_str().as_bytes(), HostSource::Sni).ok();
    if hello.server_name().and_then(host).as_ref() == Some(own) {
        return Ok(own.clone());
    }
    match choose_mode(hello, &ModePolicy::new(), |name| standing(hub, name)) {
        Mode::Passthrough { name, .. } => Host::parse(name.as_str().as_bytes(), HostSource::Sni)
            .map_err(|_| AlertDescription::UNRECOGNIZED_NAME),
        Mode::Edge { .. } => Err(AlertDescription::NO_APPLICATION_PROTOCOL),
        Mode::Refuse { reason, .. } => Err(reason.alert()),
    }
}

/// Carries one path's datagrams both ways, until one side ends or both are silent.
async fn carry(
    hub: &Arc<Hub>,
    path: Path,
    host: &Host,
    mut waiting: mpsc::Receiver<Bytes>,
    said: &mpsc::Sender<Said>,
) -> Result<(), BoxError> {
    let tunnel = hub.find(host).ok_or("the tunnel has just gone")?;
    let pass = tcp::pass_of(Facts::decide(&tunnel, &Visit::connection(path.peer.ip())))?;
    let mut ended = std::pin::pin!(life::ended(Arc::clone(hub), &tunnel, pass));
    let _in_use = tunnel.facts().life.use_for(Traffic::Other);
    let describe = |head: adit_wire_proto::StreamHeadBuilder| head.visitor(path.peer).host(host.to_string());
    let mut dispatch = failover::by_address(path.peer.ip());
    let opened = hub.open(&mut dispatch, Some(Protocol::UDP), |hub| hub.find(host), describe).await;
    let (stream, work) = opened?;
    let (sender, mut receiver) = work.handle().flows.opened(stream);
    let meter = |is_to_agent| Meter::new(tunnel.facts(), work.handle(), is_to_agent);
    let (mut up, mut down) = (meter(true), meter(false));
    loop {
        tokio::select! {
            datagram = waiting.recv() => {
                // The connection has gone.
                let Some(datagram) = datagram else { return Ok(()) };
                if up.lets_through(Instant::now(), datagram.len())? {
                    sender.send(datagram)?;
                }
            }
            answer = receiver.receive() => match answer? {
                Some(answer) => if down.lets_through(Instant::now(), answer.len())? {
                    said.send(Said::Answer(path, answer)).await?;
                },
                None => return Ok(()),
            },
            refusal = &mut ended => return Err(refusal.into()),
            () = tokio::time::sleep(MAX_SILENCE) => return Ok(()),
        }
    }
}
