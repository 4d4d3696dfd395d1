//! What an authority may say in place of a certificate, played by a table of answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use adit_tls_modes::{
    AcmeAccount, AcmeError, AcmeExchange, AcmeNext, AcmeProblem, AcmeSigner, AcmeTransport, ChallengeBoard,
    ChallengeKind, Issuance, KeyGenerator, NewAcmeAccount, PrivateKey, ServerName, SignError, Signer,
};
use bytes::Bytes;
use http::{Method, Request, Response};

use crate::{approve, name, new_ca, new_key, provider};

const DIRECTORY: &str = "https://acme.test/directory";

#[tokio::test]
async fn a_certificate_for_the_agents_own_request_comes_back() {
    let house = House::new();
    let issued = house.order(Played::for_key(&house.key)).await.unwrap();
    let certified = issued.chain.len();
    assert_eq!(certified, 2);
    let key = house.key.to_der();
    adit_tls_modes::ServerCertificate::new(issued.chain, key, &provider(), SystemTime::now()).unwrap();
}

#[tokio::test]
async fn the_refusals_of_an_order_say_what_to_do_next() {
    let house = House::new();
    let wait = Duration::from_secs(120);
    for (kind, retry_after, problem, next) in [
        ("rateLimited", Some("120"), AcmeProblem::RATE_LIMITED, AcmeNext::RetryAfter { wait }),
        ("rateLimited", None, AcmeProblem::RATE_LIMITED, AcmeNext::RetryLater),
        ("unauthorized", None, AcmeProblem::UNAUTHORIZED, AcmeNext::CheckAccount),
        ("accountDoesNotExist", None, AcmeProblem::ACCOUNT_DOES_NOT_EXIST, AcmeNext::CheckAccount),
        ("rejectedIdentifier", None, AcmeProblem::REJECTED_IDENTIFIER, AcmeNext::ChangeOrder),
        ("serverInternal", Some("120"), AcmeProblem::SERVER_INTERNAL, AcmeNext::RetryAfter { wait }),
    ] {
        let played = Played::for_key(&house.key).answer("/order", problem_answer(403, kind, retry_after));
        let error = house.order(played).await.unwrap_err();
        assert_eq!(error.next(), next, "{kind}");
        let AcmeError::Refused { problem: seen, .. } = error else { panic!("{error:?}") };
        assert_eq!(seen, problem);
    }
}

#[tokio::test]
async fn a_refused_nonce_is_tried_again_with_the_fresh_one_and_not_for_ever() {
    let house = House::new();
    let once = Played::for_key(&house.key).first("/order", problem_answer(400, "badNonce", None));
    house.order(once).await.unwrap();
    let always = Played::for_key(&house.key).answer("/order", problem_answer(400, "badNonce", None));
    let error = house.order(always).await.unwrap_err();
    assert!(matches!(&error, AcmeError::Refused { problem, .. } if *problem == AcmeProblem::BAD_NONCE));
    assert_eq!(error.next(), AcmeNext::RetryLater);
}

#[tokio::test]
async fn a_failed_challenge_is_told_by_what_the_authority_met() {
    let house = House::new();
    let challenge = r#"{"type":"http-01","url":"https://acme.test/challenge","token":"token","status":"invalid",
        "error":{"type":"urn:ietf:params:acme:error:connection","detail":"203.0.113.9 refused"}}"#;
    let played = Played::for_key(&house.key)
        .answer("/poll", order("invalid", false))
        .answer("/authz", authorization_with("invalid", "app.example", challenge))
        .first("/authz", authorization("pending", "app.example", "http-01"));
    let error = house.order(played).await.unwrap_err();
    assert!(
        matches!(&error, AcmeError::ChallengeFailed { problem, .. } if *problem == AcmeProblem::CONNECTION),
        "{error:?}"
    );
    assert_eq!(error.next(), AcmeNext::CheckNames);
    assert!(!format!("{error} {error:?}").contains("203.0.113"), "addresses stay out of errors");
}

#[tokio::test]
async fn names_that_were_not_ordered_are_not_answered_for() {
    let house = House::new();
    let wildcard = json(
        200,
        r#"{"status":"pending","wildcard":true,"identifier":{"type":"dns","value":"app.example"},"challenges":[]}"#,
    );
    for other in [authorization("pending", "bank.example", "http-01"), wildcard] {
        let error = house.order(Played::for_key(&house.key).answer("/authz", other)).await.unwrap_err();
        assert!(matches!(error, AcmeError::Unordered { .. }), "{error:?}");
    }
    let dns = authorization("pending", "app.example", "dns-01");
    let error = house.order(Played::for_key(&house.key).answer("/authz", dns)).await.unwrap_err();
    assert!(matches!(error, AcmeError::NoChallenge { kind: ChallengeKind::Http01, .. }), "{error:?}");
    assert!("*.app.example".parse::<ServerName>().is_err(), "a wildcard can't even be asked for");
}

