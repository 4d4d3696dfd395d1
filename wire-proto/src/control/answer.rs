//! What a gateway answers.

use super::request::registration;
use super::{Generation, RegistrationId, RequestKind, TunnelStatus};
use crate::credential::Credential;
use crate::message::{MessageError, millis, octets, text, texts};
use crate::pb;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// The answer to a request that was granted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Request::Register`](super::Request::Register).
    Registered(Box<Registered>),
    /// To [`Request::Unregister`](super::Request::Unregister).
    Unregistered {
        /// Which.
        registration: RegistrationId,
    },
    /// To [`Request::Renew`](super::Request::Renew).
    Renewed {
        /// Which.
        registration: RegistrationId,
        /// How long from now; `None` until the session ends.
        ttl: Option<Duration>,
    },
    /// To [`Request::SignCsr`](super::Request::SignCsr).
    Certificate(CertificateChain),
    /// To [`Request::RotateSecret`](super::Request::RotateSecret).
    RotatedSecret(RotatedSecret),
    /// To [`Request::SetStatus`](super::Request::SetStatus).
    Status {
        /// Of which registration.
        registration: RegistrationId,
        /// What it is now.
        status: TunnelStatus,
    },
}

/// A tunnel was granted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registered {
    /// Names the registration in stream heads and requests.
    pub registration: RegistrationId,
    /// Fences every older registration of the same tunnel.
    pub generation: Generation,
    /// The tunnel's identity beyond registrations, at most 128 octets; empty if it has none.
    pub tunnel: String,
    /// The claimed or assigned name, at most 100 octets.
    pub name: String,
    /// Where visitors come in, as `https://my-app.example.com`; at most 32 of at most 512 octets.
    pub addresses: Vec<String>,
    /// The state of its certificate.
    pub certificate: CertificateState,
    /// How long it lives without renewal; `None` (the default) until the session ends.
    pub ttl: Option<Duration>,
    /// What it may use; not limited by default.
    pub limits: RegistrationLimits,
    /// For the next registration, at most 64 octets; empty (the default) for none.
    pub resume_token: Bytes,
    /// What visitors of an authenticated tunnel present.
    pub visitor_token: Option<VisitorToken>,
    /// What state the tunnel is in; active by default.
    pub status: TunnelStatus,
}

/// What a registration may use; 0 stands for "not limited".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RegistrationLimits {
    /// Streams at once.
    pub max_streams: u32,
    /// Octets a second, each way.
    pub bandwidth: u64,
    /// Requests or connections a minute.
    pub rate_per_minute: u32,
}

/// The state of a passthrough tunnel's certificate. The default is that none is needed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CertificateState {
    /// The agent is to send a CSR before visitors are let through.
    pub awaited: bool,
    /// The names that a certificate will be for, whatever the CSR asks; at most 16 of at most 253 octets.
    pub names: Vec<String>,
    /// When the present certificate ends.
    pub expires_in: Option<Duration>,
    /// When to ask for the next.
    pub renew_in: Option<Duration>,
}

/// A certificate for a passthrough tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateChain {
    /// For which registration.
    pub registration: RegistrationId,
    /// DER, the leaf first; 1 to 8, together at most 49,152 octets.
    pub chain: Vec<Bytes>,
    /// When the leaf ends.
    pub expires_in: Duration,
    /// When to send the next CSR. The old certificate stays good until it ends, so the two overlap.
    pub renew_in: Duration,
}

/// A new secret, in the place of the one that the session was opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotatedSecret {
    /// The new one; keep it before the old one ends. Redacted in `Debug`, wiped on drop.
    pub credential: Credential,
    /// How long the old one stays good.
    pub old_valid: Duration,
}

/// What visitors of an authenticated tunnel present. Redacted in `Debug`, wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct VisitorToken(Zeroizing<String>);

impl VisitorToken {
    /// The longest token, in octets.
    pub const MAX_BYTES: usize = 512;

    /// A token; `None` if it is empty or over [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn new(token: String) -> Option<Self> {
        let token = Zeroizing::new(token);
        (!token.is_empty() && token.len() <= Self::MAX_BYTES).then_some(Self(token))
    }

    /// The token itself. Print it once, to the person who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VisitorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitorToken(secret)")
    }
}

