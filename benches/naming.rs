//! Names, hosts and keys, beside what no parser can beat: looking at each byte once.
//!
//! `cargo bench -p adit-benches --bench naming`
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use adit_naming::{
    Host, HostSource, TunnelId, TunnelNameRef, Zone, Zones,
    keys::{KeyRing, RingKey},
};
use criterion::{Criterion, criterion_group, criterion_main};

const NAMES: [(&str, &str); 3] = [
    ("6", "my-app"),
    ("18", "quiet-heron-7kx2mp"),
    ("63", "a-name-of-sixty-three-characters-is-the-longest-that-there-is-z"),
];

const HOSTS: [(&str, &str); 5] = [
    ("name", "my-app.tunnel.example"),
    ("capitals_and_port", "My-App.Tunnel.Example:443"),
    ("generated", "quiet-heron-7kx2mp.tunnel.example"),
    ("key", "3000-09e39o2sc1brhp06in3bsh392rme3aj7kd5pb1ufeon31im3don70.tunnel.example"),
    ("custom", "shop.customer.test"),
];

fn names(c: &mut Criterion) {
    let mut group = c.benchmark_group("name");
    for (length, name) in NAMES {
        group.bench_function(format!("parse/{length}"), |b| b.iter(|| TunnelNameRef::parse(black_box(name))));
        group.bench_function(format!("limit_is_ascii_lowercase/{length}"), |b| {
            b.iter(|| {
                black_box(name)
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-'))
            })
        });
        group.bench_function(format!("limit_eq_ignore_case/{length}"), |b| {
            b.iter(|| black_box(name).eq_ignore_ascii_case(black_box(name)))
        });
    }
    group.finish();
}

fn hosts(c: &mut Criterion) {
    let zones = Zones::new(["tunnel.example", "localhost"].map(|zone| Zone::parse(zone).unwrap())).unwrap();
    let many = Zones::new((0..1000).map(|at| Zone::parse(&format!("zone-{at}.example")).unwrap())).unwrap();
    let mut group = c.benchmark_group("host");
    for (what, host) in HOSTS {
        let bytes = host.as_bytes();
        group.bench_function(format!("parse/{what}"), |b| {
            b.iter(|| Host::parse(black_box(bytes), HostSource::Header).map(|host| black_box(&host).port()))
        });
        group.bench_function(format!("to_destination/{what}"), |b| {
            b.iter(|| {
                let host = Host::parse(black_box(bytes), HostSource::Header).unwrap();
                black_box(zones.classify(&host));
            })
        });
        group.bench_function(format!("limit_fold_into_buffer/{what}"), |b| {
            b.iter(|| {
                let mut buffer = [0u8; 253];
                buffer[..bytes.len()].copy_from_slice(black_box(bytes));
                buffer.make_ascii_lowercase();
                black_box(&buffer[..bytes.len()]);
            })
        });
    }
    group.bench_function("to_destination/one_of_1000_zones", |b| {
        b.iter(|| {
            let host = Host::parse(black_box(b"my-app.zone-777.example"), HostSource::Header).unwrap();
            black_box(many.classify(&host));
        })
    });
    group.finish();
}

fn keys(c: &mut Criterion) {
    let ring = KeyRing::new(RingKey::new(0, [7; 32]).unwrap())
        .with_opening(RingKey::new(1, [8; 32]).unwrap())
        .unwrap();
    let key = ring.seal(TunnelId::from_u128(42));
    let mut forged = key.to_string();
    forged.replace_range(20..21, if &forged[20..21] == "0" { "1" } else { "0" });
    let forged = adit_naming::KeyLabelRef::parse(&forged).unwrap();
    let mut group = c.benchmark_group("key");
    group.bench_function("seal", |b| b.iter(|| ring.seal(black_box(TunnelId::from_u128(42)))));
    group.bench_function("open", |b| b.iter(|| ring.open(black_box(key.label()))));
    group.bench_function("open_forged", |b| b.iter(|| ring.open(black_box(forged))));
    group.finish();
}

criterion_group!(benches, names, hosts, keys);
criterion_main!(benches);