#[tokio::test]
async fn a_certificate_for_another_key_or_name_is_not_taken() {
    let house = House::new();
    let error = house.order(Played::for_key(&new_key())).await.unwrap_err();
    assert!(matches!(error, AcmeError::Unordered { .. }), "{error:?}");
    let names = [name("app.example"), name("bank.example")];
    for names in [&names[..], &names[1..]] {
        let pem = certificate(names, &house.key);
        let error = house.order(Played::for_key(&house.key).answer("/cert", pem)).await.unwrap_err();
        assert!(matches!(error, AcmeError::Unordered { .. }), "{error:?}");
    }
    for garbage in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let played = Played::for_key(&house.key).answer("/cert", text(200, garbage));
        let error = house.order(played).await.unwrap_err();
        assert!(matches!(error, AcmeError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let house = House::new();
    let page = house.order(Played::for_key(&house.key).answer("/order", text(502, "<html>"))).await;
    assert!(matches!(page, Err(AcmeError::Refused { .. })), "{page:?}");
    let odd = house.order(Played::for_key(&house.key).answer("/order", text(201, "[]"))).await;
    assert!(matches!(odd, Err(AcmeError::Malformed { .. })), "{odd:?}");
    let huge = "x".repeat(262_145);
    let huge = house.order(Played::for_key(&house.key).answer("/order", text(201, &huge))).await;
    assert!(huge.is_err());
    let nobody = house.order(Played::default()).await.unwrap_err();
    assert!(matches!(nobody, AcmeError::Transport { .. }), "{nobody:?}");
    assert_eq!(nobody.next(), AcmeNext::RetryLater);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_never_finishes_is_given_up() {
    let house = House::new();
    let played = Played::for_key(&house.key).answer("/poll", order("pending", false));
    let signer = house.signer(played).await;
    let error = signer.order(&house.request(), SystemTime::now()).await.unwrap_err();
    assert!(matches!(error, AcmeError::TimedOut { .. }), "{error:?}");
    assert_eq!(house.board.http_answer(SystemTime::now(), &name("app.example"), PATH), None, "taken down");
}

#[tokio::test]
async fn behind_the_trait_the_error_is_still_there() {
    let house = House::new();
    let played = Played::for_key(&house.key).answer("/order", problem_answer(429, "rateLimited", Some("9")));
    let signer: Arc<dyn Signer> = Arc::new(house.signer(played).await);
    let request = house.request();
    let error = signer.sign(&request, Issuance::new(SystemTime::now(), [1; 16])).await.unwrap_err();
    let SignError::Failed { source, .. } = error else { panic!("{error:?}") };
    let next = source.downcast_ref::<AcmeError>().map(AcmeError::next);
    assert_eq!(next, Some(AcmeNext::RetryAfter { wait: Duration::from_secs(9) }));
}

#[tokio::test]
async fn an_account_is_made_kept_and_shown_to_nobody() {
    let house = House::new();
    let transport: Arc<dyn AcmeTransport> = Arc::new(Played::for_key(&house.key));
    let new = NewAcmeAccount::new(DIRECTORY).contact("mailto:ops@gateway.example").agree_to_terms(true);
    let account = AcmeAccount::create(&transport, &new, SystemTime::now()).await.unwrap();
    let json = account.to_json();
    assert!(json.contains("https://acme.test/account") && json.contains(DIRECTORY));
    assert_eq!(*AcmeAccount::from_json(&json).unwrap().to_json(), *json);
    assert!(!format!("{account:?}").contains("key"));
    for damaged in ["", "{}", &json[..json.len() - 2]] {
        assert!(matches!(AcmeAccount::from_json(damaged), Err(AcmeError::AccountKey { .. })));
    }
    let refused = Played::for_key(&house.key).answer("/new", problem_answer(403, "userActionRequired", None));
    let transport: Arc<dyn AcmeTransport> = Arc::new(refused);
    let error = AcmeAccount::create(&transport, &new, SystemTime::now()).await.unwrap_err();
    assert_eq!(error.next(), AcmeNext::CheckAccount);
}

/// An agent's key, and a gateway's board.
struct House {
    key: PrivateKey,
    board: ChallengeBoard,
}

impl House {
    fn new() -> Self {
        Self { key: new_key(), board: ChallengeBoard::default() }
    }

    fn request(&self) -> adit_tls_modes::ApprovedRequest {
        approve(&[name("app.example")], &self.key)
    }

    async fn signer(&self, played: Played) -> AcmeSigner {
        let opened: Arc<dyn AcmeTransport> = Arc::new(Played::for_key(&self.key));
        let new = NewAcmeAccount::new(DIRECTORY).agree_to_terms(true);
        let account = AcmeAccount::create(&opened, &new, SystemTime::now()).await.unwrap();
        let board = self.board.clone();
        AcmeSigner::builder(account, Arc::new(played), board, KeyGenerator::RING, provider())
            .patience(Duration::from_secs(5))
            .build()
    }

    async fn order(&self, played: Played) -> Result<adit_tls_modes::IssuedCertificate, AcmeError> {
        self.signer(played).await.order(&self.request(), SystemTime::now()).await
    }
}

/// Answers by path. A real authority, in `pebble.rs`, looks at what it is asked; this one shows what we do with answers.
#[derive(Default)]
struct Played {
    answers: HashMap<&'static str, Response<Bytes>>,
    /// Given once, before the others.
    first: Mutex<HashMap<&'static str, Response<Bytes>>>,
}

impl Played {
    /// An authority that certifies `key` for app.example.
    fn for_key(key: &PrivateKey) -> Self {
        let directory = r#"{"newNonce":"https://acme.test/nonce","newAccount":"https://acme.test/new",
            "newOrder":"https://acme.test/order"}"#;
        let mut account = json(201, r#"{"status":"valid"}"#);
        account.headers_mut().insert("location", "https://acme.test/account".parse().unwrap());
        let challenge =
            r#"{"type":"http-01","url":"https://acme.test/challenge","token":"token","status":"pending"}"#;
        Self::default()
            .answer("/directory", json(200, directory))
            .answer("/nonce", json(200, ""))
            .answer("/new", account)
            .answer("/order", order("pending", false))
            .answer("/authz", authorization("pending", "app.example", "http-01"))
            .answer("/challenge", json(200, challenge))
            .answer("/poll", order("valid", true))
            .first("/poll", order("ready", false))
            .answer("/finalize", order("processing", false))
            .answer("/cert", certificate(&[name("app.example")], key))
    }

    fn answer(mut self, path: &'static str, answer: Response<Bytes>) -> Self {
        self.first.get_mut().unwrap().remove(path);
        self.answers.insert(path, answer);
        self
    }

    fn first(mut self, path: &'static str, answer: Response<Bytes>) -> Self {
        self.first.get_mut().unwrap().insert(path, answer);
        self
    }
}

impl AcmeTransport for Played {
    fn send(&self, request: Request<Bytes>) -> AcmeExchange {
        let path = request.uri().path();
        let first = self.first.lock().unwrap().remove(path);
        let answer = first.or_else(|| self.answers.get(path).cloned()).ok_or_else(|| "nobody there".into());
        assert!(
            request.method() != Method::POST || request.headers()["content-type"] == "application/jose+json"
        );
        Box::pin(async move { answer })
    }
}

const PATH: &str = "/.well-known/acme-challenge/token";

fn order(status: &str, is_certified: bool) -> Response<Bytes> {
    let certificate = if is_certified { r#","certificate":"https://acme.test/cert""# } else { "" };
    let mut answer = json(
        201,
        &format!(
            r#"{{"status":"{status}","authorizations":["https://acme.test/authz"],
            "finalize":"https://acme.test/finalize"{certificate}}}"#
        ),
    );
    answer.headers_mut().insert("location", "https://acme.test/poll".parse().unwrap());
    answer
}

fn authorization(status: &str, host: &str, kind: &str) -> Response<Bytes> {
    let challenge = format!(
        r#"{{"type":"{kind}","url":"https://acme.test/challenge","token":"token","status":"pending"}}"#
    );
    authorization_with(status, host, &challenge)
}

fn authorization_with(status: &str, host: &str, challenge: &str) -> Response<Bytes> {
    json(
        200,
        &format!(
            r#"{{"status":"{status}","identifier":{{"type":"dns","value":"{host}"}},"challenges":[{challenge}]}}"#
        ),
    )
}

fn problem_answer(status: u16, kind: &str, retry_after: Option<&str>) -> Response<Bytes> {
    let body =
        format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"words","status":{status}}}"#);
    let mut answer = json(status, &body);
    if let Some(wait) = retry_after {
        answer.headers_mut().insert("retry-after", wait.parse().unwrap());
    }
    answer
}

fn certificate(names: &[ServerName], key: &PrivateKey) -> Response<Bytes> {
    let ca = new_ca();
    let issued = ca.issue(&approve(names, key), Issuance::new(SystemTime::now(), [7; 16])).unwrap();
    let pem: String = issued
        .chain
        .iter()
        .map(|der| {
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                data_encoding::BASE64.encode(der)
            )
        })
        .collect();
    text(200, &pem)
}

fn json(status: u16, body: &str) -> Response<Bytes> {
    let mut answer = text(status, body);
    answer.headers_mut().insert("replay-nonce", "bm9uY2U".parse().unwrap());
    answer
}

fn text(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}
