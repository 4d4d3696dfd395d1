//! What strangers may do to a public UDP port.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[test]
fn a_visitors_datagrams_are_one_flow_and_its_answers_are_its_own() {
    let (mut flows, now) = (flows(UdpFlowLimits::new()), start());
    let (one, two) = (visitor(1, 5000), visitor(1, 5001));
    assert!(flows.receive(now, one, 10).is_none());
    let first = flows.open(now, one, 10, "one").unwrap();
    let second = flows.open(now, two, 10, "two").unwrap();
    assert_eq!(flows.receive(now, one, 10), Some((first, &mut "one")));
    assert_eq!(flows.receive(now, two, 0), Some((second, &mut "two")));
    assert_eq!(flows.answer(now, first, 10), UdpAnswer::Send(one));
    assert_eq!(flows.answer(now, second, 0), UdpAnswer::Send(two));
    assert_eq!((flows.len(), flows.stats().opened), (2, 2));
}

#[test]
fn m33_a_flood_of_100_000_addresses_leaves_10_000_flows_and_displaces_the_oldest() {
    let limits = UdpFlowLimits::new().new_per_second(1_000_000, 100);
    let (mut flows, begin) = (flows(limits), start());
    for number in 0..100_000 {
        let now = begin + Duration::from_micros(u64::from(number) * 10);
        flows.open(now, visitor(number, 5000), 10, "spoofed").unwrap();
        assert!(flows.len() <= 10_000);
    }
    let now = begin + Duration::from_secs(1);
    assert_eq!((flows.len(), flows.stats().displaced), (10_000, 90_000));
    assert!(flows.receive(now, visitor(89_999, 5000), 10).is_none(), "the oldest went");
    assert!(flows.receive(now, visitor(90_000, 5000), 10).is_some(), "the youngest stayed");
}

#[test]
fn m33_a_flow_is_forgotten_after_60_s_of_its_visitors_silence() {
    let (mut flows, now) = (flows(UdpFlowLimits::new()), start());
    let kept = flows.open(now, visitor(1, 5000), 10, "kept").unwrap();
    let gone = flows.open(now, visitor(2, 5000), 10, "gone").unwrap();
    let half = now + Duration::from_secs(30);
    assert!(flows.receive(half, visitor(1, 5000), 10).is_some());
    // What its upstream says is no sign of the visitor's life.
    assert!(matches!(flows.answer(half, gone, 10), UdpAnswer::Send(_)));
    let just_before = now + Duration::from_secs(60) - Duration::from_millis(1);
    flows.handle_timeout(just_before);
    assert_eq!((flows.len(), flows.poll_timeout()), (2, Some(now + Duration::from_secs(60))));
    flows.handle_timeout(now + Duration::from_secs(60));
    assert_eq!((flows.len(), flows.stats().expired), (1, 1));
    assert_eq!(flows.poll_timeout(), Some(half + Duration::from_secs(60)));
    assert!(flows.get_mut(kept).is_some());
}

#[test]
fn m33_flows_that_converse_outlive_a_flood_of_spoofed_addresses() {
    let limits = UdpFlowLimits::new().max_flows(10).new_per_second(1_000_000, 100);
    let (mut flows, now) = (flows(limits), start());
    let genuine = visitor(1, 5000);
    let id = flows.open(now, genuine, 10, "genuine").unwrap();
    assert!(matches!(flows.answer(now, id, 10), UdpAnswer::Send(_)));
    assert!(flows.receive(now, genuine, 10).is_some());
    for number in 100..10_100 {
        flows.open(now, visitor(number, 5000), 10, "spoofed").unwrap();
    }
    assert_eq!(flows.receive(now, genuine, 10), Some((id, &mut "genuine")));
}

