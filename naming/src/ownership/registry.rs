//! The registry: rules over a store.

use alloc::vec::Vec;

use thiserror::Error;

use super::{
    Change, Claim, ClaimRefusal, ForceRefusal, NameStatus, OwnerId, OwnershipRules, ProofRefusal, Record,
    RestoreRefusal, Store,
};
use crate::{GenerateError, NameRules, NameStyle, Timestamp, TunnelName, TunnelNameRef};

/// Who owns which name: the rules, over a store.
///
/// Check a new name with [`NameRules`](crate::NameRules) first; a registry takes every valid one.
///
/// ```
/// use adit_naming::{Timestamp, TunnelNameRef};
/// use adit_naming::ownership::{ClaimRefusal, MemoryStore, OwnerId, OwnershipRules, Registry, RegistryError};
///
/// let mut registry = Registry::new(MemoryStore::new(), OwnershipRules::default());
/// let name = TunnelNameRef::parse("my-app").unwrap();
/// let now = Timestamp::from_unix_millis(1_800_000_000_000);
///
/// let claim = registry.claim(name, OwnerId::from_u128(1), now).unwrap();
/// let refused = registry.claim(name, OwnerId::from_u128(2), now).unwrap_err();
/// assert_eq!(refused, RegistryError::Refused { refusal: ClaimRefusal::Taken {} });
///
/// registry.release(claim, now).unwrap();
/// let again = registry.restore(name, OwnerId::from_u128(1), now).unwrap();
/// assert_eq!(again.generation().as_u64(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Registry<S> {
    store: S,
    rules: OwnershipRules,
}

impl<S: Store> Registry<S> {
    /// A registry of what `store` has.
    pub fn new(store: S, rules: OwnershipRules) -> Self {
        Self { store, rules }
    }

    /// Makes `owner` own a name that is free. Of many who try at once exactly one succeeds.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`ClaimRefusal`]; nothing has changed.
    pub fn claim(
        &mut self,
        name: TunnelNameRef<'_>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Claim, RegistryError<ClaimRefusal, S::Error>> {
        if !self.rules.allows_look_alikes()
            && self.store.look_alike(name).map_err(RegistryError::store)?.is_some()
        {
            return Err(RegistryError::refused(ClaimRefusal::LooksTaken {}));
        }
        let floor = self.store.floor().map_err(RegistryError::store)?;
        self.change_to_claim(name, |rules, current| rules.claim(name, current, floor, owner, now))
    }

    /// Claims a name that a machine chooses: allowed by `names`, and never owned before by anybody.
    ///
    /// `random` gives 128 fresh random bits each time it is called.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`GenerateError`] if 32 names in a row couldn't be had.
    pub fn claim_generated(
        &mut self,
        names: &NameRules,
        style: NameStyle,
        owner: OwnerId,
        now: Timestamp,
        random: impl FnMut() -> u128,
    ) -> Result<Claim, RegistryError<GenerateError, S::Error>> {
        let mut outcome = Err(RegistryError::refused(GenerateError::Exhausted {}));
        let chosen = names.generate(style, random, |name| match self.claim_new(name, owner, now) {
            Ok(None) => false,
            Ok(Some(claim)) => {
                outcome = Ok(claim);
                true
            }
            Err(error) => {
                outcome = Err(error);
                true
            }
        });
        chosen.map_err(RegistryError::refused).and(outcome)
    }

    /// Shows that `owner` owns a name: what a gateway asks when an agent registers it.
    ///
    /// # Errors
    /// [`RegistryError`] with [`ProofRefusal::NotYours`], whatever the reason.
    pub fn prove(
        &self,
        name: TunnelNameRef<'_>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Claim, RegistryError<ProofRefusal, S::Error>> {
        let current = self.store.load(name).map_err(RegistryError::store)?;
        self.rules.prove(name, current.as_ref(), owner, now).map_err(RegistryError::refused)
    }

