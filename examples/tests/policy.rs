//! What owners decide about visitors: enforced on requests that come, and on streams that run.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Event, Terms, Tunnel};
use adit_examples::gateway::Clock;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use support::streaming::{self, CLOSED_WITHIN, Mirror, Ticker, serve};
use support::{Agent, Greeter, World, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a01_a07_an_authenticated_tunnel_lets_in_by_the_token_and_keeps_it_to_itself() {
    let world = World::start().await;
    let upstream = Mirror::start().await;
    let mut agent = world.agent_on(http_tunnel(upstream, "my-app"), authenticated());
    let token = visitor_token(&mut agent).await;
    let without = visit(&world, "").await;
    assert!(without.starts_with("HTTP/1.1 401"), "{without}");
    assert!(without.contains("www-authenticate: Bearer") && without.contains("missing_bearer"), "{without}");
    for name in ["X-Adit-Authorization", "X-Runloop-Tunnel-Authorization"] {
        let with = visit(&world, &format!("{name}: Bearer {token}\r\n")).await;
        assert!(with.starts_with("HTTP/1.1 200"), "{with}");
        assert!(!with.to_lowercase().contains(&name.to_lowercase()), "the upstream was shown {with}");
    }
}

#[tokio::test]
async fn a09_a_revoked_token_lets_nobody_in_and_ends_running_streams() {
    let world = World::start().await;
    let upstream = Ticker::start().await;
    let mut agent = world.agent_on(http_tunnel(upstream, "my-app"), authenticated());
    let token = visitor_token(&mut agent).await;
    let field = format!("x-adit-authorization: Bearer {token}\r\n");
    let stream = Streaming::start(&world, &field).await;
    let (status, rotated) = world.api("POST", "/tunnels/my-app/rotate-token", Value::Null).await;
    assert_eq!(status, 200, "{rotated}");
    assert!(visit(&world, &field).await.starts_with("HTTP/1.1 401"));
    stream.ends_cut_off().await;
    let fresh = format!("x-adit-authorization: Bearer {}\r\n", rotated["auth_token"].as_str().unwrap());
    Streaming::start(&world, &fresh).await;
}

#[tokio::test]
async fn a12_a15_a_revoked_share_ends_what_was_upgraded_by_it() {
    let world = World::start().await;
    let upstream = Upgrader::start().await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo", "expiresIn": "1h", "allowedMethods": ["GET"] })).await;
    let key = share["shareUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    let mut visitor = world.http().await;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\nx-adit-share: {key}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        world.host("my-app")
    );
    visitor.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = [0; 1024];
    let length = visitor.read(&mut head).await.unwrap();
    assert!(head[..length].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head[..length]));
    visitor.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    visitor.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    let path = format!("/tunnels/my-app/shares/{}", share["id"].as_str().unwrap());
    assert_eq!(world.api("DELETE", &path, Value::Null).await.0, 200);
    let end = tokio::time::timeout(CLOSED_WITHIN, visitor.read_to_end(&mut Vec::new())).await;
    drop(end.expect("the stream goes on"));
}

#[tokio::test]
async fn a15_a_revoked_share_ends_a_body_in_its_midst() {
    let world = World::start().await;
    let upstream = Ticker::start().await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo" })).await;
    let link = share["shareUrl"].as_str().unwrap();
    let path = &link[link.find("/.adit/").unwrap()..];
    let entered = raw(world.http().await, &request(&world, path, "")).await;
    assert!(entered.starts_with("HTTP/1.1 303") && entered.contains("location: /"), "{entered}");
    let cookie = entered.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let field = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    let stream = Streaming::start(&world, &field).await;
    let path = format!("/tunnels/my-app/shares/{}", share["id"].as_str().unwrap());
    assert_eq!(world.api("DELETE", &path, Value::Null).await.0, 200);
    stream.ends_cut_off().await;
    assert!(visit(&world, &field).await.starts_with("HTTP/1.1 404"));
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a11_a13_a_shares_methods_and_rate_are_kept() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo", "allowedMethods": ["GET"], "rateLimit": 2 })).await;
    let key = share["shareUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let post = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\nx-adit-share: {key}\r\nconnection: close\r\n\r\n",
        world.host("my-app")
    );
    let refused = raw(world.http().await, post.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"), "{refused}");
    let field = format!("x-adit-share: {key}\r\n");
    for expected in ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 429"] {
        let reply = visit(&world, &field).await;
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert!(visit(&world, &field).await.contains("retry-after: "), "with a hint");
    for wrong in [json!({ "name": "x", "rateLimit": 1001 }), json!({ "name": "x", "expiresIn": "2h" })] {
        let (status, answer) = world.api("POST", "/tunnels/my-app/shares", wrong).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("VALIDATION_FAILED")));
    }
}