#[test]
fn h21_flows_begin_at_a_pace_and_one_address_cannot_use_up_that_of_all() {
    let limits = UdpFlowLimits::new().new_per_second(20, 5);
    let (mut flows, now) = (flows(limits), start());
    let begun = (0..1000).filter(|port| flows.open(now, visitor(1, 1 + port), 10, "one").is_ok()).count();
    assert_eq!(begun, 5);
    let begun = (0..1000).filter(|n| flows.open(now, visitor(1000 + n, 5000), 10, "all").is_ok()).count();
    assert_eq!(begun, 15);
    assert_eq!(flows.stats().refused_pace, 1000 - 5 + 1000 - 15);
    let later = now + Duration::from_secs(1);
    let begun = (0..1000).filter(|n| flows.open(later, visitor(9000 + n, 5000), 10, "all").is_ok()).count();
    assert_eq!(begun, 20);
}

#[test]
fn h21_flows_that_end_at_once_give_their_address_no_more_turns() {
    let (mut flows, now) = (flows(UdpFlowLimits::new().new_per_second(1000, 5)), start());
    for (after, begun) in [(0, 5), (0, 0), (1, 5)] {
        let now = now + Duration::from_secs(after);
        let open = |n: &u16| {
            // The same visitor, and others of its address.
            let id = flows.open(now, visitor(1, 1 + n % 2), 10, "short").ok();
            id.and_then(|id| flows.remove(id)).is_some()
        };
        assert_eq!((0..1000).filter(open).count(), begun);
    }
    flows.handle_timeout(now + Duration::from_secs(9));
    flows.check();
}

#[test]
fn h21_an_address_with_too_many_flows_displaces_its_own_oldest() {
    let limits = UdpFlowLimits::new().max_flows_per_address(3).new_per_second(1000, 1000);
    let (mut flows, now) = (flows(limits), start());
    let beside = flows.open(now, visitor(9, 5000), 10, "beside").unwrap();
    let at = |port| now + Duration::from_secs(2 * u64::from(port));
    for port in 1..=5 {
        flows.open(at(port), visitor(1, port), 10, "many").unwrap();
    }
    assert!(flows.receive(at(6), visitor(1, 2), 10).is_none());
    assert!((3..=5).all(|port| flows.receive(at(6), visitor(1, port), 10).is_some()));
    assert!(flows.get_mut(beside).is_some());
    // All of a /64 are one address, and IPv4 is itself however it is written.
    for host in 1..=5 {
        flows.open(at(7), format!("[2001:db8::{host}]:5000").parse().unwrap(), 10, "six").unwrap();
        flows.open(at(7), format!("[::ffff:10.0.0.{host}]:5000").parse().unwrap(), 10, "mapped").unwrap();
    }
    assert_eq!(flows.len(), 1 + 3 + 3 + 5);
    assert!(flows.receive(at(7), "10.0.0.5:5000".parse().unwrap(), 10).is_some());
}

#[test]
fn h21_a_spoofed_address_is_sent_three_times_what_came_and_no_more() {
    let (mut flows, now) = (flows(UdpFlowLimits::new()), start());
    let id = flows.open(now, visitor(1, 5000), 72, "spoofed").unwrap();
    assert_eq!(flows.answer(now, id, 273), UdpAnswer::Withhold);
    assert!(matches!(flows.answer(now, id, 122), UdpAnswer::Send(_)));
    assert!(matches!(flows.answer(now, id, 122), UdpAnswer::Send(_)));
    assert_eq!(flows.answer(now, id, 0), UdpAnswer::Withhold, "an empty answer has headers too");
    assert_eq!(flows.stats().withheld, 2);
    // It is heard of again after it was answered.
    assert!(flows.receive(now, visitor(1, 5000), 0).is_some());
    assert!(matches!(flows.answer(now, id, 65_507), UdpAnswer::Send(_)));
    let mut dns = UdpFlows::new(UdpFlowLimits::new().answer_ratio(60));
    let id = dns.open(now, visitor(1, 5000), 40, ()).unwrap();
    assert!(matches!(dns.answer(now, id, 4000), UdpAnswer::Send(_)));
}

