use std::time::{Duration, Instant};

use adit_tls_modes::{
    AlertDescription, DatagramError, HelloError, InitialLimits, InitialRefusal, InitialSniff, InitialSniffer,
    QuicCrypto,
};
use proptest::prelude::*;
use rustls::crypto::ring::default_provider;

use crate::client::{Client, V1, V2, crypto, extension, hello, hello_with, opaque, short, varint};

const ID: &[u8] = b"eight by";
const NAME: &str = "app.tunnel.example";

#[test]
fn q04_shuffled_crypto_with_ping_and_padding_between() {
    let message = hello(NAME, 600);
    let frames = [
        &[0, 0, 1][..],
        &crypto(400, &message[400..]),
        &[1, 1],
        &crypto(0, &message[..7]),
        &[0; 90],
        &crypto(100, &message[100..400]),
        &crypto(7, &message[7..100]),
        &[1],
    ];
    assert_name(&[Client::new(V1, ID).datagram(&frames.concat())]);
}

#[test]
fn q05_a_hello_over_two_to_four_datagrams_in_any_order() {
    for version in [V1, V2] {
        for piece in [1100, 700, 500] {
            let flight = Client::new(version, ID).flight(&hello(NAME, 1900), piece);
            assert!((2..=4).contains(&flight.len()));
            for order in orders(flight.len()) {
                let mut sniffer = sniffer();
                let (last, first) = order.split_last().unwrap();
                for index in first {
                    assert_eq!(sniffer.receive(now(), &flight[*index]), InitialSniff::NeedMore);
                }
                assert!(is_hello(&sniffer.receive(now(), &flight[*last])), "{order:?}");
            }
        }
    }
}

#[test]
fn q06_equal_overlaps_and_duplicates() {
    let message = hello(NAME, 900);
    let mut client = Client::new(V1, ID);
    let first = client.datagram(&[crypto(0, &message[..500]), crypto(100, &message[100..300])].concat());
    let second = client.datagram(&[crypto(450, &message[450..]), crypto(0, &message[..600])].concat());
    assert_name(&[first.clone(), first.clone(), second.clone()]);
    assert_name(&[second.clone(), second, first]);
}

#[test]
fn q07_overlaps_that_differ_end_the_connection() {
    let message = hello(NAME, 900);
    let mut other = message.clone();
    other[450] ^= 1;
    let mut client = Client::new(V1, ID);
    let flight = [client.datagram(&crypto(0, &message[..500])), client.datagram(&crypto(400, &other[400..]))];
    for order in [[0, 1], [1, 0]] {
        let mut sniffer = sniffer();
        let _more = sniffer.receive(now(), &flight[order[0]]);
        let refused = sniffer.receive(now(), &flight[order[1]]);
        assert!(
            matches!(refused, InitialSniff::Refused(InitialRefusal::CryptoConflict { .. })),
            "{refused:?}"
        );
        assert_eq!(sniffer.memory_bytes(), 0);
    }
}

#[test]
fn q08_a_gap_is_waited_for_five_seconds() {
    let start = now();
    let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    let mut sniffer = sniffer();
    assert_eq!(sniffer.poll_timeout(), None);
    assert_eq!(sniffer.receive(start, &flight[1]), InitialSniff::NeedMore);
    assert_eq!(sniffer.poll_timeout(), Some(start + Duration::from_secs(5)));
    sniffer.handle_timeout(start + Duration::from_millis(4_999));
    assert_eq!(sniffer.verdict(), InitialSniff::NeedMore);
    // A repetition does not renew the time.
    assert_eq!(sniffer.receive(start + Duration::from_secs(4), &flight[1]), InitialSniff::NeedMore);
    sniffer.handle_timeout(start + Duration::from_secs(5));
    assert_eq!(sniffer.verdict(), InitialSniff::Refused(InitialRefusal::DeadlinePassed));
    assert_eq!((sniffer.memory_bytes(), sniffer.poll_timeout()), (0, None));
    let late = sniffer.receive(start + Duration::from_secs(5), &flight[0]);
    assert_eq!(late, InitialSniff::Refused(InitialRefusal::DeadlinePassed));
}

