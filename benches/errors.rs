//! Reading and writing an envelope, beside `serde_json` alone into and out of the same fields.
//!
//! `cargo bench -p adit-benches --bench errors` prints both and, at the end, the ratios; the aim is 1.3 or less.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adit_errors::{Code, Refusal, Reply, RequestId, read_request};
use criterion::{Criterion, criterion_group, criterion_main};

criterion_group!(benches, read, write, ratios);
criterion_main!(benches);

/// The same fields, checked for nothing.
#[derive(serde::Deserialize, serde::Serialize)]
struct Bare {
    error: String,
    message: String,
    next_action: String,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("errors/read");
    let body = body();
    group.bench_function("bare serde_json", |bencher| bencher.iter(|| bare_read(&body)));
    group.bench_function("Reply::parse", |bencher| bencher.iter(|| our_read(&body)));
    group.bench_function("read_request, any JSON", |bencher| {
        bencher.iter(|| read_request::<Bare>(black_box(&body), 4096));
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("errors/write");
    let (bare, envelope) = (bare(), envelope());
    group.bench_function("bare serde_json", |bencher| bencher.iter(|| bare_write(&bare)));
    group.bench_function("Envelope::to_json", |bencher| bencher.iter(|| our_write(&envelope)));
    group.bench_function("Refusal::from a code", |bencher| {
        bencher.iter(|| Refusal::from(black_box(Code::TUNNEL_OFFLINE)));
    });
    group.finish();
}

/// Takes both sides in turns, so that a busy machine slows both, and compares the fastest turn of each.
fn ratios(_: &mut Criterion) {
    let (body, bare, envelope) = (body(), bare(), envelope());
    let reading = ratio(|| our_read(&body), || bare_read(&body));
    let writing = ratio(|| our_write(&envelope), || bare_write(&bare));
    println!("errors: read {reading:.2} times, write {writing:.2} times bare serde_json (aim: 1.30)\n");
}

fn ratio<A, B>(ours: impl Fn() -> A, theirs: impl Fn() -> B) -> f64 {
    let (mut our_best, mut their_best) = (Duration::MAX, Duration::MAX);
    for _ in 0..400 {
        our_best = our_best.min(turn(&ours));
        their_best = their_best.min(turn(&theirs));
    }
    our_best.as_secs_f64() / their_best.as_secs_f64()
}

fn turn<T>(work: &impl Fn() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..1000 {
        black_box(work());
    }
    start.elapsed()
}

fn bare_read(body: &[u8]) -> Bare {
    serde_json::from_slice(black_box(body)).expect("the body is an envelope")
}

fn our_read(body: &[u8]) -> Reply {
    Reply::parse(429, black_box(body))
}

fn bare_write(bare: &Bare) -> Vec<u8> {
    serde_json::to_vec(black_box(bare)).expect("strings can be written")
}

fn our_write(envelope: &adit_errors::Envelope) -> Vec<u8> {
    black_box(envelope).to_json()
}

fn envelope() -> adit_errors::Envelope {
    let message = "ttl_seconds exceeds plan max of 86400 seconds for plan 'free'";
    Refusal::new(Code::TTL_TOO_LONG, message)
        .with_retry_after(Duration::from_millis(1500))
        .with_request_id(RequestId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
}

fn body() -> Vec<u8> {
    envelope().to_json()
}

fn bare() -> Bare {
    serde_json::from_slice(&body()).expect("the body is an envelope")
}
