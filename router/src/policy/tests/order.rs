//! The order of the steps, and that what is denied costs nothing later.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::lifecycle::Command;
use crate::webhook::{Receiver, Validator, WebhookSecret};

#[test]
fn each_step_refuses_before_all_that_follow_it() {
    // A policy and a visit at which every step but the last refuses: mended one after another, they refuse in order.
    let source = SourceRules::new().deny("192.0.2.0/24").unwrap();
    let (shares, key) = shared(|terms| terms.allow_method("GET").unwrap());
    let key = key.reveal();
    let rate = |policy: Policy| {
        let policy = policy.rate(Some(Rate::per_minute(1).unwrap()));
        let spend = forward(decide(
            &policy
                .clone()
                .auth(AuthMode::Open)
                .source(SourceRules::new())
                .paths(PathRules::new())
                .bytes(None),
            &get(&[]),
        ));
        drop(spend);
        policy
    };
    let paths = PathRules::new().deny("/").unwrap();
    let bytes = Some(Arc::new(ByteBudget::new(Some(0))));
    let policy = rate(shares.source(source).paths(paths).bytes(bytes));
    let mut paused = record();
    paused.apply(Command::Pause, WALL).unwrap();

    let shown = [("x-adit-share", key.as_str())];
    let doubled = [("authorization", "a"), ("authorization", "b"), shown[0]];
    let steps: [(Step, u16, Record, Policy, Request<()>); 8] = {
        let anywhere = policy.clone().source(SourceRules::new());
        let any_path = anywhere.clone().paths(PathRules::new());
        let any_rate = any_path.clone().rate(None);
        let any_bytes = any_rate.clone().bytes(None);
        [
            (Step::LifeCycle, 503, paused, policy.clone(), request("POST", "/", &doubled)),
            (Step::Source, 403, record(), policy, request("POST", "/", &doubled)),
            (Step::Credential, 400, record(), anywhere.clone(), request("POST", "/", &doubled)),
            (Step::Share, 405, record(), anywhere.clone(), request("POST", "/", &shown)),
            (Step::Path, 403, record(), anywhere, request("GET", "/", &shown)),
            (Step::Rate, 429, record(), any_path, request("GET", "/", &shown)),
            (Step::Bytes, 403, record(), any_rate, request("GET", "/", &shown)),
            (Step::Presence, 502, record(), any_bytes, request("GET", "/", &shown)),
        ]
    };
    for (step, status, record, policy, request) in steps {
        let visit = Visit::request(SOURCE.parse().unwrap(), &request);
        let decision = policy.decide(&record, Presence::Asleep, &visit, at(0));
        let taken: Vec<Step> = decision.findings().map(|(step, _)| step).collect();
        assert!(Step::ALL.starts_with(&taken), "{decision}");
        assert_eq!(taken.last(), Some(&step), "{decision}");
        assert_eq!(outcome(&decision).0, status, "{decision}");
    }
}

#[test]
fn the_explanation_names_every_step_and_what_it_found() {
    let token = VisitorToken::from_random([7; 32]);
    let policy = Policy::new()
        .auth(AuthMode::authenticated([token.digest()]).unwrap())
        .rate(Some(Rate::per_minute(1).unwrap()))
        .request_fields(FieldRules::new().set("x-env", "staging").unwrap());
    let request = get(&[("x-adit-authorization", &bearer(&token))]);
    assert_eq!(
        decide(&policy, &request).to_string(),
        "life cycle: active; source: any; credential: token known; share: none; path: no rule; rate: kept; \
         fields: changed; webhook: no rule; bytes: no rule; presence: awake"
    );
    assert_eq!(
        decide(&policy, &request).to_string(),
        "life cycle: active; source: any; credential: token known; share: none; path: no rule; rate: spent, refused"
    );
}

#[test]
fn a_visit_that_is_denied_takes_nothing_from_later_limits() {
    let policy = Policy::new()
        .paths(PathRules::new().deny("/admin").unwrap())
        .rate(Some(Rate::per_minute(1).unwrap()));
    for _ in 0..100 {
        assert_eq!(status(&policy, &request("GET", "/admin", &[])), 403);
    }
    assert_eq!(status(&policy, &get(&[])), 200, "the one that a minute has is still there");
    assert_eq!(status(&policy, &get(&[])), 429);
}

