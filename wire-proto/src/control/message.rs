//! The two envelopes of the control stream.

use super::codec::{MAX_MESSAGE_BYTES, frame};
use super::{Answer, CertificateChain, Hello, Notice, Register, Registered, Request, RequestNumber, Welcome};
use crate::credential::{AgentProof, Nonce};
use crate::message::{MessageError, exactly, millis, proof};
use crate::pb;
use adit_errors::Envelope;
use bytes::Bytes;
use prost::Message;
use std::time::Duration;

/// What an agent sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AgentMessage {
    /// Always the first, and once.
    Hello(Hello),
    /// Answers a challenge.
    Proof(AgentProof),
    /// Asks for something.
    Request {
        /// Its number.
        number: RequestNumber,
        /// What for.
        request: Request,
    },
    /// The agent goes: no new streams, please.
    Leave {
        /// How long it still serves the open ones.
        deadline: Duration,
    },
    /// A kind that this version doesn't know. With a number it is refused, without one ignored.
    Unknown {
        /// Its number, if it is a request.
        number: Option<RequestNumber>,
    },
}

impl AgentMessage {
    /// The message with its length in front.
    ///
    /// # Errors
    /// [`MessageError`] if a field, or the whole, is over its limit: what we send, a peer accepts.
    pub fn encode(&self) -> Result<Bytes, MessageError> {
        use pb::agent_message::Body;
        let (request, body) = match self {
            Self::Hello(hello) => (0, Some(Body::Hello(hello.to_wire()))),
            Self::Proof(proof) => {
                (0, Some(Body::Proof(pb::Proof { proof: Bytes::copy_from_slice(&proof.to_octets()) })))
            }
            Self::Request { number, request } => (number.as_u64(), Some(request.to_wire())),
            Self::Leave { deadline } => (0, Some(Body::Leave(pb::Leave { deadline_ms: millis(*deadline) }))),
            Self::Unknown { number } => (number.map_or(0, RequestNumber::as_u64), None),
        };
        let framed = frame(&pb::AgentMessage { request, body })?;
        Self::decode(framed.slice(4..))?;
        Ok(framed)
    }

    /// Reads what a [`MessageDecoder`](super::MessageDecoder) took off the stream.
    ///
    /// # Errors
    /// [`MessageError`]; end the session with its code.
    pub fn decode(octets: Bytes) -> Result<Self, MessageError> {
        use pb::agent_message::Body;
        check_length(&octets)?;
        let wire = pb::AgentMessage::decode(octets)?;
        let number = RequestNumber::new(wire.request);
        let request = match wire.body {
            None => return Ok(Self::Unknown { number }),
            Some(Body::Hello(hello)) => return unnumbered(number, Self::Hello(Hello::from_wire(hello)?)),
            Some(Body::Proof(wire)) => {
                let proof = proof("proof.proof", &wire.proof)?;
                let proof = proof.ok_or(MessageError::Missing { field: "proof.proof" })?;
                return unnumbered(number, Self::Proof(AgentProof::from_octets(proof)));
            }
            Some(Body::Leave(wire)) => {
                let deadline = Duration::from_millis(wire.deadline_ms);
                return unnumbered(number, Self::Leave { deadline });
            }
            Some(Body::Register(wire)) => Request::Register(Box::new(Register::from_wire(wire)?)),
            Some(Body::Unregister(wire)) => Request::unregister(wire)?,
            Some(Body::Renew(wire)) => Request::renew(wire)?,
            Some(Body::SignCsr(wire)) => Request::sign_csr(wire)?,
            Some(Body::RotateSecret(wire)) => {
                Request::RotateSecret { overlap: Duration::from_millis(wire.overlap_ms) }
            }
            Some(Body::SetStatus(wire)) => Request::set_status(wire)?,
        };
        let number = number.ok_or(MessageError::Missing { field: "request" })?;
        Ok(Self::Request { number, request })
    }
}

/// What a gateway sends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GatewayMessage {
    /// Answers a hello that has a credential but no proof.
    Challenge(Nonce),
    /// Answers a hello.
    Welcome(Welcome),
    /// Answers a hello (no number) or a request.
    Refused {
        /// The request.
        number: Option<RequestNumber>,
        /// Why.
        refusal: Envelope,
    },
    /// Answers a request.
    Answer {
        /// The request.
        number: RequestNumber,
        /// With what.
        answer: Answer,
    },
    /// Something that nobody asked for.
    Notice(Notice),
    /// A kind that this version doesn't know. Ignored, unless it has a number.
    Unknown {
        /// The request that it means to answer.
        number: Option<RequestNumber>,
    },
}

