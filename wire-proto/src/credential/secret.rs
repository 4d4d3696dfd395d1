//! The whole credential, which only the agent holds.

use super::{CredentialId, CredentialKind, Verifier};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// A credential with its secret: shown once by the gateway that made it, kept by the agent.
///
/// ```text
/// adk_0123456789abcdef_<56 characters of base32: 32 octets of secret, 3 octets of checksum>
/// ```
///
/// It has a redacted `Debug`, no `Display`, and wipes its memory when dropped.
///
/// ```
/// use adit_wire_proto::credential::{Credential, CredentialKind};
///
/// // Both numbers are to come from the operating system.
/// let credential = Credential::from_random(CredentialKind::CapabilityToken, 0x0123_4567_89ab_cdef, [7; 32]);
/// let text = credential.reveal();
/// assert!(text.starts_with("adk_0123456789abcdef_"));
/// assert_eq!(text.parse::<Credential>().unwrap().id(), credential.id());
/// assert_eq!(format!("{credential:?}"), "Credential(adk_0123456789abcdef, secret)");
/// ```
#[derive(Clone)]
pub struct Credential {
    id: CredentialId,
    secret: Zeroizing<[u8; 32]>,
}

impl Credential {
    /// The length of a credential as text, in octets.
    pub const TEXT_BYTES: usize = CredentialId::TEXT_BYTES + 1 + ENCODED_BYTES;

    /// A new credential from 64 random bits for its public part and 256 for its secret.
    pub fn from_random(kind: CredentialKind, nonce: u64, secret: [u8; 32]) -> Self {
        Self { id: CredentialId::new(kind, nonce), secret: Zeroizing::new(secret) }
    }

    /// The public part.
    pub const fn id(&self) -> CredentialId {
        self.id
    }

    /// The whole as text. Print it once, to the person who asked for it, and drop it.
    pub fn reveal(&self) -> Zeroizing<String> {
        // Reserved at once: a string that grows leaves copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(Self::TEXT_BYTES));
        text.push_str(self.id.kind().prefix());
        for shift in (0..16).rev() {
            let digit = u32::try_from((self.id.nonce() >> (4 * shift)) & 0xf).unwrap_or(0);
            text.push(char::from_digit(digit, 16).unwrap_or('0'));
        }
        text.push('_');
        let mut octets = Zeroizing::new([0; 35]);
        octets[..32].copy_from_slice(&*self.secret);
        octets[32..].copy_from_slice(&checksum(self.id, &self.secret));
        encode(&octets, &mut text);
        text
    }

    /// What the gateway stores in its place.
    pub fn verifier(&self) -> Verifier {
        Verifier::of(&self.secret)
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl FromStr for Credential {
    type Err = CredentialError;

    /// Reads the one way in which a credential is written.
    ///
    /// # Errors
    /// [`CredentialError`], which holds nothing of `text`.
    fn from_str(text: &str) -> Result<Self, CredentialError> {
        if !text.starts_with("adk_") && !text.starts_with("ads_") {
            return Err(CredentialError::Prefix);
        }
        if text.len() != Self::TEXT_BYTES || !text.is_ascii() {
            return Err(CredentialError::Form);
        }
        let (id, rest) = text.split_at(CredentialId::TEXT_BYTES);
        let id: CredentialId = id.parse()?;
        let encoded = rest.strip_prefix('_').ok_or(CredentialError::Form)?;
        let octets = Zeroizing::new(decode(encoded).ok_or(CredentialError::Form)?);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&octets[..32]);
        if checksum(id, &secret) != octets[32..] {
            return Err(CredentialError::Checksum);
        }
        Ok(Self { id, secret })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, secret)", self.id)
    }
}

/// Why a text is no credential. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// It starts with no prefix of ours.
    #[error("not a credential: it starts with neither `adk_` nor `ads_`")]
    Prefix,
    /// It has another length, or characters that a credential can't have.
    #[error("not a credential: cut short, or with characters that don't belong there")]
    Form,
    /// The checksum is wrong: a typing error.
    #[error("the credential's checksum is wrong: a character was changed")]
    Checksum,
}