#[test]
fn an_address_that_asks_too_often_takes_nothing_from_what_all_have() {
    let policy = Policy::new()
        .address_rate(Some(AddressLimit::new(Rate::per_minute(2).unwrap())))
        .rate(Some(Rate::per_minute(4).unwrap()));
    let visit = |source: &str| {
        let request = get(&[]);
        let visit = Visit::request(source.parse().unwrap(), &request);
        outcome(&policy.decide(&record(), Presence::Awake, &visit, at(0))).0
    };
    let noisy: Vec<u16> = (0..10).map(|_| visit("2001:db8::1")).collect();
    assert_eq!(noisy.iter().filter(|status| **status == 200).count(), 2);
    assert_eq!(
        [visit("2001:db8::2"), visit("2001:db8:0:1::1"), visit("192.0.2.1"), visit("192.0.2.2")],
        [429, 200, 200, 429]
    );
}

#[test]
fn a_new_version_of_a_policy_gives_no_new_burst() {
    let rate = Some(Rate::per_minute(1).unwrap());
    let policy = Policy::new().rate(rate);
    assert_eq!(status(&policy, &get(&[])), 200);
    let anew = Policy::new().limits_of(&policy).rate(rate).paths(PathRules::new().deny("/x").unwrap());
    assert_eq!(status(&anew, &get(&[])), 429);
    assert_eq!(status(&policy.rate(Some(Rate::per_minute(2).unwrap())), &get(&[])), 200);
}

#[test]
fn methods_of_the_tunnel_are_told_with_405() {
    let policy = Policy::new().allow_method("GET").unwrap().allow_method("POST").unwrap();
    assert_eq!(status(&policy, &request("HEAD", "/", &[])), 200);
    let denial = denial(decide(&policy, &request("DELETE", "/", &[])));
    assert_eq!((denial.step(), denial.field().unwrap().1.to_str().unwrap()), (Step::Path, "GET, POST, HEAD"));
}

#[test]
fn who_is_not_let_in_wakes_nothing() {
    let token = VisitorToken::from_random([7; 32]);
    let policy = Policy::new().auth(AuthMode::authenticated([token.digest()]).unwrap()).wake_on_http(true);
    let decide = |policy: &Policy, request: &Request<()>| {
        policy.decide(&record(), Presence::Asleep, &Visit::request(SOURCE.parse().unwrap(), request), at(0))
    };
    let known = get(&[("x-adit-authorization", &bearer(&token))]);
    assert!(matches!(decide(&policy, &known).verdict(), Verdict::Wake(_)));
    assert_eq!(outcome(&decide(&policy, &get(&[]))).0, 401);
    let refused = decide(&policy.clone().wake_on_http(false), &known);
    assert_eq!(outcome(&refused), (502, Some(&Code::TUNNEL_OFFLINE)));
    let connection = Visit::connection(SOURCE.parse().unwrap());
    let refused = policy.auth(AuthMode::Open).decide(&record(), Presence::Asleep, &connection, at(0));
    assert_eq!(outcome(&refused).0, 502, "wake_on_http is for HTTP");
}

#[test]
fn a_webhook_is_judged_when_its_body_is_there_and_the_upstream_is_told() {
    for (demand, body, told) in [
        (WebhookDemand::Tell, &b"Hello, World!"[..], Ok("valid")),
        (WebhookDemand::Tell, b"Hello, Moon!", Ok("invalid")),
        (WebhookDemand::Require, b"Hello, World!", Ok("valid")),
        (WebhookDemand::Require, b"Hello, Moon!", Err(401)),
    ] {
        let policy = Policy::new().webhook(Some(Arc::new(check().below("/hooks").demand(demand))));
        assert!(matches!(decide(&policy, &get(&[])).verdict(), Verdict::Forward(_)), "not below the path");
        let mut request =
            request("POST", "/%68ooks/github", &[(SIGNATURE.0, SIGNATURE.1), ("x-adit-webhook", "valid")]);
        let Verdict::AwaitBody(pending) = decide(&policy, &request).into_verdict() else {
            panic!("not awaited")
        };
        let decision = policy.receive_body(pending, request.headers(), body, at(0));
        match told {
            Err(status) => assert_eq!(outcome(&decision).0, status),
            Ok(told) => {
                let forward = forward(decision);
                policy.prepare_request(&forward, request.headers_mut());
                assert_eq!(request.headers().get_all("x-adit-webhook").iter().collect::<Vec<_>>(), [told]);
            }
        }
    }
}

