//! Keys that make keys: a master key mints project keys and opens no tunnels itself.

use std::collections::{BTreeMap, VecDeque};

use adit_errors::{Code, Refusal};

/// The keys of an organisation, by their ids; secrets are elsewhere.
///
/// ```text
///   master ──mint──▶ project ──opens──▶ tunnels
///      │                 │
///    revoke            revoke
///      └──▶ all of these ◀┘  their sessions are to be closed
/// ```
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Those that are good; at most `MAX_KEYS`.
    keys: BTreeMap<KeyId, Key>,
    /// The ids of those that are not any more, so that they mean no others; at most `MAX_REVOKED`. Who revokes much makes
    /// room for himself alone: beyond the bound the id revoked first is forgotten, and refused like any that never was.
    revoked: VecDeque<KeyId>,
}

impl Credentials {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a master key.
    ///
    /// # Errors
    /// [`DelegationError`]; nothing is changed then.
    pub fn add_master(&mut self, id: KeyId) -> Result<(), DelegationError> {
        self.add(id, Key { parent: None })
    }

    /// Adds a project key, minted by the master key `by`.
    ///
    /// # Errors
    /// [`DelegationError`]; nothing is changed then.
    pub fn mint(&mut self, by: KeyId, id: KeyId) -> Result<(), DelegationError> {
        match self.kind(by) {
            Some(KeyKind::Master) => self.add(id, Key { parent: Some(by) }),
            Some(KeyKind::Project) => Err(DelegationError::NotMaster {}),
            None => Err(DelegationError::Unknown {}),
        }
    }

    /// Revokes a key and all that it minted. Returns those that were good until now: close their sessions.
    pub fn revoke(&mut self, id: KeyId) -> Vec<KeyId> {
        let hit: Vec<_> = self
            .keys
            .extract_if(.., |other, key| *other == id || key.parent == Some(id))
            .map(|(id, _)| id)
            .collect();
        self.revoked.extend(&hit);
        let excess = self.revoked.len().saturating_sub(MAX_REVOKED);
        self.revoked.drain(..excess);
        hit
    }

    /// Whether a key may open tunnels.
    ///
    /// # Errors
    /// [`DelegationError::MasterOpensNothing`] for a master key, [`DelegationError::Unknown`] for one that is revoked or
    /// never was: from outside both look alike.
    pub fn check_may_open(&self, id: KeyId) -> Result<(), DelegationError> {
        match self.kind(id) {
            Some(KeyKind::Project) => Ok(()),
            Some(KeyKind::Master) => Err(DelegationError::MasterOpensNothing {}),
            None => Err(DelegationError::Unknown {}),
        }
    }

    /// What a key is; `None` if it is revoked or unknown.
    #[must_use]
    pub fn kind(&self, id: KeyId) -> Option<KeyKind> {
        let key = self.keys.get(&id)?;
        Some(if key.parent.is_some() { KeyKind::Project } else { KeyKind::Master })
    }

    fn add(&mut self, id: KeyId, key: Key) -> Result<(), DelegationError> {
        if self.keys.contains_key(&id) || self.revoked.contains(&id) {
            return Err(DelegationError::Known {});
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(DelegationError::TooMany { max_keys: MAX_KEYS });
        }
        self.keys.insert(id, key);
        Ok(())
    }
}

/// A key's number. Not its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u128);

impl KeyId {
    /// The key with this number.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// Mints project keys; opens no tunnels.
    Master,
    /// Opens tunnels; mints nothing.
    Project,
}

/// What a key may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegationError {
    /// There is no such key, or it is revoked.
    #[error("the credential is not valid")]
    Unknown {},
    /// The id is taken, if only by a revoked key. Choose ids at random, which also keeps them from coming back later.
    #[error("the key's id is taken")]
    Known {},
    /// A project key mints nothing.
    #[error("only a master key mints keys")]
    NotMaster {},
    /// A master key opens nothing: mint a project key.
    #[error("a master key opens no tunnels; mint a project key")]
    MasterOpensNothing {},
    /// As many good keys as an organisation may have. Revoke one that is not needed.
    #[error("an organisation has at most {max_keys} keys")]
    TooMany {
        /// The bound.
        max_keys: usize,
    },
}

