//! Agents on the QUIC port: an endpoint without a socket of its own, beside what is passed through to tunnels.
//!
//! A first flight that asks for the gateway's own name is handed to the endpoint; from then on its datagrams are known by
//! the ids that the endpoint gave out, whatever address they come from.

use super::agents::Gatekeeper;
use super::udp_socket::SharedSocket;
use crate::{BoxError, random};
use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, TokioRuntime, UdpPoller,
    VarInt,
};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// Datagrams that wait for the endpoint; more are lost, and QUIC sends them again, slower.
const MAX_WAITING: usize = 4_096;

/// The agents' side of the port. Dropping it closes their connections.
pub(super) struct QuicAgents {
    ids: Ids,
    arriving: mpsc::Sender<(SocketAddr, Bytes)>,
    endpoint: Endpoint,
}

impl QuicAgents {
    /// Lets agents in by `keeper`, with `config` for their connections.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub(super) fn start(
        keeper: &Arc<Gatekeeper>,
        socket: Arc<SharedSocket>,
        config: quinn::ServerConfig,
    ) -> Result<Self, BoxError> {
        let (arriving, queue) = mpsc::channel(MAX_WAITING);
        let ids = Ids::default();
        let mut settings = EndpointConfig::default();
        let generator = ids.clone();
        settings.cid_generator(move || Box::new(generator.clone()));
        let socket = Arc::new(Inbox { socket, queue: Mutex::new(queue) });
        let endpoint =
            Endpoint::new_with_abstract_socket(settings, Some(config), socket, Arc::new(TokioRuntime))?;
        tokio::spawn(accept(Arc::clone(keeper), endpoint.clone()));
        Ok(Self { ids, arriving, endpoint })
    }

    /// Whether a datagram belongs to a connection that ends here.
    pub(super) fn owns(&self, datagram: &[u8]) -> bool {
        destination(datagram).is_some_and(|id| self.ids.knows(id))
    }

    /// Hands a datagram over.
    pub(super) fn deliver(&self, peer: SocketAddr, datagram: &[u8]) {
        // A full queue loses datagrams, as networks do.
        let _ = self.arriving.try_send((peer, Bytes::copy_from_slice(datagram)));
    }
}

impl Drop for QuicAgents {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
    }
}

/// Takes agents until the endpoint is closed.
async fn accept(keeper: Arc<Gatekeeper>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        if keeper.hub.draining.is_cancelled() {
            incoming.refuse();
        } else if keeper.is_crowded() && incoming.may_retry() {
            // It comes again with a token, if its address is not forged.
            let _ = incoming.retry();
        } else {
            let serving = Arc::clone(&keeper).serve_quic(incoming);
            tokio::spawn(keeper.hub.visits.track_future(serving));
        }
    }
}

/// Connection ids that are known again without a table: eight random octets, and eight that follow from them and a key.
///
/// Whoever guesses one has a datagram of no connection handed to the endpoint, as anybody can by asking for the gateway.
#[derive(Clone, Default)]
struct Ids {
    key: RandomState,
}

impl Ids {
    fn knows(&self, id: &[u8]) -> bool {
        id.split_at_checked(HALF).is_some_and(|(nonce, tag)| tag == self.tag(nonce))
    }

    fn tag(&self, nonce: &[u8]) -> [u8; HALF] {
        self.key.hash_one(nonce).to_be_bytes()
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce: [u8; HALF] = random::octets();
        ConnectionId::new(&[nonce, self.tag(&nonce)].concat())
    }

    fn cid_len(&self) -> usize {
        2 * HALF
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

const HALF: usize = 8;

/// The destination id of a datagram's first packet, if it is as long as ours (RFC 9000 §17.2, §17.3.1).
fn destination(datagram: &[u8]) -> Option<&[u8]> {
    let first = datagram.first()?;
    if first & LONG_HEADER == 0 {
        return datagram.get(1..=2 * HALF);
    }
    let length = usize::from(*datagram.get(5)?);
    (length == 2 * HALF).then(|| datagram.get(6..6 + 2 * HALF)).flatten()
}

/// The bit of the first octet that makes a header long.
const LONG_HEADER: u8 = 0x80;

/// The endpoint's socket: receives what the port hands over, sends through the port's.
struct Inbox {
    socket: Arc<SharedSocket>,
    queue: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
}

impl AsyncUdpSocket for Inbox {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: Arc::clone(&self.socket), waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        task: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((peer, datagram)) = ready!(queue.poll_recv(task)) else {
            // The port is closed and nothing comes any more: no failure, and the endpoint ends with its last handle.
            return Poll::Pending;
        };
        // QUIC's buffers hold what its peers were allowed to send; the rest of a longer one is of no use.
        let length = datagram.len().min(buffer.len());
        if let (Some(room), Some(octets)) = (buffer.get_mut(..length), datagram.get(..length)) {
            room.copy_from_slice(octets);
        }
        *meta = RecvMeta { addr: peer, len: length, stride: length.max(1), ..RecvMeta::default() };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// One connection's wait for room in the socket.
struct Writable {
    socket: Arc<SharedSocket>,
    waiting: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = self.get_mut();
        let wait = waiting.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.writable().await })
        });
        let polled = wait.as_mut().poll(task);
        if polled.is_ready() {
            *waiting = None;
        }
        polled
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_are_known_in_long_and_short_headers_and_others_are_not() {
        let mut ids = Ids::default();
        let id = ids.generate_cid();
        let short = [&[0x40][..], &id, b"payload"].concat();
        let long = [&[0xc0, 0, 0, 0, 1, 16][..], &id, b"payload"].concat();
        for datagram in [&short, &long] {
            assert!(ids.knows(destination(datagram).unwrap()));
            assert!(!Ids::default().knows(destination(datagram).unwrap()), "another gateway's");
        }
        for (cut, datagram) in [(16, &short), (21, &long)] {
            assert_eq!(destination(&datagram[..cut]), None);
        }
        let mut forged = short;
        forged[16] ^= 1;
        assert!(!ids.knows(destination(&forged).unwrap()));
    }
}
