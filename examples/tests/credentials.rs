//! Credentials that are minted, rotated and revoked: what becomes of sessions and visitors, and what a restart keeps.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::Terms;
use adit_examples::gateway::{Config, Gateway};
use adit_router::Cents;
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{Claim, Register, Visibility};
use adit_wire_proto::credential::Credential;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use support::raw_agent::RawAgent;
use support::streaming::{Streaming, Ticker};
use support::{Agent, Folder, Greeter, PATIENCE, World, get, http_tunnel, raw};

#[tokio::test]
async fn a09_a_revoked_credential_ends_its_streams_within_5_s_and_opens_no_session() {
    let world = World::start().await;
    let (upstream, other) = (Ticker::start().await, Ticker::start().await);
    let (id, key) = world.mint(json!({ "name": "ci" })).await;
    let mut agent = Agent::start(http_tunnel(upstream, "my-app"), world.link(), &key);
    agent.serving().await;
    world.agent(http_tunnel(other, "other-app")).serving().await;
    let mut running = Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    let mut beside = Streaming::start(world.http().await, &get(&world.host("other-app"))).await;
    running.goes_on().await;
    let (_, revoked) = world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await;
    assert_eq!(revoked["isRevoked"], true);
    // Who comes now finds no agent, while what runs is being ended.
    let refused = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(refused.starts_with("HTTP/1.1 502") && refused.contains("TUNNEL_OFFLINE"), "{refused}");
    running.ends_cut_off().await;
    beside.goes_on().await;
    assert_eq!(agent.stopped().await.0, "AUTH_FAILED");
    let mut again = Agent::start(http_tunnel(upstream, "my-app"), world.link(), &key);
    assert_eq!(again.stopped().await.0, "AUTH_FAILED");
}

#[tokio::test]
async fn a_rotated_token_and_the_one_before_are_good_and_the_one_before_that_is_not() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let (id, first) = world.mint(json!({ "name": "ci" })).await;
    let mut keys = vec![first];
    for _ in 0..2 {
        let (status, rotated) = world.api("POST", &format!("/tokens/{id}/rotate"), Value::Null).await;
        assert_eq!((status, rotated["id"].as_str()), (200, Some(id.as_str())));
        keys.push(rotated["apiKey"].as_str().unwrap().to_owned());
    }
    let start = |key: &str| Agent::start(http_tunnel(upstream.address, "my-app"), world.link(), key);
    assert_eq!(start(&keys[0]).stopped().await.0, "AUTH_FAILED");
    start(&keys[1]).serving().await;
    start(&keys[2]).serving().await;
    assert_eq!(world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await.0, 200);
    assert_eq!(start(&keys[2]).stopped().await.0, "AUTH_FAILED");
    let (status, answer) = world.api("POST", &format!("/tokens/{id}/rotate"), Value::Null).await;
    assert_eq!((status, answer["error"].as_str()), (409, Some("CONFLICT")), "a revoked one stays revoked");
}

#[tokio::test]
async fn a_master_key_mints_and_opens_nothing_and_its_keys_keep_to_its_terms_together() {
    let world = World::start_with(|config, _| config.tunnel_price = Cents::new(100)).await;
    let upstream = Greeter::start("a").await;
    let terms = json!({ "name": "team", "kind": "master", "monthlyBudgetUsdCents": 250, "tunnelQuota": 10 });
    let (id, master) = world.mint(terms).await;
    let mut agent = Agent::start(http_tunnel(upstream.address, "masters-own"), world.link(), &master);
    assert_eq!(agent.stopped().await.0, "FORBIDDEN", "it opens nothing");
    let by = async |method: &str, path: &str, body: Value| {
        let (status, _, answer) = world.api_as(&master, &[], method, path, body).await;
        (status, answer)
    };
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let (status, key) = by("POST", "/tokens", json!({ "name": name })).await;
        assert_eq!((status, key["mintedBy"].as_str()), (201, Some(id.as_str())), "{key}");
        keys.push(key);
    }
    let start = |name: &str, key: &Value| {
        let key = key["apiKey"].as_str().unwrap();
        Agent::start(http_tunnel(upstream.address, name), world.link(), key)
    };
    start("one", &keys[0]).serving().await;
    start("two", &keys[1]).serving().await;
    assert_eq!(start("three", &keys[1]).stopped().await.0, "BUDGET_EXCEEDED", "three are 300 cents");
    // It sees what it minted and nothing else, and raises nothing.
    let (_, seen) = by("GET", "/tokens", Value::Null).await;
    let mut names: Vec<_> =
        seen.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "two"]);
    let more = json!({ "monthlyBudgetUsdCents": 1000 });
    assert_eq!(by("PUT", &format!("/tokens/{id}/budget"), more).await.0, 403);
    assert_eq!(by("POST", "/tokens", json!({ "name": "x", "kind": "master" })).await.0, 403);
    assert_eq!(by("GET", "/tunnels", Value::Null).await.0, 403);
    let (other, _) = world.mint(json!({ "name": "another's" })).await;
    assert_eq!(by("DELETE", &format!("/tokens/{other}"), Value::Null).await.0, 404);
    let child = keys[0]["apiKey"].as_str().unwrap();
    let (status, _, _) = world.api_as(child, &[], "POST", "/tokens", json!({ "name": "x" })).await;
    assert_eq!(status, 403, "a project key mints nothing");
}

