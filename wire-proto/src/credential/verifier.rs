//! What the gateway stores, and the check against it.

use super::proof::{agent_key, gateway_key, xor};
use super::{AgentProof, GatewayProof, Transcript};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// What the gateway keeps in place of a secret: enough to check a proof, not enough to make one.
///
/// ```text
/// stored key (32) | gateway key (32)
/// ```
///
/// Whoever steals it can play this gateway to an agent that already trusts the thief's TLS certificate, but can't
/// play the agent. `Debug` is redacted; memory is wiped on drop.
#[derive(Clone)]
pub struct Verifier {
    stored_key: Zeroizing<[u8; 32]>,
    gateway_key: Zeroizing<[u8; 32]>,
}

impl Verifier {
    /// The length of [`to_octets`](Self::to_octets).
    pub const BYTES: usize = 64;

    pub(super) fn of(secret: &[u8; 32]) -> Self {
        Self {
            stored_key: Zeroizing::new(Sha256::digest(*agent_key(secret)).into()),
            gateway_key: gateway_key(secret),
        }
    }

    /// Reads what [`to_octets`](Self::to_octets) wrote.
    pub fn from_octets(octets: &[u8; Self::BYTES]) -> Self {
        let mut verifier = Self::decoy();
        let (stored, gateway) = octets.split_at(32);
        verifier.stored_key.copy_from_slice(stored);
        verifier.gateway_key.copy_from_slice(gateway);
        verifier
    }

    /// For the gateway's store.
    pub fn to_octets(&self) -> [u8; Self::BYTES] {
        let mut octets = [0; Self::BYTES];
        octets[..32].copy_from_slice(&*self.stored_key);
        octets[32..].copy_from_slice(&*self.gateway_key);
        octets
    }

    /// Stands in for a credential that doesn't exist: no secret fits it.
    fn decoy() -> Self {
        Self { stored_key: Zeroizing::new([0; 32]), gateway_key: Zeroizing::new([0; 32]) }
    }

