//! What is the same after a restart of the gateway: tunnels and their terms, money, keys, and who receives webhooks.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod support;

use adit_examples::agent::{Event, Terms, Tunnel};
use adit_examples::gateway::{Config, Gateway};
use adit_router::Cents;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Agent, Folder, Greeter, World, get, http_tunnel, raw};

/// A gateway that is stopped and started again.
struct Restarted {
    world: World,
    config: Config,
    admin: String,
}

impl Restarted {
    async fn first() -> Self {
        let folder = Folder::new();
        let mut config = Config::on_loopback(folder.0.join("gateway"), (37_000, 37_099));
        config.tunnel_price = Cents::new(100);
        let gateway = Gateway::start(config.clone()).await.unwrap();
        let (secret, admin) = (gateway.fresh_secret().unwrap(), gateway.fresh_admin_token().unwrap());
        let (secret, admin) = (secret.to_owned(), admin.to_owned());
        Self { world: World { gateway, secret, folder }, config, admin }
    }

    async fn again(self) -> Self {
        let Self { world: World { gateway, secret, folder }, config, admin } = self;
        gateway.stop(Duration::from_secs(10)).await;
        let gateway = Gateway::start(config.clone()).await.unwrap();
        Self { world: World { gateway, secret, folder }, config, admin }
    }

    async fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, answer) = self.world.api_as(&self.admin, &[], method, path, body).await;
        (status, answer)
    }

    async fn visit(&self, name: &str, path: &str, fields: &str) -> String {
        let host = self.world.host(name);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
        raw(self.world.http().await, request.as_bytes()).await
    }
}

async fn left(agent: Agent) {
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
}

#[tokio::test]
async fn tunnels_are_what_they_were_paused_deleted_restorable_and_with_an_end() {
    let before = Restarted::first().await;
    let created = |answer: (u16, Value)| {
        assert_eq!(answer.0, 201, "{}", answer.1);
        answer.1
    };
    let new = json!({
        "name": "my-app", "ttl_seconds": 86_400, "display_name": "Mine", "metadata": {"team": "a"},
        "policy": {"deny_paths": ["/admin"], "byte_budget": 100_000},
    });
    let app = created(before.api("POST", "/tunnels", new).await);
    created(before.api("POST", "/tunnels", json!({"name": "paused"})).await);
    before.api("POST", "/tunnels/paused/pause", Value::Null).await;
    created(before.api("POST", "/tunnels", json!({"name": "deleted"})).await);
    let (_, deleted) = before.api("DELETE", "/tunnels/deleted", Value::Null).await;
    created(before.api("POST", "/tunnels", json!({"name": "forced"})).await);
    before.api("DELETE", "/tunnels/forced", Value::Null).await;
    before.api("DELETE", "/tunnels/forced/force", Value::Null).await;

    let after = before.again().await;
    let (_, same) = after.api("GET", "/tunnels/my-app", Value::Null).await;
    for field in
        ["id", "name", "status", "create_time", "expires", "display_name", "metadata", "policy", "protocol"]
    {
        assert_eq!(same[field], app[field], "{field}");
    }
    let (_, paused) = after.api("GET", "/tunnels/paused", Value::Null).await;
    assert_eq!(paused["status"], "paused");
    assert!(after.visit("paused", "/", "").await.starts_with("HTTP/1.1 503"));
    let (_, still) = after.api("GET", "/tunnels/deleted", Value::Null).await;
    assert_eq!(still["status"], deleted["status"]);
    let (taken, _) = after.api("POST", "/tunnels", json!({"name": "deleted"})).await;
    assert_eq!(taken, 409, "its name waits for its owner");
    let (restored, _) = after.api("POST", "/tunnels/deleted/restore", Value::Null).await;
    assert_eq!(restored, 200);
    assert_eq!(after.api("GET", "/tunnels/forced", Value::Null).await.0, 404);

    let twice = after.again().await;
    let (_, restored) = twice.api("GET", "/tunnels/deleted", Value::Null).await;
    assert_ne!(restored["status"], deleted["status"]);
    let (_, still) = twice.api("GET", "/tunnels/paused", Value::Null).await;
    assert_eq!(still["status"], "paused");
}

