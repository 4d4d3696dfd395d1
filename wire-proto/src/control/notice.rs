//! What a gateway says without being asked.

use super::request::registration;
use super::{Generation, RegistrationId, TunnelStatus};
use crate::message::{MessageError, millis, texts};
use crate::{pb, refusal};
use adit_errors::Envelope;
use std::time::Duration;

/// What a gateway says without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Somebody paused, resumed or deleted a tunnel.
    Status {
        /// Of which registration.
        registration: RegistrationId,
        /// What it is now.
        status: TunnelStatus,
        /// Why, if it isn't active.
        reason: Option<Envelope>,
    },
    /// A newer registration holds the tunnel. Don't claim it again without being told to by a person: two agents that
    /// take a name from each other in turn serve nobody.
    Superseded {
        /// Which registration ended.
        registration: RegistrationId,
        /// The generation that took over.
        generation: Generation,
    },
    /// Finish what is open, and connect again at once.
    Drain(Drain),
    /// Don't come back.
    Terminate {
        /// Why, and what a person can do.
        reason: Envelope,
    },
    /// A certificate ends soon: send a CSR.
    CertificateDue {
        /// For which registration.
        registration: RegistrationId,
        /// When it ends.
        expires_in: Duration,
    },
    /// Somebody rotated the secret of this session's credential: this agent needs the new one.
    SecretRotated {
        /// How long the old one opens sessions.
        old_valid: Duration,
    },
}

/// Finish what is open, and connect again at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// When the session is closed, whatever is still open; in whole milliseconds.
    pub deadline: Duration,
    /// Gateways to try, best first, as `host:port`; at most 8 of at most 261 octets. Empty for the same again.
    pub reconnect: Vec<String>,
}

impl Drain {
    /// The most hints.
    pub const MAX_HINTS: usize = 8;
    /// The longest hint, in octets.
    pub const MAX_HINT_BYTES: usize = 261;

    /// A drain without a hint where to go.
    pub const fn new(deadline: Duration) -> Self {
        Self { deadline, reconnect: Vec::new() }
    }

    /// The same with gateways to try, best first.
    #[must_use]
    pub fn with_hints(mut self, reconnect: Vec<String>) -> Self {
        self.reconnect = reconnect;
        self
    }
}

impl Notice {
    pub(super) fn to_wire(&self) -> pb::gateway_message::Body {
        use pb::gateway_message::Body;
        match self {
            Self::Status { registration, status, reason } => Body::Status(pb::Status {
                registration: registration.as_u64(),
                status: status.as_i32(),
                reason: reason.as_ref().map(refusal::to_wire),
            }),
            Self::Superseded { registration, generation } => Body::Superseded(pb::Superseded {
                registration: registration.as_u64(),
                generation: generation.as_u64(),
            }),
            Self::Drain(drain) => Body::Drain(pb::Drain {
                deadline_ms: millis(drain.deadline),
                reconnect: drain.reconnect.clone(),
            }),
            Self::Terminate { reason } => {
                Body::Terminate(pb::Terminate { reason: Some(refusal::to_wire(reason)) })
            }
            Self::CertificateDue { registration, expires_in } => Body::CertificateDue(pb::CertificateDue {
                registration: registration.as_u64(),
                expires_in_ms: millis(*expires_in),
            }),
            Self::SecretRotated { old_valid } => {
                Body::SecretRotated(pb::SecretRotated { old_valid_ms: millis(*old_valid) })
            }
        }
    }

    pub(super) fn status(wire: pb::Status) -> Result<Self, MessageError> {
        Ok(Self::Status {
            registration: registration("status.registration", wire.registration)?,
            status: TunnelStatus::from_i32(wire.status),
            reason: wire.reason.map(refusal::from_wire).transpose()?,
        })
    }

    pub(super) fn superseded(wire: pb::Superseded) -> Result<Self, MessageError> {
        Ok(Self::Superseded {
            registration: registration("superseded.registration", wire.registration)?,
            generation: Generation::new(wire.generation)
                .ok_or(MessageError::Missing { field: "superseded.generation" })?,
        })
    }

    pub(super) fn drain(wire: pb::Drain) -> Result<Self, MessageError> {
        Ok(Self::Drain(Drain {
            deadline: Duration::from_millis(wire.deadline_ms),
            reconnect: texts("drain.reconnect", wire.reconnect, Drain::MAX_HINTS, Drain::MAX_HINT_BYTES)?,
        }))
    }

    pub(super) fn terminate(wire: pb::Terminate) -> Result<Self, MessageError> {
        let reason = wire.reason.ok_or(MessageError::Missing { field: "terminate.reason" })?;
        Ok(Self::Terminate { reason: refusal::from_wire(reason)? })
    }

    pub(super) fn certificate_due(wire: pb::CertificateDue) -> Result<Self, MessageError> {
        Ok(Self::CertificateDue {
            registration: registration("certificate_due.registration", wire.registration)?,
            expires_in: Duration::from_millis(wire.expires_in_ms),
        })
    }
}
