//! What every [`Store`] must do, as functions that panic where one doesn't.
//!
//! Call them from a test of your implementation:
//!
//! ```
//! use adit_naming::{conformance, ownership::MemoryStore};
//!
//! conformance::check_store(MemoryStore::new);
//! ```

use core::{fmt::Debug, time::Duration};

use crate::{
    Timestamp, TunnelName, TunnelNameRef,
    ownership::{
        ClaimRefusal, ForceRefusal, Generation, NameStatus, OwnerId, OwnershipRules, ProofRefusal, Registry,
        RegistryError, RestoreRefusal, Store,
    },
};

/// Runs a store through the life of names: claims, releases, restores, force, expiry, holds and look-alikes.
///
/// `make` gives an empty store each time it is called.
///
/// # Panics
/// If the store does something else than it must; the message says what was expected.
pub fn check_store<S>(mut make: impl FnMut() -> S)
where
    S: Store,
    S::Error: Debug,
{
    claims_are_exclusive(make());
    released_names_come_free_after_the_grace_period(make());
    restores_and_claims_exclude_each_other(make());
    generations_rise(make());
    certified_names_are_held(make());
    old_claims_prove_nothing(make());
    force_skips_the_grace_period(make());
    expiry_names_what_is_due(make());
    look_alikes_are_found(make());
    swaps_compare_revisions(make());
}

/// Lets threads race for the same names through one store each, all of which are clones of one.
///
/// `make` gives an empty store each time it is called; its clones must show the same records.
///
/// # Panics
/// If not exactly one of the racing threads wins.
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub fn check_races<S>(mut make: impl FnMut() -> S)
where
    S: Store + Clone + Send,
    S::Error: Debug,
{
    for _ in 0..RACES {
        one_of_many_claims_wins(make());
        restore_against_claim_has_one_winner(make());
    }
}

fn claims_are_exclusive<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    assert_eq!(
        status(&registry, START),
        NameStatus::Free { once_owned: false },
        "an empty store knows no name"
    );
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    assert_eq!((claim.name(), claim.owner(), claim.generation().as_u64()), (name(), ALICE, 1));
    for owner in [ALICE, BOB] {
        let refusal = refused(registry.claim(name(), owner, START));
        assert_eq!(refusal, ClaimRefusal::Taken {}, "an owned name is taken, for its owner too");
    }
    assert!(registry.claim(other(), BOB, START).is_ok(), "another name is free");
    assert!(registry.prove(name(), ALICE, START).is_ok(), "the owner can prove it");
    assert_eq!(refused(registry.prove(name(), BOB, START)), ProofRefusal::NotYours {});
}

fn released_names_come_free_after_the_grace_period<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    let end = START.saturating_add(OwnershipRules::DEFAULT_GRACE);
    let pending = NameStatus::DeletePending { owner: ALICE, until: end };
    assert_eq!(registry.release(claim, START).expect("a claim releases"), pending);
    assert_eq!(refused(registry.prove(name(), ALICE, START)), ProofRefusal::NotYours {});
    for (owner, yours) in [(ALICE, true), (BOB, false)] {
        let refusal = refused(registry.claim(name(), owner, just_before(end)));
        assert_eq!(refusal, ClaimRefusal::DeletePending { until: end, yours }, "one moment before the end");
    }
    assert_eq!(status(&registry, end), NameStatus::Free { once_owned: true });
    let claim = registry.claim(name(), BOB, end).expect("at the end the name is free");
    assert_eq!(claim.owner(), BOB);
}

fn restores_and_claims_exclude_each_other<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    assert_eq!(
        refused(registry.restore(name(), ALICE, START)),
        RestoreRefusal::NotRestorable {},
        "never owned"
    );
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    assert_eq!(
        refused(registry.restore(name(), ALICE, START)),
        RestoreRefusal::NotRestorable {},
        "not released"
    );
    registry.release(claim, START).expect("a claim releases");
    let end = START.saturating_add(OwnershipRules::DEFAULT_GRACE);
    assert_eq!(refused(registry.restore(name(), BOB, START)), RestoreRefusal::NotRestorable {}, "not Bob's");
    assert_eq!(refused(registry.restore(name(), ALICE, end)), RestoreRefusal::NotRestorable {}, "too late");
    let claim = registry.restore(name(), ALICE, just_before(end)).expect("in time");
    assert_eq!(refused(registry.claim(name(), BOB, end)), ClaimRefusal::Taken {}, "restored names are taken");
    registry.release(claim, START).expect("the restored claim is current");
}