#[test]
fn q09_offsets_and_lengths_beyond_the_cap_allocate_nothing() {
    for (frame, expected) in [
        (crypto(1 << 40, b"x"), InitialRefusal::CryptoTooFar { end: (1 << 40) + 1, limit_bytes: 65_535 }),
        (crypto(65_535, b"x"), InitialRefusal::CryptoTooFar { end: 65_536, limit_bytes: 65_535 }),
        (
            [vec![6], varint((1 << 62) - 1), vec![1, 1]].concat(),
            InitialRefusal::CryptoTooFar { end: 1 << 62, limit_bytes: 65_535 },
        ),
        ([vec![6, 0], varint(4000)].concat(), InitialRefusal::MalformedFrame { frame_type: 6 }),
        ([vec![6, 0], varint((1 << 62) - 1)].concat(), InitialRefusal::MalformedFrame { frame_type: 6 }),
    ] {
        let mut sniffer = sniffer();
        assert_eq!(
            sniffer.receive(now(), &Client::new(V1, ID).datagram(&frame)),
            InitialSniff::Refused(expected)
        );
        assert_eq!(sniffer.memory_bytes(), 0);
    }
    let last = Client::new(V1, ID).datagram(&crypto(65_534, b"x"));
    assert_eq!(sniffer().receive(now(), &last), InitialSniff::NeedMore);
    let claims_too_much = Client::new(V1, ID).datagram(&crypto(0, &[1, 0, 0xff, 0xfc]));
    assert_refused(&claims_too_much, InitialRefusal::Hello(HelloError::TooLarge { limit_bytes: 65_535 }));
}

#[test]
fn q10_at_most_64_ranges_are_kept() {
    let message = hello(NAME, 600);
    let bytes = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|index| crypto(2 * index, &message[2 * index..=2 * index])).collect()
    };
    let mut client = Client::new(V1, ID);
    assert_refused(&client.datagram(&bytes(65)), InitialRefusal::TooManyPieces { limit: 64 });
    let mut sniffer = sniffer();
    assert_eq!(sniffer.receive(now(), &client.datagram(&bytes(64))), InitialSniff::NeedMore);
    assert!(sniffer.memory_bytes() <= 1024);
    assert!(is_hello(&sniffer.receive(now(), &client.datagram(&crypto(0, &message)))));
}

#[test]
fn q11_coalesced_packets_are_passed_over() {
    let message = hello(NAME, 600);
    let mut client = Client::new(V1, ID);
    let rest = opaque(0xd0, V1, ID, b"me", 300);
    let handshake = opaque(0xe0, V1, ID, b"me", 100);
    let halves = [crypto(0, &message[..300]), crypto(300, &message[300..])];
    let packets = halves.map(|half| client.packet(&[&half[..], &[0; 300]].concat()));
    // A second Initial counts, whatever stands between.
    let datagram = [&packets[0][..], &rest, &handshake, &packets[1], &short(ID, 40)].concat();
    assert!(datagram.len() >= 1200);
    assert_name(&[datagram]);
    // One for another connection does not.
    let mut other = Client::new(V1, b"other connection");
    let foreign = other.packet(&crypto(300, &message[300..]));
    let datagram = [&packets[0][..], &foreign, &rest, &[0; 400]].concat();
    let mut sniffer = sniffer();
    assert_eq!(sniffer.receive(now(), &datagram), InitialSniff::NeedMore);
    // 0-RTT alone is no first flight.
    assert_dropped(&opaque(0xd0, V1, ID, b"me", 1200), DatagramError::NoInitial);
}

#[test]
fn q12_first_flights_in_small_datagrams() {
    let packet = Client::new(V1, ID).packet(&crypto(0, &hello(NAME, 300)));
    let bytes = packet.len();
    assert!(bytes < 1200);
    assert_dropped(&packet, DatagramError::TooSmall { bytes });
    let full = Client::new(V1, ID).datagram(&crypto(0, &hello(NAME, 300)));
    assert_eq!(full.len(), 1200);
    assert_name(&[full]);
}

