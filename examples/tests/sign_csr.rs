//! Signing over HTTP, with a key for retries: an answer that was lost is asked for again, and nothing is signed twice.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use adit_errors::idempotency::{Buffered, IdempotencyLayer, Limits, MemoryStore, Principal};
use adit_errors::{Code, Reply};
use adit_tls_modes::{
    AuthorisedNames, CertificateRequest, CsrCheck, Issuance, KeyGenerator, LocalCa, NewCa, PrivateKey,
    ServerName,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tower_layer::Layer;
use tower_service::Service;

const HOST: &str = "vault.adit.example";

#[tokio::test]
async fn c36_a_retry_gets_the_same_certificate_and_another_request_under_its_key_gets_none() {
    let desk = Desk::new();
    let environment: (Clock, Dice) = (clock, dice);
    let answers = IdempotencyLayer::new(Arc::new(MemoryStore::new(Limits::new())), environment);
    let first = ask(&answers, &desk, "retry-1", &csr()).await;
    assert_eq!((first.status, first.is_replay), (StatusCode::CREATED, false));

    // The same octets: a request is asked for again, not made again.
    let request = first.request.clone();
    let again = ask(&answers, &desk, "retry-1", &request).await;
    assert_eq!((again.status, again.is_replay), (StatusCode::CREATED, true));
    assert_eq!(again.body, first.body);
    assert_eq!(desk.signed(), 1);

    let other = ask(&answers, &desk, "retry-1", &csr()).await;
    let refused = Reply::from_http(other.status, &HeaderMap::new(), &other.body);
    assert_eq!((other.status, refused.refusal().code()), (StatusCode::CONFLICT, &Code::IDEMPOTENCY_CONFLICT));
    assert_eq!(desk.signed(), 1);

    let fresh = ask(&answers, &desk, "retry-2", &request).await;
    assert_eq!((fresh.status, fresh.is_replay), (StatusCode::CREATED, false));
    assert_ne!(fresh.body, first.body, "another key is another certificate");
    assert_eq!(desk.signed(), 2);
}

type Clock = fn() -> Duration;
type Dice = fn() -> u128;
type Answers = IdempotencyLayer<MemoryStore, (Clock, Dice)>;

struct Answered {
    request: String,
    status: StatusCode,
    is_replay: bool,
    body: Bytes,
}

async fn ask(answers: &Answers, desk: &Desk, key: &str, csr: &str) -> Answered {
    let mut request = Request::post("/tunnels/vault/sign-csr")
        .header("idempotency-key", key)
        .body(Full::new(Bytes::from(csr.to_owned())))
        .unwrap();
    request.extensions_mut().insert(Principal::new("owner").unwrap());
    let answer = answers.layer(desk.clone()).call(request).await.unwrap();
    Answered {
        request: csr.to_owned(),
        status: answer.status(),
        is_replay: answer.headers().get("x-idempotent-replay").is_some_and(|value| value == "true"),
        body: answer.into_body().collect().await.unwrap().to_bytes(),
    }
}

/// A request of an agent's, as PEM, for a key that was just made.
fn csr() -> String {
    let key = PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider()).unwrap();
    CertificateRequest::new(&[host()], &key).unwrap().to_pem()
}

fn host() -> ServerName {
    HOST.parse().unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn dice() -> u128 {
    7
}

/// Checks and signs whatever is asked of it, each time with the next serial number.
#[derive(Clone)]
struct Desk {
    authority: Arc<LocalCa>,
    signed: Arc<AtomicU8>,
}

impl Desk {
    fn new() -> Self {
        let new = NewCa::new("Test CA", SystemTime::now(), [1; 16]);
        let authority = LocalCa::generate(KeyGenerator::AWS_LC_RS, &provider(), new).unwrap();
        Self { authority: Arc::new(authority), signed: Arc::default() }
    }

    fn signed(&self) -> u8 {
        self.signed.load(Ordering::Relaxed)
    }

    fn sign(&self, pem: &[u8]) -> Bytes {
        let names = AuthorisedNames::new([host()]).unwrap();
        let approved = CsrCheck::new(provider()).check_pem(pem, &names).unwrap();
        let serial = self.signed.fetch_add(1, Ordering::Relaxed);
        let issuance = Issuance::new(SystemTime::now(), [serial; 16]);
        Bytes::from_owner(self.authority.issue(&approved, issuance).unwrap().chain.remove(0).to_vec())
    }
}

impl Service<Request<Buffered<Full<Bytes>>>> for Desk {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered<Full<Bytes>>>) -> Self::Future {
        // The layer has read the whole body, so it is there at once.
        let body = futures_util::FutureExt::now_or_never(request.into_body().collect()).unwrap().unwrap();
        let certificate = self.sign(&body.to_bytes());
        ready(Ok(Response::builder().status(StatusCode::CREATED).body(Full::new(certificate)).unwrap()))
    }
}
