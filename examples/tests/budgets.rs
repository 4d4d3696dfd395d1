//! What keys and tunnels may spend: money and bytes by the month, and bits by the second.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Terms, Tunnel};
use adit_examples::gateway::Clock;
use adit_router::Cents;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use support::streaming::{Streaming, Ticker, serve};
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test]
async fn b01_of_16_agents_that_register_at_once_a_budget_for_4_admits_4() {
    let world = World::start_with(|config, _| config.tunnel_price = Cents::new(100)).await;
    let upstream = Greeter::start("a").await;
    let (id, key) = mint(&world, json!({ "monthlyBudgetUsdCents": 450, "tunnelQuota": 100 })).await;
    let mut agents = JoinSet::new();
    for number in 0..16 {
        let tunnel = http_tunnel(upstream.address, &format!("app-{number}"));
        let mut agent = Agent::start(tunnel, world.link(), &key);
        agents.spawn(async move {
            let ended = agent.serving_or_stopped().await;
            // Whoever serves goes on until all have been answered.
            (ended, agent)
        });
    }
    let answers = agents.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|(ended, _)| ended.as_deref()).collect();
    assert_eq!(refused, ["BUDGET_EXCEEDED"; 12]);
    let (spent, open) =
        (account(&world, &id, "spentUsdCents").await, account(&world, &id, "openTunnels").await);
    assert_eq!((spent, open), (json!(400), json!(4)));
}

#[tokio::test]
async fn b02_b06_a_lower_cap_leaves_running_tunnels_alone_and_a_reconnect_is_charged_once() {
    let world = World::start_with(|config, _| config.tunnel_price = Cents::new(100)).await;
    let upstream = Greeter::start("a").await;
    let (id, key) = mint(&world, json!({ "monthlyBudgetUsdCents": 500 })).await;
    let mut first = Agent::start(http_tunnel(upstream.address, "first"), world.link(), &key);
    first.serving().await;
    let lower = json!({ "monthlyBudgetUsdCents": 50 });
    assert_eq!(world.api("PUT", &format!("/tokens/{id}/budget"), lower).await.0, 200);
    assert!(raw(world.http().await, &get(&world.host("first"))).await.ends_with('a'));
    let mut second = Agent::start(http_tunnel(upstream.address, "second"), world.link(), &key);
    assert_eq!(second.stopped().await.0, "BUDGET_EXCEEDED");
    first.stop.cancel();
    assert!(first.task.await.unwrap());
    Agent::start(http_tunnel(upstream.address, "first"), world.link(), &key).serving().await;
    assert_eq!(account(&world, &id, "spentUsdCents").await, json!(100));
}

#[tokio::test]
async fn an_agent_whose_reservation_lapsed_takes_nothing_from_the_one_that_serves() {
    let calendar = Calendar::new();
    let clock = calendar.clock();
    let world = World::start_with(|config, _| config.clock = clock).await;
    let (one, other) = (Greeter::start("one").await, Greeter::start("other").await);
    let tunnel = |to: &Greeter| Tunnel::Tcp {
        upstream: to.address.into(),
        name: Some("my-db".to_owned()),
        public_port: None,
    };
    let mut first = world.agent(tunnel(&one));
    let addresses = first.serving().await;
    // Each look at the clock is a minute later: what is set aside has lapsed when it is to be charged.
    calendar.run(Duration::from_secs(60));
    assert_eq!(world.agent(tunnel(&other)).stopped().await.0, "CONFLICT");
    calendar.run(Duration::ZERO);
    let address = addresses[0].strip_prefix("tcp://").unwrap();
    let visit = raw(TcpStream::connect(address).await.unwrap(), b"x").await;
    assert!(visit.ends_with("one"), "{visit}");
    first.stop.cancel();
    assert!(first.task.await.unwrap(), "it was not told to stop before");
    // The port waits for its tunnel, which gets it again.
    assert_eq!(world.agent(tunnel(&other)).serving().await, addresses);
    let visit = raw(TcpStream::connect(address).await.unwrap(), b"x").await;
    assert!(visit.ends_with("other"), "{visit}");
}

