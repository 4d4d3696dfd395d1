//! A QUIC connection made ready for sessions, and a session made of it.

use super::driver::drive;
use super::link::{Life, Link};
use super::{Incoming, Session};
use crate::{Config, Driver};
use quinn::{Connection, IdleTimeout, TransportConfig, VarInt};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The protocol that both sides name in their TLS handshake.
pub const ALPN: &[u8] = b"adit/1";

/// What QUIC's transport has to be for sessions with the limits of `config`: streams, windows, idle time, datagrams.
///
/// Windows are QUIC's own and don't grow: each stream has 1,250,000 octets (100 Mbit/s at 100 ms), and there is no
/// limit for the connection that one stream could use up. So a peer can make this side hold at most
/// `max_peer_streams` times that; set [`Config::max_peer_streams`] to what its owner needs, or change the
/// `stream_receive_window` of the answer.
pub fn transport(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = config.keepalive.saturating_add(config.ping_timeout);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(config.max_peer_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .receive_window(VarInt::MAX)
        .keep_alive_interval(Some(config.keepalive.min(KEEPALIVE_MOST)))
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        .datagram_receive_buffer_size((config.max_datagram > 0).then_some(config.datagram_queue))
        .datagram_send_buffer_size(config.datagram_queue);
    transport
}

/// Starts a session on a connection whose handshake is done. Nothing happens until the [`Driver`] is polled: spawn it.
pub fn start(connection: Connection, config: &Config) -> (crate::Session, crate::Incoming, Driver) {
    let (rests, waiting) = mpsc::unbounded_channel();
    let link = Arc::new(Link::new(connection, config.clone(), rests));
    let life = Arc::new(Life::new(Arc::clone(&link)));
    let driver = Driver::of(drive(link, waiting));
    (
        crate::Session::quic(Session::new(Arc::clone(&life))),
        crate::Incoming::quic(Incoming::new(life)),
        driver,
    )
}

/// The 32 octets that only the two ends of this connection know (RFC 9266), for the proof of a credential.
///
/// `None` if the connection has none yet.
pub fn channel_binding(connection: &Connection) -> Option<[u8; 32]> {
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, b"EXPORTER-Channel-Binding", &[]).ok()?;
    Some(binding)
}

/// Address translators forget a UDP flow after 30 s, some sooner.
const KEEPALIVE_MOST: std::time::Duration = std::time::Duration::from_secs(10);
