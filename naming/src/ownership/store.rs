//! Where records are kept.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use thiserror::Error;

use super::{Change, Generation, Record, RecordState};
use crate::{Skeleton, Timestamp, TunnelName, TunnelNameRef};

/// Keeps one [`Record`] for each name that was ever owned, and swaps records atomically. What a database implements.
///
/// In SQL, [`swap`](Self::swap) is `INSERT … ON CONFLICT DO NOTHING` without an expected revision, and
/// `UPDATE … WHERE name = $1 AND revision = $2` with one; the answer is whether a row was written. The suite in
/// `conformance` (feature `conformance`) tests an implementation.
pub trait Store {
    /// What can go wrong with the store itself.
    type Error;

    /// The record of a name.
    ///
    /// # Errors
    /// If the store can't answer.
    fn load(&self, name: TunnelNameRef<'_>) -> Result<Option<Record>, Self::Error>;

    /// Stores the record of `change` if the name still has the revision that is expected, or still no record. Says
    /// whether it did.
    ///
    /// # Errors
    /// If the store can't tell; nothing may have been stored then, or all of it.
    fn swap(&mut self, change: &Change) -> Result<bool, Self::Error>;

    /// At most `limit` names whose grace period is over at `now`, the longest over first.
    ///
    /// # Errors
    /// If the store can't answer.
    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<TunnelName>, Self::Error>;

    /// Another name with the same [`Skeleton`] that isn't released. Asked only where look-alikes of owned names are
    /// refused; a store that several gateways write to at once can only do its best here.
    ///
    /// # Errors
    /// If the store can't answer.
    fn look_alike(&self, name: TunnelNameRef<'_>) -> Result<Option<TunnelName>, Self::Error>;

    /// A generation that no forgotten record was above. [`Generation::NONE`] for a store that forgets nothing.
    ///
    /// # Errors
    /// If the store can't answer.
    fn floor(&self) -> Result<Generation, Self::Error> {
        Ok(Generation::NONE)
    }
}

/// A store in memory: the default for a gateway of one process, which forgets names when it ends.
///
/// It keeps at most [`MemoryStore::DEFAULT_MAX_NAMES`] records, or as many as you say, about 300 bytes each. Released names
/// stay until [`MemoryStore::forget_released`].
#[derive(Clone, Debug)]
pub struct MemoryStore {
    /// At most `max_names`.
    records: BTreeMap<TunnelName, Record>,
    /// The names that wait for the end of their grace period.
    pending: BTreeSet<(Timestamp, TunnelName)>,
    /// The names that aren't released, by what they look like.
    skeletons: BTreeSet<(Skeleton, TunnelName)>,
    /// No forgotten record had a higher generation.
    floor: Generation,
    max_names: usize,
}

impl MemoryStore {
    /// How many records are kept unless you say otherwise: one million.
    pub const DEFAULT_MAX_NAMES: usize = 1_000_000;

    /// An empty store of at most [`DEFAULT_MAX_NAMES`](Self::DEFAULT_MAX_NAMES).
    pub fn new() -> Self {
        Self::with_max_names(Self::DEFAULT_MAX_NAMES)
    }

    /// An empty store of at most `max_names`.
    pub fn with_max_names(max_names: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            pending: BTreeSet::new(),
            skeletons: BTreeSet::new(),
            floor: Generation::NONE,
            max_names,
        }
    }

    /// How many records there are, with those of released names.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets the released names whose certificates have run out at `now`, and says how many those were. Takes a walk
    /// over all names.
    ///
    /// Generations go on rising: every later claim is above all that were forgotten. But a name that was forgotten looks
    /// like one that nobody ever had.
    pub fn forget_released(&mut self, now: Timestamp) -> usize {
        let before = self.records.len();
        let floor = &mut self.floor;
        self.records.retain(|_, record| {
            let stays = record.state != RecordState::Released || record.certified_until > Some(now);
            if !stays {
                *floor = record.generation.max(*floor);
            }
            stays
        });
        before - self.records.len()
    }

    fn unlink(&mut self, name: TunnelNameRef<'_>) {
        let Some(record) = self.records.get(name.as_str()) else { return };
        if let RecordState::DeletePending { until } = record.state {
            self.pending.remove(&(until, name.to_owned()));
        }
        if record.state != RecordState::Released {
            self.skeletons.remove(&(Skeleton::of_name(name), name.to_owned()));
        }
    }

    fn link(&mut self, name: TunnelNameRef<'_>, record: Record) {
        if let RecordState::DeletePending { until } = record.state {
            self.pending.insert((until, name.to_owned()));
        }
        if record.state != RecordState::Released {
            self.skeletons.insert((Skeleton::of_name(name), name.to_owned()));
        }
        self.records.insert(name.to_owned(), record);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    type Error = StoreFull;

    fn load(&self, name: TunnelNameRef<'_>) -> Result<Option<Record>, StoreFull> {
        Ok(self.records.get(name.as_str()).cloned())
    }

    fn swap(&mut self, change: &Change) -> Result<bool, StoreFull> {
        let present = self.records.get(change.name().as_str()).map(Record::revision);
        if present != change.expected() {
            return Ok(false);
        }
        if present.is_none() && self.records.len() >= self.max_names {
            return Err(StoreFull {});
        }
        self.unlink(change.name());
        self.link(change.name(), change.record().clone());
        Ok(true)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<TunnelName>, StoreFull> {
        let due = self.pending.iter().take_while(|(until, _)| *until <= now);
        Ok(due.take(limit).map(|(_, name)| name.clone()).collect())
    }

    fn look_alike(&self, name: TunnelNameRef<'_>) -> Result<Option<TunnelName>, StoreFull> {
        let skeleton = Skeleton::of_name(name);
        let from = (skeleton.clone(), TunnelName::lowest());
        let mut alike = self.skeletons.range(from..).take_while(|(other, _)| *other == skeleton);
        Ok(alike.find(|(_, other)| other.borrowed() != name).map(|(_, other)| other.clone()))
    }

    fn floor(&self) -> Result<Generation, StoreFull> {
        Ok(self.floor)
    }
}

/// The store has as many names as it may. Nothing was stored; forget released names, or allow more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the store of names is full")]
#[non_exhaustive]
pub struct StoreFull {}

/// A store that threads share: each has a registry of its own over it.
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
impl<S: Store> Store for std::sync::Arc<std::sync::Mutex<S>> {
    type Error = S::Error;

    fn load(&self, name: TunnelNameRef<'_>) -> Result<Option<Record>, S::Error> {
        lock(self).load(name)
    }

    fn swap(&mut self, change: &Change) -> Result<bool, S::Error> {
        lock(self).swap(change)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<TunnelName>, S::Error> {
        lock(self).due(now, limit)
    }

    fn look_alike(&self, name: TunnelNameRef<'_>) -> Result<Option<TunnelName>, S::Error> {
        lock(self).look_alike(name)
    }

    fn floor(&self) -> Result<Generation, S::Error> {
        lock(self).floor()
    }
}

/// Another thread's panic is no reason to stop serving names: a swap is done or not, there is no half.
#[cfg(feature = "std")]
fn lock<S>(store: &std::sync::Mutex<S>) -> std::sync::MutexGuard<'_, S> {
    store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
