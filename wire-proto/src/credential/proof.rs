//! What travels in place of a secret.

use super::Credential;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// 32 fresh random octets.
pub type Nonce = [u8; 32];

/// What ties a proof to one connection: the 32 octets of the TLS exporter `tls-exporter` (RFC 9266: label
/// `EXPORTER-Channel-Binding`, no context), where the carrier has one.
///
/// Without it, the gateway sends a challenge first. Both sides must say the same: a gateway that has an exporter
/// refuses an agent that claims to have none, for that is what a relay in the middle would do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelBinding(Option<[u8; 32]>);

impl ChannelBinding {
    /// No exporter: plain TCP in a test, or TLS that ends at a load balancer.
    pub const NONE: Self = Self(None);

    /// The exporter of this connection.
    pub const fn tls_exporter(exporter: [u8; 32]) -> Self {
        Self(Some(exporter))
    }

    /// Whether there is an exporter.
    pub const fn is_bound(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for ChannelBinding {
    /// Doesn't print the exporter: with it and a verifier somebody could make proofs to be logged elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_bound() { "ChannelBinding(tls-exporter)" } else { "ChannelBinding(none)" })
    }
}

/// Shows that the agent knows its credential, on this connection and with exactly this offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgentProof(pub(super) [u8; 32]);

impl AgentProof {
    /// The proof with these octets, good or not.
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets as they travel.
    pub const fn to_octets(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for AgentProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentProof")
    }
}

/// Shows that the gateway knows the credential's verifier, and that its settings arrived as it sent them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GatewayProof(pub(super) [u8; 32]);

impl GatewayProof {
    /// The proof with these octets, good or not.
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets as they travel.
    pub const fn to_octets(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for GatewayProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayProof")
    }
}

/// What a proof covers.
///
/// ```text
/// "adit/1 control transcript" | binding (1) | exporter (32, or zeros) | challenge (32, or zeros) | offer
/// ```
///
/// All but the last part have a fixed length, so no two transcripts share their octets.
#[derive(Clone)]
pub(crate) struct Transcript(Vec<u8>);

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transcript")
    }
}

impl Transcript {
    pub(crate) fn new(binding: ChannelBinding, challenge: Option<&Nonce>, offer: &[u8]) -> Self {
        let mut octets = b"adit/1 control transcript".to_vec();
        octets.push(u8::from(binding.is_bound()));
        octets.extend(binding.0.unwrap_or_default());
        octets.extend(challenge.copied().unwrap_or_default());
        octets.extend(offer);
        Self(octets)
    }

    /// The agent's proof: its key, hidden under a signature that only a holder of the stored key can make (compare
    /// RFC 5802 section 3, without salt and iterations, since the secret has 256 random bits).
    pub(crate) fn agent_proof(&self, credential: &Credential) -> AgentProof {
        let agent_key = agent_key(credential.secret());
        let stored_key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(*agent_key)));
        AgentProof(xor(&agent_key, &self.agent_signature(&stored_key)))
    }

    /// The gateway's proof, as the agent expects it.
    pub(crate) fn expected_gateway_proof(&self, credential: &Credential, settings: &[u8]) -> GatewayProof {
        self.gateway_proof(&gateway_key(credential.secret()), settings)
    }

    pub(super) fn agent_signature(&self, stored_key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        keyed(stored_key, &[&self.0])
    }

    pub(super) fn gateway_proof(&self, gateway_key: &[u8; 32], settings: &[u8]) -> GatewayProof {
        // The transcript's length keeps offer and settings apart.
        let length = u64::try_from(self.0.len()).unwrap_or(u64::MAX).to_be_bytes();
        GatewayProof(*keyed(gateway_key, &[&length, &self.0, settings]))
    }
}

pub(super) fn agent_key(secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    keyed(secret, &[b"adit/1 agent key"])
}

pub(super) fn gateway_key(secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    keyed(secret, &[b"adit/1 gateway key"])
}

pub(super) fn xor(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// HMAC-SHA-256 (RFC 2104) over the parts, one after the other.
fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC fills keys that are shorter than a block of 64 octets with zeros.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&(*block).into());
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}