impl Answer {
    /// The kind of the request that it answers.
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Registered(_) => RequestKind::Register,
            Self::Unregistered { .. } => RequestKind::Unregister,
            Self::Renewed { .. } => RequestKind::Renew,
            Self::Certificate(_) => RequestKind::SignCsr,
            Self::RotatedSecret(_) => RequestKind::RotateSecret,
            Self::Status { .. } => RequestKind::SetStatus,
        }
    }

    pub(super) fn to_wire(&self) -> pb::gateway_message::Body {
        use pb::gateway_message::Body;
        match self {
            Self::Registered(registered) => Body::Registered(registered.to_wire()),
            Self::Unregistered { registration } => {
                Body::Unregistered(pb::Unregistered { registration: registration.as_u64() })
            }
            Self::Renewed { registration, ttl } => {
                Body::Renewed(pb::Renewed { registration: registration.as_u64(), ttl_ms: ttl.map(millis) })
            }
            Self::Certificate(certificate) => Body::Certificate(certificate.to_wire()),
            Self::RotatedSecret(rotated) => Body::RotatedSecret(pb::RotatedSecret {
                secret: rotated.credential.reveal().to_string(),
                old_valid_ms: millis(rotated.old_valid),
            }),
            Self::Status { registration, status } => Body::Status(pb::Status {
                registration: registration.as_u64(),
                status: status.as_i32(),
                reason: None,
            }),
        }
    }

    pub(super) fn unregistered(wire: pb::Unregistered) -> Result<Self, MessageError> {
        Ok(Self::Unregistered { registration: registration("unregistered.registration", wire.registration)? })
    }

    pub(super) fn renewed(wire: pb::Renewed) -> Result<Self, MessageError> {
        Ok(Self::Renewed {
            registration: registration("renewed.registration", wire.registration)?,
            ttl: wire.ttl_ms.map(Duration::from_millis),
        })
    }

    pub(super) fn rotated_secret(wire: pb::RotatedSecret) -> Result<Self, MessageError> {
        let secret = Zeroizing::new(wire.secret);
        let credential =
            secret.parse().map_err(|_| MessageError::Value { field: "rotated_secret.secret" })?;
        Ok(Self::RotatedSecret(RotatedSecret {
            credential,
            old_valid: Duration::from_millis(wire.old_valid_ms),
        }))
    }
}

impl Registered {
    /// The longest identity of a tunnel, in octets.
    pub const MAX_TUNNEL_BYTES: usize = 128;
    /// The most addresses.
    pub const MAX_ADDRESSES: usize = 32;
    /// The longest address, in octets.
    pub const MAX_ADDRESS_BYTES: usize = 512;

    /// A registration that needs no certificate, is not limited, lives as long as the session, and is active.
    pub fn new(registration: RegistrationId, generation: Generation, name: impl Into<String>) -> Self {
        Self {
            registration,
            generation,
            tunnel: String::new(),
            name: name.into(),
            addresses: Vec::new(),
            certificate: CertificateState::default(),
            ttl: None,
            limits: RegistrationLimits::default(),
            resume_token: Bytes::new(),
            visitor_token: None,
            status: TunnelStatus::ACTIVE,
        }
    }

    fn to_wire(&self) -> pb::Registered {
        pb::Registered {
            registration: self.registration.as_u64(),
            generation: self.generation.as_u64(),
            tunnel: self.tunnel.clone(),
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            certificate: (self.certificate != CertificateState::default())
                .then(|| self.certificate.to_wire()),
            ttl_ms: self.ttl.map(millis),
            limits: (self.limits != RegistrationLimits::default()).then(|| self.limits.to_wire()),
            resume_token: self.resume_token.clone(),
            visitor_token: self.visitor_token.as_ref().map_or("", VisitorToken::reveal).to_owned(),
            status: self.status.as_i32(),
        }
    }

