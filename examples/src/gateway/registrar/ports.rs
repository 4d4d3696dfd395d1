//! The public ports of tunnels, of both transports.

use super::super::{Config, take_visits, tcp, udp};
use super::tunnel::PublicPort;
use super::{Applicant, Books, Registrar, Wish};
use crate::random;
use adit_errors::{Code, Refusal};
use adit_naming::TunnelName;
use adit_router::{PortLease, PortPool, Transport, TunnelId};
use adit_wire_proto::Protocol;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::AbortHandle;

/// Who has which.
pub(super) struct Ports {
    tcp: PortPool,
    udp: PortPool,
}

impl Ports {
    pub(super) fn new(config: &Config) -> Self {
        let pool = |transport, (first, last)| PortPool::new(transport, [first..=last]);
        Self { tcp: pool(Transport::Tcp, config.tcp_ports), udp: pool(Transport::Udp, config.udp_ports) }
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

impl Registrar {
    /// A port for the tunnel, if it is to have one.
    pub(super) fn lease(
        &self,
        applicant: &Applicant<'_>,
        name: &TunnelName,
        wish: &Wish,
    ) -> Result<Option<PortLease>, Refusal> {
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
        lease.map(Some).map_err(|error| Refusal::from(&error))
    }

    /// Opens the public port, unless the tunnel has it open.
    pub(super) async fn listen(
        &self,
        name: &TunnelName,
        protocol: Protocol,
        lease: &PortLease,
    ) -> Result<(), Refusal> {
        let port = lease.port();
        {
            let mut books = self.books();
            // Whoever had the port before has lost it by now, or the lease would not have been given.
            for (other, tunnel) in &mut books.tunnels {
                let has_it = tunnel.port.as_ref().is_some_and(|held| held.lease.port() == port);
                if other != name && has_it && is_udp(tunnel.protocol) == is_udp(protocol) {
                    tunnel.port = None;
                }
            }
            let held = books.tunnels.get_mut(name).and_then(|tunnel| tunnel.port.as_mut());
            if let Some(held) = held.filter(|held| held.lease.port() == port) {
                held.lease = lease.clone();
                return Ok(());
            }
        }
        let visitors = match self.take_visitors(protocol, port).await {
            Ok(visitors) => visitors,
            Err(error) => {
                tracing::warn!(port, kind = ?error.kind(), "a public port can't be opened");
                self.set_aside(name, protocol, port);
                let message =
                    format!("port {port} is in use outside this gateway; ask for port 0 to get any");
                return Err(Refusal::new(Code::PORT_UNAVAILABLE, message));
            }
        };
        let public = PublicPort { lease: lease.clone(), visitors };
        if let Some(tunnel) = self.books().tunnels.get_mut(name) {
            tunnel.port = Some(public);
        }
        Ok(())
    }

    async fn take_visitors(&self, protocol: Protocol, port: u16) -> io::Result<AbortHandle> {
        let (hub, address) = (Arc::clone(&self.hub), SocketAddr::new(self.config.tcp_address, port));
        let visitors = if is_udp(protocol) {
            let socket = UdpSocket::bind(address).await?;
            tokio::spawn(udp::serve(hub, socket, port, self.config.udp_limits))
        } else {
            let listener = TcpListener::bind(address).await?;
            tokio::spawn(take_visits(hub, listener, tcp::serve))
        };
        Ok(visitors.abort_handle())
    }

    /// Gives nobody a port that another program has, for as long as a port waits for its tunnel.
    fn set_aside(&self, name: &TunnelName, protocol: Protocol, port: u16) {
        let (mut books, now) = (self.books(), Instant::now());
        let Books { tunnels, ports, .. } = &mut *books;
        let Some(ports) = ports.of(protocol) else { return };
        if let Some(tunnel) = tunnels.get(name) {
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
