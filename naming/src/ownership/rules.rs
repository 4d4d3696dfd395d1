//! What may happen to a name, and when.

use core::time::Duration;

use thiserror::Error;

use super::{Claim, Generation, OwnerId, Record, RecordState};
use crate::{Timestamp, TunnelName, TunnelNameRef};

/// What may happen to a name, and when: pure functions from a record and the time to the next record.
///
/// | setting | default | why |
/// |---|---|---|
/// | grace | 24 h | an owner who deleted a tunnel by mistake may restore it |
/// | hold while certified | on | the old owner's certificate is valid for whoever gets the name: with it, and a position on the path, the old owner reads the new one's traffic |
/// | rename | on | a product whose names are immutable turns it off |
/// | look-alikes of owned names | allowed | refusing them suits products where names are brands |
#[derive(Clone, Debug)]
pub struct OwnershipRules {
    grace: Duration,
    hold_certified: bool,
    rename: bool,
    look_alikes: bool,
}

impl OwnershipRules {
    /// The grace period of 24 hours.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long after its release an owner may restore a name, and nobody may claim it. Zero: released at once.
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Whether a released name stays with its last owner until the last certificate for it has run out
    /// ([`Registry::certified`](super::Registry::certified)). Off, the grace period alone counts.
    pub fn with_hold_certified(self, hold_certified: bool) -> Self {
        Self { hold_certified, ..self }
    }

    /// Whether names may be changed.
    pub fn with_rename(self, rename: bool) -> Self {
        Self { rename, ..self }
    }

    /// Whether somebody may claim a name that looks like one that is owned; see [`Skeleton`](crate::Skeleton).
    pub fn with_look_alikes(self, look_alikes: bool) -> Self {
        Self { look_alikes, ..self }
    }

    /// Whether names may be changed.
    pub fn allows_rename(&self) -> bool {
        self.rename
    }

    /// Whether look-alikes of owned names may be claimed.
    pub fn allows_look_alikes(&self) -> bool {
        self.look_alikes
    }

    /// What is the case with a name at `now`.
    pub fn status(&self, current: Option<&Record>, now: Timestamp) -> NameStatus {
        let Some(record) = current else { return NameStatus::Free { once_owned: false } };
        match record.state {
            RecordState::Owned => NameStatus::Owned { owner: record.owner, generation: record.generation },
            RecordState::DeletePending { until } if now < until => {
                NameStatus::DeletePending { owner: record.owner, until }
            }
            RecordState::DeletePending { .. } | RecordState::Released => match record.certified_until {
                Some(until) if self.hold_certified && now < until => {
                    NameStatus::Held { owner: record.owner, until }
                }
                Some(_) | None => NameStatus::Free { once_owned: true },
            },
        }
    }

