//! Public UDP ports: what a visitor sends is a flow to the tunnel's agent, and only its answers go back.
//!
//! ```text
//!  visitor ══ UDP ══► socket ─► UdpFlows ─┬─ known ──► its flow in the agent's session
//!                                         └─ new ─► policy ─► a stream, the first datagram right behind its head
//!          ◄══ UDP ══ UdpFlows: may it be sent? ◄── answers of the flow
//! ```
//!
//! While the gateway drains no flow begins, and nobody waits for those that there are: UDP has no end to wait for.

use super::hub::{Facts, Hub, Link};
use super::meter::Meter;
use super::{failover, life, tcp};
use crate::BoxError;
use adit_mux::flow::{FlowReceiver, FlowSender};
use adit_router::{Pass, RouteKey, Traffic, Tunnel, UdpAnswer, UdpFlowId, UdpFlowLimits, UdpFlows, Visit};
use adit_wire_proto::datagram::Datagram;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the task rests while it has nothing to wait for.
const REST: Duration = Duration::from_secs(60);

/// Octets that wait in a flow while its stream is being opened, behind its first datagram.
const MAX_HELD_BYTES: usize = 16 * 1024;

/// Serves the port until it is dropped.
pub(super) async fn serve(hub: Arc<Hub>, socket: UdpSocket, number: u16, limits: UdpFlowLimits) {
    let port = Port { hub, socket, number, flows: Mutex::new(UdpFlows::new(limits)) };
    let open = OpenPort(Arc::new(port));
    let port = &open.0;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let next = port.flows().poll_timeout();
        let wait = next.map_or(REST, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            received = port.socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => port.receive(peer, &buffer[..length]),
                // What ICMP says of one visitor is no reason to stop for the others.
                Err(error) => tracing::debug!(%error, "a datagram was not received"),
            },
            () = tokio::time::sleep(wait) => port.flows().handle_timeout(Instant::now()),
        }
    }
}

/// Ends all flows when the port is closed.
struct OpenPort(Arc<Port>);

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut flows = self.0.flows();
        tracing::debug!(port = self.0.number, stats = ?flows.stats(), "a public UDP port is closed");
        *flows = UdpFlows::new(UdpFlowLimits::new());
    }
}

struct Port {
    hub: Arc<Hub>,
    socket: UdpSocket,
    number: u16,
    /// Bounded by its limits.
    flows: Mutex<UdpFlows<Kept>>,
}

/// What is kept with a flow, and goes with it.
struct Kept {
    way: Way,
    _ends_its_task: DropGuard,
}

enum Way {
    /// The first datagram, and no more than [`MAX_HELD_BYTES`] behind it.
    Opening(Vec<Bytes>),
    Open(FlowSender, Meter),
}

impl Port {
    fn receive(self: &Arc<Self>, peer: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        if datagram.len() > Datagram::MAX_PAYLOAD_BYTES {
            return tracing::debug!(length = datagram.len(), "a datagram was longer than any flow carries");
        }
        let mut flows = self.flows();
        if let Some((id, kept)) = flows.receive(now, peer, datagram.len()) {
            if kept.way.send(Bytes::copy_from_slice(datagram)).is_err() {
                flows.remove(id);
            }
            return;
        }
        drop(flows);
        if let Err(error) = self.open(now, peer, datagram) {
            tracing::debug!(%error, "a datagram began no flow");
        }
    }

    /// Whoever isn't let in leaves nothing behind here.
    fn open(self: &Arc<Self>, now: Instant, peer: SocketAddr, datagram: &[u8]) -> Result<(), BoxError> {
        if self.is_our_own(peer) || self.hub.draining.is_cancelled() {
            return Err("no flows from there, or none any more".into());
        }
        let tunnel = find(&self.hub, self.number).ok_or("no tunnel has this port")?;
        let pass = tcp::pass_of(Facts::decide(&tunnel, &Visit::connection(peer.ip())))?;
        let ends = CancellationToken::new();
        let way = Way::Opening(vec![Bytes::copy_from_slice(datagram)]);
        let kept = Kept { way, _ends_its_task: ends.clone().drop_guard() };
        let id = self.flows().open(now, peer, datagram.len(), kept)?;
        let port = Arc::clone(self);
        tokio::spawn(async move {
            let carried = ends.run_until_cancelled(port.carry(id, peer, &tunnel, pass)).await;
            if let Some(Err(error)) = carried {
                tracing::debug!(%error, "a UDP flow ended early");
            }
            port.flows().remove(id);
        });
        Ok(())
    }