fn generations_rise<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    let mut last = Generation::NONE;
    let mut now = START;
    for round in 0..4u32 {
        let claim =
            registry.claim(name(), if round % 2 == 0 { ALICE } else { BOB }, now).expect("free again");
        assert!(claim.generation() > last, "a claim is above the one before");
        last = claim.generation();
        let owner = claim.owner();
        registry.release(claim, now).expect("a claim releases");
        let claim = registry.restore(name(), owner, now).expect("in time");
        assert!(claim.generation() > last, "a restore is above the claim");
        last = claim.generation();
        registry.release(claim, now).expect("a claim releases");
        now = now.saturating_add(OwnershipRules::DEFAULT_GRACE);
    }
}

fn certified_names_are_held<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    let expiry = START.saturating_add(Duration::from_secs(90 * 24 * 60 * 60));
    registry.certified(&claim, expiry).expect("a current claim is certified");
    registry.certified(&claim, START).expect("an older certificate changes nothing");
    registry.release(claim, START).expect("a claim releases");
    let after_grace = START.saturating_add(OwnershipRules::DEFAULT_GRACE);
    assert_eq!(status(&registry, after_grace), NameStatus::Held { owner: ALICE, until: expiry });
    registry.expire(after_grace, 10).expect("the store answers");
    let held = ClaimRefusal::HeldForCertificate { until: expiry };
    assert_eq!(refused(registry.claim(name(), BOB, just_before(expiry))), held, "also after the expiry");
    let claim = registry.claim(name(), ALICE, just_before(expiry)).expect("the last owner may");
    registry.release(claim, after_grace).expect("a claim releases");
    assert!(registry.claim(name(), BOB, expiry).is_ok(), "free when the certificate has run out");
}

fn old_claims_prove_nothing<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    let old = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    let same = registry.prove(name(), ALICE, START).expect("the owner can prove it");
    registry.release(same, START).expect("a proof releases");
    assert_eq!(refused(registry.certified(&old, START)), ProofRefusal::Superseded {}, "released meanwhile");
    let _current = registry.restore(name(), ALICE, START).expect("in time");
    assert_eq!(refused(registry.certified(&old, START)), ProofRefusal::Superseded {}, "restored meanwhile");
    assert_eq!(refused(registry.release(old, START)), ProofRefusal::Superseded {}, "a second release");
}

fn force_skips_the_grace_period<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    assert_eq!(refused(registry.force(name())), ForceRefusal::NotPending {}, "never owned");
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    assert_eq!(refused(registry.force(name())), ForceRefusal::NotPending {}, "still owned");
    registry
        .certified(&claim, START.saturating_add(Duration::from_secs(1)))
        .expect("a current claim is certified");
    registry.release(claim, START).expect("a claim releases");
    registry.force(name()).expect("released");
    assert_eq!(
        refused(registry.restore(name(), ALICE, START)),
        RestoreRefusal::NotRestorable {},
        "force is final"
    );
    assert!(matches!(refused(registry.claim(name(), BOB, START)), ClaimRefusal::HeldForCertificate { .. }));
    registry.lift_hold(name()).expect("a certificate is noted");
    assert_eq!(refused(registry.lift_hold(name())), ForceRefusal::NotPending {}, "once is enough");
    assert!(registry.claim(name(), BOB, START).is_ok(), "free at once");
}

fn expiry_names_what_is_due<S: Store<Error: Debug>>(store: S) {
    let mut registry = registry(store);
    let names: [TunnelName; 4] =
        ["name-a", "name-b", "name-c", "name-d"].map(|text| TunnelName::parse(text).expect("a name"));
    let mut at = START;
    for name in &names {
        let claim = registry.claim(name.borrowed(), ALICE, START).expect("a free name can be claimed");
        if name != &names[3] {
            registry.release(claim, at).expect("a claim releases");
        }
        at = at.saturating_add(Duration::from_secs(1));
    }
    let end = START.saturating_add(OwnershipRules::DEFAULT_GRACE);
    assert!(registry.expire(just_before(end), 10).expect("the store answers").is_empty(), "nothing is due");
    assert_eq!(registry.expire(end, 10).expect("the store answers"), names[..1], "the first is due");
    let later = end.saturating_add(Duration::from_secs(60));
    assert_eq!(registry.expire(later, 1).expect("the store answers"), names[1..2], "no more than asked for");
    assert_eq!(registry.expire(later, 10).expect("the store answers"), names[2..3], "owned names stay");
    assert!(registry.expire(later, 10).expect("the store answers").is_empty(), "each once");
}

