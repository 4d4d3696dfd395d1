use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::idle::start;

#[test]
fn the_first_visitor_starts_the_wake_and_all_go_on_in_order() {
    let mut gate = asleep(WakeLimits::new());
    assert_eq!(gate.receive_visitor(1, start()), Arrival::Held);
    assert_eq!(gate.receive_visitor(2, start()), Arrival::Held);
    assert_eq!(outputs(&mut gate), [WakeOutput::StartWake], "one wake for both");
    gate.handle_awake();
    assert_eq!(outputs(&mut gate), [WakeOutput::Release(1), WakeOutput::Release(2)]);
    assert_eq!(gate.receive_visitor(3, start()), Arrival::Forward(3));
    assert_eq!(gate.poll_timeout(), None);
}

#[test]
fn one_too_many_is_turned_away_with_a_hint_and_who_leaves_makes_room() {
    let mut gate = asleep(WakeLimits::new().max_held(2));
    gate.receive_visitor(1, start());
    gate.receive_visitor(2, start());
    let Arrival::TurnAway(3, refusal) = gate.receive_visitor(3, start()) else { panic!("held") };
    assert_eq!((refusal.code(), refusal.status()), (&Code::TUNNEL_WAKING, 503));
    assert_eq!(refusal.retry_after().unwrap().as_millis(), 1000);
    gate.forget_visitor(&1);
    assert_eq!(gate.receive_visitor(4, start()), Arrival::Held);
    assert_eq!(gate.held(), 2);
}

#[test]
fn who_waits_too_long_is_turned_away_and_the_wake_goes_on() {
    let mut gate = asleep(WakeLimits::new());
    gate.receive_visitor(1, start());
    gate.receive_visitor(2, start() + seconds(10));
    outputs(&mut gate);
    assert_eq!(gate.poll_timeout(), Some(start() + seconds(30)));
    gate.handle_timeout(start() + seconds(30));
    assert_eq!(outputs(&mut gate), [WakeOutput::TurnAway(1, waking(RETRY))]);
    gate.handle_awake();
    assert_eq!(outputs(&mut gate), [WakeOutput::Release(2)]);
}

#[test]
fn a_wake_that_fails_or_takes_too_long_turns_all_away_and_rests() {
    for takes_too_long in [false, true] {
        let mut gate = asleep(WakeLimits::new().hold(seconds(600)));
        gate.receive_visitor(1, start());
        outputs(&mut gate);
        let end = start() + seconds(60);
        if takes_too_long {
            gate.handle_timeout(end)
        } else {
            gate.handle_wake_failed(end)
        }
        assert_eq!(outputs(&mut gate), [WakeOutput::TurnAway(1, waking(seconds(5)))]);
        let early = gate.receive_visitor(2, end + seconds(2));
        assert_eq!(early, Arrival::TurnAway(2, waking(seconds(3))));
        assert_eq!(outputs(&mut gate), [], "no wake while it rests");
        assert_eq!(gate.receive_visitor(3, end + seconds(5)), Arrival::Held);
        assert_eq!(outputs(&mut gate), [WakeOutput::StartWake]);
    }
}

#[test]
fn a_wake_that_comes_late_is_a_wake_and_one_nobody_asked_for_too() {
    let mut gate = asleep(WakeLimits::new());
    gate.receive_visitor(1, start());
    gate.handle_timeout(start() + seconds(60));
    outputs(&mut gate);
    gate.handle_awake();
    assert_eq!(gate.receive_visitor(2, start()), Arrival::Forward(2));
    gate.handle_wake_failed(start());
    assert!(gate.is_awake(), "what nobody waits for can't fail");
}

#[test]
fn of_two_settings_the_machines_own_goes_first() {
    for (trigger, tunnel, wakes) in [
        (None, None, false),
        (None, Some(true), true),
        (Some(false), Some(true), false),
        (Some(true), None, true),
    ] {
        assert_eq!(WakeLimits::wakes_on_http(trigger, tunnel), wakes);
    }
}

