use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use adit_naming::{CustomDomainRef, TunnelNameRef};
use proptest::prelude::*;

use super::*;

#[test]
fn every_kind_of_key_leads_to_its_tunnel_and_all_go_together() {
    let table = RouteTable::<&str>::new();
    let keys =
        [by_name("demo"), by_domain("shop.example"), RouteKey::tcp_port(35432), RouteKey::udp_port(19132)];
    table.publish(ONE, keys.map(RouteKey::into_owned), ()).unwrap();
    for key in keys.into_iter().chain([RouteKey::id(ONE)]) {
        assert_eq!(table.find(key).unwrap().id(), ONE);
    }
    table.withdraw(ONE).unwrap();
    for key in keys.into_iter().chain([RouteKey::id(ONE)]) {
        assert!(table.find(key).is_none());
    }
    assert!(table.snapshot().is_empty());
}

#[test]
fn a_key_of_another_tunnel_is_refused_and_nothing_is_changed() {
    let table = RouteTable::<()>::new();
    table.publish(ONE, [name("one")], ()).unwrap();
    let refused = table.publish(TWO, [name("two"), name("one")], ()).unwrap_err();
    assert_eq!(refused, PublishError::KeyTaken { key: name("one"), holder: ONE });
    assert!(table.find(by_name("two")).is_none());
    let refused = table.publish(TWO, [RouteKey::id(ONE).into_owned()], ()).unwrap_err();
    assert!(matches!(refused, PublishError::KeyTaken { holder: ONE, .. }));
}

#[test]
fn publishing_again_changes_keys_and_facts_but_keeps_the_agents() {
    let table = RouteTable::<&str, u8>::new();
    table.publish(ONE, [name("old"), name("both")], 1).unwrap();
    table.attach(ONE, Join::Replace, "agent").unwrap();
    table.publish(ONE, [name("both"), name("new")], 2).unwrap();
    assert!(table.find(by_name("old")).is_none());
    let tunnel = table.find(by_name("new")).unwrap();
    assert_eq!(*tunnel.facts(), 2);
    assert_eq!(*tunnel.agents()[0].handle(), "agent");
    assert_eq!(table.snapshot().len(), 1);
}

#[test]
fn a_tunnel_has_at_most_so_many_keys() {
    let table = RouteTable::<()>::new();
    let keys = |count: usize| (0..count).map(|number| name(&format!("name-{number}"))).collect::<Vec<_>>();
    table.publish(ONE, keys(MAX_KEYS), ()).unwrap();
    let refused = table.publish(ONE, keys(MAX_KEYS + 1), ()).unwrap_err();
    assert_eq!(refused, PublishError::TooManyKeys { max_keys: MAX_KEYS });
    assert_eq!(table.find(RouteKey::id(ONE)).unwrap().keys().count(), MAX_KEYS);
}

#[test]
fn the_newest_agent_takes_over_and_the_older_drains() {
    let table = published();
    let first = table.attach(ONE, Join::Replace, "first").unwrap().agent;
    let running = first.begin().unwrap();
    let attached = table.attach(ONE, Join::Replace, "second").unwrap();
    assert!(attached.agent.generation() > first.generation());
    assert_eq!(attached.replaced.len(), 1);
    assert_eq!(first.standing(), Standing::Draining);
    assert!(first.begin().is_err());
    assert_eq!(*running.handle(), "first", "no stream changes its agent");
    assert_eq!(*table.find(by_name("one")).unwrap().agents()[0].handle(), "second");
}

#[test]
fn a_replaced_session_that_ends_does_not_remove_its_successor() {
    let table = published();
    let first = table.attach(ONE, Join::Replace, "first").unwrap().agent;
    table.attach(ONE, Join::Replace, "second").unwrap();
    assert!(table.detach(ONE, first.generation()).is_none());
    assert_eq!(table.find(RouteKey::id(ONE)).unwrap().agents().len(), 1);
}

