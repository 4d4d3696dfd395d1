//! A visitor's datagrams, to the local service and back.

use super::config::Upstream;
use adit_mux::flow::{FlowReceiver, FlowSender};
use adit_wire_proto::datagram::Datagram;
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};

/// How long both sides of a flow may be silent. The gateway's own limit is shorter; this one is for a gateway without.
const MAX_SILENCE: Duration = Duration::from_secs(300);

/// A socket of its own for each visitor, which the local service tells apart by it.
pub(super) async fn socket(upstream: &Upstream) -> io::Result<UdpSocket> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host(upstream.address()).await? {
        match connected(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// On any port, of the family of `address`.
async fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Until the gateway ends the flow, which it does when the visitor is silent.
pub(super) async fn carry((sender, mut receiver): (FlowSender, FlowReceiver), socket: &UdpSocket) {
    let mut buffer = vec![0; Datagram::MAX_PAYLOAD_BYTES];
    loop {
        tokio::select! {
            datagram = receiver.receive() => match datagram {
                // What can't be sent is lost, as on any way.
                Ok(Some(datagram)) => drop(socket.send(&datagram).await),
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "a UDP flow ended early"),
            },
            received = socket.recv(&mut buffer) => {
                // An error is what ICMP said of a datagram before.
                let Ok(length) = received else { continue };
                if sender.send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(MAX_SILENCE) => return,
        }
    }
}
