//! The public ports of tunnels, of both transports.

use super::super::{Config, take_visits, tcp, udp};
use super::tunnel::{PublicPort, Tunnel};
use super::{Applicant, Books, Registrar, Wish};
use crate::random;
use adit_errors::{Code, Refusal};
use adit_naming::TunnelName;
use adit_router::{PortLease, PortPool, Transport, TunnelId};
use adit_wire_proto::Protocol;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How often a port is tried that another tunnel had: streams under way may keep its socket a little longer.
const MAX_HANDOVER_ATTEMPTS: u32 = 50;

/// The time between two of those.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// Who has which.
pub(super) struct Ports {
    tcp: PortPool,
    udp: PortPool,
}

impl Ports {
    pub(super) fn new(config: &Config) -> Self {
        let pool = |transport, (first, last)| PortPool::new(transport, [first..=last]).hold(config.port_hold);
        Self { tcp: pool(Transport::Tcp, config.tcp_ports), udp: pool(Transport::Udp, config.udp_ports) }
    }

    /// Gives the memory of holds back that are over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.tcp.handle_timeout(now);
        self.udp.handle_timeout(now);
    }

    /// Those for tunnels of this protocol, if they have any.
    pub(super) fn of(&mut self, protocol: Protocol) -> Option<&mut PortPool> {
        match protocol {
            Protocol::TCP | Protocol::AUTO => Some(&mut self.tcp),
            Protocol::UDP => Some(&mut self.udp),
            _ => None,
        }
    }
}

/// A port that a tunnel is about to have. Dropped before it is settled, the port waits for the tunnel as after a
/// disconnect, or goes on with the agent that has it.
pub(super) struct Leased<'a> {
    registrar: &'a Registrar,
    name: TunnelName,
    protocol: Protocol,
    lease: PortLease,
    /// None if the tunnel has it open.
    opened: Option<PublicPort>,
    is_settled: bool,
}

impl Leased<'_> {
    /// Whether visitors can come.
    pub(super) fn is_open(&self, tunnel: &Tunnel) -> bool {
        self.opened.is_some() || tunnel.has_port(self.lease.port())
    }

    /// Gives the port to the tunnel, in place of another one that it had.
    pub(super) fn settle(mut self, tunnel: &mut Tunnel) -> PortLease {
        self.is_settled = true;
        if let Some(opened) = self.opened.take() {
            tunnel.port = Some(opened);
        }
        if let Some(port) = &mut tunnel.port {
            port.lease = self.lease.clone();
        }
        self.lease.clone()
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut books = self.registrar.books();
        let Books { tunnels, ports, .. } = &mut *books;
        let Some(ports) = ports.of(self.protocol).filter(|ports| ports.is_current(&self.lease)) else {
            return;
        };
        let tunnel = tunnels.get_mut(&self.name);
        let Some(tunnel) = tunnel else { return ports.disconnect(&self.lease, Instant::now()) };
        let (id, is_served) = (tunnel.record.id(), tunnel.connection.is_connected());
        match &mut tunnel.port {
            // This lease has fenced that of the agent, which goes on by it.
            Some(port) if is_served && port.lease.port() == self.lease.port() => {
                port.lease = self.lease.clone()
            }
            // It has another one.
            Some(port) if port.lease.port() != self.lease.port() => {
                ports.release(id, self.lease.port());
            }
            _ => ports.disconnect(&self.lease, Instant::now()),
        }
    }
}