/// 35 octets are 56 characters of five bits, with none to spare: each value has one spelling.
const ENCODED_BYTES: usize = 56;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Finds typing errors without asking a gateway, and lets a leak scanner rule out look-alikes.
fn checksum(id: CredentialId, secret: &[u8; 32]) -> [u8; 3] {
    let mut digest = Sha256::new();
    digest.update(b"adit/1 credential checksum");
    digest.update(id.kind().prefix().as_bytes());
    digest.update(id.nonce().to_be_bytes());
    digest.update(secret);
    let mut digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, ..] = digest;
    digest.zeroize();
    [a, b, c]
}

/// RFC 4648 section 6 in lower case, without padding. Each group of five octets makes eight characters.
fn encode(octets: &[u8; 35], out: &mut String) {
    for group in octets.as_chunks::<5>().0 {
        let mut bits = group.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
        for shift in (0..8).rev() {
            let index = usize::try_from((bits >> (5 * shift)) & 31).unwrap_or(0);
            out.push(char::from(ALPHABET[index]));
        }
        bits.zeroize();
    }
}

fn decode(text: &str) -> Option<[u8; 35]> {
    let mut octets = [0; 35];
    let (groups, []) = text.as_bytes().as_chunks::<8>() else { return None };
    for (group, out) in groups.iter().zip(octets.as_chunks_mut::<5>().0) {
        let mut bits = 0_u64;
        for character in group {
            let value = match character {
                b'a'..=b'z' => character - b'a',
                b'2'..=b'7' => character - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        let [_, _, _, rest @ ..] = bits.to_be_bytes();
        *out = rest;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> Credential {
        Credential::from_random(CredentialKind::ConnectSecret, 0xfeed, [0xc5; 32])
    }

    #[test]
    fn w01_a_credential_survives_being_written_and_read() {
        for kind in [CredentialKind::ConnectSecret, CredentialKind::CapabilityToken] {
            let secret = std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap());
            let credential = Credential::from_random(kind, u64::MAX - 5, secret);
            let text = credential.reveal();
            assert_eq!(text.len(), Credential::TEXT_BYTES);
            let read: Credential = text.parse().unwrap();
            assert_eq!((read.id(), read.secret()), (credential.id(), credential.secret()));
            assert_eq!(*read.reveal(), *text);
        }
    }

    #[test]
    fn w19_w22_w23_a_credential_that_was_cut_grown_or_changed_is_none() {
        let text = canary().reveal();
        assert!("".parse::<Credential>().is_err());
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<Credential>().is_err(), "cut at {cut}");
        }
        assert!(format!("{}a", *text).parse::<Credential>().is_err());
        assert!("a".repeat(1 << 20).parse::<Credential>().is_err());
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'2' { b'3' } else { b'2' };
            assert!(String::from_utf8(changed).unwrap().parse::<Credential>().is_err(), "changed at {at}");
        }
        assert_eq!(text.to_uppercase().parse::<Credential>().unwrap_err(), CredentialError::Prefix);
        assert_eq!("adx_0123456789abcdef".parse::<CredentialId>(), Err(CredentialError::Prefix));
    }

    #[test]
    fn w30_secrets_are_kept_in_memory_that_is_wiped_and_panics_show_none() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let credential = canary();
        is_wiped(&credential.secret);
        is_wiped(&credential.reveal());
        assert!(std::mem::needs_drop::<Credential>() && std::mem::needs_drop::<Verifier>());
        let text = credential.reveal();
        let panic = std::panic::catch_unwind(|| panic!("{:?} {:?}", canary(), canary().verifier()));
        let said = panic.unwrap_err();
        let said = said.downcast_ref::<String>().unwrap();
        assert!(!said.contains(&text[21..30]) && !said.contains("197"), "{said}");
    }

    #[test]
    fn w29_no_secret_in_debug_or_in_errors() {
        let credential = canary();
        let text = credential.reveal();
        let shown = format!("{credential:?} {:?}", credential.verifier());
        assert!(!shown.contains(&text[21..40]) && !shown.contains("c5c5"), "{shown}");
        let mut wrong = text.to_string();
        wrong.replace_range(30..31, if &wrong[30..31] == "a" { "b" } else { "a" });
        let error = wrong.parse::<Credential>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&wrong[31..45]));
    }
}
