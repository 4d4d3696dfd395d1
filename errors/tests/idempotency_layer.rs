//! The tower layer in front of a handler that counts how often it is run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use adit_errors::idempotency::{
    Answer, Begin, Buffered, Environment, Fingerprint, Idempotency, IdempotencyLayer, Limits, MemoryStore,
    NotStored, Principal, Slot, Store, StoreError, Ticket,
};
use adit_errors::{Code, Refusal, Reply, RequestId, Style};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower_layer::Layer;
use tower_service::Service;

#[tokio::test]
async fn b08_a_repeat_gets_the_same_status_fields_and_bytes() {
    let house = House::new();
    let first = house.call(post("k", "/tunnels", "a")).await;
    assert_eq!((first.status, first.replay()), (201, None));
    // A reconnect is a new service over the same store.
    let second = house.call(post("\"k\"", "/tunnels", "a")).await;
    assert_eq!((second.status, second.replay()), (201, Some("true")));
    assert_eq!(second.body, first.body);
    for name in first.fields.keys() {
        assert!(first.fields.get_all(name).iter().eq(second.fields.get_all(name)), "{name}");
    }
    assert_eq!(second.fields.len(), first.fields.len() + 1);
    assert_eq!(second.fields.get_all("set-cookie").iter().count(), 2);
    assert_eq!(house.runs(), 1);
}

#[tokio::test]
async fn b09_replayed_until_a_second_before_the_day_is_over() {
    let house = House::new();
    house.call(post("k", "/tunnels", "a")).await;
    house.pass(Duration::from_secs(86_399));
    assert_eq!(house.call(post("k", "/tunnels", "a")).await.replay(), Some("true"));
    house.pass(Duration::from_secs(2));
    assert_eq!(house.call(post("k", "/tunnels", "a")).await.replay(), None);
    assert_eq!(house.runs(), 2);
}

#[tokio::test]
async fn b10_the_same_key_for_another_request_is_409_and_carries_nothing_out() {
    let house = House::new();
    house.call(post("k", "/tunnels", "a")).await;
    let put = with_method(post("k", "/tunnels", "a"), Method::PUT);
    for request in [post("k", "/tunnels", "b"), post("k", "/other", "a"), post("k", "/tunnels?x", "a"), put] {
        let answer = house.call(request).await;
        assert_eq!((answer.status, answer.code()), (409, Code::IDEMPOTENCY_CONFLICT));
    }
    assert_eq!(house.runs(), 1);
}

#[tokio::test]
async fn b11_b18_another_tenant_runs_on_its_own() {
    let house = House::new();
    let mine = house.call(post("k", "/tunnels", "a")).await;
    let theirs = house.call(by("tenant-2", post("k", "/tunnels", "a"))).await;
    assert_eq!(theirs.replay(), None);
    assert_ne!(mine.body, theirs.body, "each answer holds a connect secret of its own");
    assert_eq!(house.runs(), 2);
}

