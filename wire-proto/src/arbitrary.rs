//! `Arbitrary` for what travels (feature `arbitrary`): any value that a sender may send.

use crate::control::{
    AgentMessage, Answer, AuthMode, Binding, CertificateChain, CertificateState, Claim, ControlVersion,
    ControlVersions, Drain, GatewayMessage, Generation, Hello, Notice, Offer, Policy, Register, Registered,
    RegistrationId, RegistrationLimits, Request, RequestNumber, RotatedSecret, SessionLimits, Settings,
    TlsMode, TunnelStatus, Visibility, VisitorToken, Welcome,
};
use crate::credential::{AgentProof, Credential, CredentialId, CredentialKind, GatewayProof};
use crate::frame::{self, Feature, Frame, FrameKind, Version, VersionRange};
use crate::{CloseCode, Protocol, StreamHead, TlsFacts};
use adit_errors::{Envelope, Refusal, RequestId, RetryAfter};
use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Up to `most` octets.
fn octets(u: &mut Unstructured<'_>, most: usize) -> Result<Bytes> {
    let length = u.arbitrary_len::<u8>()?.min(most);
    Ok(Bytes::copy_from_slice(u.bytes(length)?))
}

/// Text of up to `most` octets.
fn text(u: &mut Unstructured<'_>, most: usize) -> Result<String> {
    let text: &str = u.arbitrary()?;
    let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Ok(text[..end].to_owned())
}

/// Text that isn't empty.
fn filled(u: &mut Unstructured<'_>, most: usize) -> Result<String> {
    let text = text(u, most)?;
    Ok(if text.is_empty() { "x".to_owned() } else { text })
}

fn texts(u: &mut Unstructured<'_>, most: usize, longest: usize) -> Result<Vec<String>> {
    let count = u.int_in_range(0..=most.min(4))?;
    (0..count).map(|_| text(u, longest)).collect()
}

fn duration(u: &mut Unstructured<'_>) -> Result<Duration> {
    Ok(Duration::from_millis(u.arbitrary()?))
}

fn maybe<T>(
    u: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if u.arbitrary()? { make(u).map(Some) } else { Ok(None) }
}

fn envelope(u: &mut Unstructured<'_>) -> Result<Envelope> {
    let entry = u.choose(adit_errors::registry::REGISTRY)?;
    let mut refusal = Refusal::of(entry, text(u, 200)?);
    if let Some(millis) = u.arbitrary::<Option<u64>>()? {
        refusal = refusal.with_retry_after(RetryAfter::from_millis(millis));
    }
    Ok(refusal.with_request_id(RequestId::from_random(u.arbitrary()?)))
}

macro_rules! open_numbers {
    ($($name:ident)*) => {$(
        impl<'a> Arbitrary<'a> for $name {
            fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
                let named = *u.choose(Self::NAMED)?;
                Ok(if u.ratio(7_u8, 8)? { named.0 } else { Self::from_i32(u.arbitrary()?) })
            }
        }
    )*};
}

open_numbers! { Protocol TlsMode AuthMode Visibility TunnelStatus Binding }

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl<'a> Arbitrary<'a> for $name {
            fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
                Ok(Self::new(u.arbitrary()?).unwrap_or(Self::FIRST))
            }
        }
    )*};
}

ids! { RegistrationId Generation RequestNumber }

impl<'a> Arbitrary<'a> for CloseCode {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let named = *u.choose(Self::NAMED)?;
        Ok(if u.ratio(7_u8, 8)? { named.0 } else { Self::from_u32(u.arbitrary()?) })
    }
}