impl Registrar {
    /// A port for the tunnel, if it is to have one.
    pub(super) fn lease(
        &self,
        applicant: &Applicant<'_>,
        name: &TunnelName,
        wish: &Wish,
    ) -> Result<Option<Leased<'_>>, Refusal> {
        if wish.is_private {
            return Ok(None);
        }
        let mut books = self.books();
        let Books { tunnels, ports, .. } = &mut *books;
        let Some(ports) = ports.of(wish.protocol) else { return Ok(None) };
        let tunnel = tunnels.get(name).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        let (id, now) = (tunnel.record.id(), Instant::now());
        // Those who share a tunnel share its port.
        let shared =
            tunnel.port.as_ref().filter(|_| self.is_shared(applicant, id)).map(|port| port.lease.port());
        let lease = match wish.port.filter(|port| *port != 0).or(shared) {
            Some(port) => ports.claim(id, port, now),
            None => ports.claim_any(id, random::number(), now),
        };
        let lease = lease.map_err(|error| Refusal::from(&error))?;
        let (name, protocol) = (name.clone(), wish.protocol);
        Ok(Some(Leased { registrar: self, name, protocol, lease, opened: None, is_settled: false }))
    }

    /// Opens the public port, unless the tunnel has it open.
    pub(super) async fn listen(&self, leased: &mut Leased<'_>) -> Result<(), Refusal> {
        let (protocol, port) = (leased.protocol, leased.lease.port());
        if self.books().tunnels.get(&leased.name).is_some_and(|tunnel| tunnel.has_port(port)) {
            return Ok(());
        }
        let former = self.take_from_another(&leased.name, protocol, port);
        let mut attempts = if former.is_some() { MAX_HANDOVER_ATTEMPTS } else { 1 };
        if let Some(former) = former {
            former.closed().await;
        }
        loop {
            attempts -= 1;
            match self.take_visitors(protocol, port).await {
                Ok(visitors) => {
                    leased.opened = Some(PublicPort { lease: leased.lease.clone(), visitors });
                    return Ok(());
                }
                Err(error) if attempts > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    sleep(HANDOVER_PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(port, kind = ?error.kind(), "a public port can't be opened");
                    self.set_aside(&leased.name, protocol, port);
                    let message =
                        format!("port {port} is in use outside this gateway; ask for port 0 to get any");
                    return Err(Refusal::new(Code::PORT_UNAVAILABLE, message));
                }
            }
        }
    }

    /// Takes the port away from the tunnel that had it, whose hold has run out or the lease would not have been given.
    fn take_from_another(&self, name: &TunnelName, protocol: Protocol, port: u16) -> Option<PublicPort> {
        let mut books = self.books();
        let mut others = books.tunnels.values_mut().filter(|tunnel| tunnel.record.name() != name);
        let loser =
            others.find(|tunnel| is_udp(tunnel.protocol) == is_udp(protocol) && tunnel.has_port(port))?;
        let former = loser.port.take();
        // Its visitors are to be the new tunnel's: it gives up the key, or nobody else could have it.
        if self.publish(loser).is_err() {
            tracing::error!(port, "a tunnel whose port was taken away could not be published");
        }
        former
    }

    async fn take_visitors(&self, protocol: Protocol, port: u16) -> io::Result<JoinHandle<()>> {
        let (hub, address) = (Arc::clone(&self.hub), SocketAddr::new(self.config.tcp_address, port));
        let visitors = if is_udp(protocol) {
            let socket = UdpSocket::bind(address).await?;
            tokio::spawn(udp::serve(hub, socket, port, self.config.udp_limits))
        } else {
            let listener = TcpListener::bind(address).await?;
            tokio::spawn(take_visits(hub, listener, tcp::serve))
        };
        Ok(visitors)
    }

    /// Gives nobody a port that another program has, for as long as a port waits for its tunnel.
    fn set_aside(&self, name: &TunnelName, protocol: Protocol, port: u16) {
        let (mut books, now) = (self.books(), Instant::now());
        let Books { tunnels, ports, .. } = &mut *books;
        let Some(ports) = ports.of(protocol) else { return };
        if let Some(tunnel) = tunnels.get(name) {
            if tunnel.has_port(port) {
                // Another registration of this tunnel was faster.
                return;
            }
            ports.release(tunnel.record.id(), port);
        }
        let outsider = TunnelId::from_u128(random::wide());
        if let Ok(lease) = ports.claim(outsider, port, now) {
            ports.disconnect(&lease, now);
        }
    }
}

/// TCP and UDP ports of one number are two ports.
fn is_udp(protocol: Protocol) -> bool {
    protocol == Protocol::UDP
}
