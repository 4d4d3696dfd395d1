use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Answer, NotStored};
use super::fingerprint::Fingerprint;
use super::key::Slot;
use super::limits::Limits;
use super::store::{Begin, Store, StoreError, Ticket};
use super::table::Table;

/// A [`Table`] shared among the tasks of one process: the store of a gateway that stands alone.
///
/// Its futures are ready at once. The lock is held for one lookup, never across an await.
#[derive(Debug)]
pub struct MemoryStore(Mutex<Table>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Mutex::new(Table::new(limits)))
    }

    /// Forgets what is over and says when to call this again; call it from a timer, so that stored secrets are gone in
    /// time even when nobody asks.
    pub fn forget_expired(&self, now: Duration) -> Option<Duration> {
        let mut table = self.table();
        table.forget_expired(now);
        table.poll_timeout()
    }

    /// How many bytes count as used.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.table().used_bytes()
    }

    /// A panic elsewhere while the lock was held leaves the table whole: each change is made of steps that cannot fail.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn begin(
        &self,
        now: Duration,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> Result<Begin, StoreError> {
        self.table().begin(now, slot, fingerprint)
    }

    async fn complete(
        &self,
        now: Duration,
        ticket: Ticket,
        answer: Answer,
    ) -> Result<Result<(), NotStored>, StoreError> {
        Ok(self.table().complete(now, ticket, answer))
    }

    async fn abandon(&self, now: Duration, ticket: Ticket) -> Result<(), StoreError> {
        self.table().abandon(now, ticket);
        Ok(())
    }
}