#[test]
fn a_late_registration_is_fenced_by_a_newer_one() {
    let table = published();
    let attach_at = |generation| {
        table.update(|update| {
            update.attach_at(ONE, Generation::new(generation), Join::Replace, "agent").map(drop)
        })
    };
    attach_at(10).unwrap();
    assert_eq!(attach_at(10), Err(AttachError::Stale { newest: Generation::new(10) }));
    assert_eq!(attach_at(9), Err(AttachError::Stale { newest: Generation::new(10) }));
    attach_at(11).unwrap();
    let counted_here = table.attach(ONE, Join::Replace, "agent").unwrap();
    assert_eq!(counted_here.agent.generation(), Generation::new(12));
}

#[test]
fn a_late_registration_is_fenced_also_when_the_newer_one_is_gone() {
    let table = published();
    let attach_at = |generation| {
        table.update(|update| {
            update.attach_at(ONE, Generation::new(generation), Join::Replace, "agent").map(drop)
        })
    };
    let stale = |newest| Err(AttachError::Stale { newest: Generation::new(newest) });
    attach_at(5).unwrap();
    table.detach(ONE, Generation::new(5)).unwrap();
    assert_eq!((attach_at(3), attach_at(5)), (stale(5), stale(5)), "its session ended");
    attach_at(6).unwrap();
    table.drain(ONE, Generation::new(6)).unwrap();
    assert_eq!((attach_at(5), attach_at(6)), (stale(6), stale(6)), "it drains");
    table.publish(ONE, [name("other")], ()).unwrap();
    assert_eq!(attach_at(6), stale(6), "its keys changed");
    attach_at(7).unwrap();
    assert_eq!(table.find(by_name("other")).unwrap().newest(), Generation::new(7));
}

#[test]
fn generations_that_have_run_out_refuse_rather_than_wrap() {
    let table = published();
    table.update(|update| update.attach_at(ONE, Generation::new(u64::MAX), Join::Replace, "last")).unwrap();
    assert_eq!(table.attach(ONE, Join::Replace, "next").unwrap_err(), AttachError::Exhausted {});
}

#[test]
fn agents_beside_each_other_are_bounded_and_ordered() {
    let table = published();
    let beside = Join::Beside { max_agents: 2 };
    let first = table.attach(ONE, beside, "a").unwrap().agent;
    let second = table.attach(ONE, beside, "b").unwrap().agent;
    assert_eq!(table.attach(ONE, beside, "c").unwrap_err(), AttachError::TooManyAgents { max_agents: 2 });
    let tunnel = table.find(RouteKey::id(ONE)).unwrap();
    let generations: Vec<_> = tunnel.agents().iter().map(|agent| agent.generation()).collect();
    assert_eq!(generations, [first.generation(), second.generation()]);
    table.drain(ONE, first.generation()).unwrap();
    assert_eq!(table.find(RouteKey::id(ONE)).unwrap().agents().len(), 1);
}

#[test]
fn r15_a_request_in_dispatch_never_reaches_another_tenant() {
    let table = published();
    table.attach(ONE, Join::Replace, "old tenant").unwrap();
    let looked_up = table.find(by_name("one")).unwrap();
    table.withdraw(ONE).unwrap();
    table.publish(TWO, [name("one")], ()).unwrap();
    table.attach(TWO, Join::Replace, "new tenant").unwrap();
    assert_eq!(looked_up.id(), ONE);
    assert_eq!(looked_up.agents()[0].standing(), Standing::Gone);
    assert!(looked_up.agents()[0].begin().is_err());
    assert_eq!(table.find(by_name("one")).unwrap().id(), TWO);
}

#[test]
fn r16_a_generation_is_never_used_again_after_a_name_changes_hands() {
    let table = published();
    let old = table.attach(ONE, Join::Replace, "old").unwrap().agent.generation();
    table.withdraw(ONE).unwrap();
    table.publish(ONE, [name("one")], ()).unwrap();
    let new = table.attach(ONE, Join::Replace, "new").unwrap().agent.generation();
    assert!(new > old);
    assert!(table.detach(ONE, old).is_none());
}

