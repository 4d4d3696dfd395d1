//! What the two sides say of themselves on the control stream.

use super::{Binding, ControlVersion, ControlVersions};
use crate::credential::{AgentProof, CredentialId, GatewayProof, Nonce};
use crate::message::{MAX_PROOF_BYTES, MessageError, exactly, millis, octets, proof, text, texts};
use crate::pb;
use bytes::Bytes;
use prost::Message;
use std::time::Duration;

/// The agent's first message: its offer, as octets because a proof covers exactly these, and the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// An encoded [`Offer`].
    pub offer: Bytes,
    /// Absent if a challenge is to come first, or no credential is presented.
    pub proof: Option<AgentProof>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The versions that the agent speaks; the default is what this crate speaks.
    pub versions: ControlVersions,
    /// Names of what it can do beyond the version; none by default, at most [`MAX_FEATURES`](Self::MAX_FEATURES).
    pub features: Vec<String>,
    /// Name and version of its software, as `adit-agent/0.1.0`; at most 256 octets.
    pub software: String,
    /// Fresh random octets.
    pub nonce: Nonce,
    /// The public part of the credential, if one is presented. [`agent::Control`](crate::agent::Control) fills it in.
    pub credential: Option<CredentialId>,
    /// What the proof is bound to. [`agent::Control`](crate::agent::Control) fills it in.
    pub binding: Binding,
    /// From the session before, at most 64 octets; empty (the default) for none.
    pub resume_token: Bytes,
}

impl Offer {
    /// The most features that may be named.
    pub const MAX_FEATURES: usize = 64;
    /// The longest name of a feature, in octets.
    pub const MAX_FEATURE_BYTES: usize = 64;
    /// The longest name of a software, in octets.
    pub const MAX_SOFTWARE_BYTES: usize = 256;
    /// The longest resume token, in octets.
    pub const MAX_RESUME_TOKEN_BYTES: usize = 64;
    /// The feature by which the registrations of a session share their tunnels with those of other sessions (SPEC, 9.8).
    pub const SHARE_LOAD: &'static str = "share-load";

    /// An offer of this software, with 32 fresh random octets.
    pub fn new(software: impl Into<String>, nonce: Nonce) -> Self {
        Self {
            versions: ControlVersions::OURS,
            features: Vec::new(),
            software: software.into(),
            nonce,
            credential: None,
            binding: Binding::NONE,
            resume_token: Bytes::new(),
        }
    }

    /// The octets that a [`Hello`] carries.
    pub fn encode(&self) -> Bytes {
        let wire = pb::Offer {
            least_version: self.versions.least().as_u32(),
            most_version: self.versions.most().as_u32(),
            features: self.features.clone(),
            software: self.software.clone(),
            nonce: Bytes::copy_from_slice(&self.nonce),
            credential: self.credential.map(|id| id.to_string()).unwrap_or_default(),
            binding: self.binding.as_i32(),
            resume_token: self.resume_token.clone(),
        };
        wire.encode_to_vec().into()
    }

    /// Reads the octets that a [`Hello`] carried.
    ///
    /// # Errors
    /// [`MessageError`]; end the session with its code.
    pub fn decode(octets: Bytes) -> Result<Self, MessageError> {
        let wire = pb::Offer::decode(octets)?;
        let (least, most) =
            (ControlVersion::from_u32(wire.least_version), ControlVersion::from_u32(wire.most_version));
        Ok(Self {
            versions: ControlVersions::new(least, most)
                .ok_or(MessageError::Value { field: "offer.versions" })?,
            features: texts("offer.features", wire.features, Self::MAX_FEATURES, Self::MAX_FEATURE_BYTES)?,
            software: text("offer.software", wire.software, Self::MAX_SOFTWARE_BYTES)?.unwrap_or_default(),
            nonce: exactly("offer.nonce", &wire.nonce)?
                .ok_or(MessageError::Missing { field: "offer.nonce" })?,
            credential: credential(wire.credential)?,
            binding: Binding::from_i32(wire.binding),
            resume_token: self::octets(
                "offer.resume_token",
                wire.resume_token,
                Self::MAX_RESUME_TOKEN_BYTES,
            )?,
        })
    }
}

impl Hello {
    pub(super) fn to_wire(&self) -> pb::Hello {
        let proof = self.proof.map(AgentProof::to_octets);
        pb::Hello { offer: self.offer.clone(), proof: optional_octets(proof) }
    }

    pub(super) fn from_wire(wire: pb::Hello) -> Result<Self, MessageError> {
        let proof = proof("hello.proof", &wire.proof)?.map(AgentProof::from_octets);
        Ok(Self { offer: wire.offer, proof })
    }
}

/// The gateway's yes to a hello: its settings, as octets because a proof covers exactly these, and the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Welcome {
    /// Encoded [`Settings`].
    pub settings: Bytes,
    /// Absent if no credential was presented.
    pub proof: Option<GatewayProof>,
}

