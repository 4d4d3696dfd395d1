//! X-06: a marked secret is pushed through every way in, and looked for in everything that comes out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use adit_errors::{
    Code, Format, Hidden, NextAction, Refusal, Reply, RequestId, Style, check_request_length, read_request,
};

const CANARY: &str = "s3cr3t-canary";

#[test]
fn x06_no_cause_reaches_body_field_or_debug() {
    let io = std::io::Error::other(format!("open /etc/{CANARY}/key.pem"));
    let chain: Box<dyn std::error::Error + Send + Sync> = Box::new(Wrapped(Box::new(Wrapped(Box::new(io)))));
    let hidden = Hidden::new(chain);
    let mut shown = format!("{hidden} {hidden:?} {hidden:#?}");
    let mut source = std::error::Error::source(&hidden);
    while let Some(error) = source {
        shown.push_str(&format!("{error} {error:?}"));
        source = error.source();
    }
    shown.push_str(&everything(Refusal::from(hidden)));
    assert_clean(&shown);
}

#[test]
fn x06_what_is_no_code_action_or_id_is_not_quoted() {
    let bad = format!("{CANARY}!");
    assert_clean(&format!("{:?}", Code::parse(&bad)));
    assert_clean(&Code::parse(&bad).unwrap_err().to_string());
    assert_clean(&NextAction::parse(&bad).unwrap_err().to_string());
    assert_clean(&format!("{:?} {}", RequestId::parse(&bad), RequestId::parse(&bad).unwrap_err()));
    assert_clean(RequestId::echo_or_random(Some(bad.as_bytes()), 1).as_str());
    assert_clean(&format!("{:?}", Style::new().with_proxy_name(format!("{bad} "))));
    assert_clean(&format!("{:?}", Style::new().with_problem_base(format!("<{bad}"))));
}

#[test]
fn x06_a_request_body_is_not_quoted() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only its type matters")]
        port: u16,
    }
    let bodies = [
        format!(r#"{{"{CANARY}":1}}"#),
        format!(r#"{{"port":"{CANARY}"}}"#),
        format!(r#"{{"port":1,"{CANARY}":1,"{CANARY}":1}}"#),
        format!(r#"{{"port":1}} {CANARY}"#),
        CANARY.to_owned(),
    ];
    for body in bodies {
        assert_clean(&everything(read_request::<Body>(body.as_bytes(), 1000).unwrap_err()));
    }
    assert_clean(&everything(check_request_length(1001, 1000).unwrap_err()));
}

#[test]
fn x06_an_answer_that_is_no_envelope_is_not_quoted() {
    let bodies = [
        format!("<html>{CANARY}</html>"),
        format!(r#"{{"error":{{"password":"{CANARY}"}}}}"#),
        format!(r#"{{"password":"{CANARY}"}}"#),
        format!(r#"{{"error":"{CANARY}!","next_action":"{CANARY}!","request_id":"{CANARY}!"}}"#),
        format!(r#"["{CANARY}"]"#),
    ];
    for body in bodies {
        let reply = Reply::parse(502, body.as_bytes())
            .with_proxy_status_field(format!("x; details=\"{CANARY}\"; adit-source={CANARY}").as_bytes())
            .with_retry_after_field(CANARY.as_bytes())
            .with_request_id_field(format!("{CANARY}!").as_bytes());
        assert_clean(&format!("{reply:?}"));
        assert_clean(&everything(reply.into_refusal()));
    }
}

#[test]
fn x06_a_panic_does_not_quote() {
    let panic = std::panic::catch_unwind(|| Code::from_static("s3cr3t-canary!")).unwrap_err();
    assert_clean(panic.downcast_ref::<&str>().unwrap());
}

#[cfg(feature = "idempotency")]
#[test]
fn x06_b18_keys_principals_and_answers_are_not_shown() {
    use adit_errors::idempotency::{
        Answer, Begin, Fingerprint, IdempotencyKey, Limits, MemoryStore, Principal, Slot, Table,
    };
    use std::time::Duration;

    let key = IdempotencyKey::parse(CANARY.as_bytes()).unwrap();
    let slot = Slot::new(Principal::new(CANARY).unwrap(), key);
    let fingerprint = Fingerprint::of("POST", CANARY, CANARY.as_bytes());
    let mut table = Table::new(Limits::new());
    let begin = table.begin(Duration::ZERO, &slot, &fingerprint).unwrap();
    assert_clean(&format!("{begin:?} {slot:?} {fingerprint:?} {table:?}"));
    let Begin::Fresh { ticket } = begin else { panic!("the table is empty") };
    let fields = vec![("set-cookie".to_owned(), CANARY.as_bytes().to_vec())];
    let answer = Answer::new(201, fields, CANARY.as_bytes().to_vec(), 1000).unwrap();
    assert_clean(&format!("{answer:?}"));
    table.complete(Duration::ZERO, ticket, answer).unwrap();
    let replay = table.begin(Duration::ZERO, &slot, &fingerprint).unwrap();
    assert_clean(&format!("{replay:?} {table:?} {:?}", MemoryStore::new(Limits::new())));
    for bad in [format!("{CANARY},"), format!("\"{CANARY}")] {
        assert_clean(&everything(IdempotencyKey::parse(bad.as_bytes()).unwrap_err().into()));
    }
    assert_clean(&format!("{:?}", Principal::new(CANARY.repeat(100))));
    let large = Answer::new(200, vec![], CANARY.repeat(100).into_bytes(), 10).unwrap_err();
    assert_clean(&format!("{large} {large:?}"));
}

/// All that a refusal can become.
fn everything(refusal: Refusal) -> String {
    let mut shown = format!("{refusal} {refusal:?} {refusal:#?}");
    let envelope = refusal.with_request_id(RequestId::from_random(1));
    shown.push_str(&format!("{envelope} {envelope:?}"));
    for format in [Format::Json, Format::Problem, Format::Plain] {
        let style = Style::new().with_format(format);
        shown.push_str(&String::from_utf8(envelope.to_body(&style)).unwrap());
        shown.push_str(&format!("{:?}", envelope.fields(&style)));
    }
    shown
}

#[track_caller]
fn assert_clean(shown: &str) {
    assert!(!shown.contains("canary"), "{shown}");
}

#[derive(Debug)]
struct Wrapped(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{CANARY}")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