#[test]
fn q13_other_versions_are_negotiated_if_the_datagram_is_large_enough() {
    for version in [0xff00_001d, 0x5130_3530, 0xface_b002, 0x0a0a_0a0a, 2, 0x709a_50c4] {
        let datagram = opaque(0xc0, version, b"their id", b"mine", 1200);
        let mut sniffer = sniffer();
        let InitialSniff::VersionNegotiation(answer) = sniffer.receive(now(), &datagram) else {
            panic!("{version:x}")
        };
        assert_eq!(answer, b"\xc0\0\0\0\0\x04mine\x08their id\0\0\0\x01\x6b\x33\x43\xcf");
        assert_eq!(sniffer.verdict(), InitialSniff::NeedMore);
        assert_eq!(sniffer.memory_bytes(), 0);
        let small = &datagram[..1199];
        assert_dropped(small, DatagramError::TooSmall { bytes: 1199 });
    }
    // RFC 8999 allows ids of up to 255 bytes, and no fixed bit.
    let datagram = opaque(0x80, 0x0a0a_0a0a, &[3; 255], &[4; 255], 1200);
    let InitialSniff::VersionNegotiation(answer) = sniffer().receive(now(), &datagram) else { panic!() };
    assert_eq!(answer.len(), 525);
}

#[test]
fn q14_version_zero() {
    assert_dropped(&opaque(0xc0, 0, ID, b"me", 1200), DatagramError::VersionNegotiation);
}

#[test]
fn q15_q16_lengths_of_connection_ids() {
    let message = hello(NAME, 300);
    for (bytes, expected) in [
        (0, Some(DatagramError::ConnectionIdTooShort { bytes: 0 })),
        (7, Some(DatagramError::ConnectionIdTooShort { bytes: 7 })),
        (8, None),
        (20, None),
        (21, Some(DatagramError::ConnectionIdTooLong { bytes: 21 })),
        (255, Some(DatagramError::ConnectionIdTooLong { bytes: 255 })),
    ] {
        let datagram = Client::new(V1, &vec![9; bytes]).datagram(&crypto(0, &message));
        match expected {
            Some(error) => assert_dropped(&datagram, error),
            None => assert_name(&[datagram]),
        }
    }
    let mut client = Client::new(V1, ID);
    client.source = vec![1; 20];
    assert_name(&[client.datagram(&crypto(0, &message))]);
    client.source = vec![1; 21];
    assert_dropped(&client.datagram(&crypto(0, &message)), DatagramError::ConnectionIdTooLong { bytes: 21 });
}

#[test]
fn q17_tokens() {
    let mut client = Client::new(V1, ID);
    client.token = vec![5; 300];
    let datagram = client.datagram(&crypto(0, &hello(NAME, 300)));
    let mut sniffer = sniffer();
    let InitialSniff::Hello(hello) = sniffer.receive(now(), &datagram) else { panic!() };
    assert!(hello.has_token());
    // The token's length stands behind version and ids.
    let at = 5 + 1 + ID.len() + 1 + 2;
    for length in [1300_u16, 0x3fff] {
        let mut lying = datagram.clone();
        lying[at..at + 2].copy_from_slice(&(0x4000 | length).to_be_bytes());
        assert_dropped(&lying, DatagramError::Truncated);
    }
}

#[test]
fn q18_length_past_the_datagram() {
    let datagram = Client::new(V1, ID).datagram(&crypto(0, &hello(NAME, 300)));
    let at = 5 + 1 + ID.len() + 1 + 2 + 1;
    assert_eq!(&datagram[at..at + 2], &(0x4000 | (1200 - at as u16 - 2)).to_be_bytes());
    let mut lying = datagram.clone();
    lying[at + 1] += 1;
    assert_dropped(&lying, DatagramError::Truncated);
    // Too short for a packet number and a sample to stand in it.
    let mut empty = datagram;
    empty[at..at + 2].copy_from_slice(&[0x40, 19]);
    assert_dropped(&empty, DatagramError::Truncated);
}

