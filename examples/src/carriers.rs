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

/// The carrier of a connection without ALPN, by what the agent said first (SPEC 15.3 rule 8); `None` if that isn't enough yet.
pub(crate) fn of_first_octets(octets: &[u8]) -> Option<Carrier> {
    match octets {
        [b'G', b'E', b'T', b' ', ..] => Some(Carrier::WebSocket),
        // HELLO's magic stands where HTTP/2 has a part of a stream's id or of a setting.
        [_, _, _, _, _, _, _, _, b'A', b'D', b'I', b'T', ..] => Some(Carrier::Native),
        [0, _, _, 4, 0, 0, 0, 0, 0, ..] => Some(Carrier::Http2),
        _ if octets.len() < 12 => None,
        _ => Some(Carrier::Native),
    }
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
    fn the_first_octets_tell_the_carrier_however_few_come_at_a_time() {
        // SETTINGS of HTTP/2's server; HELLO, once with 4 as the low octet of its length.
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];
        let hello = [0, 0, 0, 8, 0, 0, 0, 0, b'A', b'D', b'I', b'T', 0, 1, 0, 1];
        let long = [0, 0, 1, 4, 0, 0, 0, 0, b'A', b'D', b'I', b'T', 0, 1, 0, 1];
        let reset = [5, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 16];
        let cases: [(&[u8], Carrier, usize); 6] = [
            (b"GET / HTTP/1.1", Carrier::WebSocket, 4),
            (&settings, Carrier::Http2, 9),
            (&hello, Carrier::Native, 12),
            (&long, Carrier::Native, 12),
            (b"PRI * HTTP/2.0", Carrier::Native, 12),
            (&reset, Carrier::Native, 12),
        ];
        for (octets, carrier, needed) in cases {
            for length in 0..=octets.len() {
                let expected = (length >= needed).then_some(carrier);
                assert_eq!(of_first_octets(&octets[..length]), expected, "{length} of {octets:?}");
            }
        }
    }

    #[test]
    fn a_socket_for_quic_has_as_much_room_as_the_system_gives() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (plain, ours) = (UdpSocket::bind(any).unwrap(), udp_socket(any).unwrap());
        let most = quic::UdpBuffers::raise(&plain).unwrap();
        assert_eq!(quic::UdpBuffers::of(&ours).unwrap(), most);
    }
}
