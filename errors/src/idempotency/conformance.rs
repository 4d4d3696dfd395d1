//! What every [`Store`] must do, as a suite to run against yours.
//!
//! ```
//! use adit_errors::idempotency::{MemoryStore, conformance};
//!
//! # fn block_on<F: Future<Output = ()>>(future: F) {
//! #     let mut future = std::pin::pin!(future);
//! #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! #     while future.as_mut().poll(&mut context).is_pending() {}
//! # }
//! block_on(conformance::check(MemoryStore::new));
//! ```

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::answer::{Answer, NotStored};
use super::fingerprint::Fingerprint;
use super::key::{IdempotencyKey, Principal, Slot};
use super::limits::Limits;
use super::store::{Begin, Store, StoreError, Ticket};

/// Runs every check, each against a fresh and empty store from `make`.
///
/// A store in a database makes a new name space each time. It may ignore `max_bytes` of the limits.
///
/// # Panics
/// At the first broken promise, naming it.
pub async fn check<S: Store>(make: impl Fn(Limits) -> S) {
    let limits = || Limits::new().with_lease(LEASE).with_max_entries_per_principal(3);
    replays_for_a_day(&make(limits())).await;
    keeps_slots_apart(&make(limits())).await;
    refuses_another_request(&make(limits())).await;
    begins_once(&make(limits())).await;
    forgets_failures(&make(limits())).await;
    ends_leases(&make(limits())).await;
    survives_a_clock_that_steps_back(&make(limits())).await;
    keeps_quotas_apart(&make(limits())).await;
    bounds_bytes(&make(limits().with_max_bytes_per_principal(10_000))).await;
}

/// B-08, B-09: the same status, fields and bytes until a second before the day is over, and not after it.
async fn replays_for_a_day(store: &impl Store) {
    let slot = slot("a", "k");
    let ticket = fresh(store, START, &slot).await;
    complete(store, START + SECOND, ticket, answer("first")).await;
    for after in [SECOND, DAY / 2, DAY - SECOND] {
        let replayed = replayed(store, START + after, &slot).await;
        assert!(*replayed == answer("first"), "a replay is the first answer, after {after:?}");
    }
    let ticket = fresh(store, START + DAY + SECOND, &slot).await;
    abandon(store, START + DAY + SECOND, ticket).await;
}

/// B-11, B-18: an equal key of another principal is another slot.
async fn keeps_slots_apart(store: &impl Store) {
    let (mine, theirs, other) = (slot("a", "k"), slot("b", "k"), slot("a", "k2"));
    let ticket = fresh(store, START, &mine).await;
    complete(store, START, ticket, answer("mine")).await;
    let ticket = fresh(store, START, &theirs).await;
    complete(store, START, ticket, answer("theirs")).await;
    let _ticket = fresh(store, START, &other).await;
    assert!(
        *replayed(store, START, &mine).await == answer("mine"),
        "principals do not see each other's answers"
    );
    assert!(
        *replayed(store, START, &theirs).await == answer("theirs"),
        "principals do not see each other's answers"
    );
    // Joined without a border between them, these two would be one.
    let _ticket = fresh(store, START, &slot("c", "dk")).await;
    let _ticket = fresh(store, START, &slot("cd", "k")).await;
}

/// B-10: another fingerprint is a conflict, while the first is under way and after it.
async fn refuses_another_request(store: &impl Store) {
    let slot = slot("a", "k");
    let other = Fingerprint::of("POST", "/tunnels", b"other");
    let ticket = fresh(store, START, &slot).await;
    let begin = store.begin(START, &slot, &other).await;
    assert!(matches!(begin, Ok(Begin::Conflict {})), "another body in flight is a conflict: {begin:?}");
    complete(store, START, ticket, answer("x")).await;
    let begin = store.begin(START, &slot, &other).await;
    assert!(matches!(begin, Ok(Begin::Conflict {})), "another body later is a conflict: {begin:?}");
}

/// B-13: of fifty at once one is fresh, the others are told when to ask again.
async fn begins_once(store: &impl Store) {
    let slot = slot("a", "k");
    let fingerprint = first();
    let begins = all((0..50).map(|_| store.begin(START, &slot, &fingerprint)).collect()).await;
    let mut tickets = Vec::new();
    for begin in begins {
        match begin {
            Ok(Begin::Fresh { ticket }) => tickets.push(ticket),
            Ok(Begin::InFlight { retry_after }) => {
                assert!(retry_after.as_duration() <= LEASE, "{retry_after:?}")
            }
            other => panic!("a slot in flight is fresh for one and in flight for others: {other:?}"),
        }
    }
    assert_eq!(tickets.len(), 1, "of many begins at once exactly one is fresh");
}

/// B-12: a failure leaves nothing, not even a fingerprint: the corrected body is fresh.
async fn forgets_failures(store: &impl Store) {
    let slot = slot("a", "k");
    let ticket = fresh(store, START, &slot).await;
    abandon(store, START, ticket).await;
    let begin = store.begin(START, &slot, &Fingerprint::of("POST", "/tunnels", b"corrected")).await;
    assert!(
        matches!(begin, Ok(Begin::Fresh { .. })),
        "after a failure a corrected request is fresh: {begin:?}"
    );
}

