//! The owner's API: credentials with budgets, idempotent creation, webhook receivers, waking.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::Terms;
use adit_examples::gateway::WakeHook;
use adit_router::{Cents, Receiver, WakeLimits};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Agent, Greeter, World, get, http_tunnel, raw, read_head};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

#[tokio::test]
async fn the_api_is_closed_to_all_but_the_owner() {
    let world = World::start().await;
    let raw_get = b"GET /tunnels HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
    let admin = tokio::net::TcpStream::connect(world.gateway.admin_address()).await.unwrap();
    let refused = raw(admin, raw_get).await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("missing_bearer"), "{refused}");
    for (token, expected) in [("ada_wrong", 401), (world.secret.as_str(), 403)] {
        let (status, _, answer) = world.api_as(token, &[], "GET", "/tunnels", Value::Null).await;
        assert_eq!(status, expected, "{answer}");
    }
    assert_eq!(world.api("GET", "/tunnels", Value::Null).await, (200, json!({ "tunnels": [] })));
    assert_eq!(world.api("GET", "/nothing", Value::Null).await.1["error"], "NOT_FOUND");
}

#[tokio::test]
async fn b02_b03_b07_w25_an_agent_over_its_budget_stops_and_asks_a_person_and_only_an_owner_raises_it() {
    let world = World::start_with(|config, _| config.tunnel_price = Cents::new(100)).await;
    let upstream = Greeter::start("a").await;
    let mint = json!({ "name": "ci", "ttlHours": 1, "tunnelQuota": 10, "monthlyBudgetUsdCents": 100 });
    let (status, token) = world.api("POST", "/tokens", mint).await;
    assert_eq!(status, 201, "{token}");
    let (id, key) = (token["id"].as_str().unwrap(), token["apiKey"].as_str().unwrap());
    Agent::start(http_tunnel(upstream.address, "first"), world.link(), key).serving().await;
    let mut second = Agent::start(http_tunnel(upstream.address, "second"), world.link(), key);
    let (code, next_action) = second.stopped().await;
    assert_eq!(code, "BUDGET_EXCEEDED");
    assert!(next_action.starts_with("REQUEST_HUMAN_APPROVAL"), "{next_action}");
    assert!(raw(world.http().await, &get(&world.host("first"))).await.ends_with('a'), "the first goes on");

    let path = format!("/tokens/{id}/budget");
    let more = json!({ "monthlyBudgetUsdCents": 200 });
    let (status, _, answer) = world.api_as(key, &[], "PUT", &path, more.clone()).await;
    assert_eq!((status, answer["error"].as_str()), (403, Some("FORBIDDEN")), "an agent raises nothing");
    for wrong in [json!({}), json!({ "monthlyBudgetUsdCents": -1 }), json!({ "monthlyBudgetUsdCents": 1.5 })]
    {
        assert_eq!(world.api("PUT", &path, wrong).await.0, 400);
    }
    let (_, raised) = world.api("PUT", &path, more).await;
    assert_eq!((&raised["monthlyBudgetUsdCents"], &raised["spentUsdCents"]), (&json!(200), &json!(100)));
    Agent::start(http_tunnel(upstream.address, "second"), world.link(), key).serving().await;
}

#[tokio::test]
async fn b08_b10_a_repeated_creation_gets_the_first_answer_and_makes_one_tunnel() {
    let world = World::start().await;
    let owner = world.gateway.fresh_admin_token().unwrap().to_owned();
    let create = async |name: &str| {
        let body = json!({ "subdomain": name, "policy": { "auth_mode": "authenticated" } });
        world.api_as(&owner, &[("idempotency-key", "k-1")], "POST", "/tunnels", body).await
    };
    let (status, head, first) = create("my-app").await;
    assert_eq!((status, head.contains("x-idempotent-replay")), (201, false));
    assert!(first["auth_token"].as_str().unwrap().starts_with("adv_"));
    let (status, head, second) = create("my-app").await;
    assert_eq!((status, second), (201, first));
    assert!(head.contains("x-idempotent-replay: true"), "{head}");
    let (status, _, conflict) = create("other").await;
    assert_eq!((status, conflict["error"].as_str()), (409, Some("IDEMPOTENCY_CONFLICT")));
    let (status, taken) = world.api("POST", "/tunnels", json!({ "subdomain": "my-app" })).await;
    assert_eq!((status, taken["next_action"].as_str()), (409, Some("CHOOSE_DIFFERENT_SUBDOMAIN")), "{taken}");
    assert_eq!(world.api("GET", "/tunnels/my-app", Value::Null).await.1["auth_token"], Value::Null);
}