#[tokio::test]
async fn a09_a_revoked_master_key_ends_its_keys_and_their_streams_and_a_restart_forgets_none_of_it() {
    let folder = Folder::new();
    let config = Config::on_loopback(folder.0.join("gateway"), (36_400, 36_499));
    let world = open(&config, folder, None).await;
    let upstream = Ticker::start().await;
    let (id, master) = world.mint(json!({ "name": "team", "kind": "master" })).await;
    let (status, _, child) = world.api_as(&master, &[], "POST", "/tokens", json!({ "name": "one" })).await;
    assert_eq!(status, 201);
    let key = child["apiKey"].as_str().unwrap();
    let (_, other) = world.mint(json!({ "name": "another's" })).await;
    let start =
        |world: &World, name: &str, key: &str| Agent::start(http_tunnel(upstream, name), world.link(), key);
    let mut agent = start(&world, "my-app", key);
    agent.serving().await;
    start(&world, "other-app", &other).serving().await;
    let running = Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    let mut beside = Streaming::start(world.http().await, &get(&world.host("other-app"))).await;
    assert_eq!(world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await.0, 200);
    running.ends_cut_off().await;
    beside.goes_on().await;
    assert_eq!(agent.stopped().await.0, "AUTH_FAILED");
    drop(beside);
    let World { gateway, secret, folder } = world;
    gateway.stop(Duration::ZERO).await;
    let world = open(&config, folder, Some(secret)).await;
    assert_eq!(start(&world, "my-app", key).stopped().await.0, "AUTH_FAILED");
    let (status, _, _) = world.api_as(&master, &[], "POST", "/tokens", json!({ "name": "two" })).await;
    assert_eq!(status, 401);
    start(&world, "other-app", &other).serving().await;
}

#[tokio::test]
async fn a_restart_keeps_tokens_with_their_terms_and_forgets_no_revocation() {
    let folder = Folder::new();
    let config = Config::on_loopback(folder.0.join("gateway"), (36_200, 36_299));
    let world = open(&config, folder, None).await;
    let upstream = Greeter::start("a").await;
    let (kept, key) = world.mint(json!({ "name": "ci", "tunnelQuota": 1, "ttlHours": 1 })).await;
    let (gone, revoked) = world.mint(json!({ "name": "lost" })).await;
    world.api("DELETE", &format!("/tokens/{gone}"), Value::Null).await;
    world.api("PUT", &format!("/tokens/{kept}/budget"), json!({ "monthlyBudgetUsdCents": 7 })).await;
    let (_, before) = world.api("GET", "/tokens", Value::Null).await;
    let owner = world.gateway.fresh_admin_token().unwrap().to_owned();
    closed_and_without(&world.folder.0.join("gateway/tokens"), &[&key, &revoked]);

    let World { gateway, secret, folder } = world;
    gateway.stop(PATIENCE).await;
    let world = open(&config, folder, Some(secret)).await;
    let (_, _, after) = world.api_as(&owner, &[], "GET", "/tokens", Value::Null).await;
    assert_eq!(after, before);
    let start = |name: &str, key: &str| Agent::start(http_tunnel(upstream.address, name), world.link(), key);
    start("one", &key).serving().await;
    assert_eq!(start("two", &key).stopped().await.0, "QUOTA_EXCEEDED", "its terms hold");
    assert_eq!(start("three", &revoked).stopped().await.0, "AUTH_FAILED");
}

#[tokio::test]
async fn a_restart_forgets_no_revocation_of_the_connect_secret() {
    let folder = Folder::new();
    let config = Config::on_loopback(folder.0.join("gateway"), (36_300, 36_399));
    let world = open(&config, folder, None).await;
    let upstream = Greeter::start("a").await;
    let (_, all) = world.api("GET", "/tokens", Value::Null).await;
    let id = all[0]["id"].as_str().unwrap();
    assert_eq!(all[0]["name"], "connect secret");
    assert_eq!(world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await.0, 200);
    let World { gateway, secret, folder } = world;
    gateway.stop(PATIENCE).await;
    let world = open(&config, folder, Some(secret)).await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    assert_eq!(agent.stopped().await.0, "AUTH_FAILED");
}