impl<'a> Arbitrary<'a> for Frame {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // Low ids meet more often than high ones.
        let id = if u.ratio(7_u8, 8)? { u.int_in_range(1..=8)? } else { u.arbitrary::<u32>()?.max(1) };
        Ok(match u.int_in_range(0..=13_u8)? {
            0 => Self::Hello(u.arbitrary()?),
            1 => {
                let head = octets(u, usize::from(frame::MAX_HEAD_BYTES))?;
                Self::Open { id, credit: u.arbitrary()?, head, fin: u.arbitrary()? }
            }
            2 | 3 => {
                let payload = octets(u, usize::from(u16::MAX))?;
                let fin = payload.is_empty() || u.arbitrary()?;
                Self::Data { id, payload, fin }
            }
            4 => Self::Credit { id, limit: u.arbitrary()? },
            5 => Self::Streams { limit: u.arbitrary()? },
            6 => Self::Reset { id, code: u.arbitrary()? },
            7 => Self::Stop { id, code: u.arbitrary()? },
            8 => Self::Ping { sequence: u.arbitrary()?, ack: u.arbitrary()? },
            9 => {
                let reason = octets(u, usize::from(frame::MAX_REASON_BYTES))?;
                let (code, heads_up) = (u.arbitrary()?, u.arbitrary()?);
                Self::GoAway { last_id: u.arbitrary()?, code, reason, heads_up }
            }
            10 => {
                Self::Close { code: u.arbitrary()?, reason: octets(u, usize::from(frame::MAX_REASON_BYTES))? }
            }
            11 => Self::Datagram { flow: id, payload: octets(u, usize::from(frame::MAX_DATA_BYTES))? },
            12 => Self::Blocked { id: u.int_in_range(0..=8)?, limit: u.arbitrary()? },
            _ if u.arbitrary()? => Self::Pad { length: u.int_in_range(0..=512)? },
            _ => {
                Self::Skipped { kind: FrameKind::reserved(u.arbitrary()?), length: u.int_in_range(0..=512)? }
            }
        })
    }
}

impl<'a> Arbitrary<'a> for frame::Hello {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut hello = Self::new();
        if u.ratio(1_u8, 8)? {
            let (least, most): (u16, u16) = u.arbitrary()?;
            let (least, most) = (Version::from_u16(least.min(most)), Version::from_u16(least.max(most)));
            hello.versions = VersionRange::new(least, most).unwrap_or(VersionRange::OURS);
        }
        hello.max_streams = u.arbitrary()?;
        hello.stream_window = u.arbitrary()?;
        hello.max_datagram = u.int_in_range(0..=frame::MAX_DATA_BYTES)?;
        let features: Vec<u16> = u.arbitrary()?;
        hello.features = features.into_iter().take(Self::MAX_FEATURES).map(Feature::from_u16).collect();
        hello.features.sort_unstable();
        hello.features.dedup();
        Ok(hello)
    }
}

impl<'a> Arbitrary<'a> for StreamHead {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut head = Self::builder(u.arbitrary()?);
        if u.arbitrary()? {
            head = head.registration(u.arbitrary()?, u.arbitrary()?);
        }
        if let Some(address) = u.arbitrary::<Option<SocketAddr>>()? {
            // The flow label and the scope of an IPv6 address don't travel.
            head = head.visitor(SocketAddr::new(address.ip(), address.port()));
        }
        if u.arbitrary()? {
            let facts = TlsFacts {
                version: u.arbitrary()?,
                cipher_suite: u.arbitrary()?,
                alpn: octets(u, 255)?,
                ended_at_edge: u.arbitrary()?,
            };
            head = head.tls(facts);
        }
        head = head.host(text(u, Self::MAX_HOST_BYTES)?).port(u.arbitrary()?);
        head = head.trace(text(u, Self::MAX_TRACEPARENT_BYTES)?, text(u, Self::MAX_TRACESTATE_BYTES)?);
        head = head.request_id(text(u, Self::MAX_REQUEST_ID_BYTES)?).target(text(u, Self::MAX_TARGET_BYTES)?);
        if let Some(deadline) = maybe(u, duration)? {
            head = head.deadline(deadline);
        }
        head.build().map_err(|_| arbitrary::Error::IncorrectFormat)
    }
}

impl<'a> Arbitrary<'a> for CredentialId {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = *u.choose(&[CredentialKind::CapabilityToken, CredentialKind::ConnectSecret])?;
        Ok(Self::new(kind, u.arbitrary()?))
    }
}

impl<'a> Arbitrary<'a> for Credential {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let id: CredentialId = u.arbitrary()?;
        Ok(Self::from_random(id.kind(), id.nonce(), u.arbitrary()?))
    }
}

impl<'a> Arbitrary<'a> for Offer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut offer = Self::new(text(u, Self::MAX_SOFTWARE_BYTES)?, u.arbitrary()?);
        if u.ratio(1_u8, 8)? {
            let (least, most): (u32, u32) = u.arbitrary()?;
            let number = ControlVersion::from_u32;
            let versions = ControlVersions::new(number(least.min(most)), number(least.max(most)));
            offer.versions = versions.unwrap_or(ControlVersions::OURS);
        }
        offer.features = texts(u, Self::MAX_FEATURES, Self::MAX_FEATURE_BYTES)?;
        offer.credential = u.arbitrary()?;
        offer.binding = u.arbitrary()?;
        offer.resume_token = octets(u, Self::MAX_RESUME_TOKEN_BYTES)?;
        Ok(offer)
    }
}