/// What a gateway decided for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The chosen version. [`gateway::Control`](crate::gateway::Control) fills it in.
    pub version: ControlVersion,
    /// Which of the agent's features are on; none by default.
    pub features: Vec<String>,
    /// Names the session in the gateway's logs; at most 128 octets.
    pub session: String,
    /// For the next session's offer, at most 64 octets; empty (the default) for none.
    pub resume_token: Bytes,
    /// Zones in which the agent may register, the first being the default; at most 16 of at most 253 octets.
    pub zones: Vec<String>,
    /// What the agent may ask for at most.
    pub limits: SessionLimits,
    /// The silence after which the gateway thinks the agent dead; `None` (the default) for the carrier's own.
    pub silence: Option<Duration>,
    /// How often the agent shows that it lives; `None` (the default) for the carrier's own.
    pub heartbeat: Option<Duration>,
}

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimits {
    /// Registrations at once; 64 by default.
    pub max_registrations: u32,
    /// Requests that await an answer at once; 32 by default.
    pub max_pending_requests: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { max_registrations: 64, max_pending_requests: 32 }
    }
}

impl Settings {
    /// The longest name of a session, in octets.
    pub const MAX_SESSION_BYTES: usize = 128;
    /// The most zones.
    pub const MAX_ZONES: usize = 16;
    /// The longest zone, in octets.
    pub const MAX_ZONE_BYTES: usize = 253;

    /// Settings with default limits for the session of this name.
    pub fn new(session: impl Into<String>) -> Self {
        Self {
            version: ControlVersion::V1,
            features: Vec::new(),
            session: session.into(),
            resume_token: Bytes::new(),
            zones: Vec::new(),
            limits: SessionLimits::default(),
            silence: None,
            heartbeat: None,
        }
    }

    /// The octets that a [`Welcome`] carries.
    pub fn encode(&self) -> Bytes {
        let wire = pb::Settings {
            version: self.version.as_u32(),
            features: self.features.clone(),
            session: self.session.clone(),
            resume_token: self.resume_token.clone(),
            zones: self.zones.clone(),
            limits: Some(pb::SessionLimits {
                max_registrations: self.limits.max_registrations,
                max_pending_requests: self.limits.max_pending_requests,
            }),
            silence_ms: self.silence.map_or(0, millis),
            heartbeat_ms: self.heartbeat.map_or(0, millis),
        };
        wire.encode_to_vec().into()
    }

    /// Reads the octets that a [`Welcome`] carried.
    ///
    /// # Errors
    /// [`MessageError`]; end the session with its code.
    pub fn decode(octets: Bytes) -> Result<Self, MessageError> {
        let wire = pb::Settings::decode(octets)?;
        let limits = wire.limits.unwrap_or_default();
        let defaults = SessionLimits::default();
        let or = |number: u32, default: u32| if number == 0 { default } else { number };
        let duration = |number: u64| (number != 0).then(|| Duration::from_millis(number));
        Ok(Self {
            version: ControlVersion::from_u32(wire.version),
            features: texts(
                "settings.features",
                wire.features,
                Offer::MAX_FEATURES,
                Offer::MAX_FEATURE_BYTES,
            )?,
            session: text("settings.session", wire.session, Self::MAX_SESSION_BYTES)?.unwrap_or_default(),
            resume_token: self::octets(
                "settings.resume_token",
                wire.resume_token,
                Offer::MAX_RESUME_TOKEN_BYTES,
            )?,
            zones: texts("settings.zones", wire.zones, Self::MAX_ZONES, Self::MAX_ZONE_BYTES)?,
            limits: SessionLimits {
                max_registrations: or(limits.max_registrations, defaults.max_registrations),
                max_pending_requests: or(limits.max_pending_requests, defaults.max_pending_requests),
            },
            silence: duration(wire.silence_ms),
            heartbeat: duration(wire.heartbeat_ms),
        })
    }
}

impl Welcome {
    pub(super) fn to_wire(&self) -> pb::Welcome {
        let proof = self.proof.map(GatewayProof::to_octets);
        pb::Welcome { settings: self.settings.clone(), proof: optional_octets(proof) }
    }

    pub(super) fn from_wire(wire: pb::Welcome) -> Result<Self, MessageError> {
        let proof = exactly("welcome.proof", &wire.proof)?.map(GatewayProof::from_octets);
        Ok(Self { settings: wire.settings, proof })
    }
}

fn optional_octets(octets: Option<[u8; 32]>) -> Bytes {
    octets.map_or_else(Bytes::new, |octets| Bytes::copy_from_slice(&octets))
}

/// An id of another form is refused as an unknown one is.
fn credential(field: String) -> Result<Option<CredentialId>, MessageError> {
    let text = text("offer.credential", field, MAX_PROOF_BYTES)?;
    text.map(|text| text.parse().map_err(|_| MessageError::Credential { field: "offer.credential" }))
        .transpose()
}