fn look_alikes_are_found<S: Store<Error: Debug>>(store: S) {
    let mut registry = Registry::new(store, OwnershipRules::default().with_look_alikes(false));
    let parse = |text| TunnelNameRef::parse(text).expect("a name");
    let claim = registry.claim(parse("modern-app"), ALICE, START).expect("a free name can be claimed");
    assert_eq!(refused(registry.claim(parse("m0dernapp"), BOB, START)), ClaimRefusal::LooksTaken {});
    assert!(registry.claim(parse("modern-api"), BOB, START).is_ok(), "this one looks different");
    registry.release(claim, START).expect("a claim releases");
    assert_eq!(
        refused(registry.claim(parse("rnodern-app"), BOB, START)),
        ClaimRefusal::LooksTaken {},
        "pending"
    );
    registry.force(parse("modern-app")).expect("released");
    assert!(registry.claim(parse("rnodern-app"), BOB, START).is_ok(), "nobody has it any more");
}

fn swaps_compare_revisions<S: Store<Error: Debug>>(mut store: S) {
    let rules = OwnershipRules::default();
    let floor = store.floor().expect("the store answers");
    let claim = |owner| rules.claim(name(), None, floor, owner, START).expect("a free name can be claimed");
    let (first, second) = (claim(ALICE), claim(BOB));
    assert!(store.swap(&first).expect("the store answers"), "there was no record");
    assert!(!store.swap(&second).expect("the store answers"), "now there is one");
    assert!(!store.swap(&first).expect("the store answers"), "not even the same one twice");
    let current = store.load(name()).expect("the store answers").expect("it was stored");
    assert_eq!(&current, first.record(), "what was stored is what is loaded, all of it");
    let ours = rules.prove(name(), Some(&current), ALICE, START).expect("it is Alice's");
    let released = rules.release(&ours, Some(&current), START).expect("it is Alice's");
    let certified = rules.certified(&ours, Some(&current), START).expect("it is Alice's");
    assert!(store.swap(&released).expect("the store answers"), "the revision is the expected one");
    assert!(!store.swap(&certified).expect("the store answers"), "the revision has gone on");
    let current = store.load(name()).expect("the store answers").expect("it was stored");
    assert_eq!(&current, released.record(), "a refused swap changes nothing");
}

#[cfg(feature = "std")]
fn one_of_many_claims_wins<S: Store<Error: Debug> + Clone + Send>(store: S) {
    let winners =
        race(&store, |mut registry, id| registry.claim(name(), OwnerId::from_u128(id), START).is_ok());
    assert_eq!(winners, 1, "exactly one of many racing claims wins");
}

#[cfg(feature = "std")]
fn restore_against_claim_has_one_winner<S: Store<Error: Debug> + Clone + Send>(store: S) {
    let mut registry = registry(store.clone());
    let claim = registry.claim(name(), ALICE, START).expect("a free name can be claimed");
    registry.release(claim, START).expect("a claim releases");
    let end = START.saturating_add(OwnershipRules::DEFAULT_GRACE);
    // Their clocks differ by a millisecond, so that both the restore and the claims would be right.
    let winners = race(&store, |mut registry, id| match id {
        0 => registry.restore(name(), ALICE, just_before(end)).is_ok(),
        _ => registry.claim(name(), OwnerId::from_u128(id + 100), end).is_ok(),
    });
    assert_eq!(winners, 1, "a restore and claims have one winner");
}

/// How many of the threads that start together succeed.
#[cfg(feature = "std")]
fn race<S: Store + Clone + Send>(store: &S, attempt: impl Fn(Registry<S>, u128) -> bool + Sync) -> usize {
    let start = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let attempts = core::array::from_fn::<_, THREADS, _>(|_| store.clone());
        let mut threads = alloc::vec::Vec::with_capacity(THREADS);
        for (store, id) in attempts.into_iter().zip(0u128..) {
            let (start, attempt) = (&start, &attempt);
            threads.push(scope.spawn(move || {
                start.wait();
                attempt(registry(store), id)
            }));
        }
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).filter(|won| *won).count()
    })
}

fn registry<S: Store>(store: S) -> Registry<S> {
    Registry::new(store, OwnershipRules::default())
}

fn status<S: Store<Error: Debug>>(registry: &Registry<S>, now: Timestamp) -> NameStatus {
    registry.status(name(), now).expect("the store answers")
}

fn refused<T: Debug, R: Debug, E: Debug>(result: Result<T, RegistryError<R, E>>) -> R {
    match result {
        Err(RegistryError::Refused { refusal }) => refusal,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

fn name() -> TunnelNameRef<'static> {
    TunnelNameRef::parse("my-app").expect("a name")
}

fn other() -> TunnelNameRef<'static> {
    TunnelNameRef::parse("my-other-app").expect("a name")
}

fn just_before(end: Timestamp) -> Timestamp {
    Timestamp::from_unix_millis(end.as_unix_millis() - 1)
}

const ALICE: OwnerId = OwnerId::from_u128(0xa11ce);
const BOB: OwnerId = OwnerId::from_u128(0xb0b);
const START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
#[cfg(feature = "std")]
const THREADS: usize = 8;
#[cfg(feature = "std")]
const RACES: usize = 50;