#[test]
fn h21_nothing_begins_from_addresses_that_nobody_can_be_answered_at() {
    let (mut flows, now) = (flows(UdpFlowLimits::new()), start());
    for nobody in [
        "0.0.0.0:53",
        "224.0.0.1:53",
        "255.255.255.255:53",
        "10.0.0.1:0",
        "[::]:53",
        "[ff02::1]:53",
        "[::ffff:0.0.0.0]:53",
    ] {
        let refused = flows.open(now, nobody.parse().unwrap(), 10, "nobody").unwrap_err();
        assert_eq!(refused, UdpRefused::Source {}, "{nobody}");
    }
    assert_eq!((flows.len(), flows.stats().refused_source), (0, 7));
}

#[test]
fn an_answer_for_a_dead_flow_never_reaches_the_next_visitor_with_that_port() {
    let (mut flows, now) = (flows(UdpFlowLimits::new()), start());
    let before = flows.open(now, visitor(1, 5000), 10, "before").unwrap();
    let later = now + Duration::from_secs(60);
    assert!(flows.receive(later, visitor(1, 5000), 10).is_none(), "the port's next user is somebody else");
    let after = flows.open(later, visitor(1, 5000), 10, "after").unwrap();
    assert_ne!(before, after);
    assert_eq!(flows.answer(later, before, 1), UdpAnswer::Late);
    assert_eq!(flows.stats().late, 1);
    assert!(matches!(flows.answer(later, after, 1), UdpAnswer::Send(_)));
}

#[test]
fn what_is_kept_goes_with_its_flow_however_that_ends() {
    let kept = Rc::new(());
    let limits = UdpFlowLimits::new().max_flows(3);
    let (mut flows, now) = (UdpFlows::new(limits), start());
    let ids: Vec<_> =
        (1..=4).map(|n| flows.open(now, visitor(n, 5000), 10, Rc::clone(&kept)).unwrap()).collect();
    assert_eq!(Rc::strong_count(&kept), 4, "displaced");
    assert!(flows.remove(ids[3]).is_some());
    assert!(flows.remove(ids[3]).is_none());
    assert_eq!(Rc::strong_count(&kept), 3, "removed");
    flows.open(now, visitor(2, 5000), 10, Rc::clone(&kept)).unwrap();
    assert_eq!(Rc::strong_count(&kept), 3, "replaced");
    flows.handle_timeout(now + Duration::from_secs(60));
    assert_eq!((Rc::strong_count(&kept), flows.is_empty()), (1, true));
}

proptest! {
    #[test]
    fn books_agree_with_each_other_after_any_steps(
        steps in prop::collection::vec((0..5_u8, 0..6_u32, 1..4_u16, 0..3_000_u64), 0..200)
    ) {
        let limits = UdpFlowLimits::new().max_flows(5).max_flows_per_address(2).new_per_second(4, 2);
        let (mut flows, mut now) = (UdpFlows::new(limits), start());
        let mut ids = Vec::new();
        for (step, host, port, millis) in steps {
            now += Duration::from_millis(millis * if step == 4 { 30 } else { 1 });
            match step {
                0 | 1 => {
                    if flows.receive(now, visitor(host, port), 10).is_none() {
                        ids.extend(flows.open(now, visitor(host, port), 10, (host, port)).ok());
                    }
                }
                2 => {
                    let Some(id) = ids.last() else { continue };
                    let kept = flows.get_mut(*id).copied();
                    if let UdpAnswer::Send(peer) = flows.answer(now, *id, 5) {
                        let (host, port) = kept.expect("it is there");
                        prop_assert_eq!(peer, visitor(host, port));
                    }
                }
                3 => drop(ids.pop().and_then(|id| flows.remove(id))),
                _ => flows.handle_timeout(now),
            }
            flows.check();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's clock starts somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn flows(limits: UdpFlowLimits) -> UdpFlows<&'static str> {
    UdpFlows::new(limits)
}

fn visitor(host: u32, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0b00_0000 + host), port))
}