#[tokio::test]
async fn b18_b19_an_answer_is_replayed_to_who_got_it_and_who_may_not_ask_is_told_so_first() {
    let world = World::start().await;
    let owner = world.gateway.fresh_admin_token().unwrap().to_owned();
    let key = [("idempotency-key", "mint-1")];
    let mint =
        async |token: &str| world.api_as(token, &key, "POST", "/tokens", json!({ "name": "ci" })).await;
    let (status, _, first) = mint(&owner).await;
    assert_eq!(status, 201);
    let agents = first["apiKey"].as_str().unwrap().to_owned();
    for (token, expected) in [(agents.as_str(), 403), (world.secret.as_str(), 403), ("ada_wrong", 401)] {
        let (status, head, answer) = mint(token).await;
        assert_eq!(status, expected, "{answer}");
        assert!(!head.contains("x-idempotent-replay") && !answer.to_string().contains(&agents), "{answer}");
    }
    let (status, head, again) = mint(&owner).await;
    assert!(head.contains("x-idempotent-replay: true"), "{head}");
    assert_eq!((status, again), (201, first.clone()));
    // Revoked in between: not even what it was told before.
    let id = first["id"].as_str().unwrap();
    assert_eq!(world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await.0, 200);
    assert_eq!(mint(&agents).await.0, 401);
}

#[tokio::test]
async fn a_creation_that_fails_leaves_the_name_to_the_next_try() {
    let world = World::start().await;
    let too_long = json!({ "name": "my-app", "metadata": { "note": "x".repeat(17 * 1024) } });
    assert_eq!(world.api("POST", "/tunnels", too_long).await.0, 400);
    let (status, made) = world.api("POST", "/tunnels", json!({ "name": "my-app" })).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn bodies_of_strangers_have_a_room_together_and_who_finds_none_is_told_when_to_come_again() {
    let world = World::start_with(|config, _| config.max_body_bytes = 64 * 1024).await;
    let new = json!({ "validator": "github", "secret": "s", "name": "pushes" });
    let (_, receiver) = world.api("POST", "/webhook-receivers", new).await;
    let deliver = async |id: &str, length: usize| {
        let head = format!(
            "POST /webhooks/{id} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
            world.host("webhooks"),
        );
        raw(world.http().await, [head.as_bytes(), &vec![b'x'; length]].concat().as_slice()).await
    };
    let id = receiver["id"].as_str().unwrap();
    for id in [id, &"0".repeat(32)] {
        let refused = deliver(id, 65 * 1024).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");
    }
    // Nothing is left of them in the room.
    for _ in 0..3 {
        let taken = deliver(id, 60 * 1024).await;
        assert!(taken.starts_with("HTTP/1.1 202"), "{taken}");
    }
}

#[tokio::test]
async fn n13_of_two_who_create_one_name_at_once_one_is_told_201() {
    let world = Arc::new(World::start().await);
    let mut creating = JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        creating.spawn(async move { world.api("POST", "/tunnels", json!({ "name": "my-app" })).await.0 });
    }
    let mut statuses = creating.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_tunnel_whose_time_is_over_is_gone() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let terms = Terms { ttl: Some(Duration::from_secs(2)), ..Terms::default() };
    let mut agent = world.agent_on(http_tunnel(upstream.address, "my-app"), terms);
    agent.serving().await;
    assert!(raw(world.http().await, &get(&world.host("my-app"))).await.ends_with('a'));
    let gone = async {
        while world.api("GET", "/tunnels/my-app", Value::Null).await.1["status"] != "delete_pending" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, gone).await.expect("it lives on");
    assert!(raw(world.http().await, &get(&world.host("my-app"))).await.starts_with("HTTP/1.1 404"));
    assert_eq!(world.api("POST", "/tunnels/my-app/restore", Value::Null).await.0, 410);
}