#[tokio::test]
async fn a_time_to_live_beyond_the_keys_is_refused_and_without_one_it_is_the_keys() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let (_, key) = mint(&world, json!({ "maxTunnelTtlSeconds": 3600 })).await;
    let start = |seconds: Option<u64>| {
        let terms = Terms { ttl: seconds.map(Duration::from_secs), ..Terms::default() };
        Agent::start_on(http_tunnel(upstream.address, "my-app"), terms, world.link(), &key)
    };
    assert_eq!(start(Some(3601)).stopped().await.0, "TTL_TOO_LONG");
    start(None).serving().await;
    let (_, shown) = world.api("GET", "/tunnels/my-app", Value::Null).await;
    let life = shown["expires"].as_u64().unwrap() - shown["create_time"].as_u64().unwrap();
    assert_eq!(life, 3600);
    let ten_centuries = json!({ "name": "my-site", "ttl_seconds": 1000_u64 * 365 * 86_400 });
    let (_, refused) = world.api("POST", "/tunnels", ten_centuries).await;
    assert_eq!(refused["error"], "TTL_TOO_LONG");
}

#[tokio::test]
async fn b03_b04_zero_freezes_null_lifts_and_no_other_thing_is_money() {
    let world = World::start_with(|config, _| config.tunnel_price = Cents::new(u64::MAX)).await;
    let upstream = Greeter::start("a").await;
    let (id, key) = mint(&world, json!({ "monthlyBudgetUsdCents": 0 })).await;
    let start = |name: &str| Agent::start(http_tunnel(upstream.address, name), world.link(), &key);
    assert_eq!(start("one").stopped().await.0, "BUDGET_EXCEEDED");
    let path = format!("/tokens/{id}/budget");
    assert_eq!(world.api("PUT", &path, json!({ "monthlyBudgetUsdCents": null })).await.0, 200);
    start("one").serving().await;
    start("two").serving().await;
    assert_eq!(account(&world, &id, "spentUsdCents").await, json!(u64::MAX), "it saturates");
    for wrong in ["-1", "1.5", "1e3", "\"1\"", "18446744073709551616", "true"] {
        let body = format!("{{\"monthlyBudgetUsdCents\":{wrong}}}");
        for (method, path) in [("PUT", path.as_str()), ("POST", "/tokens")] {
            let body = if method == "POST" { body.replace('{', "{\"name\":\"x\",") } else { body.clone() };
            let (status, answer) = world.api_raw(method, path, &body).await;
            assert_eq!(
                (status, answer["error"].as_str()),
                (400, Some("VALIDATION_FAILED")),
                "{method} {wrong}"
            );
        }
    }
    assert_eq!(account(&world, &id, "monthlyBudgetUsdCents").await, Value::Null);
}

#[tokio::test]
async fn b05_with_the_month_both_budgets_begin_anew_once_whatever_the_clock_does() {
    let calendar = Calendar::new();
    let clock = calendar.clock();
    let world = World::start_with(|config, _| {
        config.tunnel_price = Cents::new(100);
        config.clock = clock;
    })
    .await;
    let upstream = Greeter::start("a").await;
    let (id, key) = mint(&world, json!({ "monthlyBudgetUsdCents": 100 })).await;
    let start = |name: &str| Agent::start(http_tunnel(upstream.address, name), world.link(), &key);
    start("first").serving().await;
    assert_eq!(start("second").stopped().await.0, "BUDGET_EXCEEDED");

    let ticker = Ticker::start().await;
    world.agent(http_tunnel(ticker, "my-app")).serving().await;
    let cap = json!({ "byte_budget": 900 });
    assert_eq!(world.api("PUT", "/tunnels/my-app/policy", cap).await.0, 200);
    // The gateway looks at the calendar before the month turns.
    calendar.seen().await;
    let visit = async || Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    visit().await.ends_cut_off().await;
    let refused = async || raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(refused().await.starts_with("HTTP/1.1 403"));

    calendar.add(Duration::from_secs(31 * 86_400));
    calendar.seen().await;
    start("second").serving().await;
    visit().await.ends_cut_off().await;
    assert!(refused().await.starts_with("HTTP/1.1 403"));
    // Back over the turn, and forward again: nothing is given twice.
    for back in [true, false] {
        calendar.step(back);
        calendar.seen().await;
        assert_eq!(start("third").stopped().await.0, "BUDGET_EXCEEDED");
        assert!(refused().await.starts_with("HTTP/1.1 403"));
    }
    assert_eq!(account(&world, &id, "spentUsdCents").await, json!(100));
}