    /// Makes `owner` own a name. The new generation is above the record's and above `floor`; see [`Store::floor`](super::Store::floor).
    ///
    /// # Errors
    /// [`ClaimRefusal`]; the record stays as it is.
    pub fn claim(
        &self,
        name: TunnelNameRef<'_>,
        current: Option<&Record>,
        floor: Generation,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Change, ClaimRefusal> {
        let certified_until = match self.status(current, now) {
            NameStatus::Free { .. } => None,
            NameStatus::Owned { .. } => return Err(ClaimRefusal::Taken {}),
            NameStatus::DeletePending { owner: last, until } => {
                return Err(ClaimRefusal::DeletePending { until, yours: last == owner });
            }
            // The certificates are the same owner's: there is nobody to protect from them.
            NameStatus::Held { owner: last, until } if last == owner => Some(until),
            NameStatus::Held { until, .. } => return Err(ClaimRefusal::HeldForCertificate { until }),
        };
        let last = current.map_or(Generation::NONE, Record::generation).max(floor);
        let generation = last.next().ok_or(ClaimRefusal::GenerationsUsedUp {})?;
        Ok(Change::new(
            name,
            current,
            Record { owner, generation, revision: 0, state: RecordState::Owned, certified_until },
        ))
    }

    /// Shows that `owner` owns a name now: what a gateway asks when an agent registers it.
    ///
    /// # Errors
    /// [`ProofRefusal::NotYours`], whether the name is somebody else's, released or unknown: who isn't the owner learns
    /// nothing.
    pub fn prove(
        &self,
        name: TunnelNameRef<'_>,
        current: Option<&Record>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Claim, ProofRefusal> {
        match self.status(current, now) {
            NameStatus::Owned { owner: holder, generation } if holder == owner => {
                Ok(Claim::new(name.to_owned(), owner, generation))
            }
            NameStatus::Owned { .. }
            | NameStatus::Free { .. }
            | NameStatus::DeletePending { .. }
            | NameStatus::Held { .. } => Err(ProofRefusal::NotYours {}),
        }
    }

    /// Gives a name up. The owner may restore it during the grace period.
    ///
    /// # Errors
    /// [`ProofRefusal`]; the record stays as it is.
    pub fn release(
        &self,
        claim: &Claim,
        current: Option<&Record>,
        now: Timestamp,
    ) -> Result<Change, ProofRefusal> {
        let record = held(claim, current)?;
        let state = if self.grace.is_zero() {
            RecordState::Released
        } else {
            RecordState::DeletePending { until: now.saturating_add(self.grace) }
        };
        Ok(Change::new(claim.name(), current, Record { state, ..record.clone() }))
    }

    /// Notes that the owner got a certificate for the name's host, valid until `until`. Later ones count, earlier don't.
    ///
    /// # Errors
    /// [`ProofRefusal`]; the record stays as it is.
    pub fn certified(
        &self,
        claim: &Claim,
        current: Option<&Record>,
        until: Timestamp,
    ) -> Result<Change, ProofRefusal> {
        let record = held(claim, current)?;
        let certified_until = record.certified_until.max(Some(until));
        Ok(Change::new(claim.name(), current, Record { certified_until, ..record.clone() }))
    }

    /// Takes a release back.
    ///
    /// The generation rises: sessions and routes of the time before the release stay dead.
    ///
    /// # Errors
    /// [`RestoreRefusal::NotRestorable`]; the record stays as it is.
    pub fn restore(
        &self,
        name: TunnelNameRef<'_>,
        current: Option<&Record>,
        owner: OwnerId,
        now: Timestamp,
    ) -> Result<Change, RestoreRefusal> {
        let refusal = RestoreRefusal::NotRestorable {};
        match (self.status(current, now), current) {
            (NameStatus::DeletePending { owner: last, .. }, Some(record)) if last == owner => {
                let generation = record.generation.next().ok_or(refusal)?;
                Ok(Change::new(
                    name,
                    current,
                    Record { generation, state: RecordState::Owned, ..record.clone() },
                ))
            }
            _ => Err(refusal),
        }
    }

    /// Ends the grace period of a released name at once. A hold for a certificate stays. For administrators.
    ///
    /// # Errors
    /// [`ForceRefusal::NotPending`]; the record stays as it is.
    pub fn force(&self, name: TunnelNameRef<'_>, current: Option<&Record>) -> Result<Change, ForceRefusal> {
        match current {
            Some(record) if matches!(record.state, RecordState::DeletePending { .. }) => {
                Ok(Change::new(name, current, Record { state: RecordState::Released, ..record.clone() }))
            }
            Some(_) | None => Err(ForceRefusal::NotPending {}),
        }
    }

    /// Ends the hold of a name, because all its certificates were revoked. For administrators.
    ///
    /// # Errors
    /// [`ForceRefusal::NotPending`] if no certificate is noted.
    pub fn lift_hold(
        &self,
        name: TunnelNameRef<'_>,
        current: Option<&Record>,
    ) -> Result<Change, ForceRefusal> {
        match current {
            Some(record) if record.certified_until.is_some() => {
                Ok(Change::new(name, current, Record { certified_until: None, ..record.clone() }))
            }
            Some(_) | None => Err(ForceRefusal::NotPending {}),
        }
    }

    /// Turns a name whose grace period is over into a released one; `None` if there is nothing to do.
    pub fn expire(
        &self,
        name: TunnelNameRef<'_>,
        current: Option<&Record>,
        now: Timestamp,
    ) -> Option<Change> {
        let record = current?;
        match record.state {
            RecordState::DeletePending { until } if until <= now => {
                Some(Change::new(name, current, Record { state: RecordState::Released, ..record.clone() }))
            }
            RecordState::DeletePending { .. } | RecordState::Owned | RecordState::Released => None,
        }
    }
}

impl Default for OwnershipRules {
    fn default() -> Self {
        Self { grace: Self::DEFAULT_GRACE, hold_certified: true, rename: true, look_alikes: true }
    }
}

/// The next record of a name, to be stored if the present one is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing has happened before the store has taken the record"]
pub struct Change {
    name: TunnelName,
    expected: Option<u64>,
    record: Record,
}

impl Change {
    fn new(name: TunnelNameRef<'_>, current: Option<&Record>, next: Record) -> Self {
        let expected = current.map(Record::revision);
        // A record is written a few times a year; the store refuses the swap should this ever be the same number.
        let revision = expected.unwrap_or(0).saturating_add(1);
        Self { name: name.to_owned(), expected, record: Record { revision, ..next } }
    }

    /// The name.
    pub fn name(&self) -> TunnelNameRef<'_> {
        self.name.borrowed()
    }

    /// The revision that the store must still have; `None` if it must have no record of the name.
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// The record to store.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The claim that the change makes; `None` if it makes nobody own the name.
    ///
    /// Only for whoever drives a database of their own, and only after it has answered that the swap was done: this is
    /// where a claim comes from. The [`Registry`](super::Registry) does it by itself.
    pub fn committed(self) -> Option<Claim> {
        match self.record.state {
            RecordState::Owned => Some(Claim::new(self.name, self.record.owner, self.record.generation)),
            RecordState::DeletePending { .. } | RecordState::Released => None,
        }
    }
}

/// What is the case with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever shows it must have a word for each")]
pub enum NameStatus {
    /// Anybody may claim it.
    Free {
        /// Whether somebody had it before: their links and cookies may still be about.
        once_owned: bool,
    },
    /// It has an owner.
    Owned {
        /// The owner.
        owner: OwnerId,
        /// The generation of the owner's claim.
        generation: Generation,
    },
    /// Released; only the owner may restore it.
    DeletePending {
        /// The owner.
        owner: OwnerId,
        /// The first moment at which it can't be restored any more.
        until: Timestamp,
    },
    /// Released, and a certificate for it is still valid: only its last owner may claim it.
    Held {
        /// The last owner.
        owner: OwnerId,
        /// The first moment at which anybody may claim it.
        until: Timestamp,
    },
}

/// Why a name can't be claimed now. It is somebody's; that nobody may have it is [`NameRefusal`](crate::NameRefusal).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimRefusal {
    /// It has an owner. Choose another.
    #[error("this name is taken")]
    Taken {},
    /// Its owner released it and may still restore it. Choose another, restore it, or wait.
    #[error("this name was released and may still be restored by its owner")]
    DeletePending {
        /// The first moment at which it can't be restored any more.
        until: Timestamp,
        /// Whether who asked is the one who may restore it.
        yours: bool,
    },
    /// Its last owner has a valid certificate for it. Choose another, or wait.
    #[error("this name is held until the last certificate for it has run out")]
    HeldForCertificate {
        /// The first moment at which it may be claimed.
        until: Timestamp,
    },
    /// Another name that looks the same has an owner. Choose another.
    #[error("this name looks like one that is taken")]
    LooksTaken {},
    /// The name has been claimed 2⁶⁴ times, or a database made it look so. Choose another.
    #[error("this name can't be claimed any more")]
    GenerationsUsedUp {},
}

