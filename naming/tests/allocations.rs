//! What runs for every request allocates nothing. Alone in its program, because the counting allocator is global.
#![allow(clippy::unwrap_used, reason = "a test")]

use adit_naming::{Host, HostSource, LabelRef, TunnelNameRef, Zone, Zones};
use allocation_counter::measure;

#[test]
fn borrowed_names_and_labels_allocate_nothing() {
    let info = measure(|| {
        for text in ["my-app", "My-App", "a--b", "", "\u{FF41}bc"] {
            let _ = std::hint::black_box(TunnelNameRef::parse(std::hint::black_box(text)));
            let _ = std::hint::black_box(LabelRef::parse(std::hint::black_box(text)));
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_host_is_parsed_and_classified_without_allocating() {
    let zones = Zones::new(["tunnel.example", "localhost"].map(|zone| Zone::parse(zone).unwrap())).unwrap();
    let inputs = [
        "My-App.Tunnel.Example.:443",
        "3000-k2x.tunnel.example",
        "shop.customer.test",
        "a.b.tunnel.example",
        "[::1]:80",
        "192.0.2.1",
        "user@host",
        "a..b",
    ];
    let info = measure(|| {
        for input in inputs {
            if let Ok(host) = Host::parse(std::hint::black_box(input.as_bytes()), HostSource::Header) {
                std::hint::black_box(zones.classify(&host));
            }
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_host_with_the_longest_label_in_a_zone_of_32_allocates_nothing_and_a_longer_one_once() {
    let domain = |zone: usize| ["n".repeat(63), "z".repeat(zone)].join(".");
    for (text, allocations) in [(domain(32), 0), (domain(33), 1), (domain(63), 1)] {
        let info = measure(|| {
            std::hint::black_box(Host::parse(text.as_bytes(), HostSource::Header).unwrap());
        });
        assert_eq!(info.count_total, allocations, "{text}");
    }
}

#[cfg(feature = "keys")]
#[test]
fn keys_are_sealed_and_opened_without_allocating() {
    use adit_naming::TunnelId;
    use adit_naming::keys::{KeyRing, RingKey};

    let ring = KeyRing::new(RingKey::new(0, [7; 32]).unwrap());
    let info = measure(|| {
        let key = ring.seal(TunnelId::from_u128(42));
        assert_eq!(ring.open(key.label()), Ok(TunnelId::from_u128(42)));
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn the_counter_does_count() {
    let info = measure(|| {
        std::hint::black_box(TunnelNameRef::parse("my-app").unwrap().to_owned());
    });
    assert_eq!(info.count_total, 1);
}