    /// Gives a name up, and says what is the case with it now. Streams of the tunnel should be ended by the caller.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`ProofRefusal`]; nothing has changed, and [`Registry::prove`] gives a fresh claim to an
    /// owner.
    pub fn release(
        &mut self,
        claim: Claim,
        now: Timestamp,
    ) -> Result<NameStatus, RegistryError<ProofRefusal, S::Error>> {
        let record = self.change(claim.name(), |rules, current| rules.release(&claim, current, now))?;
        Ok(self.rules.status(Some(record.record()), now))
    }

    /// Takes a release back, within the grace period and for the same owner only.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`RestoreRefusal`]; nothing has changed.
    pub fn restore(
        &mut self,
        name: TunnelNameRef<'_>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Claim, RegistryError<RestoreRefusal, S::Error>> {
        self.change_to_claim(name, |rules, current| rules.restore(name, current, owner, now))
    }

    /// Changes a name: claims the new one, then releases the old one, which gets its grace period like any other.
    ///
    /// Should the process end between the two, the owner has both: no moment leaves the tunnel without a name.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`RenameRefusal`]; the old name is still owned. So is the new one, if it was the store that
    /// failed in between.
    pub fn rename(
        &mut self,
        claim: Claim,
        to: TunnelNameRef<'_>,
        now: Timestamp,
    ) -> Result<Claim, RegistryError<RenameRefusal, S::Error>> {
        if !self.rules.allows_rename() {
            return Err(RegistryError::refused(RenameRefusal::NotAllowed {}));
        }
        let current = self.store.load(claim.name()).map_err(RegistryError::store)?;
        let _ = self
            .rules
            .release(&claim, current.as_ref(), now)
            .map_err(RenameRefusal::from)
            .map_err(RegistryError::refused)?;
        let renamed = self.claim(to, claim.owner(), now).map_err(RegistryError::map_refusal)?;
        self.release(claim, now).map_err(RegistryError::map_refusal)?;
        Ok(renamed)
    }

    /// Ends the grace period of a released name at once. For administrators.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`ForceRefusal`] if it isn't in one.
    pub fn force(&mut self, name: TunnelNameRef<'_>) -> Result<(), RegistryError<ForceRefusal, S::Error>> {
        self.change(name, |rules, current| rules.force(name, current)).map(drop)
    }

    /// Notes that the owner got a certificate for the name's host, valid until `until`. Call it before the certificate is
    /// handed out.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`ProofRefusal`]: then hand nothing out.
    pub fn certified(
        &mut self,
        claim: &Claim,
        until: Timestamp,
    ) -> Result<(), RegistryError<ProofRefusal, S::Error>> {
        self.change(claim.name(), |rules, current| rules.certified(claim, current, until)).map(drop)
    }

    /// Ends the hold of a name, because all its certificates were revoked. For administrators.
    ///
    /// # Errors
    /// [`RegistryError`] with a [`ForceRefusal`] if no certificate is noted.
    pub fn lift_hold(
        &mut self,
        name: TunnelNameRef<'_>,
    ) -> Result<(), RegistryError<ForceRefusal, S::Error>> {
        self.change(name, |rules, current| rules.lift_hold(name, current)).map(drop)
    }