impl<'a> Arbitrary<'a> for Settings {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut settings = Self::new(text(u, Self::MAX_SESSION_BYTES)?);
        settings.features = texts(u, Offer::MAX_FEATURES, Offer::MAX_FEATURE_BYTES)?;
        settings.resume_token = octets(u, Offer::MAX_RESUME_TOKEN_BYTES)?;
        settings.zones = texts(u, Self::MAX_ZONES, Self::MAX_ZONE_BYTES)?;
        let (registrations, requests): (u32, u32) = u.arbitrary()?;
        settings.limits =
            SessionLimits { max_registrations: registrations.max(1), max_pending_requests: requests.max(1) };
        settings.silence = maybe(u, duration)?.filter(|duration| !duration.is_zero());
        settings.heartbeat = maybe(u, duration)?.filter(|duration| !duration.is_zero());
        Ok(settings)
    }
}

impl<'a> Arbitrary<'a> for Policy {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            allow_methods: texts(u, 16, 32)?,
            allow_networks: texts(u, 64, 43)?,
            deny_networks: texts(u, 64, 43)?,
            rate_per_minute: u.arbitrary()?,
            bandwidth: u.arbitrary()?,
            http_keep_alive: u.arbitrary()?,
            wake_on_http: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for Register {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let claim = match u.int_in_range(0..=2_u8)? {
            0 => Claim::Assigned,
            1 => Claim::Name(filled(u, Self::MAX_NAME_BYTES)?),
            _ => Claim::Key(filled(u, Self::MAX_KEY_BYTES)?),
        };
        let mut register = Self::new(u.arbitrary()?, claim);
        register.zone = maybe(u, |u| filled(u, Self::MAX_ZONE_BYTES))?;
        register.port = u.arbitrary()?;
        register.tls_mode = u.arbitrary()?;
        register.auth_mode = u.arbitrary()?;
        register.visibility = u.arbitrary()?;
        register.display_name = text(u, Self::MAX_DISPLAY_NAME_BYTES)?;
        register.description = text(u, Self::MAX_DESCRIPTION_BYTES)?;
        register.labels = (0..u.int_in_range(0..=4)?)
            .map(|_| Ok((text(u, Self::MAX_LABEL_KEY_BYTES)?, text(u, Self::MAX_LABEL_VALUE_BYTES)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        register.metadata = text(u, Self::MAX_METADATA_BYTES)?;
        register.policy = u.arbitrary()?;
        register.ttl = maybe(u, duration)?;
        register.resume_token = octets(u, Self::MAX_RESUME_TOKEN_BYTES)?;
        register.generation = u.arbitrary()?;
        Ok(register)
    }
}

impl<'a> Arbitrary<'a> for Registered {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (registration, generation) = (u.arbitrary()?, u.arbitrary()?);
        let mut registered = Self::new(registration, generation, text(u, Register::MAX_NAME_BYTES)?);
        registered.tunnel = text(u, Self::MAX_TUNNEL_BYTES)?;
        registered.addresses = texts(u, Self::MAX_ADDRESSES, Self::MAX_ADDRESS_BYTES)?;
        registered.certificate = CertificateState {
            awaited: u.arbitrary()?,
            names: texts(u, 16, 253)?,
            expires_in: maybe(u, duration)?,
            renew_in: maybe(u, duration)?,
        };
        registered.ttl = maybe(u, duration)?;
        let (max_streams, bandwidth, rate_per_minute) = u.arbitrary()?;
        registered.limits = RegistrationLimits { max_streams, bandwidth, rate_per_minute };
        registered.resume_token = octets(u, Register::MAX_RESUME_TOKEN_BYTES)?;
        registered.visitor_token = VisitorToken::new(text(u, VisitorToken::MAX_BYTES)?);
        registered.status = u.arbitrary()?;
        Ok(registered)
    }
}

impl<'a> Arbitrary<'a> for Request {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let registration = u.arbitrary()?;
        Ok(match u.int_in_range(0..=6_u8)? {
            0 | 1 => Self::Register(Box::new(u.arbitrary()?)),
            2 => Self::Unregister { registration },
            3 => Self::Renew { registration, ttl: maybe(u, duration)? },
            4 => Self::SignCsr { registration, csr: filled(u, Self::MAX_CSR_BYTES)?.into() },
            5 => Self::RotateSecret { overlap: duration(u)? },
            _ => Self::SetStatus { registration, status: u.arbitrary()? },
        })
    }
}

impl<'a> Arbitrary<'a> for AgentMessage {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=7_u8)? {
            0 => {
                let offer: Offer = u.arbitrary()?;
                let proof = u.arbitrary::<Option<_>>()?.map(AgentProof::from_octets);
                Self::Hello(Hello { offer: offer.encode(), proof })
            }
            1 => Self::Proof(AgentProof::from_octets(u.arbitrary()?)),
            2 => Self::Leave { deadline: duration(u)? },
            3 => Self::Unknown { number: u.arbitrary()? },
            _ => Self::Request { number: u.arbitrary()?, request: u.arbitrary()? },
        })
    }
}