#[test]
fn an_unsigned_webhook_costs_no_bytes_and_a_signed_one_is_held_to_them() {
    let bytes = Arc::new(ByteBudget::new(Some(1)));
    let policy = Policy::new()
        .webhook(Some(Arc::new(check().demand(WebhookDemand::Require))))
        .bytes(Some(Arc::clone(&bytes)));
    let request = request("POST", "/", &[SIGNATURE]);
    let judge = |body: &[u8]| {
        let Verdict::AwaitBody(pending) = decide(&policy, &request).into_verdict() else {
            panic!("not awaited")
        };
        outcome(&policy.receive_body(pending, request.headers(), body, at(0))).0
    };
    assert_eq!((judge(b"unsigned"), bytes.spent()), (401, 0));
    assert_eq!(judge(b"Hello, World!"), 200);
    assert!(bytes.charge(1).is_err());
    assert_eq!(judge(b"Hello, World!"), 403);
}

#[test]
fn fields_are_set_and_removed_both_ways() {
    let policy = Policy::new()
        .request_fields(FieldRules::new().set("x-env", "staging").unwrap().remove("accept-language").unwrap())
        .response_fields(FieldRules::new().set("x-frame-options", "DENY").unwrap().remove("server").unwrap());
    let mut request = get(&[("accept-language", "de"), ("x-env", "forged")]);
    let forward = forward(decide(&policy, &request));
    policy.prepare_request(&forward, request.headers_mut());
    assert_eq!(request.headers().len(), 1);
    let mut answer = HeaderMap::new();
    answer.insert("server", "nginx".parse().unwrap());
    policy.prepare_response(&mut answer);
    assert_eq!((answer.len(), answer["x-frame-options"].to_str().unwrap()), (1, "DENY"));
}

proptest! {
    /// Any rules, any visits: the steps come in order, the last one decides, and what is let through is never more than
    /// the rate, however many were denied between.
    #[test]
    fn whatever_is_denied_the_rate_is_there_for_the_others(
        visits in prop::collection::vec((0_usize..4, 0_usize..3, 0_u64..5_000), 1..60),
        rate in 1_u32..20,
    ) {
        let policy = Policy::new()
            .source(SourceRules::new().deny("203.0.113.0/24").unwrap())
            .paths(PathRules::new().deny("/admin").unwrap())
            .rate(Some(Rate::per_minute(rate).unwrap()));
        let (mut now, mut level, mut last) = (0, 0_u64, 0);
        for (path, source, wait) in visits {
            now += wait;
            let request = request("GET", ["/", "/a", "/admin", "/%61dmin/x"][path], &[]);
            let source = ["192.0.2.7", "2001:db8::1", "203.0.113.7"][source];
            let visit = Visit::request(source.parse().unwrap(), &request);
            let decision = policy.decide(&record(), Presence::Awake, &visit, at(now));
            // A bucket that leaks `rate` a minute, in units of a request and 60,000 ms.
            level = level.saturating_sub((now - last) * u64::from(rate));
            last = now;
            let expected = match (source, path) {
                ("203.0.113.7", _) => 403,
                (_, 2 | 3) => 403,
                _ if level > u64::from(rate - 1) * 60_000 => 429,
                _ => { level += 60_000; 200 }
            };
            prop_assert_eq!(outcome(&decision).0, expected, "{}", decision);
            let taken: Vec<Step> = decision.findings().map(|(step, _)| step).collect();
            prop_assert!(Step::ALL.starts_with(&taken));
        }
    }
}

fn check() -> WebhookCheck {
    let secret = WebhookSecret::new(*b"It's a Secret to Everybody").unwrap();
    WebhookCheck::new(Receiver::new(Validator::Github, secret))
}

/// GitHub's documented example, of `Hello, World!`.
const SIGNATURE: (&str, &str) =
    ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
