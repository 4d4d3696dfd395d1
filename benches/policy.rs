//! A gateway's decision about a request: what each part of a policy costs, and that letting through allocates nothing.
//!
//! `cargo bench -p adit-benches --bench policy` first prints a table of medians; criterion's figures follow.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]
#![allow(clippy::as_conversions, reason = "counts and nanoseconds, for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adit_naming::{ShareName, TunnelName};
use adit_router::{
    AddressLimit, AuthMode, ByteBudget, FieldRules, Moment, NewRecord, NewShare, PathRules, Policy, Presence,
    Rate, Record, SecretDigest, Share, ShareKey, Shares, SourceRules, TunnelId, Verdict, Visit, VisitorToken,
};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Request};

const ROUNDS: usize = 15;
const DECISIONS: usize = 200_000;

criterion_group!(benches, table_of_all, criterion_figures);
criterion_main!(benches);

fn table_of_all(_: &mut Criterion) {
    let token = VisitorToken::from_random([7; 32]);
    let plain = request(&[]);
    let bearing = request(&[("x-adit-authorization", &format!("Bearer {}", token.reveal()))]);
    let key = ShareKey::from_random(7);
    let sharing = request(&[("x-adit-share", &key.reveal())]);

    println!("\na decision and its fields, ns                                    median");
    row("open", &Policy::new(), &plain);
    row("bearer", &with_token(&token), &bearing);
    row("rate of the tunnel", &Policy::new().rate(rate()), &plain);
    row("rate of each address", &Policy::new().address_rate(rate().map(AddressLimit::new)), &plain);
    row("64 networks", &Policy::new().source(networks()), &plain);
    row("8 denied paths", &Policy::new().paths(paths()), &plain);
    row("fields: 2 set, 1 removed", &Policy::new().request_fields(fields()), &plain);
    row("share with methods", &with_share(&key), &sharing);
    row("bearer, rate, fields", &with_token(&token).rate(rate()).request_fields(fields()), &bearing);
    row("all of it, with bearer", &everything(&token), &bearing);
    let digest = median(|| {
        black_box(SecretDigest::of(black_box(token.reveal().as_bytes())));
    });
    println!("{:60} {digest:10.1}", "SHA-256 of the token alone");
    println!(
        "\nallocations while 1,000 requests are let through with all of it: {}",
        allocations(&everything(&token), &bearing)
    );
}

fn criterion_figures(criterion: &mut Criterion) {
    let token = VisitorToken::from_random([7; 32]);
    let policy = with_token(&token).rate(rate()).request_fields(fields());
    let bearing = request(&[("x-adit-authorization", &format!("Bearer {}", token.reveal()))]);
    let (record, mut clock) = (record(), Clock::new());
    criterion.bench_function("policy/bearer, rate, fields: the decision", |bencher| {
        bencher.iter(|| decide(&policy, &record, &bearing, clock.tick()));
    });
    let denied = request(&[]);
    criterion.bench_function("policy/no token: denied", |bencher| {
        bencher.iter(|| decide(&policy, &record, &denied, clock.tick()));
    });
}

fn row(title: &str, policy: &Policy, request: &Request<()>) {
    let (record, mut clock) = (record(), Clock::new());
    let mut headers = room(request);
    let median = median(|| let_through(policy, &record, request, &mut headers, clock.tick()));
    println!("{title:60} {median:10.1}");
}

/// A decision, then the fields as the upstream gets them. The fields are put back for the next turn, which is part of the
/// figure.
fn let_through(
    policy: &Policy,
    record: &Record,
    request: &Request<()>,
    headers: &mut HeaderMap,
    now: Moment,
) {
    let Verdict::Forward(forward) = decide(policy, record, request, now) else { panic!("denied") };
    policy.prepare_request(&forward, headers);
    for (name, value) in request.headers() {
        headers.insert(name, value.clone());
    }
}

fn decide(policy: &Policy, record: &Record, request: &Request<()>, now: Moment) -> Verdict {
    let visit = Visit::request([192, 0, 2, 7].into(), black_box(request));
    policy.decide(record, Presence::Awake, &visit, now).into_verdict()
}

fn allocations(policy: &Policy, request: &Request<()>) -> u64 {
    let (record, mut clock) = (record(), Clock::new());
    let mut headers = room(request);
    // Values are shared from their first clone on; that one is made here.
    let_through(policy, &record, request, &mut headers, clock.tick());
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            let_through(policy, &record, request, &mut headers, clock.tick());
        }
    });
    counted.count_total
}

fn median(mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..DECISIONS {
                work();
            }
            start.elapsed().as_nanos() as f64 / DECISIONS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn with_token(token: &VisitorToken) -> Policy {
    Policy::new().auth(AuthMode::authenticated([token.digest()]).unwrap())
}

fn with_share(key: &ShareKey) -> Policy {
    let terms = NewShare::new(ShareName::parse("demo").unwrap()).allow_method("GET").unwrap();
    let mut shares = Shares::new();
    shares.add(Arc::new(Share::new(key, terms, now())), now()).unwrap();
    Policy::new().auth(AuthMode::Shares).shares(shares)
}

fn everything(token: &VisitorToken) -> Policy {
    with_token(token)
        .source(networks())
        .paths(paths())
        .rate(rate())
        .address_rate(rate().map(AddressLimit::new))
        .request_fields(fields())
        .bytes(Some(Arc::new(ByteBudget::new(Some(u64::MAX)))))
}

/// As many a minute as there are ticks of the [`Clock`].
fn rate() -> Option<Rate> {
    Some(Rate::per_minute(Rate::MAX_PER_MINUTE).unwrap())
}

fn networks() -> SourceRules {
    (0..64).fold(SourceRules::new(), |rules, number| rules.deny(&format!("203.0.{number}.0/24")).unwrap())
}

fn paths() -> PathRules {
    (0..8).fold(PathRules::new(), |rules, number| rules.deny(&format!("/private/{number}")).unwrap())
}

fn fields() -> FieldRules {
    let set = FieldRules::new().set("x-env", "staging").unwrap().set("x-team", "blue").unwrap();
    set.remove("x-debug").unwrap()
}

/// What a browser sends.
fn request(more: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/api/v1/things?page=2")
        .header("host", "my-app.tunnel.example")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("cookie", "session=0123456789abcdef; theme=dark");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A copy of the fields with room for those that are set.
fn room(request: &Request<()>) -> HeaderMap {
    let mut headers = request.headers().clone();
    headers.reserve(8);
    headers
}

fn record() -> Record {
    let new = NewRecord::new(TunnelId::from_u128(1), TunnelName::parse("my-app").unwrap());
    Record::create(new, SystemTime::UNIX_EPOCH).0
}

/// A clock that goes on by 60 µs each time it is asked, so that the highest rate is kept to the request. Reading the
/// system's is the caller's, and not part of the figures.
struct Clock(Moment);

impl Clock {
    fn new() -> Self {
        Self(now())
    }

    fn tick(&mut self) -> Moment {
        let step = Duration::from_micros(60);
        self.0 = Moment::new(self.0.instant() + step, self.0.system() + step);
        self.0
    }
}

fn now() -> Moment {
    Moment::new(Instant::now(), SystemTime::UNIX_EPOCH)
}