impl<'a> Arbitrary<'a> for Answer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let registration = u.arbitrary()?;
        Ok(match u.int_in_range(0..=5_u8)? {
            0 => Self::Registered(Box::new(u.arbitrary()?)),
            1 => Self::Unregistered { registration },
            2 => Self::Renewed { registration, ttl: maybe(u, duration)? },
            3 => {
                let count = u.int_in_range(1..=CertificateChain::MAX_CERTIFICATES)?;
                let chain = (0..count).map(|_| filled(u, 2048).map(Bytes::from)).collect::<Result<_>>()?;
                Self::Certificate(CertificateChain::new(registration, chain, duration(u)?, duration(u)?))
            }
            4 => Self::RotatedSecret(RotatedSecret::new(u.arbitrary()?, duration(u)?)),
            _ => Self::Status { registration, status: u.arbitrary()? },
        })
    }
}

impl<'a> Arbitrary<'a> for Notice {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let registration = u.arbitrary()?;
        Ok(match u.int_in_range(0..=5_u8)? {
            0 => Self::Status { registration, status: u.arbitrary()?, reason: maybe(u, envelope)? },
            1 => Self::Superseded { registration, generation: u.arbitrary()? },
            2 => {
                let hints = texts(u, Drain::MAX_HINTS, Drain::MAX_HINT_BYTES)?;
                Self::Drain(Drain::new(duration(u)?).with_hints(hints))
            }
            3 => Self::Terminate { reason: envelope(u)? },
            4 => Self::CertificateDue { registration, expires_in: duration(u)? },
            _ => Self::SecretRotated { old_valid: duration(u)? },
        })
    }
}

impl<'a> Arbitrary<'a> for GatewayMessage {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=7_u8)? {
            0 => Self::Challenge(u.arbitrary()?),
            1 => {
                let settings: Settings = u.arbitrary()?;
                let proof = u.arbitrary::<Option<_>>()?.map(GatewayProof::from_octets);
                Self::Welcome(Welcome { settings: settings.encode(), proof })
            }
            2 => Self::Refused { number: u.arbitrary()?, refusal: envelope(u)? },
            3 | 4 => Self::Answer { number: u.arbitrary()?, answer: u.arbitrary()? },
            5 | 6 => Self::Notice(u.arbitrary()?),
            _ => Self::Unknown { number: u.arbitrary()? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Decoder;
    use bytes::BytesMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn w01_any_value_is_read_as_it_was_written(seed in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut u = Unstructured::new(&seed);
            while !u.is_empty() {
                let Ok(frame) = Frame::arbitrary(&mut u) else { break };
                let mut wire = BytesMut::new();
                frame.encode(&mut wire);
                prop_assert_eq!(Decoder::new().decode(&mut wire).unwrap(), Some(frame));
                prop_assert!(wire.is_empty());
                let Ok(message) = AgentMessage::arbitrary(&mut u) else { break };
                let octets = message.encode().unwrap();
                prop_assert_eq!(AgentMessage::decode(octets.slice(4..)).unwrap(), message);
                let Ok(message) = GatewayMessage::arbitrary(&mut u) else { break };
                let octets = message.encode().unwrap();
                let read = GatewayMessage::decode(octets.slice(4..)).unwrap();
                prop_assert_eq!(read.encode().unwrap(), octets);
                let Ok(head) = StreamHead::arbitrary(&mut u) else { break };
                prop_assert_eq!(StreamHead::decode(head.encode()).unwrap(), head);
                let Ok(settings) = Settings::arbitrary(&mut u) else { break };
                prop_assert_eq!(Settings::decode(settings.encode()).unwrap(), settings);
                let Ok(offer) = Offer::arbitrary(&mut u) else { break };
                prop_assert_eq!(Offer::decode(offer.encode()).unwrap(), offer);
            }
        }
    }
}
