use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::{Timestamp, TunnelName, TunnelNameRef};

const ALICE: OwnerId = OwnerId::from_u128(1);
const BOB: OwnerId = OwnerId::from_u128(2);
const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn registry() -> Registry<MemoryStore> {
    Registry::new(MemoryStore::new(), OwnershipRules::default())
}

fn name(text: &str) -> TunnelNameRef<'_> {
    TunnelNameRef::parse(text).unwrap()
}

fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

#[test]
fn n13_a_released_name_is_refused_for_24_hours_to_the_second() {
    let mut registry = registry();
    let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
    let taken = registry.claim(name("my-app"), BOB, NOW).unwrap_err();
    assert!(matches!(&taken, RegistryError::Refused { refusal } if refusal.code() == "SUBDOMAIN_TAKEN"));
    registry.release(claim, NOW).unwrap();
    let pending = registry.claim(name("my-app"), BOB, after(86_400 - 1)).unwrap_err();
    assert!(matches!(&pending, RegistryError::Refused { refusal } if refusal.code() == "SUBDOMAIN_TAKEN"));
    assert!(registry.claim(name("my-app"), BOB, after(86_400 + 1)).is_ok());
}

#[test]
fn n13_of_many_threads_that_create_exactly_one_wins() {
    for round in 0..50u128 {
        let registry = Mutex::new(registry());
        let barrier = std::sync::Barrier::new(16);
        let winners: Vec<OwnerId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16u128)
                .map(|id| {
                    let (registry, barrier) = (&registry, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let owner = OwnerId::from_u128(round * 100 + id);
                        registry
                            .lock()
                            .unwrap()
                            .claim(name("my-app"), owner, NOW)
                            .ok()
                            .map(|claim| claim.owner())
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        let [winner] = winners[..] else { panic!("{} winners", winners.len()) };
        assert!(registry.lock().unwrap().prove(name("my-app"), winner, NOW).is_ok());
    }
}

#[test]
fn n13_restore_against_create_at_the_second_has_exactly_one_winner() {
    for (at, restored) in [(86_399, true), (86_400, false)] {
        for restore_first in [true, false] {
            let mut registry = registry();
            let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
            registry.release(claim, NOW).unwrap();
            let mut outcomes = [false; 2];
            for step in if restore_first { [0, 1] } else { [1, 0] } {
                outcomes[step] = match step {
                    0 => registry.restore(name("my-app"), ALICE, after(at)).is_ok(),
                    _ => registry.claim(name("my-app"), BOB, after(at)).is_ok(),
                };
            }
            assert_eq!(outcomes, [restored, !restored], "at {at} s");
        }
    }
}

#[test]
fn a_plain_grace_period_is_a_setting() {
    let rules = OwnershipRules::default().with_hold_certified(false).with_grace(Duration::ZERO);
    let mut registry = Registry::new(MemoryStore::new(), rules);
    let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
    registry.certified(&claim, NOW.saturating_add(90 * DAY)).unwrap();
    assert_eq!(registry.release(claim, NOW).unwrap(), NameStatus::Free { once_owned: true });
    assert_eq!(registry.claim(name("my-app"), BOB, NOW).unwrap().generation().as_u64(), 2);
}

#[test]
fn a_new_owner_inherits_no_certificate() {
    let mut registry = registry();
    let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
    registry.certified(&claim, after(60)).unwrap();
    registry.release(claim, NOW).unwrap();
    let claim = registry.claim(name("my-app"), BOB, after(86_400)).unwrap();
    assert_eq!(registry.store().load(claim.name()).unwrap().unwrap().certified_until(), None);
}

#[test]
fn renaming_keeps_the_old_name_for_its_grace_period() {
    let mut registry = registry();
    let claim = registry.claim(name("old-name"), ALICE, NOW).unwrap();
    registry.claim(name("bobs-name"), BOB, NOW).unwrap();
    let stale = registry.prove(name("old-name"), ALICE, NOW).unwrap();
    let claim = registry.rename(claim, name("new-name"), NOW).unwrap();
    assert_eq!((claim.name(), claim.owner()), (name("new-name"), ALICE));
    assert!(matches!(
        registry.status(name("old-name"), NOW),
        Ok(NameStatus::DeletePending { owner: ALICE, .. })
    ));
    let taken = registry.rename(claim, name("bobs-name"), NOW).unwrap_err();
    assert!(matches!(taken, RegistryError::Refused { refusal: RenameRefusal::Claim { .. } }));
    assert!(registry.prove(name("new-name"), ALICE, NOW).is_ok(), "nothing was lost");
    let refused = registry.rename(stale, name("third-name"), NOW).unwrap_err();
    assert!(matches!(refused, RegistryError::Refused { refusal: RenameRefusal::Proof { .. } }));
    assert_eq!(registry.status(name("third-name"), NOW), Ok(NameStatus::Free { once_owned: false }));
}

#[test]
fn immutable_names_are_a_setting() {
    let mut registry = Registry::new(MemoryStore::new(), OwnershipRules::default().with_rename(false));
    let claim = registry.claim(name("old-name"), ALICE, NOW).unwrap();
    let refused = registry.rename(claim, name("new-name"), NOW).unwrap_err();
    assert_eq!(refused, RegistryError::Refused { refusal: RenameRefusal::NotAllowed {} });
}

#[test]
fn a_clock_that_jumps_never_panics_and_never_gives_a_name_away_early() {
    let mut registry = registry();
    let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
    registry.release(claim, NOW).unwrap();
    let past = Timestamp::from_unix_millis(0);
    assert!(registry.claim(name("my-app"), BOB, past).is_err(), "before the release it is pending as well");
    let claim = registry.restore(name("my-app"), ALICE, past).unwrap();
    let last = Timestamp::from_unix_millis(u64::MAX);
    registry.release(claim, last).unwrap();
    assert!(registry.claim(name("my-app"), BOB, NOW).is_err());
    assert!(registry.claim(name("my-app"), BOB, last).is_ok());
}

#[test]
fn the_store_has_a_bound_and_says_so() {
    let mut registry = Registry::new(MemoryStore::with_max_names(1), OwnershipRules::default());
    let claim = registry.claim(name("first"), ALICE, NOW).unwrap();
    let full = registry.claim(name("second"), ALICE, NOW).unwrap_err();
    assert_eq!(full, RegistryError::Store { source: StoreFull {} });
    registry.release(claim, NOW).unwrap();
    assert_eq!(registry.store_mut().forget_released(after(86_400)), 0, "pending names are not forgotten");
    registry.expire(after(86_400), 10).unwrap();
    assert_eq!(registry.store_mut().forget_released(after(86_400)), 1);
    let claim = registry.claim(name("second"), ALICE, NOW).unwrap();
    assert_eq!(claim.generation().as_u64(), 2, "above every forgotten one");
}

#[test]
fn held_names_are_not_forgotten() {
    let mut registry = registry();
    let claim = registry.claim(name("my-app"), ALICE, NOW).unwrap();
    registry.certified(&claim, NOW.saturating_add(90 * DAY)).unwrap();
    registry.release(claim, NOW).unwrap();
    registry.expire(NOW.saturating_add(DAY), 10).unwrap();
    assert_eq!(registry.store_mut().forget_released(NOW.saturating_add(89 * DAY)), 0);
    assert_eq!(registry.store_mut().forget_released(NOW.saturating_add(90 * DAY)), 1);
}

#[test]
fn generations_that_are_used_up_refuse_instead_of_wrapping() {
    let record = Record::from_parts(ALICE, Generation::from_u64(u64::MAX), 1, RecordState::Released, None);
    let rules = OwnershipRules::default();
    let refused = rules.claim(name("my-app"), Some(&record), Generation::NONE, BOB, NOW).unwrap_err();
    assert_eq!(refused, ClaimRefusal::GenerationsUsedUp {});
}

#[test]
fn a_store_that_always_loses_is_reported() {
    #[derive(Debug)]
    struct Unlucky;
    impl Store for Unlucky {
        type Error = core::convert::Infallible;
        fn load(&self, _: TunnelNameRef<'_>) -> Result<Option<Record>, Self::Error> {
            Ok(None)
        }
        fn swap(&mut self, _: &Change) -> Result<bool, Self::Error> {
            Ok(false)
        }
        fn due(&self, _: Timestamp, _: usize) -> Result<Vec<TunnelName>, Self::Error> {
            Ok(Vec::new())
        }
        fn look_alike(&self, _: TunnelNameRef<'_>) -> Result<Option<TunnelName>, Self::Error> {
            Ok(None)
        }
    }
    let mut registry = Registry::new(Unlucky, OwnershipRules::default());
    assert_eq!(registry.claim(name("my-app"), ALICE, NOW), Err(RegistryError::Contended {}));
}

#[cfg(feature = "std")]
#[test]
fn the_shared_store_survives_a_panic_elsewhere() {
    let store = std::sync::Arc::new(Mutex::new(MemoryStore::new()));
    let held = store.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = held.lock().unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let result = store.load(name("my-app"));
    assert!(matches!(result, Ok(None)), "{result:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Claim(u128),
    Release(u128),
    Restore(u128),
    Certify(u128, u64),
    Force,
    LiftHold,
    Expire,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u128).prop_map(Step::Claim),
        (0..3u128).prop_map(Step::Release),
        (0..3u128).prop_map(Step::Restore),
        (0..3u128, 0..200_000u64).prop_map(|(owner, seconds)| Step::Certify(owner, seconds)),
        Just(Step::Force),
        Just(Step::LiftHold),
        Just(Step::Expire),
        (0..100_000u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens to a name, at most one owner can prove it, generations never fall, and nobody gets a name for which
    /// another still has a certificate.
    #[test]
    fn any_life_of_a_name_keeps_its_promises(steps in prop::collection::vec(step(), 0..40)) {
        let mut registry = registry();
        let mut now = NOW;
        let mut last = Generation::NONE;
        let mut certificates = [NOW; 3];
        let app = name("my-app");
        for step in steps {
            let claim = match step {
                Step::Claim(owner) => registry.claim(app, OwnerId::from_u128(owner), now).ok(),
                Step::Restore(owner) => registry.restore(app, OwnerId::from_u128(owner), now).ok(),
                Step::Release(owner) => {
                    if let Ok(claim) = registry.prove(app, OwnerId::from_u128(owner), now) {
                        registry.release(claim, now).unwrap();
                    }
                    None
                }
                Step::Certify(owner, seconds) => {
                    if let Ok(claim) = registry.prove(app, OwnerId::from_u128(owner), now) {
                        let until = now.saturating_add(Duration::from_secs(seconds));
                        registry.certified(&claim, until).unwrap();
                        let slot = &mut certificates[usize::try_from(owner).unwrap()];
                        *slot = until.max(*slot);
                    }
                    None
                }
                Step::Force => {
                    let _ = registry.force(app);
                    None
                }
                Step::LiftHold => {
                    if registry.lift_hold(app).is_ok() {
                        certificates = [NOW; 3];
                    }
                    None
                }
                Step::Expire => {
                    registry.expire(now, 10).unwrap();
                    None
                }
                Step::Wait(seconds) => {
                    now = now.saturating_add(Duration::from_secs(seconds));
                    None
                }
            };
            if let Some(claim) = claim {
                prop_assert!(claim.generation() > last);
                last = claim.generation();
                for (other, until) in (0u128..).zip(certificates) {
                    prop_assert!(claim.owner() == OwnerId::from_u128(other) || until <= now);
                }
            }
            let owners = (0..3u128).filter(|owner| registry.prove(app, OwnerId::from_u128(*owner), now).is_ok());
            prop_assert!(owners.count() <= 1);
        }
    }
}