#[test]
fn a_change_that_fails_leaves_no_trace() {
    let table = published();
    let agent = table.attach(ONE, Join::Replace, "agent").unwrap().agent;
    let result: Result<(), &str> = table.update(|update| {
        update.withdraw(ONE).unwrap();
        update.publish(TWO, [name("two")], ()).unwrap();
        Err("changed my mind")
    });
    assert_eq!(result, Err("changed my mind"));
    assert!(agent.begin().is_ok());
    assert!(table.find(by_name("two")).is_none());
}

#[test]
fn a_snapshot_does_not_change() {
    let table = published();
    let snapshot = table.snapshot();
    table.withdraw(ONE).unwrap();
    assert!(snapshot.find(by_name("one")).is_some());
    let mut seen = Vec::new();
    snapshot.for_each(|tunnel| seen.push(tunnel.id()));
    assert_eq!(seen, [ONE]);
}

#[test]
fn a_lookup_allocates_nothing() {
    let table = RouteTable::<u32>::new();
    for number in 0..1_000u128 {
        let keys =
            [name(&format!("tunnel-{number}")), by_domain("a-domain-that-is-not-short.example").into_owned()];
        let count = if number == 0 { 2 } else { 1 };
        table.publish(TunnelId::from_u128(number), keys.into_iter().take(count), ()).unwrap();
        table.attach(TunnelId::from_u128(number), Join::Replace, 7).unwrap();
    }
    // The first load of a thread makes its slots in the table of readers.
    let _first_of_this_thread = table.find(by_name("tunnel-1"));
    let counted = allocation_counter::measure(|| {
        let found = table.find(by_name("tunnel-500")).unwrap();
        let agent = Dispatch::new(9).next(&found).unwrap();
        assert!(agent.begin().is_ok());
        assert!(table.find(by_domain("a-domain-that-is-not-short.example")).is_some());
        assert!(table.find(by_name("unknown")).is_none());
        assert!(table.look(RouteKey::id(TunnelId::from_u128(5)), |tunnel| tunnel.id()).is_some());
    });
    assert_eq!(counted.count_total, 0);
}

/// Readers must see a tunnel under all its keys in the same version, while one writer moves both at once.
#[test]
fn racing_lookups_see_all_indexes_change_together() {
    let table = RouteTable::<u64, u64>::new();
    table.publish(ONE, [name("one"), RouteKey::tcp_port(1).into_owned()], 0).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let snapshot = table.snapshot();
                    let by_name = *snapshot.find(by_name("one")).unwrap().facts();
                    let by_port = *snapshot.find(RouteKey::tcp_port(1)).unwrap().facts();
                    let by_id = *snapshot.find(RouteKey::id(ONE)).unwrap().facts();
                    assert_eq!((by_name, by_port), (by_id, by_id));
                    assert!(by_id >= last, "time runs backwards");
                    last = by_id;
                }
            });
        }
        for version in 1..3_000 {
            table.publish(ONE, [RouteKey::tcp_port(1).into_owned(), name("one")], version).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// While agents replace one another, a visitor who asks again after a refusal always finds one, and no work that was
/// begun goes uncounted.
#[test]
fn racing_takeovers_leave_no_gap_and_no_load() {
    let table = RouteTable::<u64>::new();
    table.publish(ONE, [name("one")], ()).unwrap();
    let mut agents = vec![table.attach(ONE, Join::Replace, 0).unwrap().agent];
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let begun = (0..64).find_map(|_| {
                        let tunnel = table.find(by_name("one")).unwrap();
                        Dispatch::new(0).next(&tunnel)?.begin().ok()
                    });
                    assert!(begun.is_some(), "a takeover left a gap");
                }
            });
        }
        for number in 1..2_000 {
            agents.push(table.attach(ONE, Join::Replace, number).unwrap().agent);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(agents.iter().all(|agent| agent.in_flight() == 0));
}