#[tokio::test]
async fn g01_g02_g12_g23_deliveries_are_judged_kept_and_polled_for() {
    let world = World::start().await;
    let new = json!({ "validator": "github", "secret": "It's a Secret to Everybody", "name": "pushes" });
    let (status, receiver) = world.api("POST", "/webhook-receivers", new).await;
    assert_eq!(status, 201, "{receiver}");
    let (id, url) = (receiver["id"].as_str().unwrap(), receiver["url"].as_str().unwrap());
    assert!(url.ends_with(&format!("/webhooks/{id}")), "{url}");
    let deliver = async |id: &str, body: &str, fields: &str| {
        let head = format!(
            "POST /webhooks/{id} HTTP/1.1\r\nhost: {}\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n",
            world.host("webhooks"),
            body.len()
        );
        raw(world.http().await, format!("{head}{body}").as_bytes()).await
    };
    let signed = format!("x-hub-signature-256: {SIGNATURE}\r\nx-github-delivery: d-1\r\n");
    for body in ["Hello, World!", "Hello, World!", "Hello, Moon!"] {
        let reply = deliver(id, body, &signed).await;
        assert!(reply.starts_with("HTTP/1.1 202"), "signed or not: {reply}");
    }
    let unknown = deliver(&"0".repeat(32), "Hello, World!", &signed).await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");

    let (_, events) =
        world.api("GET", &format!("/webhook-receivers/{id}/events?limit=50"), Value::Null).await;
    let told = |event: &Value| (event["signature_valid"].clone(), event["duplicate"].clone());
    let told: Vec<_> = events.as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, [(json!(true), json!(false)), (json!(true), json!(true)), (json!(false), json!(false))]);
    assert_eq!(events[0]["body_base64"], "SGVsbG8sIFdvcmxkIQ==");
    let cursor = &events[1]["received_at"];
    let (_, rest) =
        world.api("GET", &format!("/webhook-receivers/{id}/events?since={cursor}"), Value::Null).await;
    assert_eq!(rest.as_array().unwrap().len(), 1);
    for wrong in [
        json!({ "validator": "dodo", "secret": "x" }),
        json!({ "validator": "github", "secret": "" }),
        json!({ "validator": "generic_hmac_sha256", "secret": "x" }),
    ] {
        let (status, answer) = world.api("POST", "/webhook-receivers", wrong).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("VALIDATION_FAILED")), "g08");
    }
    assert_eq!(world.api("DELETE", &format!("/webhook-receivers/{id}"), Value::Null).await.0, 200);
    let deleted = deliver(id, "Hello, World!", &signed).await;
    assert!(deleted.starts_with("HTTP/1.1 404"), "{deleted}");
    let body =
        |reply: &str| -> Value { serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap() };
    let (mut deleted, mut unknown) = (body(&deleted), body(&unknown));
    for answer in [&mut deleted, &mut unknown] {
        answer["request_id"].take();
    }
    assert_eq!(deleted, unknown, "one that was and one that never was are told alike");
}

