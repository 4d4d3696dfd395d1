//! Creations that are asked for again: carried out once, charged once, answered alike.
//!
//! What a gateway does in front of its router: the credential first, then the key of the request in `adit-errors`' table, then
//! the account. Nothing here has a clock of its own.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a test"
)]

use adit_errors::idempotency::{
    Answer, Begin, Fingerprint, IdempotencyKey, Limits, NotStored, Principal, Slot, StoreError, Table, Ticket,
};
use adit_errors::{Code, Refusal};
use adit_naming::TunnelId;
use adit_router::{Account, Budget, Cents, Credentials, Grant, KeyId, Role};
use std::collections::HashMap;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const COST: Cents = Cents::new(10);
const MAX_ANSWER_BYTES: usize = 1 << 20;
const ALICE: KeyId = KeyId::from_u128(1);
const BOB: KeyId = KeyId::from_u128(2);

#[test]
fn b08_a_repeat_gets_the_first_answer_and_pays_nothing() {
    let mut desk = Desk::new();
    let first = desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    assert_eq!(desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}"), Outcome::Replayed(first));
    assert_eq!((desk.spent(ALICE), desk.created), (COST, 1));
}

#[test]
fn b09_a_second_before_the_day_is_over_it_is_replayed_and_a_second_behind_it_runs() {
    let mut desk = Desk::new();
    let first = desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    desk.now = DAY - Duration::from_secs(1);
    assert_eq!(desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}"), Outcome::Replayed(first));
    desk.now = DAY + Duration::from_secs(1);
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    assert_eq!(desk.created, 2);
}

#[test]
fn b10_a_key_that_stood_for_something_else_is_a_conflict_and_nothing_is_charged() {
    let mut desk = Desk::new();
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    for (method, path, body) in
        [("POST", "/tunnels", &b"{ }"[..]), ("POST", "/shares", b"{}"), ("PUT", "/tunnels", b"{}")]
    {
        assert_eq!(
            desk.ask(ALICE, b"k", method, path, body),
            Outcome::Refused(Code::IDEMPOTENCY_CONFLICT),
            "{method} {path}"
        );
    }
    assert_eq!((desk.spent(ALICE), desk.created), (COST, 1));
}

#[test]
fn b11_another_tenants_key_is_another_key() {
    let mut desk = Desk::new();
    let ours = desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    let theirs = desk.ask(BOB, b"k", "POST", "/tunnels", b"{}").ran();
    assert_ne!(ours, theirs);
    assert_eq!((desk.spent(ALICE), desk.spent(BOB)), (COST, COST));
}

#[test]
fn b12_a_refusal_for_money_is_not_kept_and_the_same_key_succeeds_once_an_owner_raised_the_cap() {
    let mut desk = Desk::new();
    desk.account(ALICE).set_budget(Role::Owner, Budget::from_cap(Some(Cents::new(9)))).unwrap();
    for _ in 0..3 {
        let refused = desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}");
        assert_eq!(refused, Outcome::Refused(Code::BUDGET_EXCEEDED));
    }
    desk.account(ALICE).set_budget(Role::Owner, Budget::from_cap(Some(COST))).unwrap();
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    assert_eq!((desk.spent(ALICE), desk.created), (COST, 1));
}

#[test]
fn b13_of_50_at_once_one_runs_and_the_others_wait_for_its_answer() {
    let desk = Arc::new(Mutex::new(Desk::new()));
    let all_asked = Arc::new(Barrier::new(50));
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let (desk, all_asked) = (Arc::clone(&desk), Arc::clone(&all_asked));
            thread::spawn(move || {
                let begun = desk.lock().unwrap().begin(ALICE, b"k", "POST", "/tunnels", b"{}");
                // Whoever runs goes on only when everybody has asked.
                all_asked.wait();
                match begun {
                    Begun::Fresh(ticket) => {
                        desk.lock().unwrap().run(ALICE, ticket).ran();
                        1
                    }
                    Begun::Done(Outcome::Refused(code)) => {
                        assert_eq!(code, Code::IDEMPOTENCY_IN_FLIGHT);
                        0
                    }
                    Begun::Done(other) => panic!("{other:?}"),
                }
            })
        })
        .collect();
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>(), 1);
    let mut desk = desk.lock().unwrap();
    assert!(matches!(desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}"), Outcome::Replayed(_)));
    assert_eq!((desk.spent(ALICE), desk.created), (COST, 1));
}

