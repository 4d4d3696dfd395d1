//! What many connections without a hello may take together.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_tls_modes::{HelloRoom, RoomLimits, SeatId};
use proptest::prelude::*;

#[test]
fn t56_one_source_has_its_share_and_takes_nothing_from_others() {
    let mut room = HelloRoom::new(RoomLimits::new().max_per_source(256));
    let entered = (0..10_000).filter(|_| room.enter(ip("192.0.2.1")).is_ok()).count();
    assert_eq!((entered, room.len()), (256, 256));
    let other = room.enter(ip("192.0.2.2")).unwrap();
    assert_eq!(room.poll_shed(), None);
    room.leave(other);
    assert!(room.enter(ip("192.0.2.1")).is_err(), "who left was another");
}

#[test]
fn t56_a_source_is_an_address_or_a_network_of_64_bits() {
    let mut room = HelloRoom::new(RoomLimits::new().max_per_source(1));
    room.enter(ip("192.0.2.1")).unwrap();
    assert!(room.enter(ip("::ffff:192.0.2.1")).is_err());
    room.enter(ip("2001:db8:0:1::1")).unwrap();
    assert!(room.enter(ip("2001:db8:0:1:ffff::2")).is_err());
    room.enter(ip("2001:db8:0:2::1")).unwrap();
}

#[test]
fn t57_the_oldest_gives_way_and_the_sum_stays_under_its_cap() {
    let mut room = HelloRoom::new(RoomLimits::new().max_bytes(64 << 20));
    let seats: Vec<SeatId> = (0..10_000_u32).map(|host| room.enter(address(host)).unwrap()).collect();
    for seat in &seats {
        room.receive(*seat, 60_000);
        assert!(room.bytes() <= 64 << 20);
    }
    let shed: Vec<SeatId> = std::iter::from_fn(|| room.poll_shed()).collect();
    assert_eq!(room.len(), (64 << 20) / 60_000);
    assert_eq!(shed, seats[..seats.len() - room.len()], "in the order of their arrival");
    // Who gave way counts no more, whatever it still sends.
    room.receive(seats[0], 60_000);
    room.leave(seats[0]);
    assert_eq!(room.bytes(), room.len() * 60_000);
}

#[test]
fn t57_seats_have_a_cap_too() {
    let mut room = HelloRoom::new(RoomLimits::new().max_seats(2));
    let first = room.enter(ip("192.0.2.1")).unwrap();
    room.enter(ip("192.0.2.1")).unwrap();
    room.enter(ip("192.0.2.2")).unwrap();
    assert_eq!((room.len(), room.poll_shed(), room.poll_shed()), (2, Some(first), None));
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8),
    Receive(usize, usize),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8).prop_map(Step::Enter),
        (0..32_usize, 0..600_usize).prop_map(|(seat, bytes)| Step::Receive(seat, bytes)),
        (0..32_usize).prop_map(Step::Leave),
    ]
}

proptest! {
    /// Against the plainest model: a map of everything, summed up anew each time.
    #[test]
    fn the_books_agree_with_a_plain_map(steps in prop::collection::vec(step(), 1..200)) {
        let (per_source, max_seats, max_bytes) = (3, 6, 1_000);
        let limits = RoomLimits::new().max_per_source(per_source).max_seats(max_seats).max_bytes(max_bytes);
        let mut room = HelloRoom::new(limits);
        let mut model: BTreeMap<SeatId, (u8, usize)> = BTreeMap::new();
        let mut all = Vec::new();
        for step in steps {
            match step {
                Step::Enter(source) => {
                    let held = model.values().filter(|(other, _)| *other == source).count();
                    let entered = room.enter(address(source.into()));
                    prop_assert_eq!(entered.is_ok(), held < per_source);
                    if let Ok(seat) = entered {
                        model.insert(seat, (source, 0));
                        all.push(seat);
                    }
                }
                Step::Receive(index, bytes) => {
                    let Some(seat) = all.get(index) else { continue };
                    room.receive(*seat, bytes);
                    if let Some((_, held)) = model.get_mut(seat) {
                        *held += bytes;
                    }
                }
                Step::Leave(index) => {
                    let Some(seat) = all.get(index) else { continue };
                    room.leave(*seat);
                    model.remove(seat);
                }
            }
            while let Some(shed) = room.poll_shed() {
                prop_assert_eq!(model.first_key_value().map(|(oldest, _)| *oldest), Some(shed));
                model.remove(&shed);
            }
            prop_assert_eq!(room.len(), model.len());
            prop_assert_eq!(room.is_empty(), model.is_empty());
            prop_assert_eq!(room.bytes(), model.values().map(|(_, bytes)| bytes).sum::<usize>());
            prop_assert!(room.len() <= max_seats && room.bytes() <= max_bytes);
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(host: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + host).into())
}
