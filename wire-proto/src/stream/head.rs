//! The first thing on a stream: which tunnel, which protocol, who the visitor is.

use crate::control::{Generation, RegistrationId};
use crate::frame::MAX_HEAD_BYTES;
use crate::message::{MessageError, millis, octets, port, text};
use crate::{Protocol, pb};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The head of a stream, at most [`MAX_HEAD_BYTES`] octets when encoded.
///
/// It names a tunnel, never an address to connect to: the agent dials only what its owner configured for that
/// registration, so that a hostile gateway can't use it as a way into the agent's network.
///
/// ```
/// use adit_wire_proto::control::{Generation, RegistrationId};
/// use adit_wire_proto::{Protocol, StreamHead};
///
/// let head = StreamHead::builder(Protocol::HTTP)
///     .registration(RegistrationId::new(7).unwrap(), Generation::new(3).unwrap())
///     .visitor("203.0.113.9:51000".parse().unwrap())
///     .host("my-app.example.com")
///     .build()
///     .unwrap();
/// let octets = head.encode();
/// assert_eq!(StreamHead::decode(octets).unwrap(), head);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    protocol: Protocol,
    registration: Option<(RegistrationId, Generation)>,
    visitor: Option<SocketAddr>,
    local: Option<SocketAddr>,
    host: Option<String>,
    tls: Option<TlsFacts>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    deadline: Option<Duration>,
    request_id: Option<String>,
    target: Option<String>,
    port: Option<u16>,
}

/// What is known of the visitor's TLS.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The version as in TLS, so `0x0304` for TLS 1.3; 0 (the default) if not known yet.
    pub version: u16,
    /// The cipher suite as in TLS; 0 (the default) if not known yet.
    pub cipher_suite: u16,
    /// The application protocol that was chosen, at most 255 octets; empty (the default) if none.
    pub alpn: Bytes,
    /// Whether the gateway ended TLS; the default is that it didn't.
    pub ended_at_edge: bool,
}

impl StreamHead {
    /// The longest host, in octets.
    pub const MAX_HOST_BYTES: usize = 255;
    /// The longest trace state, in octets.
    pub const MAX_TRACESTATE_BYTES: usize = 512;
    /// The longest trace parent, in octets.
    pub const MAX_TRACEPARENT_BYTES: usize = 55;
    /// The longest request id, in octets.
    pub const MAX_REQUEST_ID_BYTES: usize = 128;
    /// The longest name of a tunnel to reach, in octets.
    pub const MAX_TARGET_BYTES: usize = 100;

    /// A head to be filled in.
    pub const fn builder(protocol: Protocol) -> StreamHeadBuilder {
        StreamHeadBuilder(Self::empty(protocol))
    }

    /// The head of the control stream, the first that an agent opens.
    pub const fn control() -> Self {
        Self::empty(Protocol::CONTROL)
    }

    /// Reads a head that is exactly `octets`, as in the body of an OPEN.
    ///
    /// # Errors
    /// [`MessageError`]: reset the stream with its code; the session lives.
    pub fn decode(octets: impl Into<Bytes>) -> Result<Self, MessageError> {
        let octets = octets.into();
        if octets.len() > usize::from(MAX_HEAD_BYTES) {
            return Err(MessageError::TooLarge { length: octets.len(), limit: usize::from(MAX_HEAD_BYTES) });
        }
        Self::from_wire(pb::StreamHead::decode(octets)?)
    }

    /// The octets for the body of an OPEN.
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// Takes a head off the front of a stream whose carrier has no place of its own for it: two octets of length,
    /// then the head. `None` until more octets are appended.
    ///
    /// # Errors
    /// [`MessageError`]: reset the stream with its code.
    pub fn decode_prefixed(input: &mut BytesMut) -> Result<Option<Self>, MessageError> {
        let Some(length) = input.first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > usize::from(MAX_HEAD_BYTES) {
            return Err(MessageError::TooLarge { length, limit: usize::from(MAX_HEAD_BYTES) });
        }
        if input.len() < 2 + length {
            return Ok(None);
        }
        let mut head = input.split_to(2 + length);
        Self::decode(head.split_off(2)).map(Some)
    }

    /// Writes what [`decode_prefixed`](Self::decode_prefixed) reads.
    pub fn encode_prefixed(&self, out: &mut BytesMut) {
        let head = self.encode();
        // Invariant: a head is at most MAX_HEAD_BYTES long; the builder and `decode` have seen to that.
        out.put_u16(u16::try_from(head.len()).unwrap_or(MAX_HEAD_BYTES));
        out.put_slice(&head);
    }

    /// What the stream carries.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The registration that the stream is for. None on control streams and on a `reach` that an agent opens.
    pub const fn registration(&self) -> Option<RegistrationId> {
        match self.registration {
            Some((id, _)) => Some(id),
            None => None,
        }
    }

    /// The generation of that registration: an agent refuses a stream of another one with
    /// [`UNKNOWN_TUNNEL`](crate::CloseCode::UNKNOWN_TUNNEL).
    pub const fn generation(&self) -> Option<Generation> {
        match self.registration {
            Some((_, generation)) => Some(generation),
            None => None,
        }
    }

