use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

/// The SHA-256 of a public key (its SubjectPublicKeyInfo in DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyFingerprint([u8; 32]);

impl KeyFingerprint {
    /// Fingerprints a SubjectPublicKeyInfo.
    pub fn of(public_key_der: &[u8]) -> Self {
        Self(Sha256::digest(public_key_der).into())
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyFingerprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which key belongs to which tunnel, so that no key is certified for two: the owner of one could answer for the
/// other. Keys of the gateway itself, of its authority, and keys known to have leaked are denied to all.
///
/// One tunnel may use its key again and again, for renewal or pinning.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    /// At most `max_keys`.
    owners: HashMap<KeyFingerprint, Owner>,
    max_keys: usize,
}

impl KeyIndex {
    /// An index for at most `max_keys` keys, about 100 bytes each with a short tunnel id.
    pub fn new(max_keys: usize) -> Self {
        Self { owners: HashMap::new(), max_keys }
    }

    /// Gives the key to `tunnel`, if nobody else has it.
    ///
    /// # Errors
    /// [`KeyRefused`]; the index is unchanged then.
    pub fn claim(&mut self, key: KeyFingerprint, tunnel: &str) -> Result<(), KeyRefused> {
        match self.owners.get(&key) {
            Some(Owner::Tunnel(owner)) if **owner == *tunnel => Ok(()),
            Some(Owner::Tunnel(_)) => Err(KeyRefused::Reused),
            Some(Owner::Nobody) => Err(KeyRefused::Denied),
            None if self.owners.len() >= self.max_keys => Err(KeyRefused::IndexFull),
            None => {
                self.owners.insert(key, Owner::Tunnel(tunnel.into()));
                Ok(())
            }
        }
    }

    /// Denies the key to all, from now on; certificates that exist are for the caller to revoke. Does not count
    /// against the bound.
    pub fn deny(&mut self, key: KeyFingerprint) {
        let known = self.owners.insert(key, Owner::Nobody);
        if known.is_none() {
            self.max_keys = self.max_keys.saturating_add(1);
        }
    }

    /// Forgets a key that `tunnel` owns: call it once its last certificate has expired or is revoked, not before.
    pub fn release(&mut self, key: KeyFingerprint, tunnel: &str) {
        if matches!(self.owners.get(&key), Some(Owner::Tunnel(owner)) if **owner == *tunnel) {
            self.owners.remove(&key);
        }
    }
}

/// Why a key may not be certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRefused {
    /// It is certified for another tunnel.
    #[error("the key is in use by another tunnel; make a new one")]
    Reused,
    /// It is a key of the gateway, or known to others.
    #[error("the key is not private to the requester; make a new one")]
    Denied,
    /// The index is full; the fault is ours.
    #[error("no more keys can be certified at the moment")]
    IndexFull,
}

#[derive(Clone, Debug)]
enum Owner {
    Tunnel(Box<str>),
    Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c25_a_key_stays_with_its_tunnel() {
        let key = KeyFingerprint::of(b"key");
        let mut index = KeyIndex::new(10);
        assert_eq!(index.claim(key, "a"), Ok(()));
        assert_eq!(index.claim(key, "a"), Ok(()));
        assert_eq!(index.claim(key, "b"), Err(KeyRefused::Reused));
        index.release(key, "b");
        assert_eq!(index.claim(key, "b"), Err(KeyRefused::Reused));
        index.release(key, "a");
        assert_eq!(index.claim(key, "b"), Ok(()));
    }

    #[test]
    fn c26_a_denied_key_is_nobodys() {
        let key = KeyFingerprint::of(b"key");
        let mut index = KeyIndex::new(1);
        index.deny(key);
        assert_eq!(index.claim(key, "a"), Err(KeyRefused::Denied));
        assert_eq!(index.claim(KeyFingerprint::of(b"own"), "a"), Ok(()));
        assert_eq!(index.claim(KeyFingerprint::of(b"more"), "a"), Err(KeyRefused::IndexFull));
    }
}
