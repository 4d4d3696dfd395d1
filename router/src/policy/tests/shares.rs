//! Shares and their terms.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a10_a_share_ends_to_the_millisecond_and_stays_ended() {
    let hour = 3_600_000;
    let (policy, key) = shared(|terms| terms.expiry(ShareExpiry::Hour));
    let request = get(&[("x-adit-share", &key.reveal())]);
    let status = |now| outcome(&decide_at(&policy, &request, now)).0;
    assert_eq!(
        [status(at(0)), status(at(hour - 1)), status(at(hour)), status(at(hour + 1))],
        [200, 200, 404, 404]
    );
    assert_eq!(status(at(0)), 404, "a clock set back an hour brings nothing back");
}

#[test]
fn a10_neither_clock_alone_prolongs_a_share() {
    let hour = Duration::from_secs(3600);
    for now in [Moment::new(start() + hour, WALL), Moment::new(start(), WALL + hour)] {
        let (policy, key) = shared(|terms| terms.expiry(ShareExpiry::Hour));
        let request = get(&[("x-adit-share", &key.reveal())]);
        assert_eq!(outcome(&decide_at(&policy, &request, now)).0, 404);
    }
}

#[test]
fn each_expiry_of_the_seeds_is_as_long_as_it_says() {
    for (text, hours) in
        [("1h", Some(1)), ("24h", Some(24)), ("7d", Some(168)), ("30d", Some(720)), ("never", None)]
    {
        let expiry: ShareExpiry = text.parse().unwrap();
        let (policy, _) = shared(|terms| terms.expiry(expiry));
        let share = policy.all_shares().iter().next().unwrap();
        assert_eq!(share.expires(), hours.map(|hours| WALL + Duration::from_secs(hours * 3600)), "{text}");
        assert_eq!(expiry.as_str(), text);
    }
    for wrong in ["", "2h", "1H", "1d", "forever"] {
        assert_eq!(wrong.parse::<ShareExpiry>(), Err(PolicyError::ShareExpiry {}));
    }
}

#[test]
fn a_share_that_was_kept_ends_when_it_would_have_ended() {
    let (_, key) = shared(|terms| terms);
    let id = Share::new(&key, NewShare::new(ShareName::parse("x").unwrap()), at(0)).id();
    let terms = || NewShare::new(ShareName::parse("x").unwrap()).expiry(ShareExpiry::Hour);
    let late = at(50 * 60_000);
    let restored = Share::restored(id, terms(), WALL, late);
    assert!(!restored.is_over(at(60 * 60_000 - 1)));
    assert!(restored.is_over(at(60 * 60_000)));
    assert!(Share::restored(id, terms(), WALL, at(61 * 60_000)).is_over(at(61 * 60_000)));
}

#[test]
fn a11_methods_are_exact_and_head_goes_where_get_does() {
    let (policy, key) = shared(|terms| terms.allow_method("GET").unwrap());
    let key = key.reveal();
    let with = |method: &str| request(method, "/", &[("x-adit-share", key.as_str())]);
    for (method, expected) in [("GET", 200), ("HEAD", 200), ("get", 405), ("POST", 405), ("OPTIONS", 405)] {
        assert_eq!(status(&policy, &with(method)), expected, "{method}");
    }
    let denial = denial(decide(&policy, &with("POST")));
    let (name, value) = denial.field().unwrap();
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("allow", "GET, HEAD"));
    for wrong in ["get", "", "G ET", "GET,POST"] {
        let terms = NewShare::new(ShareName::parse("x").unwrap());
        assert!(matches!(terms.allow_method(wrong), Err(PolicyError::Method { .. })), "{wrong}");
    }
}

#[test]
fn a11_a_method_override_does_not_reach_the_upstream() {
    let (policy, key) = shared(|terms| terms.allow_method("GET").unwrap());
    let key = key.reveal();
    let mut request = get(&[
        ("x-adit-share", key.as_str()),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
    ]);
    let forward = forward(decide(&policy, &request));
    policy.prepare_request(&forward, request.headers_mut());
    assert!(request.headers().is_empty());
}