#[tokio::test]
async fn b12_errors_are_not_stored_and_the_corrected_retry_runs() {
    let house = House::new();
    for status in ["400", "404", "409", "500", "503"] {
        let failed = house.call(post("k", &format!("/fail?{status}"), "wrong")).await;
        assert_eq!(failed.status.to_string(), status);
    }
    let answer = house.call(post("k", "/tunnels", "corrected")).await;
    assert_eq!((answer.status, answer.replay()), (201, None));
    assert_eq!(house.runs(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b13_fifty_at_once_run_once() {
    let house = Arc::new(House::new());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        calls.spawn(insist(Arc::clone(&house)));
    }
    let answers = calls.join_all().await;
    assert_eq!(house.runs(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body));
    assert_eq!(answers.iter().filter(|answer| answer.replay().is_none()).count(), 1);
}

/// Repeats a request until its answer is there. The handler goes on only when 49 refusals were counted.
async fn insist(house: Arc<House>) -> Answered {
    let mut first = true;
    loop {
        let answer = house.call(post("k", "/slow", "a")).await;
        if answer.status != 409 {
            return answer;
        }
        assert_eq!(answer.code(), Code::IDEMPOTENCY_IN_FLIGHT);
        assert!(answer.reply().refusal().retry_after().is_some());
        assert!(answer.fields.contains_key("retry-after"));
        if std::mem::take(&mut first) {
            house.handler.refused.fetch_add(1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn b15_json_in_another_order_is_another_body() {
    let house = House::new();
    house.call(post("k", "/tunnels", r#"{"a":1,"b":2}"#)).await;
    for body in [r#"{"b":2,"a":1}"#, r#"{"a":1, "b":2}"#] {
        assert_eq!(house.call(post("k", "/tunnels", body)).await.status, 409);
    }
}

#[tokio::test]
async fn b16_a_large_answer_goes_out_unharmed_not_stored_and_says_so() {
    let house = House::new();
    for path in ["/large", "/large-in-pieces", "/trailers"] {
        for _ in 0..2 {
            let answer = house.call(post(path.trim_start_matches('/'), path, "a")).await;
            assert_eq!((answer.status, answer.replay()), (201, None));
            assert_eq!(answer.fields["x-idempotent-stored"], "false");
            let expected = if path == "/trailers" { 4 } else { (1 << 20) + 1 };
            assert_eq!(answer.body.len(), expected, "{path}");
        }
    }
    assert_eq!(house.runs(), 6);
}

#[tokio::test]
async fn b16_a_large_request_is_413_announced_or_not() {
    let house = House::new();
    let large = "x".repeat((1 << 20) + 1);
    let answer = house.call(post("k", "/tunnels", &large)).await;
    assert_eq!((answer.status, answer.code()), (413, Code::PAYLOAD_TOO_LARGE));
    let pieces = Script::of([Ok(vec![b'x'; 600_000]), Ok(vec![b'x'; 600_000])]);
    let answer = house.call(post("k", "/tunnels", "").map(|_| pieces)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(house.runs(), 0);
}

#[tokio::test]
async fn b17_bad_keys_are_400() {
    let house = House::new();
    let long = "k".repeat(256);
    for key in ["", " ", "\"\"", &long, "a,b", "\"open"] {
        let answer = house.call(post(key, "/tunnels", "a")).await;
        assert_eq!((answer.status, answer.code()), (400, Code::IDEMPOTENCY_KEY_INVALID), "{key}");
    }
    let mut twice = post("k", "/tunnels", "a");
    twice.headers_mut().append("idempotency-key", "k".parse().unwrap());
    assert_eq!(house.call(twice).await.status, 400);
    let mut control = post("k", "/tunnels", "a");
    control.headers_mut().insert("idempotency-key", http::HeaderValue::from_bytes(b"a\tb").unwrap());
    assert_eq!(house.call(control).await.status, 400);
    assert_eq!(house.runs(), 0);
}

#[tokio::test]
async fn b19_a_revoked_token_is_refused_before_any_lookup() {
    let house = House::new();
    house.call(post("k", "/tunnels", "a")).await;
    let lookups = house.store.lookups.load(Ordering::SeqCst);
    for (token, status) in [("revoked", 401), ("demoted", 403)] {
        let mut request = post("k", "/tunnels", "a");
        request.headers_mut().insert("authorization", token.parse().unwrap());
        assert_eq!(house.call(request).await.status, status);
    }
    // And without any authorisation in front of it, the layer itself refuses.
    let mut bare = house.layer.layer(house.handler.clone());
    let answer = Answered::of(bare.call(post("k", "/tunnels", "a")).await.unwrap()).await;
    assert_eq!((answer.status, answer.code()), (401, Code::MISSING_BEARER));
    assert_eq!(house.store.lookups.load(Ordering::SeqCst), lookups);
    assert_eq!(house.runs(), 1);
}

#[tokio::test]
async fn b20_a_tenant_that_fills_the_store_is_429_and_others_go_on() {
    let house = House::with_limits(Limits::new().with_max_entries_per_principal(5));
    house.call(by("modest", post("k", "/tunnels", "a"))).await;
    for key in 0..5 {
        assert_eq!(house.call(post(&format!("k{key}"), "/tunnels", "a")).await.status, 201);
    }
    let answer = house.call(post("k5", "/tunnels", "a")).await;
    assert_eq!((answer.status, answer.code()), (429, Code::IDEMPOTENCY_QUOTA));
    assert!(answer.reply().refusal().retry_after().is_some());
    assert_eq!(house.call(by("modest", post("k", "/tunnels", "a"))).await.replay(), Some("true"));
    assert_eq!(house.call(by("modest", post("k2", "/tunnels", "a"))).await.status, 201);
    assert_eq!(house.call(post("k0", "/tunnels", "a")).await.replay(), Some("true"));
}

#[tokio::test]
async fn x10_a_body_that_fails_half_way_fails_half_way_and_gets_no_json() {
    let house = House::new();
    let response = house.respond(post("k", "/broken", "a")).await;
    assert_eq!(response.headers()["x-idempotent-stored"], "false");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "half");
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn requests_without_a_key_or_an_effect_pass() {
    let house = House::new();
    let mut without = post("k", "/tunnels", "a");
    without.headers_mut().remove("idempotency-key");
    assert_eq!(house.call(without).await.status, 201);
    let get = with_method(post("k", "/tunnels", "a"), Method::GET);
    assert_eq!(house.call(get.clone()).await.replay(), None);
    assert_eq!(house.call(get).await.replay(), None);
    assert_eq!(house.runs(), 3);

    let strict = House { layer: house.layer.clone().with_key_required(), ..house };
    let mut without = post("k", "/tunnels", "a");
    without.headers_mut().remove("idempotency-key");
    let answer = strict.call(without).await;
    assert_eq!((answer.status, answer.code()), (400, Code::IDEMPOTENCY_KEY_REQUIRED));
}

#[tokio::test]
async fn refusals_carry_the_requests_id_in_the_wanted_format() {
    let house = House::new();
    let mut request = post("", "/tunnels", "a");
    request.extensions_mut().insert(RequestId::parse("r-77").unwrap());
    request.headers_mut().insert("accept", "application/problem+json".parse().unwrap());
    let answer = house.call(request).await;
    assert_eq!(answer.fields["x-request-id"], "r-77");
    assert_eq!(answer.fields["content-type"], "application/problem+json");
}

/// Authorisation, the layer, and a handler, over a clock that is moved by hand.
struct House {
    layer: IdempotencyLayer<CountingStore, HandClock>,
    handler: Handler,
    store: Arc<CountingStore>,
    clock: HandClock,
}

#[derive(Clone)]
struct HandClock(Arc<AtomicU64>);

impl Environment for HandClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn random(&self) -> u128 {
        7
    }
}

impl House {
    fn new() -> Self {
        Self::with_limits(Limits::new())
    }

    fn with_limits(limits: Limits) -> Self {
        let store = Arc::new(CountingStore { inner: MemoryStore::new(limits), lookups: AtomicUsize::new(0) });
        let clock = HandClock(Arc::new(AtomicU64::new(1_700_000_000)));
        let layer = IdempotencyLayer::new(Arc::clone(&store), clock.clone());
        Self { layer, handler: Handler::default(), store, clock }
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    fn runs(&self) -> usize {
        self.handler.runs.load(Ordering::SeqCst)
    }

    async fn respond(&self, request: Request<Script>) -> Response<Buffered<Script>> {
        authorised(self.layer.layer(self.handler.clone()), request).await
    }

    async fn call(&self, request: Request<Script>) -> Answered {
        Answered::of(self.respond(request).await).await
    }
}

/// Puts the principal where the layer looks for it, unless the token is no longer good.
async fn authorised(
    mut service: Idempotency<Handler, CountingStore, HandClock>,
    mut request: Request<Script>,
) -> Response<Buffered<Script>> {
    let token = request.headers().get("authorization").map_or("tenant-1", |value| value.to_str().unwrap());
    let refusal = match token {
        "revoked" => Refusal::from(Code::AUTH_FAILED),
        "demoted" => Refusal::from(Code::FORBIDDEN),
        tenant => {
            let principal = Principal::new(tenant).unwrap();
            request.extensions_mut().insert(principal);
            return service.call(request).await.unwrap();
        }
    };
    let envelope = refusal.with_request_id(RequestId::from_random(1));
    envelope.to_response::<Vec<u8>>(&Style::new()).map(Buffered::whole)
}

/// Counts its runs and gives each of them another secret.
#[derive(Clone, Default)]
struct Handler {
    runs: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Service<Request<Buffered<Script>>> for Handler {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Script>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered<Script>>) -> Self::Future {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let refused = Arc::clone(&self.refused);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            body.collect().await.unwrap();
            let secret = format!("connect_secret {run}").into_bytes();
            let large = vec![b'x'; (1 << 20) + 1];
            let response = Response::builder()
                .status(201)
                .header("content-type", "text/plain")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2");
            let body = match parts.uri.path() {
                "/fail" => {
                    let status: u16 = parts.uri.query().unwrap().parse().unwrap();
                    return Ok(Response::builder().status(status).body(Script::of([Ok(secret)])).unwrap());
                }
                "/slow" => {
                    while refused.load(Ordering::SeqCst) < 49 {
                        tokio::task::yield_now().await;
                    }
                    Script::of([Ok(secret)])
                }
                "/large" => Script::announced(large),
                "/large-in-pieces" => {
                    Script::of([Ok(large[..700_000].to_vec()), Ok(large[700_000..].to_vec())])
                }
                "/trailers" => Script { trailers: true, ..Script::of([Ok(b"body".to_vec())]) },
                "/broken" => Script::of([Ok(b"half".to_vec()), Err(Broken)]),
                _ => Script::of([Ok(secret)]),
            };
            Ok(response.body(body).unwrap())
        })
    }
}

/// A body that does as it is told.
#[derive(Clone, Debug)]
struct Script {
    frames: VecDeque<Result<Vec<u8>, Broken>>,
    announces: bool,
    trailers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Broken;

impl Script {
    fn of(frames: impl IntoIterator<Item = Result<Vec<u8>, Broken>>) -> Self {
        Self { frames: frames.into_iter().collect(), announces: false, trailers: false }
    }

    fn announced(body: Vec<u8>) -> Self {
        Self { announces: true, ..Self::of([Ok(body)]) }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = self.frames.pop_front().map(|frame| frame.map(|data| Frame::data(data.into())));
        let trailers = || self.trailers.then(|| Ok(Frame::trailers(HeaderMap::new())));
        let frame = frame.or_else(trailers);
        if matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            self.trailers = false;
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        let length: usize = self.frames.iter().flatten().map(Vec::len).sum();
        if self.announces { SizeHint::with_exact(length.try_into().unwrap()) } else { SizeHint::new() }
    }
}

/// A store that counts how often it is asked.
struct CountingStore {
    inner: MemoryStore,
    lookups: AtomicUsize,
}

impl Store for CountingStore {
    async fn begin(
        &self,
        now: Duration,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> Result<Begin, StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.inner.begin(now, slot, fingerprint).await
    }

    async fn complete(
        &self,
        now: Duration,
        ticket: Ticket,
        answer: Answer,
    ) -> Result<Result<(), NotStored>, StoreError> {
        self.inner.complete(now, ticket, answer).await
    }

    async fn abandon(&self, now: Duration, ticket: Ticket) -> Result<(), StoreError> {
        self.inner.abandon(now, ticket).await
    }
}

struct Answered {
    status: u16,
    fields: HeaderMap,
    body: Bytes,
}

impl Answered {
    async fn of(response: Response<Buffered<Script>>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status.as_u16(), fields: parts.headers, body }
    }

    fn replay(&self) -> Option<&str> {
        self.fields.get("x-idempotent-replay").map(|value| value.to_str().unwrap())
    }

    fn reply(&self) -> Reply {
        Reply::from_http(StatusCode::from_u16(self.status).unwrap(), &self.fields, &self.body)
    }

    fn code(&self) -> Code {
        self.reply().refusal().code().clone()
    }
}

fn post(key: &str, path: &str, body: &str) -> Request<Script> {
    let body = Script::announced(body.as_bytes().to_vec());
    Request::post(path).header("idempotency-key", key).body(body).unwrap()
}

fn by(tenant: &str, mut request: Request<Script>) -> Request<Script> {
    request.headers_mut().insert("authorization", tenant.parse().unwrap());
    request
}

fn with_method(mut request: Request<Script>, method: Method) -> Request<Script> {
    *request.method_mut() = method;
    request
}