#[test]
fn of_visitors_who_race_one_starts_the_wake_and_each_is_answered_once() {
    use shuttle::sync::{Arc, Mutex};
    shuttle::check_random(
        || {
            let gate = Arc::new(Mutex::new(asleep(WakeLimits::new().max_held(3))));
            let wakes = Arc::new(Mutex::new((0, BTreeSet::new())));
            let carry_out = |gate: &Mutex<WakeGate<u8>>, wakes: &Mutex<(u32, BTreeSet<u8>)>| {
                while let Some(output) = { gate.lock().unwrap().poll_output() } {
                    let is_start = output == WakeOutput::StartWake;
                    match output {
                        WakeOutput::StartWake => wakes.lock().unwrap().0 += 1,
                        WakeOutput::Release(visitor) | WakeOutput::TurnAway(visitor, _) => {
                            assert!(wakes.lock().unwrap().1.insert(visitor), "answered twice");
                        }
                    }
                    if is_start {
                        gate.lock().unwrap().handle_awake();
                    }
                }
            };
            let threads: Vec<_> = (0..6)
                .map(|visitor| {
                    let (gate, wakes) = (Arc::clone(&gate), Arc::clone(&wakes));
                    shuttle::thread::spawn(move || {
                        let arrival = { gate.lock().unwrap().receive_visitor(visitor, start()) };
                        match arrival {
                            Arrival::Forward(visitor) | Arrival::TurnAway(visitor, _) => {
                                assert!(wakes.lock().unwrap().1.insert(visitor), "answered twice");
                            }
                            Arrival::Held => {}
                        }
                        carry_out(&gate, &wakes);
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let wakes = wakes.lock().unwrap();
            assert_eq!((wakes.0, wakes.1.len()), (1, 6));
        },
        500,
    );
}

proptest! {
    /// Whatever happens in whatever order: one wake at a time, nobody held beyond the bounds, everybody answered once.
    #[test]
    fn everybody_is_answered_once_within_the_bounds(steps in prop::collection::vec((0_u8..6, 0_u64..40), 0..80)) {
        let limits = WakeLimits::new().max_held(3);
        let mut gate = asleep(limits);
        let (mut now, mut next) = (start(), 0_u32);
        let mut waiting = BTreeSet::new();
        let mut is_waking = false;
        for (step, wait) in steps {
            now += seconds(wait);
            match step {
                0 | 1 => {
                    next += 1;
                    match gate.receive_visitor(next, now) {
                        Arrival::Held => drop(waiting.insert((next, now))),
                        Arrival::Forward(visitor) => {
                            prop_assert_eq!(visitor, next);
                            prop_assert!(gate.is_awake());
                        }
                        Arrival::TurnAway(_, refusal) => prop_assert!(refusal.retry_after().is_some()),
                    }
                }
                2 => { gate.handle_awake(); is_waking = false; }
                3 => { gate.handle_wake_failed(now); is_waking = false; }
                4 => gate.handle_suspended(),
                _ => {
                    let is_late = gate.poll_timeout().is_some_and(|at| at <= now);
                    gate.handle_timeout(now);
                    prop_assert!(gate.poll_timeout().is_none_or(|at| at > now));
                    prop_assert!(is_late || gate.outputs.iter().all(|output| *output == WakeOutput::StartWake));
                    if matches!(gate.phase, Phase::Asleep { .. }) { is_waking = false; }
                }
            }
            while let Some(output) = gate.poll_output() {
                match output {
                    WakeOutput::StartWake => {
                        prop_assert!(!is_waking, "two wakes at once");
                        is_waking = true;
                    }
                    WakeOutput::Release(visitor) | WakeOutput::TurnAway(visitor, _) => {
                        let before = waiting.len();
                        waiting.retain(|(held, _)| *held != visitor);
                        prop_assert_eq!(waiting.len() + 1, before, "answered, but not held");
                    }
                }
            }
            prop_assert_eq!(gate.held(), waiting.len());
            prop_assert!(waiting.len() <= 3);
        }
    }
}

fn asleep<V>(limits: WakeLimits) -> WakeGate<V> {
    let mut gate = WakeGate::new(limits);
    gate.handle_suspended();
    gate
}

fn outputs<V>(gate: &mut WakeGate<V>) -> Vec<WakeOutput<V>> {
    std::iter::from_fn(|| gate.poll_output()).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