    pub(super) fn from_wire(wire: pb::Registered) -> Result<Self, MessageError> {
        let visitor_token = Zeroizing::new(wire.visitor_token);
        if visitor_token.len() > VisitorToken::MAX_BYTES {
            let limit = VisitorToken::MAX_BYTES;
            return Err(MessageError::FieldTooLarge { field: "registered.visitor_token", limit });
        }
        let missing = MessageError::Missing { field: "registered.generation" };
        Ok(Self {
            registration: registration("registered.registration", wire.registration)?,
            generation: Generation::new(wire.generation).ok_or(missing)?,
            tunnel: text("registered.tunnel", wire.tunnel, Self::MAX_TUNNEL_BYTES)?.unwrap_or_default(),
            name: text("registered.name", wire.name, super::Register::MAX_NAME_BYTES)?.unwrap_or_default(),
            addresses: texts(
                "registered.addresses",
                wire.addresses,
                Self::MAX_ADDRESSES,
                Self::MAX_ADDRESS_BYTES,
            )?,
            certificate: wire.certificate.map(CertificateState::from_wire).transpose()?.unwrap_or_default(),
            ttl: wire.ttl_ms.map(Duration::from_millis),
            limits: wire.limits.map(RegistrationLimits::from_wire).unwrap_or_default(),
            resume_token: octets(
                "registered.resume_token",
                wire.resume_token,
                super::Register::MAX_RESUME_TOKEN_BYTES,
            )?,
            visitor_token: (!visitor_token.is_empty()).then_some(VisitorToken(visitor_token)),
            status: TunnelStatus::from_i32(wire.status),
        })
    }
}

impl RegistrationLimits {
    fn to_wire(self) -> pb::RegistrationLimits {
        pb::RegistrationLimits {
            max_streams: self.max_streams,
            bandwidth: self.bandwidth,
            rate_per_minute: self.rate_per_minute,
        }
    }

    fn from_wire(wire: pb::RegistrationLimits) -> Self {
        Self {
            max_streams: wire.max_streams,
            bandwidth: wire.bandwidth,
            rate_per_minute: wire.rate_per_minute,
        }
    }
}

impl CertificateState {
    fn to_wire(&self) -> pb::CertificateState {
        pb::CertificateState {
            awaited: self.awaited,
            names: self.names.clone(),
            expires_in_ms: self.expires_in.map(millis),
            renew_in_ms: self.renew_in.map(millis),
        }
    }

    fn from_wire(wire: pb::CertificateState) -> Result<Self, MessageError> {
        Ok(Self {
            awaited: wire.awaited,
            names: texts("certificate.names", wire.names, 16, 253)?,
            expires_in: wire.expires_in_ms.map(Duration::from_millis),
            renew_in: wire.renew_in_ms.map(Duration::from_millis),
        })
    }
}

impl CertificateChain {
    /// The most certificates in a chain.
    pub const MAX_CERTIFICATES: usize = 8;
    /// The longest chain, in octets.
    pub const MAX_BYTES: usize = 49_152;

    /// A chain, the leaf first, that ends after `expires_in` and is to be renewed after `renew_in`.
    pub const fn new(
        registration: RegistrationId,
        chain: Vec<Bytes>,
        expires_in: Duration,
        renew_in: Duration,
    ) -> Self {
        Self { registration, chain, expires_in, renew_in }
    }

    fn to_wire(&self) -> pb::Certificate {
        pb::Certificate {
            registration: self.registration.as_u64(),
            chain: self.chain.clone(),
            expires_in_ms: millis(self.expires_in),
            renew_in_ms: millis(self.renew_in),
        }
    }

    pub(super) fn from_wire(wire: pb::Certificate) -> Result<Self, MessageError> {
        if wire.chain.len() > Self::MAX_CERTIFICATES {
            let limit = Self::MAX_CERTIFICATES;
            return Err(MessageError::TooMany { field: "certificate.chain", limit });
        }
        if wire.chain.iter().map(Bytes::len).sum::<usize>() > Self::MAX_BYTES {
            let limit = Self::MAX_BYTES;
            return Err(MessageError::FieldTooLarge { field: "certificate.chain", limit });
        }
        if wire.chain.is_empty() || wire.chain.iter().any(Bytes::is_empty) {
            return Err(MessageError::Missing { field: "certificate.chain" });
        }
        Ok(Self {
            registration: registration("certificate.registration", wire.registration)?,
            chain: wire.chain,
            expires_in: Duration::from_millis(wire.expires_in_ms),
            renew_in: Duration::from_millis(wire.renew_in_ms),
        })
    }
}

impl RotatedSecret {
    /// A new secret, while the old one stays good for `old_valid`.
    pub const fn new(credential: Credential, old_valid: Duration) -> Self {
        Self { credential, old_valid }
    }
}