    /// One comparison in constant time; the same work for every verifier.
    fn matches(&self, transcript: &Transcript, proof: &AgentProof) -> Choice {
        #[cfg(test)]
        tests::COMPARED.with(|count| count.set(count.get() + 1));
        let mut agent_key = xor(&proof.0, &transcript.agent_signature(&self.stored_key));
        let digest: [u8; 32] = Sha256::digest(agent_key).into();
        agent_key.zeroize();
        digest.ct_eq(&*self.stored_key)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// No credential fits the proof. Says no more on purpose: unknown id and wrong secret are one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential was not accepted")]
#[non_exhaustive]
pub struct WrongCredential {}

/// Checks a proof against the present verifier and the one before it, whichever exist.
///
/// Always two comparisons, against stand-ins if need be: time and work tell nobody whether a credential exists or
/// was rotated. Also says whether only the one before fits.
pub(crate) fn check(
    transcript: &Transcript,
    proof: &AgentProof,
    candidates: [Option<&Verifier>; 2],
) -> Result<(Verifier, bool), WrongCredential> {
    let decoy = Verifier::decoy();
    let (mut found, mut is_last) = (Choice::from(0), Choice::from(0));
    let mut fitting = Verifier::decoy();
    for candidate in candidates {
        let exists = Choice::from(u8::from(candidate.is_some()));
        let verifier = candidate.unwrap_or(&decoy);
        let fits = verifier.matches(transcript, proof) & exists;
        for (octet, from) in fitting.gateway_key.iter_mut().zip(&*verifier.gateway_key) {
            octet.conditional_assign(from, fits);
        }
        is_last = fits & !found;
        found |= fits;
    }
    if bool::from(found) { Ok((fitting, bool::from(is_last))) } else { Err(WrongCredential {}) }
}

impl Transcript {
    /// What a gateway whose check found `verifier` answers with.
    pub(crate) fn gateway_proof_of(&self, verifier: &Verifier, settings: &[u8]) -> GatewayProof {
        self.gateway_proof(&verifier.gateway_key, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{ChannelBinding, Credential, CredentialKind};
    use std::cell::Cell;

    thread_local! {
        pub(super) static COMPARED: Cell<u32> = const { Cell::new(0) };
    }

    fn credential(octet: u8) -> Credential {
        Credential::from_random(CredentialKind::ConnectSecret, u64::from(octet), [octet; 32])
    }

    fn compared(
        run: impl FnOnce() -> Result<(Verifier, bool), WrongCredential>,
    ) -> (Option<WrongCredential>, u32) {
        COMPARED.with(|count| count.set(0));
        (run().err(), COMPARED.with(Cell::get))
    }

    #[test]
    fn w18_unknown_id_and_wrong_secret_are_one_answer_for_the_same_work() {
        let transcript = Transcript::new(ChannelBinding::tls_exporter([1; 32]), None, b"offer");
        let proof = transcript.agent_proof(&credential(1));
        let (right, other) = (credential(1).verifier(), credential(2).verifier());
        let unknown = compared(|| check(&transcript, &proof, [None, None]));
        let wrong = compared(|| check(&transcript, &proof, [Some(&other), None]));
        let of_another = compared(|| check(&transcript, &proof, [Some(&other), Some(&other)]));
        assert_eq!(unknown, (Some(WrongCredential {}), 2));
        assert_eq!((unknown, unknown), (wrong, of_another));
        assert_eq!(compared(|| check(&transcript, &proof, [Some(&right), None])), (None, 2));
        assert_eq!(compared(|| check(&transcript, &proof, [Some(&other), Some(&right)])), (None, 2));
    }

    #[test]
    fn w21_a_gateway_learns_whether_the_secret_before_the_last_rotation_was_used() {
        let transcript = Transcript::new(ChannelBinding::NONE, None, b"offer");
        let proof = transcript.agent_proof(&credential(1));
        let (right, other) = (credential(1).verifier(), credential(2).verifier());
        let is_previous = |candidates| check(&transcript, &proof, candidates).unwrap().1;
        assert!(!is_previous([Some(&right), None]));
        assert!(!is_previous([Some(&right), Some(&other)]));
        assert!(!is_previous([Some(&right), Some(&right)]));
        assert!(is_previous([Some(&other), Some(&right)]));
    }

    #[test]
    fn a_stand_in_is_fitted_by_nothing_even_if_a_proof_were_made_for_it() {
        let transcript = Transcript::new(ChannelBinding::NONE, None, b"offer");
        let proof = AgentProof(*transcript.agent_signature(&[0; 32]));
        assert!(check(&transcript, &proof, [None, None]).is_err());
    }

    #[test]
    fn w20_a_proof_is_good_on_its_own_connection_only() {
        let verifier = credential(1).verifier();
        let bound = |octet| ChannelBinding::tls_exporter([octet; 32]);
        let mine = Transcript::new(bound(1), None, b"offer");
        let proof = mine.agent_proof(&credential(1));
        assert!(check(&mine, &proof, [Some(&verifier), None]).is_ok());
        let elsewhere = [
            Transcript::new(bound(2), None, b"offer"),
            Transcript::new(bound(1), Some(&[9; 32]), b"offer"),
            Transcript::new(ChannelBinding::NONE, None, b"offer"),
            Transcript::new(bound(1), None, b"offer with another nonce"),
        ];
        for transcript in elsewhere {
            assert!(check(&transcript, &proof, [Some(&verifier), None]).is_err());
        }
    }

    #[test]
    fn the_verifier_alone_makes_no_proof() {
        // A thief of the store tries what it could: the stored key in the place of the agent's key.
        let transcript = Transcript::new(ChannelBinding::tls_exporter([1; 32]), None, b"offer");
        let verifier = credential(1).verifier();
        let forged = AgentProof(xor(&verifier.stored_key, &transcript.agent_signature(&verifier.stored_key)));
        assert!(check(&transcript, &forged, [Some(&verifier), None]).is_err());
    }

    #[test]
    fn the_gateway_proves_itself_and_its_settings() {
        let transcript = Transcript::new(ChannelBinding::tls_exporter([1; 32]), None, b"offer");
        let expected = transcript.expected_gateway_proof(&credential(1), b"settings");
        assert_eq!(transcript.gateway_proof_of(&credential(1).verifier(), b"settings"), expected);
        assert_ne!(transcript.gateway_proof_of(&credential(1).verifier(), b"Settings"), expected);
        assert_ne!(transcript.gateway_proof_of(&credential(2).verifier(), b"settings"), expected);
    }

    #[test]
    fn a_verifier_survives_the_store() {
        let verifier = credential(5).verifier();
        let read = Verifier::from_octets(&verifier.to_octets());
        assert_eq!(read.to_octets(), verifier.to_octets());
    }
}