    /// Where the visitor came from.
    pub const fn visitor(&self) -> Option<SocketAddr> {
        self.visitor
    }

    /// The gateway's address at which the visitor arrived.
    pub const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The host or SNI by which the tunnel was chosen. Written by the visitor: escape it in logs.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Facts of the visitor's TLS, if the visitor's side is TLS.
    pub const fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// W3C `traceparent`.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// W3C `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// How long the acceptor may take to connect its upstream.
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Names the request in logs of both sides.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The private tunnel to reach.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The port in `{port}-{key}.{zone}`, or the public port that the visitor chose.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    const fn empty(protocol: Protocol) -> Self {
        Self {
            protocol,
            registration: None,
            visitor: None,
            local: None,
            host: None,
            tls: None,
            traceparent: None,
            tracestate: None,
            deadline: None,
            request_id: None,
            target: None,
            port: None,
        }
    }

    fn to_wire(&self) -> pb::StreamHead {
        let (registration, generation) =
            self.registration.map_or((0, 0), |(id, generation)| (id.as_u64(), generation.as_u64()));
        pb::StreamHead {
            protocol: self.protocol.as_i32(),
            registration,
            generation,
            visitor: self.visitor.map(address_to_wire),
            local: self.local.map(address_to_wire),
            host: self.host.clone().unwrap_or_default(),
            tls: self.tls.as_ref().map(TlsFacts::to_wire),
            traceparent: self.traceparent.clone().unwrap_or_default(),
            tracestate: self.tracestate.clone().unwrap_or_default(),
            deadline_ms: self.deadline.map(millis),
            request_id: self.request_id.clone().unwrap_or_default(),
            target: self.target.clone().unwrap_or_default(),
            port: self.port.map_or(0, u32::from),
        }
    }

    fn from_wire(wire: pb::StreamHead) -> Result<Self, MessageError> {
        let port = port("port", wire.port)?;
        Ok(Self {
            protocol: Protocol::from_i32(wire.protocol),
            registration: registration(wire.registration, wire.generation)?,
            visitor: wire.visitor.map(|wire| address("visitor", &wire)).transpose()?,
            local: wire.local.map(|wire| address("local", &wire)).transpose()?,
            host: text("host", wire.host, Self::MAX_HOST_BYTES)?,
            tls: wire.tls.map(TlsFacts::from_wire).transpose()?,
            traceparent: text("traceparent", wire.traceparent, Self::MAX_TRACEPARENT_BYTES)?,
            tracestate: text("tracestate", wire.tracestate, Self::MAX_TRACESTATE_BYTES)?,
            deadline: wire.deadline_ms.map(Duration::from_millis),
            request_id: text("request_id", wire.request_id, Self::MAX_REQUEST_ID_BYTES)?,
            target: text("target", wire.target, Self::MAX_TARGET_BYTES)?,
            port: (port != 0).then_some(port),
        })
    }
}

/// Makes a [`StreamHead`]; everything but the protocol is absent until it is set.
#[derive(Clone, Debug)]
#[must_use]
pub struct StreamHeadBuilder(StreamHead);

impl StreamHeadBuilder {
    /// Which registration, in which generation.
    pub const fn registration(mut self, id: RegistrationId, generation: Generation) -> Self {
        self.0.registration = Some((id, generation));
        self
    }

    /// Where the visitor came from.
    pub const fn visitor(mut self, address: SocketAddr) -> Self {
        self.0.visitor = Some(address);
        self
    }

    /// The gateway's address at which the visitor arrived.
    pub const fn local(mut self, address: SocketAddr) -> Self {
        self.0.local = Some(address);
        self
    }

    /// The host or SNI, without port; at most 255 octets.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.0.host = filled(host);
        self
    }

    /// Facts of the visitor's TLS.
    pub fn tls(mut self, facts: TlsFacts) -> Self {
        self.0.tls = Some(facts);
        self
    }

    /// W3C trace context: at most 55 octets of `traceparent` and 512 of `tracestate`, which may be empty.
    pub fn trace(mut self, traceparent: impl Into<String>, tracestate: impl Into<String>) -> Self {
        self.0.traceparent = filled(traceparent);
        self.0.tracestate = filled(tracestate);
        self
    }

    /// How long the acceptor may take to connect its upstream, in whole milliseconds.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline = Some(deadline);
        self
    }

    /// Names the request in logs of both sides; at most 128 octets.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = filled(id);
        self
    }

    /// The private tunnel to reach; at most 100 octets.
    pub fn target(mut self, name: impl Into<String>) -> Self {
        self.0.target = filled(name);
        self
    }

    /// The port in `{port}-{key}.{zone}`, or the public port that the visitor chose; 0 for none.
    pub const fn port(mut self, port: u16) -> Self {
        self.0.port = if port == 0 { None } else { Some(port) };
        self
    }

    /// The head.
    ///
    /// # Errors
    /// [`MessageError`] if a field, or the whole, is over its limit: what we send, a peer accepts.
    pub fn build(mut self) -> Result<StreamHead, MessageError> {
        // The wire counts whole milliseconds; without this a head would differ from what its receiver reads.
        self.0.deadline = self.0.deadline.map(|deadline| Duration::from_millis(millis(deadline)));
        StreamHead::decode(self.0.encode())
    }
}