    /// Opens the flow's stream, and carries what the agent answers, until either ends it.
    async fn carry(
        &self,
        id: UdpFlowId,
        peer: SocketAddr,
        tunnel: &Tunnel<Link, Facts>,
        pass: Pass,
    ) -> Result<(), BoxError> {
        let local = self.socket.local_addr()?;
        let (stream, work) = self
            .hub
            .open(
                &mut failover::by_address(peer.ip()),
                None,
                |hub| find(hub, self.number),
                |head| head.visitor(peer).local(local).port(self.number),
            )
            .await?;
        let _in_use = tunnel.facts().life.use_for(Traffic::Other);
        let meter = |is_to_agent| Meter::new(tunnel.facts(), work.handle(), is_to_agent);
        let (sender, receiver) = work.handle().flows.opened(stream);
        if let Some(kept) = self.flows().get_mut(id) {
            kept.way.open(sender, meter(true))?;
        }
        tokio::select! {
            answered = self.answer(id, receiver, meter(false)) => answered,
            refusal = life::ended(Arc::clone(&self.hub), tunnel, pass) => Err(refusal.into()),
        }
    }

    async fn answer(
        &self,
        id: UdpFlowId,
        mut receiver: FlowReceiver,
        mut meter: Meter,
    ) -> Result<(), BoxError> {
        while let Some(answer) = receiver.receive().await? {
            let now = Instant::now();
            if !meter.lets_through(now, answer.len())? {
                continue;
            }
            let verdict = self.flows().answer(now, id, answer.len());
            if let UdpAnswer::Send(peer) = verdict
                && let Err(error) = self.socket.send_to(&answer, peer).await
            {
                tracing::debug!(%error, "a datagram was not sent");
            }
        }
        Ok(())
    }

    /// A spoofed address that is one of our own public ports would have two tunnels talk to each other without an end.
    fn is_our_own(&self, peer: SocketAddr) -> bool {
        find(&self.hub, peer.port()).is_some() && (peer.ip().is_loopback() || self.is_here(peer.ip()))
    }

    /// Whether an address is one of this machine's, as far as the port is open at it.
    fn is_here(&self, ip: IpAddr) -> bool {
        match self.socket.local_addr() {
            // Which they are is known by the system alone: it gives a socket to no other.
            Ok(local) if local.ip().is_unspecified() => std::net::UdpSocket::bind((ip, 0)).is_ok(),
            Ok(local) => local.ip() == ip,
            Err(_) => false,
        }
    }

    fn flows(&self) -> MutexGuard<'_, UdpFlows<Kept>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    fn send(&mut self, datagram: Bytes) -> Result<(), BoxError> {
        match self {
            Self::Opening(held) => {
                let behind: usize = held.iter().skip(1).map(Bytes::len).sum();
                if behind + datagram.len() <= MAX_HELD_BYTES && held.len() < MAX_HELD {
                    held.push(datagram);
                }
                Ok(())
            }
            Self::Open(sender, meter) => {
                if meter.lets_through(Instant::now(), datagram.len())? {
                    // What has no room is lost, as on any way.
                    sender.send(datagram)?;
                }
                Ok(())
            }
        }
    }

    /// The stream is there: what has waited goes first.
    fn open(&mut self, sender: FlowSender, meter: Meter) -> Result<(), BoxError> {
        let held = std::mem::replace(self, Self::Open(sender, meter));
        if let Self::Opening(held) = held {
            held.into_iter().try_for_each(|datagram| self.send(datagram))?;
        }
        Ok(())
    }
}

/// Datagrams that wait while a stream is being opened.
const MAX_HELD: usize = 16;

fn find(hub: &Hub, port: u16) -> Option<Arc<Tunnel<Link, Facts>>> {
    hub.look_up(RouteKey::udp_port(port))
}
