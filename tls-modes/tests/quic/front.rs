use std::time::Duration;

use adit_tls_modes::{
    AlertDescription, ConnectionId, DatagramError, FlowId, FlowLimits, InitialRefusal, QuicFront, QuicLimits,
    QuicVerdict, Reply,
};
use proptest::prelude::*;

use crate::client::{Client, V1, V2, crypto, hello, hello_with, opaque, short};
use crate::flows::peer;
use crate::initial::{now, quic_crypto};

const ID: &[u8] = b"chosen id";
const NAME: &str = "app.tunnel.example";

#[test]
fn q03_a_flow_from_its_first_datagram_to_its_last() {
    let mut front = front();
    let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    let early = opaque(0xd0, V1, ID, b"me", 300);
    assert_eq!(
        front.receive(now(), peer(1), &early),
        QuicVerdict::Dropped(DatagramError::TooSmall { bytes: early.len() })
    );
    assert_eq!(front.receive(now(), peer(1), &flight[1]), QuicVerdict::NeedMore);
    let early = opaque(0xd0, V1, ID, b"me", 1200);
    assert_eq!(front.receive(now(), peer(1), &early), QuicVerdict::NeedMore);
    let QuicVerdict::Hello { connection, hello, wants_retry, .. } = front.receive(now(), peer(2), &flight[0])
    else {
        panic!()
    };
    assert_eq!(hello.client_hello().server_name().unwrap().as_str(), NAME);
    assert!(!wants_retry);
    let admitted = front.admit(now(), &connection, "route").unwrap();
    // All that came is to be forwarded, unchanged, and in its order.
    let held: Vec<_> = admitted.held().iter().map(|held| (held.peer(), held.datagram())).collect();
    assert_eq!(held, [(peer(1), &flight[1][..]), (peer(1), &early), (peer(2), &flight[0])]);
    assert_eq!((front.pending(), front.pending_bytes(), front.flows().len()), (0, 0, 1));
    let flow = admitted.flow();
    assert!(leads_to(&front.receive(now(), peer(2), &flight[0]), flow));
    let answer = opaque(0xc0, V1, b"me", b"server id", 1200);
    assert_eq!(front.receive_from_upstream(now(), flow, peer(2), &answer), Reply::Send);
    assert!(leads_to(&front.receive(now(), peer(3), &short(b"server id", 20)), flow));
    assert_eq!(front.flows_mut().remove(flow), Some("route"));
    assert_eq!(front.receive(now(), peer(3), &short(b"server id", 20)), unknown());
}

#[test]
fn q23_a_refused_name_is_answered_and_forgotten() {
    let mut front = front();
    let mut client = Client::new(V1, ID);
    let datagram = client.datagram(&crypto(0, &hello(NAME, 300)));
    // Every repetition is answered like the first, and nothing is kept.
    for _ in 0..3 {
        let QuicVerdict::Hello { connection, .. } = front.receive(now(), peer(1), &datagram) else {
            panic!()
        };
        let answer = front.refuse(&connection, AlertDescription::UNRECOGNIZED_NAME).unwrap();
        assert!(answer.len() < 100);
        assert_eq!(client.open(&answer), [0x1c, 0x41, 112, 6, 0]);
        assert_eq!((front.pending(), front.pending_bytes()), (0, 0));
        assert_eq!(front.refuse(&connection, AlertDescription::UNRECOGNIZED_NAME), None);
    }
    let broken = client.datagram(&crypto(0, &hello_with(b"\0\0\0\0")));
    let QuicVerdict::Refused { refusal, answer, .. } = front.receive(now(), peer(1), &broken) else {
        panic!()
    };
    assert_eq!(refusal.kind(), "malformed");
    assert_eq!(client.open(&answer.unwrap()), [0x1c, 0x41, 50, 6, 0]);
    assert_eq!(front.pending(), 0);
}

#[test]
fn q07_a_contradiction_frees_the_state_in_silence() {
    let mut front = front();
    let mut client = Client::new(V1, ID);
    assert_eq!(front.receive(now(), peer(1), &client.datagram(&crypto(5, b"aaa"))), QuicVerdict::NeedMore);
    let verdict = front.receive(now(), peer(1), &client.datagram(&crypto(5, b"aab")));
    let QuicVerdict::Refused { refusal: InitialRefusal::CryptoConflict { .. }, answer: None, .. } = verdict
    else {
        panic!("{verdict:?}")
    };
    assert_eq!((front.pending(), front.pending_bytes()), (0, 0));
}

#[test]
fn q08_what_waits_for_five_seconds_is_freed() {
    let mut front = front();
    let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    assert_eq!(front.receive(now(), peer(1), &flight[0]), QuicVerdict::NeedMore);
    let whole = Client::new(V2, b"nobody decides").datagram(&crypto(0, &hello(NAME, 300)));
    let later = now() + Duration::from_secs(1);
    assert!(matches!(front.receive(later, peer(1), &whole), QuicVerdict::Hello { .. }));
    assert_eq!(front.poll_timeout(), Some(now() + Duration::from_secs(5)));
    front.handle_timeout(now() + Duration::from_secs(5));
    assert_eq!(front.pending(), 1);
    front.handle_timeout(now() + Duration::from_secs(6));
    assert_eq!((front.pending(), front.pending_bytes(), front.poll_timeout()), (0, 0, None));
    assert!(front.admit(now(), &ConnectionId::new(ID).unwrap(), "late").is_none());
}