#[tokio::test]
async fn b03_a_budget_stays_spent_and_a_tunnel_that_was_paid_for_comes_back() {
    let before = Restarted::first().await;
    let upstream = Greeter::start("mine").await;
    let terms = json!({"name": "ci", "monthlyBudgetUsdCents": 100, "tunnelQuota": 5});
    let (status, minted) = before.api("POST", "/tokens", terms).await;
    assert_eq!(status, 201, "{minted}");
    let (key, id) =
        (minted["apiKey"].as_str().unwrap().to_owned(), minted["id"].as_str().unwrap().to_owned());
    let mut agent = Agent::start(http_tunnel(upstream.address, "paid"), before.world.link(), &key);
    agent.serving().await;
    left(agent).await;

    let after = before.again().await;
    let (_, tokens) = after.api("GET", "/tokens", Value::Null).await;
    let ours = tokens.as_array().unwrap().iter().find(|token| token["id"] == id.as_str()).unwrap();
    assert_eq!((&ours["spentUsdCents"], &ours["openTunnels"]), (&json!(100), &json!(1)));
    let mut another = Agent::start(http_tunnel(upstream.address, "unpaid"), after.world.link(), &key);
    assert_eq!(another.stopped().await.0, "BUDGET_EXCEEDED");
    let mut thief = after.world.agent(http_tunnel(upstream.address, "paid"));
    assert_eq!(thief.stopped().await.0, "FORBIDDEN", "it is still its holder's alone");
    let mut agent = Agent::start(http_tunnel(upstream.address, "paid"), after.world.link(), &key);
    agent.serving().await;
    assert!(raw(after.world.http().await, &get(&after.world.host("paid"))).await.ends_with("mine"));
}

