//! Policies as their owners see them: one tunnel, one visit, one decision.

mod auth;
mod order;
mod shares;
mod streams;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use adit_errors::{Code, Refusal};
use adit_naming::{ShareName, TunnelName};
use http::Request;

use super::*;
use crate::TunnelId;
use crate::lifecycle::{NewRecord, Record};

/// An active tunnel without an end.
fn record() -> Record {
    Record::create(NewRecord::new(TunnelId::from_u128(1), TunnelName::parse("my-app").unwrap()), WALL).0
}

/// A moment so many milliseconds after the beginning, by both clocks.
fn at(milliseconds: u64) -> Moment {
    let passed = Duration::from_millis(milliseconds);
    Moment::new(start() + passed, WALL + passed)
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "there is no other way to get an Instant")]
    *START.get_or_init(Instant::now)
}

fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn get(fields: &[(&str, &str)]) -> Request<()> {
    request("GET", "/", fields)
}

fn decide(policy: &Policy, request: &Request<()>) -> Decision {
    decide_at(policy, request, at(0))
}

fn decide_at(policy: &Policy, request: &Request<()>, now: Moment) -> Decision {
    policy.decide(&record(), Presence::Awake, &Visit::request(SOURCE.parse().unwrap(), request), now)
}

/// Status and code of a refusal; 200 and nothing for a visit that is let through.
fn outcome(decision: &Decision) -> (u16, Option<&Code>) {
    match decision.verdict() {
        Verdict::Forward(_) | Verdict::Wake(_) | Verdict::AwaitBody(_) => (200, None),
        Verdict::Enter(_) => (303, None),
        Verdict::Deny(denial) => (denial.refusal().status(), Some(denial.refusal().code())),
    }
}

fn status(policy: &Policy, request: &Request<()>) -> u16 {
    outcome(&decide(policy, request)).0
}

fn denial(decision: Decision) -> Denial {
    match decision.into_verdict() {
        Verdict::Deny(denial) => *denial,
        verdict @ (Verdict::Forward(_) | Verdict::Wake(_) | Verdict::AwaitBody(_) | Verdict::Enter(_)) => {
            panic!("not denied: {verdict:?}")
        }
    }
}

fn forward(decision: Decision) -> Forward {
    match decision.into_verdict() {
        Verdict::Forward(forward) => forward,
        verdict @ (Verdict::Wake(_) | Verdict::AwaitBody(_) | Verdict::Enter(_) | Verdict::Deny(_)) => {
            panic!("not let through: {verdict:?}")
        }
    }
}

/// A policy with one share on these terms, and its key.
fn shared(terms: impl FnOnce(NewShare) -> NewShare) -> (Policy, ShareKey) {
    let key = ShareKey::from_random(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    let terms = terms(NewShare::new(ShareName::parse("for the client").unwrap()));
    let mut shares = Shares::new();
    shares.add(Arc::new(Share::new(&key, terms, at(0))), at(0)).unwrap();
    (Policy::new().auth(AuthMode::Shares).shares(shares), key)
}

fn bearer(token: &VisitorToken) -> String {
    format!("Bearer {}", token.reveal())
}

const WALL: SystemTime = SystemTime::UNIX_EPOCH;
const SOURCE: &str = "192.0.2.7";