proptest! {
    /// The table against a naive model: any list of changes, then every key asked.
    #[test]
    fn any_list_of_changes_agrees_with_a_naive_model(changes in prop::collection::vec(change(), 0..60)) {
        let table = RouteTable::<usize, usize>::new();
        let mut model = BTreeMap::<u128, ModelTunnel>::new();
        let mut generation = 0;
        for (step, change) in changes.into_iter().enumerate() {
            match change {
                Change::Publish(id, names) => {
                    let is_free = names.iter().all(|name| {
                        model.iter().all(|(holder, (held, _))| *holder == id || !held.contains(name))
                    });
                    let keys: Vec<_> = names.iter().map(|text| name(text)).collect();
                    prop_assert_eq!(table.publish(TunnelId::from_u128(id), keys, step).is_ok(), is_free);
                    if is_free {
                        model.entry(id).or_default().0 = names;
                    }
                }
                Change::Withdraw(id) => {
                    let withdrawn = table.withdraw(TunnelId::from_u128(id)).is_some();
                    prop_assert_eq!(withdrawn, model.remove(&id).is_some());
                }
                Change::Attach(id, is_replacing) => {
                    let join = if is_replacing { Join::Replace } else { Join::Beside { max_agents: 3 } };
                    let attached = table.attach(TunnelId::from_u128(id), join, step);
                    let Some((_, agents)) = model.get_mut(&id) else {
                        prop_assert!(attached.is_err());
                        continue;
                    };
                    if !is_replacing && agents.len() == 3 {
                        prop_assert!(attached.is_err());
                        continue;
                    }
                    if is_replacing {
                        agents.clear();
                    }
                    generation += 1;
                    agents.push((generation, step));
                    prop_assert_eq!(attached.unwrap().agent.generation().number(), generation);
                }
                Change::Detach(id, number) => {
                    let detached = table.detach(TunnelId::from_u128(id), Generation::new(number)).is_some();
                    let agents = model.get_mut(&id).map(|tunnel| &mut tunnel.1);
                    let before = agents.as_ref().map_or(0, |agents| agents.len());
                    let after = agents.map_or(0, |agents| {
                        agents.retain(|agent| agent.0 != number);
                        agents.len()
                    });
                    prop_assert_eq!(detached, after < before);
                }
            }
            prop_assert_eq!(table.snapshot().len(), model.len());
        }
        for text in NAMES {
            let expected = model.iter().find(|(_, (held, _))| held.iter().any(|held| held == text));
            let found = table.find(by_name(text));
            prop_assert_eq!(found.as_ref().map(|tunnel| tunnel.id().as_u128()), expected.map(|(id, _)| *id));
            let agents = found.map(|tunnel| {
                tunnel.agents().iter().map(|agent| (agent.generation().number(), *agent.handle())).collect::<Vec<_>>()
            });
            prop_assert_eq!(agents, expected.map(|(_, (_, agents))| agents.clone()));
        }
    }
}

/// Names, then generations with handles.
type ModelTunnel = (Vec<String>, Vec<(u64, usize)>);

#[derive(Clone, Debug)]
enum Change {
    Publish(u128, Vec<String>),
    Withdraw(u128),
    Attach(u128, bool),
    Detach(u128, u64),
}

fn change() -> impl Strategy<Value = Change> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 0..3)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect());
    prop_oneof![
        (0..4u128, names).prop_map(|(id, names)| Change::Publish(id, names)),
        (0..4u128).prop_map(Change::Withdraw),
        (0..4u128, any::<bool>()).prop_map(|(id, is_replacing)| Change::Attach(id, is_replacing)),
        (0..4u128, 0..20u64).prop_map(|(id, number)| Change::Detach(id, number)),
    ]
}

fn published() -> RouteTable<&'static str> {
    let table = RouteTable::new();
    table.publish(ONE, [name("one")], ()).unwrap();
    table
}

fn name(text: &str) -> OwnedRouteKey {
    by_name(text).into_owned()
}

fn by_name(text: &str) -> RouteKey<'_> {
    RouteKey::name(TunnelNameRef::parse(text).unwrap())
}

fn by_domain(text: &str) -> RouteKey<'_> {
    RouteKey::domain(CustomDomainRef::parse(text).unwrap())
}

const ONE: TunnelId = TunnelId::from_u128(1);
const TWO: TunnelId = TunnelId::from_u128(2);
const NAMES: [&str; 6] =
    ["alpha", "beta", "gamma", "delta", "epsilon", "a-name-that-is-longer-than-the-inline-room"];