impl From<&DelegationError> for Refusal {
    fn from(error: &DelegationError) -> Self {
        let code = match error {
            DelegationError::Unknown {} => Code::AUTH_FAILED,
            DelegationError::Known {} => Code::CONFLICT,
            DelegationError::NotMaster {} | DelegationError::MasterOpensNothing {} => Code::FORBIDDEN,
            DelegationError::TooMany { .. } => Code::QUOTA_EXCEEDED,
        };
        Self::new(code, error.to_string())
    }
}

#[derive(Clone, Copy, Debug)]
struct Key {
    /// The master key that minted it; `None` for a master key.
    parent: Option<KeyId>,
}

const MAX_KEYS: usize = 10_000;
const MAX_REVOKED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_mints_and_opens_nothing() {
        let keys = keys();
        let refused = keys.check_may_open(MASTER).unwrap_err();
        assert_eq!(
            (refused, Refusal::from(&refused).status()),
            (DelegationError::MasterOpensNothing {}, 403)
        );
        assert_eq!(keys.check_may_open(PROJECT), Ok(()));
        assert_eq!(keys.clone().mint(PROJECT, KeyId::from_u128(9)), Err(DelegationError::NotMaster {}));
    }

    #[test]
    fn revoking_a_master_key_cuts_its_children_and_no_others() {
        let mut keys = keys();
        assert_eq!(keys.revoke(MASTER), [MASTER, PROJECT]);
        assert_eq!(keys.check_may_open(PROJECT), Err(DelegationError::Unknown {}));
        assert_eq!(keys.mint(MASTER, KeyId::from_u128(9)), Err(DelegationError::Unknown {}));
        assert_eq!(keys.check_may_open(OTHER_PROJECT), Ok(()));
        assert_eq!(keys.revoke(MASTER), []);
    }

    #[test]
    fn w18_a_revoked_key_and_an_unknown_one_are_refused_alike() {
        let mut keys = keys();
        keys.revoke(PROJECT);
        let revoked = keys.check_may_open(PROJECT).unwrap_err();
        let unknown = keys.check_may_open(KeyId::from_u128(99)).unwrap_err();
        assert_eq!(Refusal::from(&revoked), Refusal::from(&unknown));
        assert_eq!(keys.mint(MASTER, PROJECT), Err(DelegationError::Known {}), "an id is used once");
    }

    #[test]
    fn revoked_keys_take_no_room_from_good_ones_and_the_first_of_too_many_is_forgotten_and_still_refused() {
        let mut keys = keys();
        let others = keys.keys.len();
        let last = u128::try_from(MAX_REVOKED).unwrap() + 1;
        for number in 100..100 + last {
            let id = KeyId::from_u128(number);
            assert_eq!(keys.mint(MASTER, id), Ok(()), "{number}");
            assert_eq!(keys.revoke(id), [id]);
        }
        assert_eq!((keys.keys.len(), keys.revoked.len()), (others, MAX_REVOKED));
        for number in [100, 99 + last] {
            assert_eq!(keys.check_may_open(KeyId::from_u128(number)), Err(DelegationError::Unknown {}));
        }
        assert_eq!(keys.mint(MASTER, KeyId::from_u128(99 + last)), Err(DelegationError::Known {}));
        assert_eq!(keys.check_may_open(PROJECT), Ok(()));
    }

    #[test]
    fn good_keys_have_a_bound_and_one_that_is_revoked_makes_room() {
        let mut keys = keys();
        let ids = (100..).map(KeyId::from_u128);
        let refused = ids.map(|id| keys.mint(MASTER, id)).find(Result::is_err).unwrap();
        assert_eq!(refused, Err(DelegationError::TooMany { max_keys: MAX_KEYS }));
        assert_eq!(keys.keys.len(), MAX_KEYS);
        keys.revoke(PROJECT);
        assert_eq!(keys.mint(MASTER, KeyId::from_u128(1 << 100)), Ok(()));
    }

    fn keys() -> Credentials {
        let mut keys = Credentials::new();
        keys.add_master(MASTER).unwrap();
        keys.mint(MASTER, PROJECT).unwrap();
        keys.add_master(OTHER_MASTER).unwrap();
        keys.mint(OTHER_MASTER, OTHER_PROJECT).unwrap();
        keys
    }

    const MASTER: KeyId = KeyId::from_u128(1);
    const PROJECT: KeyId = KeyId::from_u128(2);
    const OTHER_MASTER: KeyId = KeyId::from_u128(3);
    const OTHER_PROJECT: KeyId = KeyId::from_u128(4);
}