impl TlsFacts {
    fn to_wire(&self) -> pb::TlsFacts {
        pb::TlsFacts {
            version: u32::from(self.version),
            cipher_suite: u32::from(self.cipher_suite),
            alpn: self.alpn.clone(),
            ended_at_edge: self.ended_at_edge,
        }
    }

    fn from_wire(wire: pb::TlsFacts) -> Result<Self, MessageError> {
        Ok(Self {
            version: port("tls.version", wire.version)?,
            cipher_suite: port("tls.cipher_suite", wire.cipher_suite)?,
            alpn: octets("tls.alpn", wire.alpn, 255)?,
            ended_at_edge: wire.ended_at_edge,
        })
    }
}

fn filled(text: impl Into<String>) -> Option<String> {
    Some(text.into()).filter(|text| !text.is_empty())
}

fn registration(id: u64, generation: u64) -> Result<Option<(RegistrationId, Generation)>, MessageError> {
    match (RegistrationId::new(id), Generation::new(generation)) {
        (Some(id), Some(generation)) => Ok(Some((id, generation))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(MessageError::Missing { field: "generation" }),
        (None, Some(_)) => Err(MessageError::Missing { field: "registration" }),
    }
}

fn address_to_wire(address: SocketAddr) -> pb::SocketAddress {
    let ip = match address.ip() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    };
    pb::SocketAddress { ip, port: u32::from(address.port()) }
}

fn address(field: &'static str, wire: &pb::SocketAddress) -> Result<SocketAddr, MessageError> {
    let ip = match (<[u8; 4]>::try_from(&*wire.ip), <[u8; 16]>::try_from(&*wire.ip)) {
        (Ok(octets), _) => IpAddr::from(octets),
        (_, Ok(octets)) => IpAddr::from(octets),
        _ => return Err(MessageError::Value { field }),
    };
    Ok(SocketAddr::new(ip, port(field, wire.port)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> StreamHead {
        StreamHead::builder(Protocol::HTTPS)
            .registration(RegistrationId::new(7).unwrap(), Generation::new(3).unwrap())
            .visitor("203.0.113.9:51000".parse().unwrap())
            .local("[2001:db8::1]:443".parse().unwrap())
            .host("my-app.example.com")
            .tls(TlsFacts {
                version: 0x0304,
                cipher_suite: 0x1301,
                alpn: Bytes::from_static(b"h2"),
                ended_at_edge: true,
            })
            .trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b")
            .deadline(Duration::from_millis(1500))
            .request_id("req-1")
            .target("db")
            .port(8080)
            .build()
            .unwrap()
    }

    #[test]
    fn w01_a_head_survives_a_round_trip_with_every_field() {
        let head = full();
        assert_eq!(StreamHead::decode(head.encode()).unwrap(), head);
        let mut wire = BytesMut::new();
        head.encode_prefixed(&mut wire);
        assert_eq!(StreamHead::decode_prefixed(&mut wire).unwrap().unwrap(), head);
        assert!(wire.is_empty());
    }

    #[test]
    fn w02_every_prefix_of_a_prefixed_head_asks_for_more() {
        let mut wire = BytesMut::new();
        full().encode_prefixed(&mut wire);
        for cut in 0..wire.len() {
            let mut part = BytesMut::from(&wire[..cut]);
            assert_eq!(StreamHead::decode_prefixed(&mut part), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn w03_a_head_over_its_limit_is_refused_on_the_length_alone() {
        let mut wire = BytesMut::from(&[0x10, 0x01][..]);
        let error = StreamHead::decode_prefixed(&mut wire).unwrap_err();
        assert_eq!(error.close_code(), crate::CloseCode::FRAME_TOO_LARGE);
        let long = "x".repeat(256);
        assert!(StreamHead::builder(Protocol::HTTP).host(long).build().is_err());
    }

    #[test]
    fn w28_an_unknown_field_such_as_an_address_to_dial_is_ignored() {
        let head = full();
        let mut wire = BytesMut::from(&head.encode()[..]);
        // Field 200, length-delimited: "10.0.0.1:22".
        wire.put_slice(&[0xc2, 0x0c, 11]);
        wire.put_slice(b"10.0.0.1:22");
        assert_eq!(StreamHead::decode(wire).unwrap(), head);
    }

    #[test]
    fn an_address_of_another_length_and_a_generation_without_registration_are_malformed() {
        let address = pb::SocketAddress { ip: Bytes::from_static(b"12345"), port: 1 };
        let wire = pb::StreamHead { visitor: Some(address), ..Default::default() };
        assert_eq!(StreamHead::from_wire(wire), Err(MessageError::Value { field: "visitor" }));
        let wire = pb::StreamHead { generation: 1, ..Default::default() };
        assert_eq!(StreamHead::from_wire(wire), Err(MessageError::Missing { field: "registration" }));
    }
}
