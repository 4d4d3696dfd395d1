//! Reading a ClientHello: our sniffer beside rustls' `Acceptor` and tls-parser, on the same bytes in the same run.
//!
//! Whole: the hello in one read. Dripped: one byte a read, each parser used the way its interface asks for; tls-parser
//! keeps no state, so that its user starts over with every read.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use adit_benches::hello;
use adit_tls_modes::{Sniff, SniffLimits, Sniffer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustls::server::Acceptor;
use tls_parser::{
    SNIType, TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_extensions, parse_tls_plaintext,
};

fn whole(criterion: &mut Criterion) {
    for (what, hello) in hellos() {
        let mut group = criterion.benchmark_group(format!("hello/{what}/whole"));
        group.throughput(Throughput::Bytes(u64::try_from(hello.len()).unwrap()));
        group.bench_function("adit", |bencher| bencher.iter(|| sniff(&hello, hello.len())));
        group.bench_function("rustls", |bencher| bencher.iter(|| accept(&hello, hello.len())));
        group.bench_function("tls-parser", |bencher| bencher.iter(|| parse(&hello)));
        group.finish();
    }
}

fn dripped(criterion: &mut Criterion) {
    for (what, hello) in hellos() {
        let mut group = criterion.benchmark_group(format!("hello/{what}/dripped"));
        group.throughput(Throughput::Bytes(u64::try_from(hello.len()).unwrap()));
        group.bench_function("adit", |bencher| bencher.iter(|| sniff(&hello, 1)));
        group.bench_function("rustls", |bencher| bencher.iter(|| accept(&hello, 1)));
        group.bench_function("tls-parser", |bencher| bencher.iter(|| parse_dripped(&hello)));
        group.finish();
    }
}

/// Says how the three compare, in one run of its own, and how the cost of a drip grows with the hello.
fn ratios(_: &mut Criterion) {
    for (what, hello) in hellos() {
        let (ours, rustls, parser) = (
            time(|| sniff(&hello, hello.len())),
            time(|| accept(&hello, hello.len())),
            time(|| parse(&hello)),
        );
        println!(
            "{what}, {} bytes, whole: adit {ours:?}; rustls {:.1} times, tls-parser {:.2} times as long",
            hello.len(),
            rustls.as_secs_f64() / ours.as_secs_f64(),
            parser.as_secs_f64() / ours.as_secs_f64(),
        );
        let (ours, rustls, parser) =
            (time(|| sniff(&hello, 1)), time(|| accept(&hello, 1)), time(|| parse_dripped(&hello)));
        println!(
            "{what}, {} bytes, dripped: adit {ours:?}; rustls {:.1} times, tls-parser {:.1} times as long",
            hello.len(),
            rustls.as_secs_f64() / ours.as_secs_f64(),
            parser.as_secs_f64() / ours.as_secs_f64(),
        );
    }
    let (small, large) = (hello::padded(4_000), hello::padded(32_000));
    let growth = time(|| sniff(&large, 1)).as_secs_f64() / time(|| sniff(&small, 1)).as_secs_f64();
    println!("dripped, 8 times the bytes take {growth:.1} times as long");
}

fn sniff(stream: &[u8], read_bytes: usize) -> usize {
    let mut sniffer = Sniffer::new(SniffLimits::new());
    for read in stream.chunks(read_bytes) {
        if let Sniff::Hello(hello) = sniffer.receive(black_box(read)) {
            return hello.server_name().unwrap().as_str().len();
        }
    }
    panic!("no hello");
}

fn accept(stream: &[u8], read_bytes: usize) -> usize {
    let mut acceptor = Acceptor::default();
    for mut read in stream.chunks(read_bytes) {
        acceptor.read_tls(black_box(&mut read)).unwrap();
        if let Ok(Some(accepted)) = acceptor.accept() {
            return accepted.client_hello().server_name().unwrap().len();
        }
    }
    panic!("no hello");
}

fn parse(stream: &[u8]) -> usize {
    try_parse(black_box(stream)).expect("no hello")
}

fn parse_dripped(stream: &[u8]) -> usize {
    (1..=stream.len()).find_map(|length| try_parse(black_box(&stream[..length]))).expect("no hello")
}

fn try_parse(stream: &[u8]) -> Option<usize> {
    let (_, record) = parse_tls_plaintext(stream).ok()?;
    let Some(TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))) = record.msg.first() else {
        return None;
    };
    let (_, extensions) = parse_tls_extensions(hello.ext?).ok()?;
    extensions.iter().find_map(|extension| {
        let TlsExtension::SNI(names) = extension else {
            return None;
        };
        names.iter().find(|(kind, _)| *kind == SNIType::HostName).map(|(_, name)| name.len())
    })
}

fn time<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..30 {
        let start = Instant::now();
        for _ in 0..200 {
            black_box(work());
        }
        best = best.min(start.elapsed() / 200);
    }
    best
}

fn hellos() -> [(&'static str, Vec<u8>); 2] {
    [("classic", hello::classic()), ("post-quantum", hello::post_quantum())]
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = whole, dripped, ratios
}
criterion_main!(benches);