#[tokio::test]
async fn g10_g11_a_signature_is_over_the_octets_between_both_codings_and_over_25_mib_at_most() {
    let world = World::start().await;
    let new = json!({ "validator": "github", "secret": "It's a Secret to Everybody" });
    let (_, receiver) = world.api("POST", "/webhook-receivers", new).await;
    let id = receiver["id"].as_str().unwrap();
    let head = format!(
        "POST /webhooks/{id} HTTP/1.1\r\nhost: {}\r\nx-hub-signature-256: {SIGNATURE}\r\nconnection: close\r\n",
        world.host("webhooks")
    );
    let chunked = format!(
        "{head}content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n6\r\nHello,\r\n7\r\n World!\r\n0\r\n\r\n"
    );
    let reply = raw(world.http().await, chunked.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 202"), "{reply}");
    let (_, events) = world.api("GET", &format!("/webhook-receivers/{id}/events"), Value::Null).await;
    assert_eq!(events[0]["signature_valid"], true, "{events}");
    assert_eq!(events[0]["headers"]["content-encoding"], "gzip");

    let length = Receiver::MAX_BODY_BYTES + 1;
    let mut visitor = world.http().await;
    visitor.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    // The gateway may answer and close before it has all of it.
    let _ = visitor.write_all(&vec![b'x'; length]).await;
    let refused = read_head(&mut visitor).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    let (_, events) = world.api("GET", &format!("/webhook-receivers/{id}/events"), Value::Null).await;
    assert_eq!(events.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn g24_a_flood_without_signature_is_told_to_wait_and_pushes_out_nothing() {
    let world = World::start().await;
    let new = json!({ "validator": "github", "secret": "It's a Secret to Everybody" });
    let (_, receiver) = world.api("POST", "/webhook-receivers", new).await;
    let id = receiver["id"].as_str().unwrap();
    let delivery = |signature: &str, connection: &str| {
        format!(
            "POST /webhooks/{id} HTTP/1.1\r\nhost: {}\r\n{signature}connection: {connection}\r\n\
             content-length: 13\r\n\r\nHello, World!",
            world.host("webhooks")
        )
    };
    let signed = delivery(&format!("x-hub-signature-256: {SIGNATURE}\r\n"), "close");
    assert!(raw(world.http().await, signed.as_bytes()).await.starts_with("HTTP/1.1 202"));
    // All on one connection, one behind the other; the minute begins with the first of them.
    let flood = delivery("", "keep-alive").repeat(149) + &delivery("", "close");
    let replies = raw(world.http().await, flood.as_bytes()).await;
    let count = |status: &str| replies.matches(&format!("HTTP/1.1 {status}")).count();
    assert_eq!((count("202"), count("429")), (60, 90));
    assert_eq!(replies.to_ascii_lowercase().matches("\r\nretry-after: ").count(), 90);
    let signed = raw(world.http().await, signed.as_bytes()).await;
    assert!(signed.starts_with("HTTP/1.1 202"), "who signs isn't held: {signed}");
    let (_, events) =
        world.api("GET", &format!("/webhook-receivers/{id}/events?limit=200"), Value::Null).await;
    let events = events.as_array().unwrap();
    assert_eq!(events.len(), 62);
    assert_eq!(events.iter().filter(|event| event["signature_valid"] == true).count(), 2);
}

#[tokio::test]
async fn visitors_of_a_sleeping_machine_wake_it_once_and_are_served() {
    let (asked, calls) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
    let (tell, mut woken) = tokio::sync::mpsc::unbounded_channel();
    *asked.lock().unwrap() = Some(tell);
    let count = Arc::clone(&calls);
    let hook = WakeHook::new(move |name: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = asked.lock().unwrap().as_ref().unwrap().send(name.to_owned());
    });
    let world = Arc::new(World::start_with(|config, _| config.wake = Some(hook)).await);
    let upstream = Greeter::start("awake").await;
    let terms = Terms { wake_on_http: true, ..Terms::default() };
    let mut agent = world.agent_on(http_tunnel(upstream.address, "my-app"), terms.clone());
    agent.serving().await;
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    let mut visitors = JoinSet::new();
    for _ in 0..10 {
        let world = Arc::clone(&world);
        visitors.spawn(async move { raw(world.http().await, &get(&world.host("my-app"))).await });
    }
    assert_eq!(woken.recv().await.unwrap(), "my-app");
    let mut agent = world.agent_on(http_tunnel(upstream.address, "my-app"), terms);
    agent.serving().await;
    for reply in visitors.join_all().await {
        assert!(reply.ends_with("awake"), "{reply}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_cannot_be_held_is_told_when_to_come_back() {
    let hook = WakeHook::new(|_| {});
    let limits = WakeLimits::new().max_held(1).hold(Duration::from_millis(200));
    let world = World::start_with(|config, _| {
        config.wake = Some(hook);
        config.wake_limits = limits;
    })
    .await;
    let create = json!({ "name": "my-app", "policy": { "wake_on_http": true } });
    assert_eq!(world.api("POST", "/tunnels", create).await.0, 201);
    let visit = async || raw(world.http().await, &get(&world.host("my-app"))).await;
    let (one, other) = tokio::join!(visit(), visit());
    for reply in [one, other] {
        assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("TUNNEL_WAKING"), "{reply}");
        assert!(reply.contains("retry-after: 1\r\n"), "{reply}");
    }
}

/// GitHub's documented example, of `Hello, World!`.
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