#[tokio::test]
async fn a10_a_share_ends_by_the_gateways_clock_and_stays_ended() {
    let passed = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&passed);
    let clock = Clock::new(move || SystemTime::now() + Duration::from_secs(shown.load(Ordering::SeqCst)));
    let world = World::start_with(|config, _| config.clock = clock).await;
    let upstream = Greeter::start("a").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo", "expiresIn": "24h" })).await;
    let key = share["shareUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let field = format!("x-adit-share: {key}\r\n");
    let day = 86_400;
    // Half an hour before its end, for machines that are slow; an hour after; and the clock set back.
    for (seconds, expected) in
        [(day - 1800, "HTTP/1.1 200"), (day + 1800, "HTTP/1.1 404"), (0, "HTTP/1.1 404")]
    {
        passed.store(seconds, Ordering::SeqCst);
        let reply = visit(&world, &field).await;
        assert!(reply.starts_with(expected), "after {seconds} s: {reply}");
    }
}

#[tokio::test]
async fn a13_of_100_at_once_under_60_a_minute_60_pass_and_the_others_are_told_when_to_come_back() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo", "rateLimit": 60 })).await;
    let key = share["shareUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let field = format!("x-adit-share: {key}\r\n");
    let start = Instant::now();
    let replies = futures_util::future::join_all((0..100).map(|_| visit(&world, &field))).await;
    // One more for each second that it took.
    let most = 61 + usize::try_from(start.elapsed().as_secs()).unwrap();
    let passed = replies.iter().filter(|reply| reply.starts_with("HTTP/1.1 200")).count();
    assert!((60..=most).contains(&passed), "{passed} passed, of at most {most}");
    let refused = replies.iter().filter(|reply| !reply.starts_with("HTTP/1.1 200"));
    for reply in refused {
        assert!(reply.starts_with("HTTP/1.1 429") && reply.contains("retry-after: "), "{reply}");
    }
}

#[tokio::test]
async fn a17_links_of_shares_are_distinct_and_do_not_follow_from_each_other() {
    let world = World::start().await;
    world.api("POST", "/tunnels", json!({ "name": "my-app" })).await;
    let mut keys = Vec::new();
    for _ in 0..100 {
        let share = share(&world, json!({ "name": "demo" })).await;
        let (link, id) = (share["shareUrl"].as_str().unwrap(), share["id"].as_str().unwrap());
        let key = link.rsplit('/').next().unwrap();
        assert_eq!(key.len(), 32);
        assert!(!id.contains(key), "what is listed is not what lets in");
        keys.push(u128::from_str_radix(key, 16).unwrap());
    }
    keys.sort_unstable();
    // Of 100 random numbers of 128 bits two are that near once in 2^51 runs; counters and clocks always are.
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] > 1 << 64), "{keys:x?}");
    let all = keys.iter().fold((0, u128::MAX), |(any, all), key| (any | key, all & key));
    assert_eq!(all, (u128::MAX, 0), "each bit is used");
}

#[tokio::test]
async fn a_share_is_a_link_by_http_and_refused_where_nobody_reads_requests() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let auto = |name: &str| Tunnel::Auto {
        upstream: upstream.address.into(),
        name: Some(name.to_owned()),
        public_port: None,
    };
    world.agent(auto("my-app")).serving().await;
    close(&world, json!({ "auth_mode": "shares" })).await;
    let share = share(&world, json!({ "name": "demo" })).await;
    let link = share["shareUrl"].as_str().unwrap();
    assert!(link.starts_with(&format!("http://{}:", world.host("my-app"))), "{link}");
    let field = format!("x-adit-share: {}\r\n", link.rsplit('/').next().unwrap());
    assert!(visit(&world, &field).await.ends_with('a'));
    for (name, new) in [
        ("my-port", json!({ "protocol": "tcp" })),
        ("my-vault", json!({ "protocol": "https" })),
        ("my-own", json!({ "visibility": "private" })),
    ] {
        let mut new = new;
        new["name"] = json!(name);
        assert_eq!(world.api("POST", "/tunnels", new).await.0, 201);
        let path = format!("/tunnels/{name}/shares");
        let (status, answer) = world.api("POST", &path, json!({ "name": "demo" })).await;
        assert_eq!((status, answer["error"].as_str()), (409, Some("CONFLICT")), "{name}: {answer}");
        assert_eq!(world.api("GET", &path, Value::Null).await.1, json!([]));
    }
}

