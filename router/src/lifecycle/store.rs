//! Where records are kept: a trait that a database implements, and the embedded default.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use adit_naming::TunnelNameRef;

use super::{Record, State};
use crate::TunnelId;

/// Keeps records, and makes sure that of two who change one only the first succeeds.
///
/// [`conformance`](super::conformance) is the list of promises, as code: run it against an implementation of your own.
pub trait TunnelStore {
    /// Keeps a new record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its id is known, [`StoreError::NameTaken`] if a record that isn't deleted has its name.
    fn insert(&self, record: Record) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The record of a tunnel, a deleted one too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn load(&self, id: TunnelId) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// The record that has a name and isn't deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn load_by_name(
        &self,
        name: TunnelNameRef<'_>,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Puts a changed record in place of the one with revision `seen`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is none with that revision: load it, and change it again.
    fn replace(&self, record: Record, seen: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// At most `limit` tunnels whose [`next_tick`](Record::next_tick) has come, the longest due first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn due(
        &self,
        now: SystemTime,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<TunnelId>, StoreError>> + Send;
}

/// A record could not be kept or found. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else changed the record meanwhile.
    #[error("the record was changed meanwhile")]
    Conflict {},
    /// Another tunnel has the name.
    #[error("the name is taken")]
    NameTaken {},
    /// The store can't take another record.
    #[error("the store is full")]
    Full {},
    /// The store can't be reached; try again.
    #[error("the store cannot be reached")]
    Unavailable {},
}

/// Records in memory: the embedded default, gone with the process.
#[derive(Debug)]
pub struct MemoryStore {
    max_records: usize,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// At most `max_records`.
    records: BTreeMap<TunnelId, Record>,
    /// Of records that are not deleted.
    names: BTreeMap<Box<str>, TunnelId>,
    ticks: BTreeMap<(SystemTime, TunnelId), ()>,
}

impl MemoryStore {
    /// A store for at most `max_records`, deleted ones included; each takes about half a kilobyte and its metadata.
    #[must_use]
    pub fn new(max_records: usize) -> Self {
        Self { max_records, tables: Mutex::default() }
    }

