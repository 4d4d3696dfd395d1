//! Names and passwords, for people with a browser (RFC 7617).

use std::fmt;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{PolicyError, SecretDigest};

/// Who may log in with a name and a password.
///
/// Kept as salted digests. The digest is a fast one, since strangers may make the gateway compute it: use long generated
/// passwords, not those of people.
#[derive(Clone)]
pub struct BasicUsers {
    salt: [u8; 16],
    /// At most [`MAX_USERS`](Self::MAX_USERS): all are compared at each try.
    users: Vec<SecretDigest>,
}

impl BasicUsers {
    /// The most users of one tunnel.
    pub const MAX_USERS: usize = 16;
    /// The shortest password, in bytes.
    pub const MIN_PASSWORD_BYTES: usize = 12;
    /// The longest name and password together, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Nobody yet; the salt is random.
    #[must_use]
    pub fn new(salt: [u8; 16]) -> Self {
        Self { salt, users: Vec::new() }
    }

    /// Users that were kept elsewhere, by the salt and the digests; those above [`MAX_USERS`](Self::MAX_USERS) are left out.
    #[must_use]
    pub fn restored(salt: [u8; 16], digests: impl IntoIterator<Item = SecretDigest>) -> Self {
        Self { salt, users: digests.into_iter().take(Self::MAX_USERS).collect() }
    }

    /// The salt, to keep.
    #[must_use]
    pub fn salt(&self) -> [u8; 16] {
        self.salt
    }

    /// The digests, to keep: one for each user.
    #[must_use]
    pub fn digests(&self) -> &[SecretDigest] {
        &self.users
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`PolicyError::Password`] if the name is empty or has a colon or control characters, the password is shorter than
    /// 12 bytes, both are longer than 256, or there are 16 users.
    pub fn add(mut self, name: &str, password: &str) -> Result<Self, PolicyError> {
        let is_clean = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
        let is_good = !name.is_empty()
            && !name.contains(':')
            && is_clean(name)
            && is_clean(password)
            && password.len() >= Self::MIN_PASSWORD_BYTES
            && name.len().saturating_add(password.len()) < Self::MAX_BYTES
            && self.users.len() < Self::MAX_USERS;
        if !is_good {
            return Err(PolicyError::Password { min_bytes: Self::MIN_PASSWORD_BYTES });
        }
        let pair = Zeroizing::new([name.as_bytes(), b":", password.as_bytes()].concat());
        self.users.push(self.digest(&pair));
        Ok(self)
    }

    /// Whose `name:password` this is, in base64. Allocates nothing.
    pub(super) fn find(&self, encoded: &[u8]) -> Option<SecretDigest> {
        let mut pair = Zeroizing::new([0; ROOM]);
        let room = pair.get_mut(..BASE64.decode_len(encoded.len()).ok()?)?;
        let length = BASE64.decode_mut(encoded, room).ok()?;
        let digest = self.digest(room.get(..length)?);
        self.knows(digest).then_some(digest)
    }

    pub(super) fn knows(&self, digest: SecretDigest) -> bool {
        digest.is_among(&self.users)
    }

    fn digest(&self, pair: &[u8]) -> SecretDigest {
        SecretDigest::from_bytes(Sha256::new().chain_update(self.salt).chain_update(pair).finalize().into())
    }
}

impl fmt::Debug for BasicUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicUsers").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// For the longest pair and what base64 adds to it.
const ROOM: usize = BasicUsers::MAX_BYTES + 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_the_whole_pair() {
        let users = BasicUsers::new([1; 16]).add("ann", "correct horse").unwrap();
        let find = |pair: &str| users.find(BASE64.encode(pair.as_bytes()).as_bytes()).is_some();
        assert!(find("ann:correct horse"));
        for wrong in
            ["ann:correct horse ", "ann:", "bob:correct horse", "annc:orrect horse", "", &"x".repeat(300)]
        {
            assert!(!find(wrong), "{wrong}");
        }
        assert!(users.find(b"not base64").is_none() && users.find(b"").is_none());
        let elsewhere = BasicUsers::new([2; 16]).add("ann", "correct horse").unwrap();
        assert_ne!(users.users, elsewhere.users, "salted");
    }

    #[test]
    fn short_passwords_and_names_with_colons_are_refused() {
        for (name, password) in
            [("ann", "short"), ("", "correct horse"), ("a:b", "correct horse"), ("a\n", "correct horse")]
        {
            assert!(BasicUsers::new([1; 16]).add(name, password).is_err(), "{name}:{password}");
        }
    }
}