#[test]
fn q19_any_flipped_bit_of_the_packet_is_noticed() {
    let datagram = Client::new(V1, ID).datagram(&crypto(0, &hello(NAME, 300)));
    for at in 0..datagram.len() {
        for bit in 0..8 {
            let mut bent = datagram.clone();
            bent[at] ^= 1 << bit;
            let mut sniffer = sniffer();
            let verdict = sniffer.receive(now(), &bent);
            let is_silent = matches!(verdict, InitialSniff::Dropped(_));
            // Another version is no damage that could be seen.
            let is_version = (1..5).contains(&at) && matches!(verdict, InitialSniff::VersionNegotiation(_));
            assert!(is_silent || is_version, "bit {bit} of byte {at}: {verdict:?}");
        }
    }
}

#[test]
fn q20_keys_of_the_other_version() {
    let message = hello(NAME, 300);
    for (version, keys_of) in [(V1, V2), (V2, V1)] {
        let datagram = Client::with_keys_of(version, keys_of, ID).datagram(&crypto(0, &message));
        assert_dropped(&datagram, DatagramError::NotAuthentic);
    }
    // And a datagram of the other version does not disturb a connection that has begun.
    let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    let mut sniffer = sniffer();
    assert_eq!(sniffer.receive(now(), &flight[0]), InitialSniff::NeedMore);
    let other = Client::new(V2, ID).datagram(&crypto(1100, &[0; 50]));
    assert_eq!(
        sniffer.receive(now(), &other),
        InitialSniff::Dropped(DatagramError::OtherVersion { version: V2.into() })
    );
    assert!(is_hello(&sniffer.receive(now(), &flight[1])));
}

#[test]
fn q21_reserved_bits() {
    for bits in [0x04, 0x08, 0x0c] {
        let mut client = Client::new(V1, ID);
        client.first_bits = bits;
        assert_refused(&client.datagram(&crypto(0, &hello(NAME, 300))), InitialRefusal::ReservedBits);
    }
}

#[test]
fn q22_frames_that_may_and_may_not_stand_in_an_initial() {
    let message = hello(NAME, 300);
    for frame_type in [0x04, 0x05, 0x07, 0x08, 0x0f, 0x10, 0x18, 0x1a, 0x1d, 0x1e, 0x1f, 0x30, 0x3f] {
        let frames = [&[frame_type], &crypto(0, &message)[..]].concat();
        let expected = InitialRefusal::ForbiddenFrame { frame_type: frame_type.into() };
        assert_refused(&Client::new(V1, ID).datagram(&frames), expected);
    }
    let close = [&[0x1c, 0, 0, 0][..], &crypto(0, &message)].concat();
    assert_refused(&Client::new(V1, ID).datagram(&close), InitialRefusal::Closed);
    let acks = [&[2, 0, 0, 0, 0][..], &crypto(0, &message), &[3, 9, 0, 1, 2, 1, 1, 0, 0, 0]];
    assert_name(&[Client::new(V1, ID).datagram(&acks.concat())]);
    assert_refused(&[&Client::new(V1, ID).packet(&[])[..], &[0; 1200]].concat(), InitialRefusal::EmptyPacket);
}

