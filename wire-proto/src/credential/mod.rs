//! Credentials: what an agent proves itself with (SPEC, "Credentials").
//!
//! A [`Credential`] is printed once and kept by the agent; the gateway keeps a [`Verifier`], from which neither the
//! credential nor a proof can be made. What travels is a proof that is bound to one connection and covers the whole
//! offer of the agent, so that it is worth nothing anywhere else.

mod id;
mod proof;
mod secret;
mod stored;
mod verifier;

pub use id::{CredentialId, CredentialKind};
pub(crate) use proof::Transcript;
pub use proof::{AgentProof, ChannelBinding, GatewayProof, Nonce};
pub use secret::{Credential, CredentialError};
pub use stored::{StoredCredential, failure_delay};
pub(crate) use verifier::check;
pub use verifier::{Verifier, WrongCredential};
