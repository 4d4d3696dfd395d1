//! The suite for stores passes on ours, and notices stores that break what it is about.
#![cfg(all(feature = "conformance", feature = "std"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use adit_naming::{
    Timestamp, TunnelName, TunnelNameRef, conformance,
    ownership::{Change, Generation, MemoryStore, Record, Store, StoreFull},
};

#[test]
fn n13_the_store_in_memory_conforms() {
    conformance::check_store(MemoryStore::new);
}

#[test]
fn n13_the_shared_store_conforms_and_races_have_one_winner() {
    let make = || Arc::new(Mutex::new(MemoryStore::new()));
    conformance::check_store(make);
    conformance::check_races(make);
}

#[test]
fn the_suite_notices_broken_stores() {
    for fault in [Fault::SwapsBlindly, Fault::ForgetsReleased, Fault::FindsNoLookAlike, Fault::ShowsAllAsDue]
    {
        let make = || Broken { store: MemoryStore::new(), fault };
        let noticed = catch_unwind(AssertUnwindSafe(|| conformance::check_store(make))).is_err();
        assert!(noticed, "{fault:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    SwapsBlindly,
    ForgetsReleased,
    FindsNoLookAlike,
    ShowsAllAsDue,
}

struct Broken {
    store: MemoryStore,
    fault: Fault,
}

impl Store for Broken {
    type Error = StoreFull;

    fn load(&self, name: TunnelNameRef<'_>) -> Result<Option<Record>, StoreFull> {
        let record = self.store.load(name)?;
        let released = adit_naming::ownership::RecordState::Released;
        Ok(record.filter(|record| self.fault != Fault::ForgetsReleased || record.state() != released))
    }

    fn swap(&mut self, change: &Change) -> Result<bool, StoreFull> {
        let swapped = self.store.swap(change)?;
        Ok(swapped || self.fault == Fault::SwapsBlindly)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<TunnelName>, StoreFull> {
        let limit = if self.fault == Fault::ShowsAllAsDue { usize::MAX } else { limit };
        self.store.due(now, limit)
    }

    fn look_alike(&self, name: TunnelNameRef<'_>) -> Result<Option<TunnelName>, StoreFull> {
        if self.fault == Fault::FindsNoLookAlike { Ok(None) } else { self.store.look_alike(name) }
    }

    fn floor(&self) -> Result<Generation, StoreFull> {
        self.store.floor()
    }
}