impl ClaimRefusal {
    /// The code of the refusal: `SUBDOMAIN_TAKEN`.
    pub fn code(&self) -> &'static str {
        "SUBDOMAIN_TAKEN"
    }
}

/// Why a name isn't proved to be somebody's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofRefusal {
    /// It is somebody else's, or nobody's. Claim it first.
    #[error("this name is not yours")]
    NotYours {},
    /// The claim is older than the name's present generation: it was released, restored or claimed again meanwhile.
    #[error("this claim is no longer the current one")]
    Superseded {},
}

/// Why a name can't be restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreRefusal {
    /// It isn't released, the grace period is over, or it was somebody else's.
    #[error("this name can't be restored")]
    NotRestorable {},
}

/// Why an administrator's order has no object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForceRefusal {
    /// The name waits for nothing.
    #[error("this name is not waiting for anything")]
    NotPending {},
}

/// The record, if `claim` is the current claim of the name.
fn held<'a>(claim: &Claim, current: Option<&'a Record>) -> Result<&'a Record, ProofRefusal> {
    let record = current.ok_or(ProofRefusal::NotYours {})?;
    if record.owner != claim.owner() {
        return Err(ProofRefusal::NotYours {});
    }
    if record.state != RecordState::Owned || record.generation != claim.generation() {
        return Err(ProofRefusal::Superseded {});
    }
    Ok(record)
}