#[tokio::test]
async fn a_paused_tunnel_lets_streams_finish_and_a_deleted_one_does_not_until_it_is_restored() {
    let world = World::start().await;
    let upstream = Ticker::start().await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    let mut stream = Streaming::start(&world, "").await;
    let command = async |method: &str, path: &str| world.api(method, path, Value::Null).await;
    assert_eq!(command("POST", "/tunnels/my-app/pause").await.1["status"], "paused");
    let paused = visit(&world, "").await;
    assert!(paused.starts_with("HTTP/1.1 503") && paused.contains("TUNNEL_PAUSED"), "{paused}");
    stream.goes_on().await;
    assert_eq!(command("POST", "/tunnels/my-app/resume").await.1["status"], "active");
    let (_, deleted) = command("DELETE", "/tunnels/my-app").await;
    assert_eq!(deleted["status"], "delete_pending");
    stream.ends_cut_off().await;
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 404"));
    let (status, taken) = world.api("POST", "/tunnels", json!({ "subdomain": "my-app" })).await;
    assert_eq!(status, 409, "the name is held for 24 hours: {taken}");
    assert_eq!(command("POST", "/tunnels/my-app/restore").await.1["status"], "active");
    Streaming::start(&world, "").await;
}

#[tokio::test]
async fn rules_about_networks_paths_and_fields_are_kept() {
    let world = World::start().await;
    let upstream = Mirror::start().await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    close(
        &world,
        json!({
            "deny_paths": ["/admin"],
            "request_headers": { "set": { "x-env": "staging" }, "remove": ["x-debug"] },
            "response_headers": { "set": { "x-frame-options": "DENY" } },
        }),
    )
    .await;
    let denied = raw(world.http().await, &request(&world, "/%61dmin/x", "")).await;
    assert!(denied.starts_with("HTTP/1.1 403") && denied.contains("ACCESS_DENIED"), "{denied}");
    let reply = visit(&world, "x-debug: 1\r\nx-env: forged\r\n").await;
    assert!(reply.contains("x-frame-options: DENY") && reply.contains("x-env: staging"), "{reply}");
    assert!(!reply.contains("x-debug") && !reply.contains("forged"), "{reply}");
    close(&world, json!({ "deny_networks": ["127.0.0.0/8"] })).await;
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 403"));
    let (status, answer) = world.api("PUT", "/tunnels/my-app/policy", json!({ "rate_per_minute": 0 })).await;
    assert_eq!((status, answer["next_action"].as_str()), (400, Some("FIX_REQUEST_AND_RETRY")));
}

#[tokio::test]
async fn a_budget_of_bytes_ends_streams_and_lets_nobody_in_once_it_is_spent() {
    let world = World::start().await;
    let upstream = Ticker::start().await;
    world.agent(http_tunnel(upstream, "my-app")).serving().await;
    close(&world, json!({ "byte_budget": 2000 })).await;
    Streaming::start(&world, "").await.ends_cut_off().await;
    let refused = visit(&world, "").await;
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("CONTACT_OWNER"), "{refused}");
}