#[test]
fn q23_broken_hellos_are_closed_with_the_alert_of_tls() {
    let name = |name: &[u8]| {
        let entry = [&[0, 0, name.len() as u8][..], name].concat();
        extension(0, &[&[0, entry.len() as u8][..], &entry].concat())
    };
    for (case, extensions, alert) in [
        ("T-17", extension(0, b""), 50),
        ("T-18", extension(0, b"\0\0"), 50),
        ("T-19", extension(0, b"\0\x03\0\0\0"), 50),
        ("T-20", extension(0, b"\0\x08\0\0\x01a\0\0\x01b"), 50),
        ("T-21", extension(0, b"\0\x08\x01\0\x01a\0\0\x01b"), 50),
        ("T-22", [name(b"a.example"), name(b"a.example")].concat(), 47),
        ("T-23", [extension(77, b""), extension(77, b"")].concat(), 47),
        ("T-25", name(b"server4:443"), 112),
        ("T-26", name(b"a.example."), 112),
        ("T-28", name(b"a b"), 112),
        ("T-31", name(&[b'a'; 64]), 112),
    ] {
        let mut client = Client::new(V2, ID);
        let datagram = client.datagram(&crypto(0, &hello_with(&extensions)));
        let mut sniffer = sniffer();
        let InitialSniff::Refused(refusal) = sniffer.receive(now(), &datagram) else { panic!("{case}") };
        assert_eq!(refusal.alert(), Some(AlertDescription::from(alert)), "{case}");
        let close = sniffer.close(refusal.alert().unwrap()).unwrap();
        assert!(close.len() < 100, "{case}");
        assert_eq!(client.open(&close), [0x1c, 0x41, alert, 6, 0], "{case}");
    }
    // T-24: as if absent, so the caller decides.
    let mut with_address = sniffer();
    let datagram = Client::new(V1, ID).datagram(&crypto(0, &hello_with(&name(b"192.0.2.1"))));
    let InitialSniff::Hello(read) = with_address.receive(now(), &datagram) else { panic!() };
    assert!(read.client_hello().server_name().is_none() && read.client_hello().has_ip_literal());
    // T-27 and T-29.
    for (sent, read) in [(&b"App.EXAMPLE"[..], "app.example"), (b"a_b.example", "a_b.example")] {
        let datagram = Client::new(V1, ID).datagram(&crypto(0, &hello_with(&name(sent))));
        assert_eq!(name_of(&[datagram]).as_deref(), Some(read));
    }
    let other_message = Client::new(V1, ID).datagram(&crypto(0, b"\x02\0\0\x04abcd"));
    assert_refused(&other_message, InitialRefusal::Hello(HelloError::NotClientHello { handshake_type: 2 }));
}

#[test]
fn q28_fixed_bit_zero() {
    let mut datagram = Client::new(V1, ID).datagram(&crypto(0, &hello(NAME, 300)));
    datagram[0] &= !0x40;
    assert_dropped(&datagram, DatagramError::FixedBitZero);
}

#[test]
fn q29_what_is_no_first_flight_at_all() {
    assert_dropped(&[], DatagramError::UnknownConnection);
    for first in [0, 0x16, 0x40, 0x7f] {
        assert_dropped(&[first], DatagramError::UnknownConnection);
        assert_dropped(&[first; 1300], DatagramError::UnknownConnection);
    }
    assert_dropped(&[0xc0], DatagramError::Truncated);
    assert_dropped(&[0xc0, 0, 0, 0, 1, 200, 1], DatagramError::Truncated);
    assert_dropped(&short(b"whatever", 1300), DatagramError::UnknownConnection);
}

#[test]
fn a_damaged_datagram_disturbs_no_connection() {
    let flight = Client::new(V1, ID).flight(&hello(NAME, 1900), 1100);
    let mut damaged = flight[1].clone();
    damaged[700] ^= 1;
    let mut sniffer = sniffer();
    for (datagram, expected) in [
        (&damaged, InitialSniff::Dropped(DatagramError::NotAuthentic)),
        (&flight[0], InitialSniff::NeedMore),
        (&damaged, InitialSniff::Dropped(DatagramError::NotAuthentic)),
        (&vec![0x41; 1200], InitialSniff::Dropped(DatagramError::UnknownConnection)),
    ] {
        assert_eq!(sniffer.receive(now(), datagram), expected);
    }
    assert!(is_hello(&sniffer.receive(now(), &flight[1])));
}

#[test]
fn a_hello_as_large_as_the_cap_is_read() {
    let message = hello(NAME, 65_535);
    assert_eq!(message.len(), 65_535);
    let flight = Client::new(V1, ID).flight(&message, 1100);
    assert_name(&flight);
    let limits = InitialLimits::new().max_hello_bytes(2000);
    let mut small = InitialSniffer::new(quic_crypto(), limits);
    let refused = small.receive(now(), &flight[0]);
    assert_eq!(
        refused,
        InitialSniff::Refused(InitialRefusal::Hello(HelloError::TooLarge { limit_bytes: 2000 }))
    );
}