#[tokio::test]
async fn visitors_tokens_shares_and_passwords_stay_valid_or_revoked() {
    let before = Restarted::first().await;
    let upstream = Greeter::start("mine").await;
    let authenticated = Terms { auth: Some("authenticated".to_owned()), ..Terms::default() };
    let mut agent = before.world.agent_on(http_tunnel(upstream.address, "locked"), authenticated);
    let token = agent
        .event(|event| match event {
            Event::VisitorToken { token } => Some(token.0.clone()),
            _ => None,
        })
        .await;
    agent.serving().await;
    let share = async |name: &str| {
        let (status, share) = before.api("POST", "/tunnels/locked/shares", json!({"name": name})).await;
        assert_eq!(status, 201, "{share}");
        let path = share["shareUrl"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
        (format!("/{path}"), share["id"].as_str().unwrap().to_owned())
    };
    let ((good, _), (revoked, id)) = (share("good").await, share("revoked").await);
    before.api("DELETE", &format!("/tunnels/locked/shares/{id}"), Value::Null).await;
    let basic = json!({"name": "basic", "policy": {
        "auth_mode": "basic", "users": [{"name": "ann", "password": "correct horse"}],
    }});
    assert_eq!(before.api("POST", "/tunnels", basic).await.0, 201);
    left(agent).await;

    let after = before.again().await;
    let mut agent = after.world.agent(http_tunnel(upstream.address, "locked"));
    agent.serving().await;
    let mut other = after.world.agent(http_tunnel(upstream.address, "basic"));
    other.serving().await;
    let bearer = format!("x-adit-authorization: Bearer {token}\r\n");
    assert!(after.visit("locked", "/", "").await.starts_with("HTTP/1.1 401"));
    assert!(after.visit("locked", "/", &bearer).await.ends_with("mine"));
    assert!(after.visit("locked", &good, "").await.starts_with("HTTP/1.1 303"));
    assert!(!after.visit("locked", &revoked, "").await.starts_with("HTTP/1.1 303"));
    assert!(after.visit("basic", "/", "").await.starts_with("HTTP/1.1 401"));
    let pair = "authorization: Basic YW5uOmNvcnJlY3QgaG9yc2U=\r\n";
    assert!(after.visit("basic", "/", pair).await.ends_with("mine"));
}

#[tokio::test]
async fn a_budget_of_bytes_stays_spent_and_webhook_receivers_stay_where_they_are() {
    let before = Restarted::first().await;
    let upstream = Greeter::start("mine").await;
    let new = json!({"name": "metered", "policy": {"byte_budget": 1}});
    assert_eq!(before.api("POST", "/tunnels", new).await.0, 201);
    let receiver = json!({"validator": "github", "secret": "It's a Secret to Everybody", "name": "pulls"});
    let (status, receiver) = before.api("POST", "/webhook-receivers", receiver).await;
    assert_eq!(status, 201, "{receiver}");
    let (_, gone) = before
        .api("POST", "/webhook-receivers", json!({"validator": "github", "secret": "another one, gone"}))
        .await;
    before.api("DELETE", &format!("/webhook-receivers/{}", gone["id"].as_str().unwrap()), Value::Null).await;
    let mut agent = before.world.agent(http_tunnel(upstream.address, "metered"));
    agent.serving().await;
    // The first visit uses it up.
    before.visit("metered", "/", "").await;
    assert!(!before.visit("metered", "/", "").await.ends_with("mine"));
    left(agent).await;
    // What was moved is written down with the clock's next tick, or when the gateway stops.
    let after = before.again().await;
    let mut agent = after.world.agent(http_tunnel(upstream.address, "metered"));
    agent.serving().await;
    assert!(!after.visit("metered", "/", "").await.ends_with("mine"));

    let (_, receivers) = after.api("GET", "/webhook-receivers", Value::Null).await;
    assert!(receivers.to_string().contains(receiver["id"].as_str().unwrap()), "{receivers}");
    assert!(!receivers.to_string().contains(gone["id"].as_str().unwrap()), "{receivers}");
    let path = format!("/webhooks/{}", receiver["id"].as_str().unwrap());
    let host = after.world.host("webhooks");
    // GitHub's documented example.
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 13\r\nx-hub-signature-256: \
         sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\r\n\r\nHello, World!"
    );
    assert!(raw(after.world.http().await, request.as_bytes()).await.starts_with("HTTP/1.1 202"));
    let events = format!("/webhook-receivers/{}/events", receiver["id"].as_str().unwrap());
    let (_, events) = after.api("GET", &events, Value::Null).await;
    assert!(events.to_string().contains("\"signature_valid\":true"), "{events}");
}

#[tokio::test]
async fn a_port_waits_for_its_tunnel_across_a_restart_of_the_gateway() {
    let before = Restarted::first().await;
    let upstream = Greeter::start("mine").await;
    let tunnel = || Tunnel::Tcp {
        upstream: upstream.address.into(),
        name: Some("my-db".to_owned()),
        public_port: None,
    };
    let mut agent = before.world.agent(tunnel());
    let had = agent.serving().await;
    left(agent).await;
    let after = before.again().await;
    assert_eq!(after.world.agent(tunnel()).serving().await, had);
}

#[tokio::test]
async fn what_is_damaged_is_named_at_the_start_and_nothing_is_left_out_in_silence() {
    let before = Restarted::first().await;
    before.api("POST", "/tunnels", json!({"name": "my-app"})).await;
    let Restarted { world, config, .. } = before;
    world.gateway.stop(Duration::from_secs(10)).await;
    let file = std::fs::read_dir(config.state.join("tunnels")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    for damaged in [&text[..text.len() / 2], "", "{}", &text.replace("my-app", "My--App")] {
        std::fs::write(&file, damaged).unwrap();
        let error =
            Gateway::start(config.clone()).await.err().expect("a damaged file is an error").to_string();
        assert!(error.contains(name) && error.contains("damaged"), "{error}");
    }
}