    /// Forgets a deleted record, so that there is room for another; `false` if there is none that is deleted.
    pub fn purge(&self, id: TunnelId) -> bool {
        let mut tables = self.tables();
        let is_deleted = tables.records.get(&id).is_some_and(|record| record.state() == State::Deleted);
        is_deleted && tables.records.remove(&id).is_some()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No step below panics between two changes, so that a poisoned lock hides nothing half done.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TunnelStore for MemoryStore {
    fn insert(&self, record: Record) -> impl Future<Output = Result<(), StoreError>> + Send {
        let mut tables = self.tables();
        ready(match () {
            () if tables.records.contains_key(&record.id()) => Err(StoreError::Conflict {}),
            () if tables.names.contains_key(record.name().as_str()) => Err(StoreError::NameTaken {}),
            () if tables.records.len() >= self.max_records => Err(StoreError::Full {}),
            () => {
                tables.put(record);
                Ok(())
            }
        })
    }

    fn load(&self, id: TunnelId) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send {
        ready(Ok(self.tables().records.get(&id).cloned()))
    }

    fn load_by_name(
        &self,
        name: TunnelNameRef<'_>,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send {
        let tables = self.tables();
        let id = tables.names.get(name.as_str());
        ready(Ok(id.and_then(|id| tables.records.get(id)).cloned()))
    }

    fn replace(&self, record: Record, seen: u64) -> impl Future<Output = Result<(), StoreError>> + Send {
        let mut tables = self.tables();
        ready(match tables.records.get(&record.id()).map(Record::revision) {
            Some(revision) if revision == seen => {
                tables.take(record.id());
                tables.put(record);
                Ok(())
            }
            Some(_) | None => Err(StoreError::Conflict {}),
        })
    }

    fn due(
        &self,
        now: SystemTime,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<TunnelId>, StoreError>> + Send {
        let tables = self.tables();
        let due = tables.ticks.keys().take_while(|(at, _)| *at <= now);
        ready(Ok(due.take(limit).map(|(_, id)| *id).collect()))
    }
}

impl Tables {
    fn put(&mut self, record: Record) {
        if record.state() != State::Deleted {
            self.names.insert(record.name().as_str().into(), record.id());
        }
        if let Some(at) = record.next_tick() {
            self.ticks.insert((at, record.id()), ());
        }
        self.records.insert(record.id(), record);
    }

    fn take(&mut self, id: TunnelId) {
        let Some(record) = self.records.remove(&id) else { return };
        if record.state() != State::Deleted {
            self.names.remove(record.name().as_str());
        }
        if let Some(at) = record.next_tick() {
            self.ticks.remove(&(at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use adit_naming::TunnelName;

    use super::super::{Command, NewRecord, conformance};
    use super::*;

    #[test]
    fn the_memory_store_keeps_every_promise() {
        finish(conformance::run(|| MemoryStore::new(100)));
    }

    #[test]
    fn a_full_store_takes_no_more_until_a_deleted_record_is_purged() {
        let store = MemoryStore::new(1);
        let mut first = record(1, "first");
        finish(store.insert(first.clone())).unwrap();
        assert_eq!(finish(store.insert(record(2, "second"))), Err(StoreError::Full {}));
        assert!(!store.purge(first.id()));
        first.apply(Command::Delete, SystemTime::UNIX_EPOCH).unwrap();
        first.apply(Command::ForceDelete, SystemTime::UNIX_EPOCH).unwrap();
        finish(store.replace(first.clone(), 1)).unwrap();
        assert!(store.purge(first.id()));
        finish(store.insert(record(2, "second"))).unwrap();
    }

    #[test]
    fn n13_of_a_restore_and_a_create_at_the_second_exactly_one_wins() {
        use std::time::Duration;
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        // Two gateways, the clock of one a second behind: one still restores, the other already deletes and creates.
        shuttle::check_random(
            move || {
                let store = shuttle::sync::Arc::new(MemoryStore::new(10));
                let mut old = record(1, "my-app");
                old.apply(Command::Delete, SystemTime::UNIX_EPOCH).unwrap();
                finish(store.insert(old)).unwrap();
                let (one, other) = (shuttle::sync::Arc::clone(&store), store);
                let restore = shuttle::thread::spawn(move || {
                    change(&one, Command::Restore, end - Duration::from_secs(1))
                });
                let create = shuttle::thread::spawn(move || {
                    change(&other, Command::Tick, end);
                    shuttle::thread::yield_now();
                    let created = finish(other.insert(record(2, "my-app"))).is_ok();
                    (created, other)
                });
                let (restored, (created, store)) = (restore.join().unwrap(), create.join().unwrap());
                assert!(restored != created, "restored {restored}, created {created}");
                let name = TunnelName::parse("my-app").unwrap();
                let holder = finish(store.load_by_name(name.borrowed())).unwrap().unwrap();
                assert_eq!(holder.id(), TunnelId::from_u128(if created { 2 } else { 1 }));
                assert_eq!(holder.state(), State::Active);
            },
            2_000,
        );
    }

    /// Load, change, replace: another one may come between, and then this one has changed nothing.
    fn change(store: &MemoryStore, command: Command, now: SystemTime) -> bool {
        let Ok(Some(mut old)) = finish(store.load(TunnelId::from_u128(1))) else { return false };
        let seen = old.revision();
        shuttle::thread::yield_now();
        old.apply(command, now).is_ok_and(|event| event.is_some()) && finish(store.replace(old, seen)).is_ok()
    }

    fn record(id: u128, name: &str) -> Record {
        let new = NewRecord::new(TunnelId::from_u128(id), TunnelName::parse(name).unwrap());
        Record::create(new, SystemTime::UNIX_EPOCH).0
    }

    /// Futures of the memory store are ready at once.
    fn finish<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("a future of the memory store waits"),
        }
    }
}