#[test]
fn a_provider_without_aes_128_is_told() {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert!(QuicCrypto::new(&provider).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the hello is cut into frames and datagrams, in whatever order they come and however often: the same
    /// answer, and as soon as all of it is there.
    #[test]
    fn any_cut_order_and_repetition_gives_the_same_hello(
        cuts in prop::collection::btree_set(1_usize..1900, 0..40),
        seed in prop::collection::vec(any::<prop::sample::Index>(), 60),
        version in prop::sample::select(vec![V1, V2]),
    ) {
        let message = hello(NAME, 1900);
        let mut ends: Vec<_> = cuts.into_iter().filter(|cut| *cut < message.len()).collect();
        ends.push(message.len());
        let mut start = 0;
        let mut client = Client::new(version, ID);
        let mut frames: Vec<_> = ends.iter().map(|end| {
            let frame = crypto(start, &message[start..*end]);
            start = *end;
            frame
        }).collect();
        for (at, index) in seed.iter().enumerate().take(frames.len()) {
            let other = index.index(frames.len());
            frames.swap(at, other);
        }
        let mut datagrams: Vec<_> = frames.chunks(3).map(|frames| client.datagram(&frames.concat())).collect();
        let repeated = seed[50].index(datagrams.len());
        datagrams.insert(seed[51].index(datagrams.len()), datagrams[repeated].clone());
        prop_assert_eq!(name_of(&datagrams), Some(NAME.to_owned()));
        datagrams.reverse();
        prop_assert_eq!(name_of(&datagrams), Some(NAME.to_owned()));
    }

    /// Whatever comes: nothing sent that is longer than three times what came, and memory within the cap.
    #[test]
    fn q24_answers_of_the_sniffer_are_small(datagram in prop::collection::vec(any::<u8>(), 0..1500), version in any::<u32>()) {
        let mut datagram = datagram;
        if let Some(bytes) = datagram.get_mut(..6) {
            bytes[0] |= 0xc0;
            bytes[1..5].copy_from_slice(&version.to_be_bytes());
            bytes[5] %= 32;
        }
        let mut sniffer = sniffer();
        if let InitialSniff::VersionNegotiation(answer) = sniffer.receive(now(), &datagram) {
            prop_assert!(datagram.len() >= 1200);
            prop_assert!(answer.len() <= datagram.len() / 2);
        }
        prop_assert!(sniffer.memory_bytes() <= 65_536);
    }
}

pub fn sniffer() -> InitialSniffer {
    InitialSniffer::new(quic_crypto(), InitialLimits::new())
}

pub fn quic_crypto() -> QuicCrypto {
    QuicCrypto::new(&default_provider()).unwrap()
}

/// Some moment: tests go on from there by themselves.
pub fn now() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START
}

pub fn unhex(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn is_hello(verdict: &InitialSniff<'_>) -> bool {
    matches!(verdict, InitialSniff::Hello(_))
}

fn assert_dropped(datagram: &[u8], error: DatagramError) {
    let mut sniffer = sniffer();
    assert_eq!(sniffer.receive(now(), datagram), InitialSniff::Dropped(error));
    assert_eq!((sniffer.verdict(), sniffer.memory_bytes()), (InitialSniff::NeedMore, 0));
}

fn assert_refused(datagram: &[u8], refusal: InitialRefusal) {
    let mut sniffer = sniffer();
    assert_eq!(sniffer.receive(now(), datagram), InitialSniff::Refused(refusal));
    assert_eq!(sniffer.memory_bytes(), 0);
}

fn assert_name(datagrams: &[Vec<u8>]) {
    assert_eq!(name_of(datagrams).as_deref(), Some(NAME));
}

fn name_of(datagrams: &[Vec<u8>]) -> Option<String> {
    let mut sniffer = sniffer();
    for datagram in datagrams {
        let _more = sniffer.receive(now(), datagram);
    }
    match sniffer.verdict() {
        InitialSniff::Hello(hello) => Some(hello.client_hello().server_name()?.as_str().to_owned()),
        _ => None,
    }
}

/// Every order of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, at| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| insert(order, at))).collect()
}
