//! What agent and gateway have to agree on about carriers (SPEC, sections 2, 7.3 and 15).

use crate::BoxError;
use adit_mux::Carrier;
use adit_mux::carrier::{h2, quic};
use adit_wire_proto::credential::ChannelBinding;
use rustls::ConnectionCommon;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Once;

/// The application protocol of the native carrier.
pub(crate) const NATIVE: &[u8] = b"adit/1";
/// That of the WebSocket, and of whatever else begins as HTTP.
pub(crate) const HTTP: &[u8] = b"http/1.1";

/// What a carrier is called in the TLS handshake; `None` for carriers to come.
pub(crate) const fn alpn(carrier: Carrier) -> Option<&'static [u8]> {
    match carrier {
        Carrier::Native => Some(NATIVE),
        Carrier::Quic => Some(quic::ALPN),
        Carrier::Http2 => Some(h2::ALPN),
        Carrier::WebSocket => Some(HTTP),
        _ => None,
    }
}

/// The carrier over TCP that was chosen in the TLS handshake.
pub(crate) fn of_alpn(chosen: Option<&[u8]>) -> Option<Carrier> {
    let over_tcp = [Carrier::Native, Carrier::Http2, Carrier::WebSocket];
    over_tcp.into_iter().find(|carrier| chosen.is_some() && alpn(*carrier) == chosen)
}

/// What ties a credential's proof to this very TLS connection (RFC 9266).
pub(crate) fn binding<Data>(tls: &ConnectionCommon<Data>) -> Result<ChannelBinding, BoxError> {
    let exporter = tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))?;
    Ok(ChannelBinding::tls_exporter(exporter))
}

/// The same for a QUIC connection.
pub(crate) fn quic_binding(connection: &quinn::Connection) -> Result<ChannelBinding, BoxError> {
    Ok(ChannelBinding::tls_exporter(
        quic::channel_binding(connection).ok_or("the connection has no exporter")?,
    ))
}

/// A socket for QUIC, with as much room for packets as the system gives. If that is little, whoever runs the program is told so,
/// once.
pub(crate) fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    static TOLD: Once = Once::new();
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if let Some(hint) = quic::UdpBuffers::raise(&socket)?.hint() {
        TOLD.call_once(|| tracing::warn!("{hint}"));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_socket_for_quic_has_as_much_room_as_the_system_gives() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (plain, ours) = (UdpSocket::bind(any).unwrap(), udp_socket(any).unwrap());
        let most = quic::UdpBuffers::raise(&plain).unwrap();
        assert_eq!(quic::UdpBuffers::of(&ours).unwrap(), most);
    }
}