#[test]
fn a12_an_upgrade_by_get_is_let_in_until_the_share_ends() {
    let (policy, key) = shared(|terms| terms.allow_method("GET").unwrap().expiry(ShareExpiry::Hour));
    let key = key.reveal();
    let upgrade = [("x-adit-share", key.as_str()), ("connection", "upgrade"), ("upgrade", "websocket")];
    let pass = *forward(decide(&policy, &get(&upgrade))).pass();
    assert_eq!(pass.deadline(), Some(at(3_600_000).instant()));
    assert_eq!(policy.recheck(&record(), &pass, at(3_599_999)), Ok(()));
    assert_eq!(policy.recheck(&record(), &pass, at(3_600_000)).unwrap_err().code(), &Code::NOT_FOUND);
}

#[test]
fn a13_of_100_at_once_60_pass_and_40_are_told_when_to_come_back() {
    let (policy, key) = shared(|terms| terms.requests_per_minute(60).unwrap());
    let request = get(&[("x-adit-share", &*key.reveal())]);
    let refused: Vec<Denial> = (0..100)
        .map(|_| decide(&policy, &request))
        .filter(|decision| outcome(decision).0 != 200)
        .map(denial)
        .collect();
    assert_eq!(refused.len(), 40);
    for denial in refused {
        assert_eq!((denial.refusal().status(), denial.finding()), (429, Finding::ShareRateSpent));
        assert_eq!(denial.refusal().retry_after().unwrap().as_millis(), 1000);
    }
    let later = |seconds: u64| outcome(&decide_at(&policy, &request, at(seconds * 1000))).0;
    assert_eq!([later(1), later(1), later(2)], [200, 429, 200]);
}

#[test]
fn a13_a_rate_of_0_or_1001_is_refused_at_creation() {
    for (requests, is_good) in [(0, false), (1, true), (1000, true), (1001, false), (u32::MAX, false)] {
        let terms = NewShare::new(ShareName::parse("x").unwrap()).requests_per_minute(requests);
        assert_eq!(terms.is_ok(), is_good, "{requests}");
        if let Err(error) = terms {
            assert_eq!(Refusal::from(&error).code(), &Code::VALIDATION_FAILED);
        }
    }
}

#[test]
fn a14_another_x_forwarded_for_or_address_is_no_other_limiter() {
    let (policy, key) = shared(|terms| terms.requests_per_minute(1).unwrap());
    let key = key.reveal();
    let mut passed = 0;
    for number in 0..50 {
        let forged = format!("203.0.113.{number}");
        let request =
            get(&[("x-adit-share", key.as_str()), ("x-forwarded-for", &forged), ("x-real-ip", &forged)]);
        let visit = Visit::request(forged.parse().unwrap(), &request);
        passed += u32::from(outcome(&policy.decide(&record(), Presence::Awake, &visit, at(0))).0 == 200);
    }
    assert_eq!(passed, 1);
}

#[test]
fn a15_a_revoked_share_lets_nobody_in_and_ends_its_streams() {
    let (policy, key) = shared(|terms| terms);
    let request = get(&[("x-adit-share", &*key.reveal())]);
    let pass = *forward(decide(&policy, &request)).pass();
    let mut shares = policy.all_shares().clone();
    assert!(shares.revoke(pass.share().unwrap()).is_some());
    let policy = policy.shares(shares);
    assert_eq!(status(&policy, &request), 404);
    assert_eq!(policy.recheck(&record(), &pass, at(0)).unwrap_err().status(), 404);
}