#[tokio::test]
async fn an_agent_that_comes_back_with_terms_of_its_own_opens_nothing_and_lifts_no_cap() {
    let world = World::start().await;
    let upstream = Mirror::start().await;
    let mut first = world.agent(http_tunnel(upstream, "my-app"));
    first.serving().await;
    let policy = json!({
        "auth_mode": "authenticated",
        "deny_paths": ["/admin"],
        "allow_methods": ["GET", "HEAD"],
        "byte_budget": 1_000_000,
        "rate_per_minute": 1000,
        "http_keep_alive": true,
    });
    let (status, closed) = world.api("PUT", "/tunnels/my-app/policy", policy.clone()).await;
    assert_eq!(status, 200, "{closed}");
    let token = format!("x-adit-authorization: Bearer {}\r\n", closed["auth_token"].as_str().unwrap());
    let terms =
        Terms { rate: Some(60_000), wake_on_http: true, no_http_keep_alive: true, ..Terms::default() };
    let mut second = world.agent_on(http_tunnel(upstream, "my-app"), terms);
    second.serving().await;
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 401"), "still closed");
    assert!(visit(&world, &token).await.starts_with("HTTP/1.1 200"), "by the same token");
    let denied = raw(world.http().await, &request(&world, "/admin", &token)).await;
    assert!(denied.starts_with("HTTP/1.1 403"), "{denied}");
    let (_, shown) = world.api("GET", "/tunnels/my-app", Value::Null).await;
    for (term, owners) in policy.as_object().unwrap() {
        assert_eq!(&shown["policy"][term], owners, "{term}");
    }
    assert_eq!(shown["policy"]["wake_on_http"], true, "the owner left that to the agent");
    // What is asked for in so many words, and would open the tunnel, is refused.
    for wider in [
        Terms { auth: Some("open".to_owned()), ..Terms::default() },
        Terms { allow_methods: vec!["POST".to_owned()], ..Terms::default() },
    ] {
        let mut agent = world.agent_on(http_tunnel(upstream, "my-app"), wider);
        assert_eq!(agent.stopped().await.0, "FORBIDDEN");
        assert!(visit(&world, "").await.starts_with("HTTP/1.1 401"));
    }
    // The agent may ask for less than the owner allows.
    let narrower = Terms { rate: Some(1), allow_methods: vec!["GET".to_owned()], ..Terms::default() };
    world.agent_on(http_tunnel(upstream, "my-app"), narrower).serving().await;
    let (_, shown) = world.api("GET", "/tunnels/my-app", Value::Null).await;
    assert_eq!(shown["policy"]["rate_per_minute"], 1);
    assert_eq!(shown["policy"]["allow_methods"], json!(["GET"]));
}

#[tokio::test]
async fn an_agent_that_says_less_than_before_leaves_its_tunnel_as_it_was() {
    let world = World::start().await;
    let upstream = Mirror::start().await;
    let mut agent = world.agent_on(http_tunnel(upstream, "my-app"), authenticated());
    let token = format!("x-adit-authorization: Bearer {}\r\n", visitor_token(&mut agent).await);
    let terms = Terms { rate: Some(1000), ..Terms::default() };
    world.agent_on(http_tunnel(upstream, "my-app"), terms).serving().await;
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 401"));
    assert!(visit(&world, &token).await.starts_with("HTTP/1.1 200"));
    // What no owner decided, the agent may change.
    let open = Terms { auth: Some("open".to_owned()), ..Terms::default() };
    world.agent_on(http_tunnel(upstream, "my-app"), open).serving().await;
    assert!(visit(&world, "").await.starts_with("HTTP/1.1 200"));
}

fn authenticated() -> Terms {
    Terms { auth: Some("authenticated".to_owned()), ..Terms::default() }
}

async fn visitor_token(agent: &mut Agent) -> String {
    let token = agent
        .event(|event| match event {
            Event::VisitorToken { token } => Some(token.0.clone()),
            _ => None,
        })
        .await;
    agent.serving().await;
    token
}

async fn close(world: &World, policy: Value) {
    let (status, answer) = world.api("PUT", "/tunnels/my-app/policy", policy).await;
    assert_eq!(status, 200, "{answer}");
}

async fn share(world: &World, terms: Value) -> Value {
    let (status, share) = world.api("POST", "/tunnels/my-app/shares", terms).await;
    assert_eq!(status, 201, "{share}");
    share
}

/// Reads the body of `my-app` that has no end.
struct Streaming;

impl Streaming {
    async fn start(world: &World, fields: &str) -> streaming::Streaming {
        streaming::Streaming::start(world.http().await, &request(world, "/", fields)).await
    }
}

async fn visit(world: &World, fields: &str) -> String {
    raw(world.http().await, &request(world, "/", fields)).await
}

fn request(world: &World, target: &str, fields: &str) -> Vec<u8> {
    let host = world.host("my-app");
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}connection: close\r\n\r\n").into_bytes()
}

/// An upstream that changes protocols and echoes.
struct Upgrader;

impl Upgrader {
    async fn start() -> SocketAddr {
        serve(async |mut socket: TcpStream, _| {
            let head =
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            socket.write_all(head).await?;
            let (mut reader, mut writer) = socket.split();
            tokio::io::copy(&mut reader, &mut writer).await.map(drop)
        })
        .await
    }
}