    /// Finishes at most `limit` deletions whose grace period is over, and names them, so that what hangs on them can go.
    ///
    /// Not calling this changes nothing for claims: time alone makes a name free.
    ///
    /// # Errors
    /// [`RegistryError`] if the store fails; what was finished until then stays so.
    pub fn expire(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<TunnelName>, RegistryError<ForceRefusal, S::Error>> {
        let mut expired = self.store.due(now, limit).map_err(RegistryError::store)?;
        let mut failed = None;
        expired.retain(|name| {
            failed.is_none()
                && self.expire_one(name.borrowed(), now).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
        });
        failed.map_or(Ok(expired), |error| Err(RegistryError::store(error)))
    }

    /// What is the case with a name.
    ///
    /// # Errors
    /// The store's, if it can't answer.
    pub fn status(&self, name: TunnelNameRef<'_>, now: Timestamp) -> Result<NameStatus, S::Error> {
        Ok(self.rules.status(self.store.load(name)?.as_ref(), now))
    }

    /// The rules.
    pub fn rules(&self) -> &OwnershipRules {
        &self.rules
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, to be looked after.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Claims a name if nobody ever had it and nobody gets it meanwhile.
    fn claim_new<R>(
        &mut self,
        name: TunnelNameRef<'_>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Option<Claim>, RegistryError<R, S::Error>> {
        if self.store.load(name).map_err(RegistryError::store)?.is_some() {
            return Ok(None);
        }
        match self.claim(name, owner, now) {
            Ok(claim) => Ok(Some(claim)),
            Err(RegistryError::Refused { .. } | RegistryError::Contended {}) => Ok(None),
            Err(RegistryError::Store { source }) => Err(RegistryError::store(source)),
        }
    }

    /// Says whether it was this call that finished the deletion; losing a race against another is fine.
    fn expire_one(&mut self, name: TunnelNameRef<'_>, now: Timestamp) -> Result<bool, S::Error> {
        let current = self.store.load(name)?;
        match self.rules.expire(name, current.as_ref(), now) {
            Some(change) => self.store.swap(&change),
            None => Ok(false),
        }
    }

    fn change_to_claim<R>(
        &mut self,
        name: TunnelNameRef<'_>,
        decide: impl Fn(&OwnershipRules, Option<&Record>) -> Result<Change, R>,
    ) -> Result<Claim, RegistryError<R, S::Error>> {
        let change = self.change(name, decide)?;
        Ok(change.committed().expect("claims and restores make an owned record"))
    }

    /// Loads, decides and swaps, and again from the start if somebody else was faster.
    fn change<R>(
        &mut self,
        name: TunnelNameRef<'_>,
        decide: impl Fn(&OwnershipRules, Option<&Record>) -> Result<Change, R>,
    ) -> Result<Change, RegistryError<R, S::Error>> {
        for _ in 0..MAX_ATTEMPTS {
            let current = self.store.load(name).map_err(RegistryError::store)?;
            let change = decide(&self.rules, current.as_ref()).map_err(RegistryError::refused)?;
            if self.store.swap(&change).map_err(RegistryError::store)? {
                return Ok(change);
            }
        }
        Err(RegistryError::Contended {})
    }
}

/// Why a registry didn't do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError<R, E> {
    /// The rules forbid it; the caller can act on it.
    #[error("{refusal}")]
    Refused {
        /// Which rule.
        refusal: R,
    },
    /// The store failed; nothing is known to have changed. Ours to mend.
    #[error("the store of names failed")]
    Store {
        /// The store's own account.
        source: E,
    },
    /// Others changed the name again and again meanwhile. Try later.
    #[error("others are changing this name at the same time")]
    Contended {},
}

impl<R, E> RegistryError<R, E> {
    fn refused(refusal: R) -> Self {
        Self::Refused { refusal }
    }

    fn store(source: E) -> Self {
        Self::Store { source }
    }

    fn map_refusal<T: From<R>>(self) -> RegistryError<T, E> {
        match self {
            Self::Refused { refusal } => RegistryError::Refused { refusal: refusal.into() },
            Self::Store { source } => RegistryError::Store { source },
            Self::Contended {} => RegistryError::Contended {},
        }
    }
}

/// Why a name can't be changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RenameRefusal {
    /// Names are immutable here.
    #[error("names can't be changed")]
    NotAllowed {},
    /// The new name can't be had.
    #[error(transparent)]
    Claim {
        /// Why.
        #[from]
        source: ClaimRefusal,
    },
    /// The old name isn't the caller's.
    #[error(transparent)]
    Proof {
        /// Why.
        #[from]
        source: ProofRefusal,
    },
}

/// How often a change is tried against others: each lost attempt means that another one won.
const MAX_ATTEMPTS: usize = 16;
