//! The UDP socket of the QUIC port. Visitors' datagrams pass through it unread, and agents' connections end at it.

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::slice::Chunks;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What one call of the system may give: datagrams of one sender, joined.
pub(super) const BUFFER_BYTES: usize = 65_536;

/// A socket that sends and receives several datagrams at once, where the system can.
#[derive(Debug)]
pub(super) struct SharedSocket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl SharedSocket {
    pub(super) fn new(io: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state })
    }

    /// Receives datagrams of one sender into `buffer`. Cancel-safe.
    pub(super) async fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<(SocketAddr, Chunks<'b, u8>)> {
        let mut meta = [RecvMeta::default()];
        let receive = || self.state.recv((&self.io).into(), &mut [IoSliceMut::new(&mut *buffer)], &mut meta);
        self.io.async_io(Interest::READABLE, receive).await?;
        let [meta] = meta;
        let received = buffer.get(..meta.len).unwrap_or_default();
        Ok((meta.addr, received.chunks(meta.stride.max(1))))
    }

    /// Sends one datagram.
    pub(super) async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.io.send_to(datagram, to).await
    }

    /// Sends what a connection has, or says that it would have to wait.
    pub(super) fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    /// Waits until something can be sent.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// How many datagrams of one connection go in one call.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}