#[test]
fn b14_b15_octets_that_move_from_path_to_body_or_change_their_order_are_another_request() {
    for (first, second) in [
        (("/a", &b"b"[..]), ("/ab", &b""[..])),
        (("/tunnels", br#"{"a":1,"b":2}"#), ("/tunnels", br#"{"b":2,"a":1}"#)),
        (("/tunnels", br#"{"a":1}"#), ("/tunnels", br#"{"a": 1}"#)),
    ] {
        let mut desk = Desk::new();
        desk.ask(ALICE, b"k", "POST", first.0, first.1).ran();
        let again = desk.ask(ALICE, b"k", "POST", second.0, second.1);
        assert_eq!(again, Outcome::Refused(Code::IDEMPOTENCY_CONFLICT), "{second:?}");
    }
}

#[test]
fn b16_an_answer_that_is_too_long_is_not_kept_and_says_so() {
    let long = Answer::new(201, Vec::new(), vec![0; MAX_ANSWER_BYTES + 1], MAX_ANSWER_BYTES);
    assert_eq!(long.unwrap_err(), NotStored::TooLarge { max_bytes: MAX_ANSWER_BYTES });
    let mut desk = Desk::new();
    desk.answer_bytes = MAX_ANSWER_BYTES + 1;
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    // The slot is free: a repeat runs, and pays for what it makes.
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    assert_eq!(desk.created, 2);
}

#[test]
fn b17_what_is_no_key_is_refused_before_anything_is_made() {
    let mut desk = Desk::new();
    for key in [&b""[..], &[b'k'; 256], b"a\x00b", b"a\tb"] {
        assert_eq!(
            desk.ask(ALICE, key, "POST", "/tunnels", b"{}"),
            Outcome::Refused(Code::VALIDATION_FAILED)
        );
    }
    assert!(IdempotencyKey::from_fields([&b"k"[..], b"k"]).is_err(), "two fields");
    assert_eq!((desk.created, desk.table.len()), (0, 0));
}

#[test]
fn b18_a_secret_is_replayed_to_who_got_it_and_to_nobody_else_and_gone_with_the_day() {
    let mut desk = Desk::new();
    let secret = desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    assert_ne!(desk.ask(BOB, b"k", "POST", "/tunnels", b"{}"), Outcome::Replayed(secret));
    assert!(!format!("{:?}", desk.table).contains("secret"), "no log has it");
    assert_eq!(desk.table.poll_timeout(), Some(DAY));
    desk.table.forget_expired(DAY);
    assert!(desk.table.is_empty());
}

#[test]
fn b19_a_revoked_key_is_refused_before_its_answers_are_looked_for() {
    let mut desk = Desk::new();
    desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}").ran();
    desk.credentials.revoke(ALICE);
    assert_eq!(desk.ask(ALICE, b"k", "POST", "/tunnels", b"{}"), Outcome::Refused(Code::FORBIDDEN));
    desk.ask(BOB, b"k", "POST", "/tunnels", b"{}").ran();
}

#[test]
fn b20_a_tenant_that_fills_its_room_is_told_to_wait_and_others_have_theirs() {
    let mut desk = Desk::new();
    let theirs = desk.ask(BOB, b"theirs", "POST", "/tunnels", b"{}").ran();
    for number in 0..MOST_KEYS {
        desk.ask(ALICE, number.to_string().as_bytes(), "POST", "/tunnels", b"{}").ran();
    }
    assert_eq!(desk.ask(ALICE, b"more", "POST", "/tunnels", b"{}"), Outcome::Refused(Code::RATE_LIMITED));
    assert_eq!(desk.ask(BOB, b"theirs", "POST", "/tunnels", b"{}"), Outcome::Replayed(theirs));
    desk.ask(BOB, b"another", "POST", "/tunnels", b"{}").ran();
}

/// How many keys of one tenant are remembered at once.
const MOST_KEYS: usize = 20;

/// Where owners ask for tunnels.
struct Desk {
    credentials: Credentials,
    table: Table,
    accounts: HashMap<KeyId, Account>,
    now: Duration,
    created: u128,
    answer_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ran(Vec<u8>),
    Replayed(Vec<u8>),
    Refused(Code),
}

enum Begun {
    Fresh(Ticket),
    Done(Outcome),
}

impl Outcome {
    /// The answer, with the secret that it shows, of a request that was carried out.
    fn ran(self) -> Vec<u8> {
        match self {
            Self::Ran(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}

impl Desk {
    fn new() -> Self {
        let mut credentials = Credentials::new();
        let mut accounts = HashMap::new();
        for key in [ALICE, BOB] {
            credentials.add_master(key).unwrap();
            accounts.insert(key, Account::new(Grant::new().tunnel_quota(100), SystemTime::UNIX_EPOCH));
        }
        let table = Table::new(Limits::new().with_max_entries_per_principal(MOST_KEYS));
        Self { credentials, table, accounts, now: Duration::ZERO, created: 0, answer_bytes: 0 }
    }

    fn account(&mut self, by: KeyId) -> &mut Account {
        self.accounts.get_mut(&by).unwrap()
    }

    fn spent(&mut self, by: KeyId) -> Cents {
        self.account(by).spent()
    }

    fn ask(&mut self, by: KeyId, key: &[u8], method: &str, path: &str, body: &[u8]) -> Outcome {
        match self.begin(by, key, method, path, body) {
            Begun::Fresh(ticket) => self.run(by, ticket),
            Begun::Done(outcome) => outcome,
        }
    }

    fn begin(&mut self, by: KeyId, key: &[u8], method: &str, path: &str, body: &[u8]) -> Begun {
        if self.credentials.kind(by).is_none() {
            return Begun::Done(Outcome::Refused(Code::FORBIDDEN));
        }
        let Ok(key) = IdempotencyKey::parse(key) else {
            return Begun::Done(Outcome::Refused(Code::VALIDATION_FAILED));
        };
        let slot = Slot::new(Principal::new(format!("{by:?}")).unwrap(), key);
        match self.table.begin(self.now, &slot, &Fingerprint::of(method, path, body)) {
            Ok(Begin::Fresh { ticket }) => Begun::Fresh(ticket),
            Ok(Begin::Replay { answer }) => Begun::Done(Outcome::Replayed(answer.body().to_vec())),
            Ok(other) => Begun::Done(Outcome::Refused(other.refusal().unwrap().code().clone())),
            Err(StoreError::Quota { .. }) => Begun::Done(Outcome::Refused(Code::RATE_LIMITED)),
            Err(other) => panic!("{other}"),
        }
    }

    fn run(&mut self, by: KeyId, ticket: Ticket) -> Outcome {
        let at = SystemTime::UNIX_EPOCH + self.now;
        let tunnel = TunnelId::from_u128(self.created);
        let account = self.accounts.get_mut(&by).unwrap();
        let reserved = account.reserve(tunnel, COST, DAY, at);
        if let Err(error) = reserved.and_then(|reservation| account.commit(&reservation, at)) {
            self.table.abandon(self.now, ticket);
            return Outcome::Refused(Refusal::from(&error).code().clone());
        }
        self.created += 1;
        let mut body = format!("secret {}", self.created).into_bytes();
        body.resize(body.len().max(self.answer_bytes), b' ');
        match Answer::new(201, Vec::new(), body.clone(), MAX_ANSWER_BYTES) {
            Ok(answer) => self.table.complete(self.now, ticket, answer).unwrap(),
            Err(_) => self.table.abandon(self.now, ticket),
        }
        Outcome::Ran(body)
    }
}
