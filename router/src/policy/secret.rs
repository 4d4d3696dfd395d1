//! What visitors present, and what is kept to know it by.

use std::fmt::{self, Write};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::Choice;
use zeroize::Zeroizing;

use crate::compare;

/// A token for the visitors of one tunnel: shown once, never kept, wiped when dropped.
///
/// ```text
/// adv_<46 characters of base64url: 32 bytes of secret, 3 of checksum, without padding>
/// ```
///
/// The prefix lets scanners find tokens that leaked, the checksum lets them tell a token from chance.
#[derive(Clone)]
pub struct VisitorToken(Zeroizing<String>);

impl VisitorToken {
    /// The token of these random bytes; they must come from a cryptographic source.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        let mut bytes = Zeroizing::new([0; 35]);
        let (secret, checksum) = bytes.split_at_mut(32);
        secret.copy_from_slice(&*random);
        let digest =
            Sha256::new().chain_update(b"adit visitor token checksum").chain_update(*random).finalize();
        checksum.copy_from_slice(&digest[..3]);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 48));
        text.push_str(PREFIX);
        BASE64URL_NOPAD.encode_append(&*bytes, &mut text);
        Self(text)
    }

    /// The text, to show it to its owner this once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What to keep.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for VisitorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitorToken(redacted)")
    }
}

/// The SHA-256 of a secret of at least 128 random bits: enough to know it by, not to present it.
///
/// Digests have one length and are compared in constant time, so that nothing about a wrong secret can be timed but the
/// length that it was sent with (case A-05).
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// A digest that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest, to store it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether this is one of `known`: all are compared, in full.
    pub(super) fn is_among<'a>(&self, known: impl IntoIterator<Item = &'a Self>) -> bool {
        let found = known
            .into_iter()
            .fold(Choice::from(0), |found, known| found | compare::is_equal(&self.0, &known.0));
        bool::from(found)
    }

    /// Eight hexadecimal digits by which its owner can tell it from others.
    pub(super) fn start(&self) -> u64 {
        let (start, _) = self.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        u64::from_be_bytes(*start)
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        bool::from(compare::is_equal(&self.0, &other.0))
    }
}

impl Eq for SecretDigest {}

/// The first half only: it tells digests apart, and is no digest.
impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(")?;
        write!(f, "{:016x}", self.start())?;
        f.write_char(')')
    }
}

const PREFIX: &str = "adv_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_prefix_and_a_checksum_and_is_known_by_its_digest() {
        let token = VisitorToken::from_random([7; 32]);
        let (other, same) = (VisitorToken::from_random([8; 32]), VisitorToken::from_random([7; 32]));
        assert!(token.reveal().starts_with("adv_") && token.reveal().len() == 51, "{}", token.reveal());
        assert_eq!(token.digest(), SecretDigest::of(same.reveal().as_bytes()));
        assert_ne!(token.digest(), other.digest());
        assert!(token.digest().is_among(&[other.digest(), token.digest()]));
        assert!(!token.digest().is_among(&[other.digest()]) && !token.digest().is_among([]));
    }

    #[test]
    fn w29_a_token_is_not_in_debug() {
        let token = VisitorToken::from_random([7; 32]);
        assert_eq!(format!("{token:?}"), "VisitorToken(redacted)");
    }
}