#[test]
fn a16_an_unknown_share_and_one_of_another_tunnel_give_the_same_answer_by_the_same_way() {
    let (there, key) = shared(|terms| terms);
    let here = Policy::new().auth(AuthMode::Shares);
    let stranger = ShareKey::from_random(99);
    assert_eq!(status(&there, &get(&[("x-adit-share", &*key.reveal())])), 200);
    let mut answers = Vec::new();
    for shown in [key.reveal().as_str(), stranger.reveal().as_str(), "no key", ""] {
        let decision = decide(&here, &get(&[("x-adit-share", shown)]));
        answers.push((decision.to_string(), denial(decision)));
    }
    let by_link = format!("{SHARE_PATH}{}/docs", key.reveal().as_str());
    let decision = decide(&here, &request("GET", &by_link, &[]));
    answers.push((decision.to_string(), denial(decision)));
    assert_eq!(answers[0].1.refusal(), &Refusal::from(Code::NOT_FOUND));
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
fn a17_10_000_keys_are_distinct_and_all_their_128_bits_count() {
    let keys: BTreeSet<String> = (0..10_000_u128)
        .map(|number| ShareKey::from_random(number << 64 | number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .map(|key| key.reveal().to_string())
        .collect();
    assert_eq!(keys.len(), 10_000);
    assert!(keys.iter().all(|key| key.len() == 32));
    let (policy, key) = shared(|terms| terms);
    let key = key.reveal();
    for place in 0..32 {
        let mut bent = key.to_string();
        let digit = if &bent[place..=place] == "0" { "1" } else { "0" };
        bent.replace_range(place..=place, digit);
        assert_eq!(status(&policy, &get(&[("x-adit-share", &bent)])), 404, "{bent}");
    }
    for other in [key.to_uppercase(), format!("{}0", key.as_str()), format!(" {}", key.as_str())] {
        assert_eq!(
            ShareKey::parse(other.as_bytes()).map(drop),
            (other == *key).then_some(()),
            "one spelling"
        );
    }
}

#[test]
fn a_link_leaves_a_cookie_behind_that_lets_in_and_does_not_reach_the_upstream() {
    let (policy, key) = shared(|terms| terms.allow_method("POST").unwrap());
    let link = format!("{SHARE_PATH}{}/docs?a=1", key.reveal().as_str());
    let Verdict::Enter(entrance) = decide(&policy, &request("GET", &link, &[])).into_verdict() else {
        panic!("no entrance")
    };
    assert_eq!(entrance.location(), "/docs?a=1");
    let cookie = entrance.cookie().to_str().unwrap().split(';').next().unwrap();
    let mut next = request("POST", "/docs", &[("cookie", cookie)]);
    let forward = forward(decide(&policy, &next));
    policy.prepare_request(&forward, next.headers_mut());
    assert!(next.headers().is_empty());
}

#[test]
fn a_share_lets_in_beside_a_token_or_a_password_and_a_wrong_token_is_wrong_beside_it() {
    let (policy, key) = shared(|terms| terms);
    let token = VisitorToken::from_random([7; 32]);
    let policy = policy.auth(AuthMode::authenticated([token.digest()]).unwrap());
    let key = key.reveal();
    assert_eq!(status(&policy, &get(&[("x-adit-share", key.as_str())])), 200);
    assert_eq!(status(&policy, &get(&[("x-adit-authorization", &bearer(&token))])), 200);
    assert_eq!(
        status(&policy, &get(&[("x-adit-share", key.as_str()), ("x-adit-authorization", "Bearer x")])),
        401
    );
    let users = BasicUsers::new([1; 16]).add("ann", "correct horse").unwrap();
    let policy = policy.auth(AuthMode::Basic(users));
    let mut request = get(&[("x-adit-share", key.as_str()), ("authorization", "Bearer of the upstream")]);
    let forward = forward(decide(&policy, &request));
    policy.prepare_request(&forward, request.headers_mut());
    assert_eq!(request.headers()["authorization"], "Bearer of the upstream");
}

#[test]
fn a_tunnel_has_a_thousand_shares_and_ended_ones_make_room() {
    let mut shares = Shares::new();
    let share = |number: u128, expiry| {
        let terms = NewShare::new(ShareName::parse("x").unwrap()).expiry(expiry);
        Arc::new(Share::new(&ShareKey::from_random(number), terms, at(0)))
    };
    for number in 0..1000 {
        shares.add(share(number, ShareExpiry::Hour), at(0)).unwrap();
    }
    let refused = shares.add(share(1000, ShareExpiry::Hour), at(0)).unwrap_err();
    assert_eq!(refused, PolicyError::TooManyShares { max_shares: 1000 });
    shares.add(share(1001, ShareExpiry::Never), at(3_600_000)).unwrap();
    assert_eq!(shares.iter().count(), 1);
}

#[test]
fn w29_a_key_is_not_in_debug() {
    let (policy, key) = shared(|terms| terms);
    let told = format!("{policy:?} {key:?}");
    assert!(!told.contains(key.reveal().as_str()), "{told}");
}