#[test]
fn q13_q14_q29_what_starts_nothing_keeps_nothing() {
    let mut front = front();
    for datagram in [
        opaque(0xc0, 0x0a0a_0a0a, ID, b"me", 1200),
        opaque(0xc0, 0, ID, b"me", 1200),
        opaque(0xc0, V1, ID, b"me", 1200),
        opaque(0xc0, V1, &[1; 30], b"me", 1200),
        short(ID, 1200),
        vec![],
        vec![0xff],
    ] {
        let verdict = front.receive(now(), peer(1), &datagram);
        assert!(matches!(verdict, QuicVerdict::Dropped(_) | QuicVerdict::Reply(_)), "{verdict:?}");
        assert_eq!((front.pending(), front.pending_bytes()), (0, 0));
    }
}

#[test]
fn q25_a_flood_of_ids_leaves_the_table_at_its_cap_and_good_clients_through() {
    let limits = QuicLimits::new().max_pending(64).flows(FlowLimits::new().max_unvalidated(64));
    let mut front = QuicFront::new(quic_crypto(), limits);
    let good = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    let unfinished = hello("flood.tunnel.example", 1900);
    for number in 0..100_000_u64 {
        // Few of the flood need to be genuine Initials to fill the table; the rest is refused before.
        let id = [&b"flood"[..], &number.to_be_bytes()].concat();
        let flood = if number % 100 == 0 {
            Client::new(V1, &id).datagram(&crypto(0, &unfinished[..1100]))
        } else {
            opaque(0xc0, V1, &id, b"me", 1200)
        };
        let _verdict = front.receive(now(), peer(2), &flood);
        assert!(front.pending() <= 64 && front.pending_bytes() <= 16 << 20);
        match number {
            50_000 => assert_eq!(front.receive(now(), peer(1), &good[0]), QuicVerdict::NeedMore),
            53_000 => {
                let verdict = front.receive(now(), peer(1), &good[1]);
                let QuicVerdict::Hello { connection, wants_retry: true, .. } = verdict else {
                    panic!("{verdict:?}")
                };
                assert!(front.admit(now(), &connection, "good").is_some());
            }
            _ => {}
        }
    }
    assert_eq!(front.pending(), 64);
    assert!(matches!(front.receive(now(), peer(1), &good[0]), QuicVerdict::Forward { route: &"good", .. }));
}

#[test]
fn q25_memory_for_undecided_connections_has_a_cap() {
    let limits = QuicLimits::new().max_pending_bytes(100_000);
    let mut front: QuicFront<()> = QuicFront::new(quic_crypto(), limits);
    for number in 0..200_u64 {
        let mut client = Client::new(V1, &number.to_be_bytes());
        let _more = front.receive(now(), peer(1), &client.datagram(&crypto(60_000, &[1; 900])));
        assert!(front.pending_bytes() <= 100_000);
    }
    assert!(front.pending() > 10);
    // One connection alone cannot have more than its share.
    let mut front = self::front();
    let mut client = Client::new(V1, ID);
    for _ in 0..1000 {
        assert_eq!(front.receive(now(), peer(1), &client.datagram(&[1])), QuicVerdict::NeedMore);
    }
    assert!(front.pending_bytes() <= 192 << 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mixture of good, bent and foreign datagrams: nothing is sent that is longer than the datagram answered, nothing
    /// for less than 1,200 bytes, and what is held is counted right.
    #[test]
    fn q24_the_front_never_amplifies(steps in prop::collection::vec((0_usize..8, any::<u64>(), any::<prop::sample::Index>()), 1..40)) {
        let mut front = front();
        let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 700);
        for (kind, number, index) in steps {
            let mut datagram = match kind {
                0..=4 => flight[index.index(flight.len())].clone(),
                5 => opaque(0xc0, number as u32, ID, b"me", 1180),
                6 => short(ID, 30),
                _ => Client::new(V2, &number.to_be_bytes()).datagram(&crypto(0, b"\x01\0\0")),
            };
            if kind == 4 {
                let at = index.index(datagram.len());
                datagram[at] ^= 1 << (number % 8);
            }
            let answer = match front.receive(now(), peer((number % 4) as u16), &datagram) {
                QuicVerdict::Reply(answer) | QuicVerdict::Refused { answer: Some(answer), .. } => answer,
                QuicVerdict::Hello { connection, .. } => {
                    front.refuse(&connection, AlertDescription::UNRECOGNIZED_NAME).unwrap()
                }
                _ => vec![],
            };
            prop_assert!(answer.is_empty() || datagram.len() >= 1200 && answer.len() <= datagram.len() / 2);
            prop_assert_eq!(front.pending() == 0, front.pending_bytes() == 0);
        }
        front.handle_timeout(now() + Duration::from_secs(5));
        prop_assert_eq!((front.pending(), front.pending_bytes()), (0, 0));
    }
}

fn front() -> QuicFront<&'static str> {
    QuicFront::new(quic_crypto(), QuicLimits::new())
}

fn leads_to(verdict: &QuicVerdict<'_, &str>, expected: FlowId) -> bool {
    matches!(verdict, QuicVerdict::Forward { flow, route, .. } if *flow == expected && **route == "route")
}

fn unknown() -> QuicVerdict<'static, &'static str> {
    QuicVerdict::Dropped(DatagramError::UnknownConnection)
}
