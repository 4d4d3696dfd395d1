//! A service that speaks UDP, and visitors who do.

use super::World;
use super::rows::{Outcome, expect, moved};
use crate::BoxError;
use crate::agent::{Tunnel, Upstream};
use adit_mux::Carrier;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long an answer may take before it is asked for again: UDP may lose it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Datagrams of all lengths arrive whole, and each visitor gets its own answers, whatever the agent came by.
pub(crate) async fn echo(world: &mut World, carrier: Carrier) -> Outcome {
    let upstream = serve_echo().await?;
    let name = format!("my-game-{carrier}");
    let tunnel = Tunnel::Udp { upstream: Upstream::from(upstream), name: Some(name), public_port: None };
    let addresses = world.agent_by(carrier.name(), tunnel, carrier).await?;
    let public = addresses.first().and_then(|address| address.strip_prefix("udp://")).ok_or("no UDP port")?;
    let (one, two) = (visitor(public).await?, visitor(public).await?);
    let mut total = 0;
    for length in [0, 1, 1200, 1472, 16_376, 65_507] {
        for (visitor, octet) in [(&one, 1), (&two, 2)] {
            let sent = vec![octet; length];
            expect(exchange(visitor, &sent).await? == sent, "the echo is equal")?;
            total += 2 * length;
        }
    }
    world.stop_agent(carrier.name());
    Ok(moved(total))
}

async fn serve_echo() -> Result<SocketAddr, BoxError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            // An error is what ICMP said of a visitor who has gone.
            if let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], peer).await;
            }
        }
    });
    Ok(address)
}

async fn visitor(public: &str) -> Result<UdpSocket, BoxError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(public).await?;
    Ok(socket)
}

async fn exchange(visitor: &UdpSocket, sent: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        visitor.send(sent).await?;
        match tokio::time::timeout(PATIENCE, visitor.recv(&mut buffer)).await {
            Ok(length) => return Ok(buffer[..length?].to_vec()),
            Err(_) => tracing::debug!("an answer was lost; asking again"),
        }
    }
}
