//! The promises of a [`TunnelStore`], as code that any implementation can be held to.

use std::time::{Duration, SystemTime};

use adit_naming::TunnelNameRef;

use super::{Command, NewRecord, Record, StoreError, TunnelStore};
use crate::TunnelId;

/// Holds stores to the promises; `make` gives an empty one each time. Drive the future on the store's own runtime.
///
/// # Panics
/// If a promise is broken, saying which.
pub async fn run<S: TunnelStore>(make: impl Fn() -> S) {
    what_is_inserted_is_found(&make()).await;
    a_name_belongs_to_one_record_that_is_not_deleted(&make()).await;
    of_two_who_change_one_record_the_first_succeeds(&make()).await;
    what_is_due_comes_in_order_and_not_before(&make()).await;
}

async fn what_is_inserted_is_found(store: &impl TunnelStore) {
    let record = record(1, "first", Duration::MAX);
    assert_eq!(store.load(record.id()).await, Ok(None), "nothing is found in an empty store");
    assert_eq!(store.insert(record.clone()).await, Ok(()), "a record can be inserted");
    assert_eq!(store.load(record.id()).await, Ok(Some(record.clone())), "it is found by its id");
    assert_eq!(store.load_by_name(name("first")).await, Ok(Some(record.clone())), "it is found by its name");
    assert_eq!(store.load_by_name(name("other")).await, Ok(None), "other names find nothing");
    assert_eq!(store.insert(record).await, Err(StoreError::Conflict {}), "an id is inserted once");
}

async fn a_name_belongs_to_one_record_that_is_not_deleted(store: &impl TunnelStore) {
    let mut old = record(1, "shared", Duration::MAX);
    let new = record(2, "shared", Duration::MAX);
    assert_eq!(store.insert(old.clone()).await, Ok(()));
    assert_eq!(store.insert(new.clone()).await, Err(StoreError::NameTaken {}), "a name is taken");
    change(store, &mut old, Command::Delete).await;
    assert_eq!(
        store.insert(new.clone()).await,
        Err(StoreError::NameTaken {}),
        "also while deletion is pending"
    );
    change(store, &mut old, Command::ForceDelete).await;
    assert_eq!(store.load_by_name(name("shared")).await, Ok(None), "a deleted record has no name");
    assert_eq!(store.insert(new.clone()).await, Ok(()), "its name can be taken");
    assert_eq!(store.load_by_name(name("shared")).await, Ok(Some(new)), "and leads to the new record");
    assert_eq!(store.load(old.id()).await, Ok(Some(old)), "the deleted record is still found by its id");
}

async fn of_two_who_change_one_record_the_first_succeeds(store: &impl TunnelStore) {
    let record = record(1, "first", Duration::MAX);
    assert_eq!(
        store.replace(record.clone(), 1).await,
        Err(StoreError::Conflict {}),
        "what isn't there isn't replaced"
    );
    assert_eq!(store.insert(record.clone()).await, Ok(()));
    let (mut one, mut other) = (record.clone(), record.clone());
    apply(&mut one, Command::Pause);
    apply(&mut other, Command::Delete);
    assert_eq!(store.replace(one.clone(), record.revision()).await, Ok(()), "the first change succeeds");
    let second = store.replace(other, record.revision()).await;
    assert_eq!(second, Err(StoreError::Conflict {}), "the second one has seen an old revision");
    assert_eq!(store.load(record.id()).await, Ok(Some(one)), "and changes nothing");
}

async fn what_is_due_comes_in_order_and_not_before(store: &impl TunnelStore) {
    for (id, text, seconds) in [(1, "late", 30), (2, "early", 10), (3, "middle", 20)] {
        assert_eq!(store.insert(record(id, text, Duration::from_secs(seconds))).await, Ok(()));
    }
    let due = async |seconds, limit| {
        let ids = store.due(NOW + Duration::from_secs(seconds), limit).await;
        ids.map(|ids| ids.into_iter().map(TunnelId::as_u128).collect::<Vec<_>>())
    };
    assert_eq!(due(9, 10).await, Ok(vec![]), "nothing is due before its time");
    assert_eq!(due(20, 10).await, Ok(vec![2, 3]), "the longest due comes first");
    assert_eq!(due(99, 2).await, Ok(vec![2, 3]), "no more than the limit");
    let mut early = record(2, "early", Duration::from_secs(10));
    let seen = early.revision();
    assert!(early.apply(Command::Tick, NOW + Duration::from_secs(10)).is_ok());
    assert_eq!(store.replace(early, seen).await, Ok(()));
    assert_eq!(due(30, 10).await, Ok(vec![3, 1]), "what was ticked is due again at its next tick");
}

async fn change(store: &impl TunnelStore, record: &mut Record, command: Command) {
    let seen = record.revision();
    apply(record, command);
    assert_eq!(store.replace(record.clone(), seen).await, Ok(()), "a record can be replaced");
}

fn apply(record: &mut Record, command: Command) {
    assert!(record.apply(command, NOW).is_ok(), "the suite's own records allow its commands");
}

fn record(id: u128, text: &str, time_to_live: Duration) -> Record {
    let new = NewRecord::new(TunnelId::from_u128(id), name(text).to_owned()).time_to_live(time_to_live);
    Record::create(new, NOW).0
}

fn name(text: &str) -> TunnelNameRef<'_> {
    TunnelNameRef::parse(text).expect("the suite's own names are valid")
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