/// After the lease a repeat takes over, and the ticket of the first is worth nothing.
async fn ends_leases(store: &impl Store) {
    let slot = slot("a", "k");
    let late = fresh(store, START, &slot).await;
    let begin = store.begin(START + LEASE - SECOND, &slot, &first()).await;
    assert!(matches!(begin, Ok(Begin::InFlight { .. })), "the lease still runs: {begin:?}");
    let ticket = fresh(store, START + LEASE, &slot).await;
    let stored = store.complete(START + LEASE, late, answer("late")).await;
    assert_eq!(stored, Ok(Err(NotStored::LeaseOver {})), "the first one comes too late");
    complete(store, START + LEASE, ticket, answer("second")).await;
    assert!(*replayed(store, START + LEASE, &slot).await == answer("second"), "the later answer counts");

    let other = self::slot("a", "k2");
    let late = fresh(store, START, &other).await;
    let _ticket = fresh(store, START + LEASE, &other).await;
    abandon(store, START + LEASE, late).await;
    let begin = store.begin(START + LEASE, &other, &first()).await;
    assert!(matches!(begin, Ok(Begin::InFlight { .. })), "a late ticket frees nothing: {begin:?}");
}

/// A clock that steps back an hour forgets nothing and carries nothing out twice.
async fn survives_a_clock_that_steps_back(store: &impl Store) {
    let slot = slot("a", "k");
    let ticket = fresh(store, START, &slot).await;
    let back = START - Duration::from_secs(3600);
    let begin = store.begin(back, &slot, &first()).await;
    assert!(matches!(begin, Ok(Begin::InFlight { .. })), "{begin:?}");
    complete(store, back, ticket, answer("x")).await;
    assert!(*replayed(store, back, &slot).await == answer("x"), "stepping back forgets nothing");
}

/// B-20: who fills its quota is refused, and nobody else notices; room comes with time.
async fn keeps_quotas_apart(store: &impl Store) {
    for key in ["1", "2", "3"] {
        let ticket = fresh(store, START, &slot("greedy", key)).await;
        complete(store, START, ticket, answer(key)).await;
    }
    let begin = store.begin(START, &slot("greedy", "4"), &first()).await;
    let Err(StoreError::Quota { retry_after }) = begin else { panic!("the quota is three keys: {begin:?}") };
    assert!(retry_after.as_duration() <= DAY, "{retry_after:?}");
    assert!(*replayed(store, START, &slot("greedy", "1")).await == answer("1"), "what is stored stays");
    let ticket = fresh(store, START, &slot("modest", "1")).await;
    complete(store, START, ticket, answer("m")).await;
    assert!(
        *replayed(store, START, &slot("modest", "1")).await == answer("m"),
        "others have their own quota"
    );
    let ticket = fresh(store, START + DAY + SECOND, &slot("greedy", "4")).await;
    abandon(store, START + DAY + SECOND, ticket).await;
}

/// B-16, B-20: an answer without room is not stored and says so; its slot is free.
async fn bounds_bytes(store: &impl Store) {
    let slot = slot("a", "k");
    let ticket = fresh(store, START, &slot).await;
    let large = Answer::new(200, Vec::new(), vec![b'x'; 20_000], 1 << 20);
    let stored = store.complete(START, ticket, large.unwrap_or_else(|error| panic!("{error}"))).await;
    assert_eq!(stored, Ok(Err(NotStored::NoRoom {})), "an answer beyond the principal's bytes is not stored");
    let _ticket = fresh(store, START, &slot).await;
}

async fn fresh(store: &impl Store, now: Duration, slot: &Slot) -> Ticket {
    match store.begin(now, slot, &first()).await {
        Ok(Begin::Fresh { ticket }) => ticket,
        other => panic!("the slot is free: {other:?}"),
    }
}

async fn replayed(store: &impl Store, now: Duration, slot: &Slot) -> Arc<Answer> {
    match store.begin(now, slot, &first()).await {
        Ok(Begin::Replay { answer }) => answer,
        other => panic!("the slot has an answer: {other:?}"),
    }
}

async fn complete(store: &impl Store, now: Duration, ticket: Ticket, answer: Answer) {
    assert_eq!(store.complete(now, ticket, answer).await, Ok(Ok(())), "there is room for the answer");
}

async fn abandon(store: &impl Store, now: Duration, ticket: Ticket) {
    assert_eq!(store.abandon(now, ticket).await, Ok(()), "the slot can be freed");
}

/// Polls all of them in turn until each is ready.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut outputs = Vec::new();
    poll_fn(|context| {
        for slot in &mut pending {
            let Some(future) = slot else { continue };
            if let Poll::Ready(output) = Pin::new(future).poll(context) {
                outputs.push(output);
                *slot = None;
            }
        }
        if pending.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs
}

fn slot(principal: &str, key: &str) -> Slot {
    let principal = Principal::new(principal).unwrap_or_else(|error| panic!("{error}"));
    let key = IdempotencyKey::parse(key.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    Slot::new(principal, key)
}

fn answer(body: &str) -> Answer {
    let fields = vec![("content-type".to_owned(), b"text/plain".to_vec())];
    Answer::new(201, fields, body.as_bytes().to_vec(), 1 << 20).unwrap_or_else(|error| panic!("{error}"))
}

fn first() -> Fingerprint {
    Fingerprint::of("POST", "/tunnels", b"first")
}

const START: Duration = Duration::from_secs(1_700_000_000);
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
