//! What is logged, at the most talkative level.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Event, Terms};
use serde_json::json;
use std::sync::{Arc, Mutex};
use support::streaming::Mirror;
use support::{Agent, World, http_tunnel, raw};

#[tokio::test]
async fn a08_a_token_in_query_or_cookie_opens_nothing_and_no_secret_gets_into_a_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of the whole process, which is why this test is the only one in it.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let world = World::start().await;
    let upstream = Mirror::start().await;
    let terms = Terms { auth: Some("authenticated".to_owned()), ..Terms::default() };
    let mut agent = world.agent_on(http_tunnel(upstream, "my-app"), terms);
    let token = agent
        .event(|event| match event {
            Event::VisitorToken { token } => Some(token.0.clone()),
            _ => None,
        })
        .await;
    agent.serving().await;
    let (_, minted) = world.api("POST", "/tokens", json!({ "name": "ci" })).await;
    let minted = minted["apiKey"].as_str().unwrap().to_owned();
    Agent::start(http_tunnel(upstream, "other-app"), world.link(), &minted).serving().await;
    let (_, share) = world.api("POST", "/tunnels/my-app/shares", json!({ "name": "demo" })).await;
    let key = share["shareUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let target = format!("/?token={token}&access_token={token}&authorization=Bearer%20{token}");
    let in_query = raw(world.http().await, &request(&world, &target, "")).await;
    let in_cookie = visit(&world, &format!("cookie: authorization={token}; token={token}\r\n")).await;
    for refused in [in_query, in_cookie] {
        assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains(&token), "{refused}");
    }
    for field in [format!("x-adit-authorization: Bearer {token}"), format!("x-adit-share: {key}")] {
        assert!(visit(&world, &format!("{field}\r\n")).await.starts_with("HTTP/1.1 200"));
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.matches("decided about a request").count() >= 4, "this test sees the log");
    for secret in [&token, &key, &minted, &world.secret, world.gateway.fresh_admin_token().unwrap()] {
        assert!(!log.contains(secret), "a secret is logged");
    }
}

async fn visit(world: &World, fields: &str) -> String {
    raw(world.http().await, &request(world, "/", fields)).await
}

fn request(world: &World, target: &str, fields: &str) -> Vec<u8> {
    let host = world.host("my-app");
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}connection: close\r\n\r\n").into_bytes()
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
