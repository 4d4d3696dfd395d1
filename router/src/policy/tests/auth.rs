//! Tokens, names and passwords.

use data_encoding::BASE64;
use http::HeaderValue;

use super::*;

#[test]
fn a01_without_a_token_it_is_401_missing_bearer() {
    let (policy, _) = authenticated();
    let denial = denial(decide(&policy, &get(&[])));
    assert_eq!((denial.refusal().status(), denial.refusal().code().as_str()), (401, "missing_bearer"));
    assert_eq!(denial.refusal().next_action().as_str(), "PROVIDE_CREDENTIALS");
    assert_eq!(denial.field().unwrap().0, "www-authenticate");
    assert_eq!((denial.step(), denial.finding()), (Step::Credential, Finding::CredentialMissing));
}

#[test]
fn a02_the_scheme_has_any_capitals_and_the_token_one_spelling() {
    let (policy, token) = authenticated();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(
            status(&policy, &get(&[(OURS, &format!("{scheme} {}", token.reveal()))])),
            200,
            "{scheme}"
        );
    }
    let token = token.reveal();
    let long = "x".repeat(8 * 1024);
    for wrong in [
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("Bearer {token} "),
        format!("Bearer {token}, {token}"),
        format!("Basic {token}"),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        String::new(),
        token.to_owned(),
        format!("Bearer {long}"),
    ] {
        let decision = decide(&policy, &get(&[(OURS, &wrong)]));
        assert_eq!(outcome(&decision), (401, Some(&Code::AUTH_FAILED)), "{wrong}");
    }
    let mut request = get(&[]);
    request.headers_mut().insert(OURS, HeaderValue::from_bytes("Bearer tökén".as_bytes()).unwrap());
    assert_eq!(status(&policy, &request), 401);
}

#[test]
fn a04_two_credentials_are_400_whatever_they_say() {
    let (policy, token) = authenticated();
    let good = bearer(&token);
    for fields in [[(OURS, &good), (OURS, &good)], [(OURS, &good), (RUNLOOPS, &good)]] {
        let fields = fields.map(|(name, value)| (name, value.as_str()));
        let decision = decide(&policy, &get(&fields));
        assert_eq!(outcome(&decision), (400, Some(&Code::VALIDATION_FAILED)));
    }
    for policy in [Policy::new(), policy, Policy::new().auth(AuthMode::Basic(users()))] {
        let twice = [("authorization", "Basic eA=="), ("authorization", "Basic eA==")];
        assert_eq!(status(&policy, &get(&twice)), 400);
    }
}

#[test]
fn a05_a_wrong_token_is_401_whatever_it_has_in_common_with_the_right_one() {
    let (policy, token) = authenticated();
    let token = token.reveal();
    let mut last = token.to_owned();
    last.replace_range(token.len() - 1.., if token.ends_with('A') { "B" } else { "A" });
    for wrong in [&token[..token.len() - 1], &format!("{token}A"), &last, "adv_", &token.to_uppercase(), "x"]
    {
        let decision = decide(&policy, &get(&[(OURS, &format!("Bearer {wrong}"))]));
        assert_eq!(outcome(&decision), (401, Some(&Code::AUTH_FAILED)), "{wrong}");
    }
}

#[test]
fn a05_every_token_is_compared_in_full_wherever_the_presented_one_differs() {
    let tokens = [7, 8, 9].map(|number| VisitorToken::from_random([number; 32]));
    let mode = AuthMode::authenticated(tokens.iter().map(VisitorToken::digest)).unwrap();
    let policy = Policy::new().auth(mode);
    for presented in [tokens[0].reveal(), tokens[2].reveal(), "wrong", "adv_wrong"] {
        let request = get(&[(OURS, &format!("Bearer {presented}"))]);
        let compares = crate::compare::counted(|| drop(decide(&policy, &request)));
        assert_eq!(compares, 3, "{presented}");
    }
}

#[test]
fn a06_the_token_of_another_tunnel_is_401() {
    let (policy, _) = authenticated();
    let other = VisitorToken::from_random([8; 32]);
    assert_eq!(status(&policy, &get(&[(OURS, &bearer(&other))])), 401);
}