#[tokio::test]
async fn tunnels_of_one_key_keep_together_to_its_bandwidth() {
    const BYTES: usize = 150_000;
    let world = Arc::new(World::start().await);
    let upstream = serve(async |mut socket: TcpStream, _| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&vec![b'x'; BYTES]).await
    })
    .await;
    let (_, key) = mint(&world, json!({ "bandwidth": 1 })).await;
    let begun = Instant::now();
    let mut visits = JoinSet::new();
    for name in ["one", "two"] {
        Agent::start(http_tunnel(upstream, name), world.link(), &key).serving().await;
        let world = Arc::clone(&world);
        visits.spawn(async move { raw(world.http().await, &get(&world.host(name))).await });
    }
    for reply in visits.join_all().await {
        assert_eq!(reply.rsplit("\r\n").next().unwrap().len(), BYTES, "slower, and whole");
    }
    // 300,000 bytes at a megabit a second are 2.4 s; the last piece of each stream, of 64 KiB perhaps, is not waited for.
    // A lower bound: it holds on a slow machine, too.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    let (status, _) = world.api("POST", "/tokens", json!({ "name": "x", "bandwidth": 0 })).await;
    assert_eq!(status, 400, "nobody means a key whose tunnels move nothing");
}

#[tokio::test]
async fn a_tunnel_keeps_to_its_bandwidth_each_way_by_itself() {
    const BYTES: usize = 4_000;
    let world = World::start().await;
    let upstream = serve(async |mut socket: TcpStream, _| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&[b'x'; BYTES]).await
    })
    .await;
    let terms = Terms { bandwidth: Some(40_000), ..Terms::default() };
    world.agent_on(http_tunnel(upstream, "my-app"), terms).serving().await;
    let policy = async |bandwidth: Value| {
        world.api("PUT", "/tunnels/my-app/policy", json!({ "bandwidth": bandwidth })).await.0
    };
    let begun = Instant::now();
    for _ in 0..20 {
        let reply = raw(world.http().await, &get(&world.host("my-app"))).await;
        assert_eq!(reply.rsplit("\r\n").next().unwrap().len(), BYTES, "slower, and whole");
    }
    // 80,000 octets at 40,000 a second are 2 s, less the burst. Each visit is one piece: nobody comes first for free.
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(policy(json!(0)).await, 400);
    assert_eq!(policy(Value::Null).await, 200);
}

async fn mint(world: &World, mut terms: Value) -> (String, String) {
    terms["name"] = json!("ci");
    world.mint(terms).await
}

/// One field of a key as it is listed.
async fn account(world: &World, id: &str, field: &str) -> Value {
    let (_, all) = world.api("GET", "/tokens", Value::Null).await;
    let key = all.as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone();
    key[field].clone()
}

/// A clock that a test turns, and that knows when it was looked at.
#[derive(Clone)]
struct Calendar(Arc<Mutex<(SystemTime, Duration, u64)>>, Arc<Mutex<Duration>>);

impl Calendar {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((SystemTime::now(), Duration::ZERO, 0))), Arc::default())
    }

    fn clock(&self) -> Clock {
        let (state, speed) = (Arc::clone(&self.0), Arc::clone(&self.1));
        Clock::new(move || {
            let mut state = state.lock().unwrap();
            state.2 += 1;
            state.1 += *speed.lock().unwrap();
            state.0 + state.1
        })
    }

    /// Goes on by so much whenever it is looked at.
    fn run(&self, speed: Duration) {
        *self.1.lock().unwrap() = speed;
    }

    fn add(&self, time: Duration) {
        self.0.lock().unwrap().1 += time;
    }

    /// A month back, or forward again.
    fn step(&self, is_back: bool) {
        let month = Duration::from_secs(31 * 86_400);
        let mut state = self.0.lock().unwrap();
        state.1 = if is_back { state.1 - month } else { state.1 + month };
    }

    /// Waits until the gateway has looked at it twice: the first look may have begun before.
    async fn seen(&self) {
        let looks = || self.0.lock().unwrap().2;
        let before = looks();
        let seen = async {
            while looks() < before + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("nobody looks at the calendar");
    }
}