#[tokio::test]
async fn w24_no_credential_takes_the_tunnel_of_another_until_that_one_is_revoked() {
    let world = World::start().await;
    let (ours, theirs) = (Greeter::start("ours").await, Greeter::start("theirs").await);
    let (id, key) = world.mint(json!({ "name": "ci" })).await;
    let (_, other) = world.mint(json!({ "name": "another's" })).await;
    let start =
        |to: &Greeter, name: &str, key: &str| Agent::start(http_tunnel(to.address, name), world.link(), key);
    let mut agent = start(&ours, "my-app", &key);
    agent.serving().await;
    assert_eq!(start(&theirs, "my-app", &other).stopped().await.0, "FORBIDDEN");
    let visit = async |name: &str| raw(world.http().await, &get(&world.host(name))).await;
    assert!(visit("my-app").await.ends_with("ours"));
    // What the owner reserved is whose agent comes first.
    assert_eq!(world.api("POST", "/tunnels", json!({ "name": "my-site" })).await.0, 201);
    start(&theirs, "my-site", &other).serving().await;
    assert_eq!(start(&ours, "my-site", &key).stopped().await.0, "FORBIDDEN");
    assert!(visit("my-site").await.ends_with("theirs"));
    // A credential that is good no longer keeps no tunnel from the others.
    assert_eq!(world.api("DELETE", &format!("/tokens/{id}"), Value::Null).await.0, 200);
    assert_eq!(agent.stopped().await.0, "AUTH_FAILED");
    start(&theirs, "my-app", &other).serving().await;
    assert!(visit("my-app").await.ends_with("theirs"));
}

#[tokio::test]
async fn w24_a_private_tunnel_is_not_made_public_by_the_credential_of_another() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let (_, key) = world.mint(json!({ "name": "ci" })).await;
    let (_, other) = world.mint(json!({ "name": "another's" })).await;
    let private = Terms { private: true, ..Terms::default() };
    let start = |terms: Terms, key: &str| {
        Agent::start_on(http_tunnel(upstream.address, "my-app"), terms, world.link(), key)
    };
    start(private.clone(), &key).serving().await;
    for terms in [private, Terms::default()] {
        assert_eq!(start(terms, &other).stopped().await.0, "FORBIDDEN");
    }
    let visit = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(visit.starts_with("HTTP/1.1 404"), "{visit}");
}

#[tokio::test]
async fn w24_a_tunnel_that_its_owner_made_private_is_made_public_by_no_agent() {
    let world = World::start().await;
    let hidden = json!({ "name": "my-app", "visibility": "private" });
    assert_eq!(world.api("POST", "/tunnels", hidden).await.0, 201);
    let mut agent = RawAgent::enter(&world, &world.secret).await;
    let mut wanted = Register::new(Protocol::HTTP, Claim::Name("my-app".to_owned()));
    wanted.visibility = Visibility::PUBLIC;
    let refused = agent.control.register(wanted.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("private"), "{refused}");
    // Nobody asked for another thing: it stays private, and is served.
    wanted.visibility = Visibility::UNSPECIFIED;
    assert!(agent.control.register(wanted).await.unwrap().addresses.is_empty());
    let visit = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(visit.starts_with("HTTP/1.1 404"), "{visit}");
}

async fn open(config: &Config, folder: Folder, secret: Option<String>) -> World {
    let gateway = Gateway::start(config.clone()).await.unwrap();
    let secret = secret.unwrap_or_else(|| gateway.fresh_secret().unwrap().to_owned());
    World { gateway, secret, folder }
}

/// Nobody but the gateway reads the files, and whoever does finds no secret in them.
fn closed_and_without(folder: &Path, keys: &[&str]) {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for key in keys {
            assert!(!text.contains(*key) && !text.contains(secret_part(key)), "{path:?}");
        }
        files += 1;
    }
    assert_eq!(files, 2 * keys.len());
    let verifier = HEXLOWER.encode(&keys[0].parse::<Credential>().unwrap().verifier().to_octets());
    let all = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
    assert!(all.flatten().any(|text| text.contains(&verifier)), "the verifier is what is kept");
}

/// What follows the public id.
fn secret_part(key: &str) -> &str {
    key.rsplit('_').next().unwrap()
}
