//! Sniffing QUIC Initials beside what no sniffer can do without: deriving the keys and opening the packet.
//!
//! `cargo bench -p adit-benches --bench quic_initial`
#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a bench, with a part shared with tests"
)]

#[path = "../tls-modes/tests/quic/client.rs"]
mod client;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use adit_tls_modes::{
    ConnectionId, FlowLimits, FlowTable, InitialLimits, InitialSniff, InitialSniffer, QuicCrypto,
};
use client::{Client, V1, crypto, hello, opaque, short};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rustls::crypto::ring::default_provider;
use rustls::quic::{Keys, Version};
use rustls::{CipherSuite, Side};

const ID: &[u8] = b"8 bytes!";

fn sniff(c: &mut Criterion) {
    let crypto_of_ring = QuicCrypto::new(&default_provider()).unwrap();
    let now = Instant::now();
    let mut client = Client::new(V1, ID);
    let one = client.datagram(&crypto(0, &hello("app.tunnel.example", 300)));
    let two = client.flight(&hello("app.tunnel.example", 1800), 1100);
    let other_version = opaque(0xc0, 0x0a0a_0a0a, ID, b"me", 1180);
    let garbage = opaque(0xc0, V1, ID, b"me", 1180);
    let run = |datagrams: &[Vec<u8>]| {
        let mut sniffer = InitialSniffer::new(crypto_of_ring, InitialLimits::new());
        for datagram in datagrams {
            let _verdict = black_box(sniffer.receive(now, black_box(datagram)));
        }
        sniffer
    };
    for (datagrams, reads) in
        [(std::slice::from_ref(&one), true), (&two, true), (std::slice::from_ref(&garbage), false)]
    {
        assert_eq!(matches!(run(datagrams).verdict(), InitialSniff::Hello(_)), reads);
    }
    let mut group = c.benchmark_group("initial");
    group.bench_function("sniff/300_byte_hello", |b| b.iter(|| run(std::slice::from_ref(&one))));
    group.bench_function("sniff/1800_byte_hello_in_2_datagrams", |b| b.iter(|| run(&two)));
    group.bench_function("refuse/not_authentic", |b| b.iter(|| run(std::slice::from_ref(&garbage))));
    group.bench_function("refuse/other_version", |b| b.iter(|| run(std::slice::from_ref(&other_version))));
    group.bench_function("limit_keys_of_rustls", |b| b.iter(|| keys(black_box(ID))));
    let keys = keys(ID);
    let header = [0xc3; 26];
    let mut sealed = vec![0; 1200 - header.len() - 16];
    let tag = keys.remote.packet.encrypt_in_place(0, &header, &mut sealed).unwrap();
    sealed.extend(tag.as_ref());
    group.bench_function("limit_aead_open_once", |b| {
        b.iter_batched_ref(
            || sealed.clone(),
            |sealed| {
                keys.remote.packet.decrypt_in_place(0, black_box(&header), sealed).unwrap();
            },
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

fn forward(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("flow");
    for flows in [1_000_u32, 60_000] {
        let mut table = FlowTable::new(FlowLimits::new().max_unvalidated(100_000));
        for number in 0..flows {
            let id = [b"client".to_vec(), number.to_be_bytes().to_vec()].concat();
            let flow = table.insert(now, peer(number), ConnectionId::new(&id).unwrap(), number).unwrap();
            table.receive(now, peer(number), &opaque(0xc0, V1, &id, b"me", 1180));
            let server = opaque(0xe0, V1, b"me", &server_id(number), 100);
            let _sent = table.receive_from_upstream(now, flow, peer(number), &server);
        }
        let datagrams: Vec<_> =
            (0..1024).map(|at| at * 7919 % flows).map(|at| (peer(at), short(&server_id(at), 1200))).collect();
        let mut next = 0;
        group.bench_function(format!("forward_short_header/{flows}"), |b| {
            b.iter(|| {
                next = (next + 1) % datagrams.len();
                let (peer, datagram) = &datagrams[next];
                black_box(table.receive(now, *peer, datagram)).unwrap()
            })
        });
    }
    group.finish();
}

fn keys(id: &[u8]) -> Keys {
    let provider = default_provider();
    let is_wanted =
        |suite: &&rustls::SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
    let suite = provider.cipher_suites.iter().find(is_wanted).unwrap().tls13().unwrap();
    suite.quic_suite().unwrap().keys(id, Side::Server, Version::V1)
}

fn peer(number: u32) -> SocketAddr {
    (number.to_be_bytes(), 4433).into()
}

fn server_id(number: u32) -> Vec<u8> {
    [b"server".to_vec(), number.to_be_bytes().to_vec()].concat()
}

criterion_group!(benches, sniff, forward);
criterion_main!(benches);