impl GatewayMessage {
    /// The message with its length in front.
    ///
    /// # Errors
    /// [`MessageError`] if a field, or the whole, is over its limit: what we send, a peer accepts.
    pub fn encode(&self) -> Result<Bytes, MessageError> {
        use pb::gateway_message::Body;
        let (request, body) = match self {
            Self::Challenge(nonce) => {
                (0, Some(Body::Challenge(pb::Challenge { nonce: Bytes::copy_from_slice(nonce) })))
            }
            Self::Welcome(welcome) => (0, Some(Body::Welcome(welcome.to_wire()))),
            Self::Refused { number, refusal } => (
                number.map_or(0, RequestNumber::as_u64),
                Some(Body::Refused(crate::refusal::to_wire(refusal))),
            ),
            Self::Answer { number, answer } => (number.as_u64(), Some(answer.to_wire())),
            Self::Notice(notice) => (0, Some(notice.to_wire())),
            Self::Unknown { number } => (number.map_or(0, RequestNumber::as_u64), None),
        };
        let framed = frame(&pb::GatewayMessage { request, body })?;
        Self::decode(framed.slice(4..))?;
        Ok(framed)
    }

    /// Reads what a [`MessageDecoder`](super::MessageDecoder) took off the stream.
    ///
    /// # Errors
    /// [`MessageError`]; end the session with its code.
    pub fn decode(octets: Bytes) -> Result<Self, MessageError> {
        use pb::gateway_message::Body;
        check_length(&octets)?;
        let wire = pb::GatewayMessage::decode(octets)?;
        let number = RequestNumber::new(wire.request);
        let answer = match wire.body {
            None => return Ok(Self::Unknown { number }),
            Some(Body::Refused(wire)) => {
                return Ok(Self::Refused { number, refusal: crate::refusal::from_wire(wire)? });
            }
            Some(Body::Challenge(wire)) => {
                let nonce = exactly("challenge.nonce", &wire.nonce)?;
                let nonce = nonce.ok_or(MessageError::Missing { field: "challenge.nonce" })?;
                return unnumbered(number, Self::Challenge(nonce));
            }
            Some(Body::Welcome(wire)) => {
                return unnumbered(number, Self::Welcome(Welcome::from_wire(wire)?));
            }
            Some(Body::Superseded(wire)) => return notice(number, Notice::superseded(wire)?),
            Some(Body::Drain(wire)) => return notice(number, Notice::drain(wire)?),
            Some(Body::Terminate(wire)) => return notice(number, Notice::terminate(wire)?),
            Some(Body::CertificateDue(wire)) => return notice(number, Notice::certificate_due(wire)?),
            Some(Body::SecretRotated(wire)) => {
                let old_valid = Duration::from_millis(wire.old_valid_ms);
                return notice(number, Notice::SecretRotated { old_valid });
            }
            Some(Body::Status(wire)) if number.is_none() => return notice(number, Notice::status(wire)?),
            Some(Body::Status(wire)) => status(wire)?,
            Some(Body::Registered(wire)) => Answer::Registered(Box::new(Registered::from_wire(wire)?)),
            Some(Body::Unregistered(wire)) => Answer::unregistered(wire)?,
            Some(Body::Renewed(wire)) => Answer::renewed(wire)?,
            Some(Body::Certificate(wire)) => Answer::Certificate(CertificateChain::from_wire(wire)?),
            Some(Body::RotatedSecret(wire)) => Answer::rotated_secret(wire)?,
        };
        let number = number.ok_or(MessageError::Missing { field: "request" })?;
        Ok(Self::Answer { number, answer })
    }
}

fn status(wire: pb::Status) -> Result<Answer, MessageError> {
    let registration = super::request::registration("status.registration", wire.registration)?;
    Ok(Answer::Status { registration, status: super::TunnelStatus::from_i32(wire.status) })
}

fn notice(number: Option<RequestNumber>, notice: Notice) -> Result<GatewayMessage, MessageError> {
    unnumbered(number, GatewayMessage::Notice(notice))
}

fn unnumbered<M>(number: Option<RequestNumber>, message: M) -> Result<M, MessageError> {
    match number {
        None => Ok(message),
        Some(_) => Err(MessageError::Value { field: "request" }),
    }
}

fn check_length(octets: &Bytes) -> Result<(), MessageError> {
    if octets.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLarge { length: octets.len(), limit: MAX_MESSAGE_BYTES });
    }
    Ok(())
}