#[test]
fn a07_the_token_is_checked_and_removed_and_the_upstreams_authorization_is_not() {
    let (policy, token) = authenticated();
    for name in [OURS, RUNLOOPS] {
        let mut request =
            get(&[(name, &bearer(&token)), ("authorization", "Bearer upstream"), ("accept", "*/*")]);
        let forward = forward(decide(&policy, &request));
        policy.prepare_request(&forward, request.headers_mut());
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.headers()["authorization"], "Bearer upstream");
    }
    let mut open = get(&[(RUNLOOPS, &bearer(&token))]);
    let forward = forward(decide(&Policy::new(), &open));
    Policy::new().prepare_request(&forward, open.headers_mut());
    assert!(open.headers().is_empty(), "not even an open tunnel hands a token on");
}

#[test]
fn a08_a_token_in_query_or_cookie_is_401_and_appears_in_no_explanation() {
    let (policy, token) = authenticated();
    let cookie = format!("authorization={0}; adit-authorization={0}", token.reveal());
    let target = format!("/?token={0}&access_token={0}", token.reveal());
    let decision = decide(&policy, &request("GET", &target, &[("cookie", &cookie)]));
    assert_eq!(outcome(&decision).0, 401);
    let told = format!("{decision} {decision:?}");
    assert!(!told.contains(token.reveal()), "{told}");
}

#[test]
fn a09_a_revoked_token_is_401_and_in_a_rotation_both_are_good() {
    let (policy, old) = authenticated();
    let new = VisitorToken::from_random([9; 32]);
    let both = AuthMode::authenticated([new.digest(), old.digest()]).unwrap();
    let only_new = AuthMode::authenticated([new.digest()]).unwrap();
    let statuses = |mode: AuthMode| {
        let policy = policy.clone().auth(mode);
        [&old, &new].map(|token| status(&policy, &get(&[(OURS, &bearer(token))])))
    };
    assert_eq!(statuses(both), [200, 200]);
    assert_eq!(statuses(only_new), [401, 200]);
    assert!(AuthMode::authenticated([]).is_err() && AuthMode::authenticated([new.digest(); 9]).is_err());
}

#[test]
fn a_name_and_a_password_let_in_and_do_not_reach_the_upstream() {
    let policy = Policy::new().auth(AuthMode::Basic(users()));
    let basic = |pair: &str| format!("basic {}", BASE64.encode(pair.as_bytes()));
    let mut request = get(&[("authorization", &basic("ann:correct horse"))]);
    let forward = forward(decide(&policy, &request));
    policy.prepare_request(&forward, request.headers_mut());
    assert!(request.headers().is_empty());
    assert_eq!(status(&policy, &get(&[("authorization", &basic("ann:wrong horse"))])), 401);
    assert_eq!(status(&policy, &get(&[("authorization", "Bearer x")])), 401);
    let denial = denial(decide(&policy, &get(&[])));
    assert!(denial.field().unwrap().1.to_str().unwrap().starts_with("Basic realm="));
}

#[test]
fn who_cannot_present_anything_gets_into_open_tunnels_only() {
    let visit = Visit::connection(SOURCE.parse().unwrap());
    let decide = |policy: &Policy| outcome(&policy.decide(&record(), Presence::Awake, &visit, at(0))).0;
    assert_eq!(decide(&Policy::new()), 200);
    for mode in [authenticated().0.auth_mode().clone(), AuthMode::Basic(users()), AuthMode::Shares] {
        assert_eq!(decide(&Policy::new().auth(mode)), 401);
    }
}

fn authenticated() -> (Policy, VisitorToken) {
    let token = VisitorToken::from_random([7; 32]);
    (Policy::new().auth(AuthMode::authenticated([token.digest()]).unwrap()), token)
}

fn users() -> BasicUsers {
    BasicUsers::new([1; 16]).add("ann", "correct horse").unwrap()
}

const OURS: &str = "x-adit-authorization";
const RUNLOOPS: &str = "x-runloop-tunnel-authorization";
