//! What an agent asks for.

use super::{Register, RegistrationId, TunnelStatus};
use crate::message::{MessageError, millis, nonzero, octets};
use crate::pb;
use bytes::Bytes;
use std::time::Duration;

/// What an agent asks for; each is answered once, with the [`Answer`](super::Answer) of its kind or a refusal.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// A tunnel.
    Register(Box<Register>),
    /// The end of a registration.
    Unregister {
        /// Which.
        registration: RegistrationId,
    },
    /// More time for a registration.
    Renew {
        /// Which.
        registration: RegistrationId,
        /// How long from now, in whole milliseconds; `None` for as long as before.
        ttl: Option<Duration>,
    },
    /// A certificate for a passthrough tunnel.
    SignCsr {
        /// For which registration.
        registration: RegistrationId,
        /// PKCS #10 as DER, at most [`Request::MAX_CSR_BYTES`].
        csr: Bytes,
    },
    /// A new secret in the place of the one that this session was opened with.
    RotateSecret {
        /// How long the old one is to stay good, in whole milliseconds.
        overlap: Duration,
    },
    /// Pause ([`PAUSED`](TunnelStatus::PAUSED)) or resume ([`ACTIVE`](TunnelStatus::ACTIVE)) a tunnel.
    SetStatus {
        /// Of which registration.
        registration: RegistrationId,
        /// Which of the two.
        status: TunnelStatus,
    },
}

/// The kind of a request, and of the answer that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RequestKind {
    /// [`Request::Register`].
    Register,
    /// [`Request::Unregister`].
    Unregister,
    /// [`Request::Renew`].
    Renew,
    /// [`Request::SignCsr`].
    SignCsr,
    /// [`Request::RotateSecret`].
    RotateSecret,
    /// [`Request::SetStatus`].
    SetStatus,
}

impl Request {
    /// The longest CSR, in octets.
    pub const MAX_CSR_BYTES: usize = 16_384;

    /// Its kind.
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Register(_) => RequestKind::Register,
            Self::Unregister { .. } => RequestKind::Unregister,
            Self::Renew { .. } => RequestKind::Renew,
            Self::SignCsr { .. } => RequestKind::SignCsr,
            Self::RotateSecret { .. } => RequestKind::RotateSecret,
            Self::SetStatus { .. } => RequestKind::SetStatus,
        }
    }

    pub(super) fn to_wire(&self) -> pb::agent_message::Body {
        use pb::agent_message::Body;
        match self {
            Self::Register(register) => Body::Register(register.to_wire()),
            Self::Unregister { registration } => {
                Body::Unregister(pb::Unregister { registration: registration.as_u64() })
            }
            Self::Renew { registration, ttl } => {
                Body::Renew(pb::Renew { registration: registration.as_u64(), ttl_ms: ttl.map(millis) })
            }
            Self::SignCsr { registration, csr } => {
                Body::SignCsr(pb::SignCsr { registration: registration.as_u64(), csr: csr.clone() })
            }
            Self::RotateSecret { overlap } => {
                Body::RotateSecret(pb::RotateSecret { overlap_ms: millis(*overlap) })
            }
            Self::SetStatus { registration, status } => Body::SetStatus(pb::SetStatus {
                registration: registration.as_u64(),
                status: status.as_i32(),
            }),
        }
    }

    pub(super) fn unregister(wire: pb::Unregister) -> Result<Self, MessageError> {
        Ok(Self::Unregister { registration: registration("unregister.registration", wire.registration)? })
    }

    pub(super) fn renew(wire: pb::Renew) -> Result<Self, MessageError> {
        Ok(Self::Renew {
            registration: registration("renew.registration", wire.registration)?,
            ttl: wire.ttl_ms.map(Duration::from_millis),
        })
    }

    pub(super) fn sign_csr(wire: pb::SignCsr) -> Result<Self, MessageError> {
        if wire.csr.is_empty() {
            return Err(MessageError::Missing { field: "sign_csr.csr" });
        }
        Ok(Self::SignCsr {
            registration: registration("sign_csr.registration", wire.registration)?,
            csr: octets("sign_csr.csr", wire.csr, Self::MAX_CSR_BYTES)?,
        })
    }

    pub(super) fn set_status(wire: pb::SetStatus) -> Result<Self, MessageError> {
        Ok(Self::SetStatus {
            registration: registration("set_status.registration", wire.registration)?,
            status: TunnelStatus::from_i32(wire.status),
        })
    }
}

pub(super) fn registration(field: &'static str, number: u64) -> Result<RegistrationId, MessageError> {
    RegistrationId::new(nonzero(field, number)?).ok_or(MessageError::Missing { field })
}
