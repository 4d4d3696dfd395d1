//! A client that sends one request until its answers say otherwise, against a server that gets better:
//! `cargo run -p adit-errors --example retry`.

use std::time::Duration;

use adit_errors::{Attempt, Decision, Reply, RetryPolicy};

fn main() {
    let policy = RetryPolicy::new();
    let mut elapsed = Duration::ZERO;
    for (number, (status, body)) in (1..).zip(ANSWERS) {
        if status < 400 {
            println!("attempt {number}: {status}, after {elapsed:?}");
            return;
        }
        let reply = Reply::parse(status, body.as_bytes());
        println!("attempt {number}: {}", reply.refusal());
        // A real client takes the time from a clock, and the number from a generator.
        let attempt =
            Attempt::first().with_number(number).with_elapsed(elapsed).with_random(DICE).idempotent();
        match policy.decide(reply.refusal(), &attempt) {
            Decision::Retry { action, after } => {
                println!("  {action}: waiting {after:?}");
                elapsed += after;
            }
            Decision::Change { action } => println!("  changing the request: {action}"),
            Decision::Stop { tell, reason } => return println!("  stopping ({reason:?}), telling {tell}"),
            other => return println!("  not known here: {other:?}"),
        }
    }
}

const ANSWERS: [(u16, &str); 5] = [
    (502, "<html>502 Bad Gateway</html>"),
    (503, r#"{"error":"DRAINING","message":"redeploying","next_action":"RECONNECT","request_id":"a1"}"#),
    (
        409,
        r#"{"error":"SUBDOMAIN_TAKEN","message":"taken","next_action":"CHOOSE_DIFFERENT_SUBDOMAIN","request_id":"a2"}"#,
    ),
    (429, r#"{"error":"too_fast","message":"slow down","retry_after_ms":1500}"#),
    (201, ""),
];

const DICE: u64 = 0x5eed_5eed_5eed_5eed;
