//! The table under schedules that shuttle chooses: before and after each access to what tasks share, another may go on.
//!
//! What each test would notice was tried: working on a copy made before the writer's turn loses a change, telling agents
//! before the new state is visible leaves a gap, and reading an agent's standing before its load is counted lets work begin
//! on an agent that was seen to carry none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adit_naming::{TunnelId, TunnelNameRef};
use shuttle::thread::spawn;

use super::{Dispatch, Join, RouteKey, RouteTable, Superseded};

/// A lookup leads to one tenant's agent, and once the tunnel is withdrawn no work begins, whatever was looked up before.
#[test]
fn r15_in_every_order_of_lookups_and_changes_nobody_reaches_another_tenant() {
    shuttle::check_random(
        || {
            let (table, is_withdrawn) = (published(0), flag());
            table.attach(ONE, Join::Replace, "first of one").unwrap();
            let takeover = spawn({
                let table = Arc::clone(&table);
                move || {
                    let Ok(second) = table.attach(ONE, Join::Replace, "second of one") else { return };
                    table.detach(ONE, second.agent.generation());
                }
            });
            let move_to_two = spawn({
                let (table, is_withdrawn) = (Arc::clone(&table), Arc::clone(&is_withdrawn));
                move || {
                    table.withdraw(ONE);
                    is_withdrawn.store(true, Ordering::SeqCst);
                    table.publish(TWO, [by_name().into_owned()], 0).unwrap();
                    table.attach(TWO, Join::Replace, "of two").unwrap();
                }
            });
            for _ in 0..4 {
                let Some(tunnel) = table.find(by_name()) else { continue };
                let was_withdrawn = is_withdrawn.load(Ordering::SeqCst);
                let Some(agent) = Dispatch::new(0).next(&tunnel) else { continue };
                if let Ok(work) = agent.begin() {
                    assert_eq!(work.handle().ends_with("one"), tunnel.id() == ONE);
                    assert!(
                        tunnel.id() == TWO || !was_withdrawn,
                        "work began on a tunnel that was withdrawn"
                    );
                }
            }
            takeover.join().unwrap();
            move_to_two.join().unwrap();
            assert_eq!(table.find(by_name()).unwrap().id(), TWO);
        },
        RUNS,
    );
}

/// All keys change in one step, for readers of each kind, and no reader ever goes back in time.
#[test]
fn every_lookup_sees_one_state_and_never_an_older_one() {
    shuttle::check_random(
        || {
            let table = published(0);
            let writer = spawn({
                let table = Arc::clone(&table);
                move || (1..4).for_each(|version| publish(&table, version))
            });
            let other = spawn({
                let table = Arc::clone(&table);
                move || {
                    let mut last = 0;
                    for key in [by_name(), RouteKey::tcp_port(1), RouteKey::id(ONE)] {
                        let version = table.look(key, |tunnel| *tunnel.facts()).unwrap();
                        assert!(version >= last, "time runs backwards between keys");
                        last = version;
                    }
                }
            });
            let mut reader = table.reader();
            let mut last = 0;
            for _ in 0..4 {
                let routes = reader.routes();
                let versions = [by_name(), RouteKey::tcp_port(1), RouteKey::id(ONE)]
                    .map(|key| *routes.find(key).unwrap().facts());
                assert!(
                    versions.iter().all(|version| *version == versions[0]),
                    "a state in pieces: {versions:?}"
                );
                assert!(versions[0] >= last, "time runs backwards");
                last = versions[0];
            }
            writer.join().unwrap();
            other.join().unwrap();
            assert_eq!(*reader.find(by_name()).unwrap().facts(), 3, "what was published is seen");
        },
        RUNS,
    );
}

/// Who waits until a drained agent carries nothing may close it: nothing begins there any more.
#[test]
fn a_drained_agent_that_carries_nothing_gets_no_more_work() {
    shuttle::check_random(
        || {
            let (table, is_closed) = (published(0), flag());
            let agent = table.attach(ONE, Join::Replace, "agent").unwrap().agent;
            let visitors: Vec<_> = (0..2)
                .map(|_| {
                    let (table, is_closed) = (Arc::clone(&table), Arc::clone(&is_closed));
                    spawn(move || {
                        for _ in 0..2 {
                            let Some(agent) = Dispatch::new(0).next(&table.find(by_name()).unwrap()) else {
                                return;
                            };
                            let Ok(work) = agent.begin() else { return };
                            assert!(!is_closed.load(Ordering::SeqCst), "work began on a closed session");
                            drop(work);
                        }
                    })
                })
                .collect();
            table.drain(ONE, agent.generation()).unwrap();
            if agent.in_flight() == 0 {
                is_closed.store(true, Ordering::SeqCst);
            }
            visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
            assert_eq!(agent.in_flight(), 0);
        },
        RUNS,
    );
}

/// Who was refused by an agent that was replaced finds a newer one at once.
#[test]
fn a_takeover_leaves_no_gap() {
    shuttle::check_random(
        || {
            let table = published(0);
            table.attach(ONE, Join::Replace, "first").unwrap();
            let takeover = spawn({
                let table = Arc::clone(&table);
                move || {
                    table.attach(ONE, Join::Replace, "second").unwrap();
                    table.attach(ONE, Join::Replace, "third").unwrap();
                }
            });
            for _ in 0..2 {
                let agent = Arc::clone(&table.find(by_name()).unwrap().agents()[0]);
                if let Err(Superseded { generation }) = agent.begin() {
                    let newest = table.look(by_name(), |tunnel| tunnel.newest()).unwrap();
                    assert!(newest > generation, "refused, and nobody else is there");
                }
            }
            takeover.join().unwrap();
        },
        RUNS,
    );
}

/// Changes of one tunnel by several tasks are made one after another: none is lost, and generations are used once.
#[test]
fn of_writers_who_race_none_loses_a_change() {
    shuttle::check_random(
        || {
            let table = published(0);
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let table = Arc::clone(&table);
                    spawn(move || table.attach(ONE, Join::Beside { max_agents: 3 }, "agent").unwrap())
                })
                .collect();
            let mut generations: Vec<_> =
                writers.into_iter().map(|writer| writer.join().unwrap().agent.generation()).collect();
            generations.sort_unstable();
            let attached = table.find(by_name()).unwrap();
            let attached: Vec<_> = attached.agents().iter().map(|agent| agent.generation()).collect();
            assert_eq!(attached, generations);
        },
        RUNS,
    );
}

fn published(version: u32) -> Arc<RouteTable<&'static str, u32>> {
    let table = Arc::new(RouteTable::new());
    publish(&table, version);
    table
}

fn publish(table: &RouteTable<&'static str, u32>, version: u32) {
    table.publish(ONE, [by_name(), RouteKey::tcp_port(1)].map(RouteKey::into_owned), version).unwrap();
}

fn by_name() -> RouteKey<'static> {
    RouteKey::name(TunnelNameRef::parse("one").unwrap())
}

fn flag() -> Arc<AtomicBool> {
    Arc::default()
}

const ONE: TunnelId = TunnelId::from_u128(1);
const TWO: TunnelId = TunnelId::from_u128(2);
const RUNS: usize = 1_000;
