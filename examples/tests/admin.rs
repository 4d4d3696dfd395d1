//! What owners say about their tunnels and change later, what the gateway remembers, and the agent's flags.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::Terms;
use adit_examples::gateway::WakeHook;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use support::streaming::{Streaming, Ticker};
use support::{Greeter, PATIENCE, World, get, http_tunnel, raw, tls_tunnel};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn h13_a_change_of_what_is_fixed_is_refused_and_changes_nothing_else() {
    let world = World::start().await;
    let new = json!({ "name": "my-app", "description": "before", "metadata": { "team": "a" } });
    let (status, created) = world.api("POST", "/tunnels", new).await;
    assert_eq!((status, &created["description"]), (201, &json!("before")));
    for (field, other) in
        [("name", "other"), ("name", "No Name!"), ("tls_mode", "passthrough"), ("protocol", "tcp")]
    {
        let change = json!({ field: other, "description": "after", "status": "paused" });
        let (status, answer) = world.api("PATCH", "/tunnels/my-app", change).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("VALIDATION_FAILED")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(field), "{answer}");
    }
    assert_eq!(world.api("GET", "/tunnels/my-app", Value::Null).await.1, created);
    let same = json!({ "name": "my-app", "tls_mode": "edge", "protocol": "http" });
    assert_eq!(
        world.api("PATCH", "/tunnels/my-app", same).await,
        (200, created),
        "what it has already is no change"
    );
}

#[tokio::test]
async fn what_is_not_mentioned_stays_null_clears_and_metadata_is_an_object_of_16_kib() {
    let world = World::start().await;
    world.api("POST", "/tunnels", json!({ "name": "my-app" })).await;
    let patch = async |change: Value| world.api("PATCH", "/tunnels/my-app", change).await;
    let metadata = json!({ "ticket": 7, "nested": { "list": [1, null, "ü"] } });
    let (_, set) =
        patch(json!({ "display_name": "My app", "description": "demo", "metadata": metadata })).await;
    assert_eq!((&set["display_name"], &set["metadata"]), (&json!("My app"), &metadata));
    let (_, cleared) = patch(json!({ "description": null })).await;
    assert_eq!((&cleared["description"], &cleared["display_name"]), (&Value::Null, &json!("My app")));
    for wrong in [
        json!({ "metadata": [1] }),
        json!({ "metadata": "text" }),
        json!({ "metadata": { "x": "y".repeat(16 * 1024) } }),
        json!({ "display_name": "x".repeat(101) }),
        json!({ "description": "x".repeat(501) }),
        json!({ "status": "deleted" }),
        json!({ "owner": "me" }),
    ] {
        let (status, answer) = patch(wrong).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("VALIDATION_FAILED")), "{answer}");
    }
    assert_eq!(world.api("GET", "/tunnels/my-app", Value::Null).await.1, cleared);
    assert_eq!(patch(json!({ "metadata": null })).await.1["metadata"], Value::Null);
    assert_eq!(world.api("PATCH", "/tunnels/nobody", json!({})).await.0, 404);
}

#[tokio::test]
async fn a_patched_status_pauses_and_resumes_for_visitors() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    let visit = async || raw(world.http().await, &get(&world.host("my-app"))).await;
    let (_, paused) = world.api("PATCH", "/tunnels/my-app", json!({ "status": "paused" })).await;
    assert_eq!(paused["status"], "paused");
    assert!(visit().await.contains("TUNNEL_PAUSED"));
    world.api("PATCH", "/tunnels/my-app", json!({ "status": "active" })).await;
    assert!(visit().await.ends_with('a'));
}

#[tokio::test]
async fn the_journal_has_what_owners_did_and_what_became_of_tunnels_and_is_read_by_a_cursor() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    world.api("POST", "/tunnels/my-app/pause", Value::Null).await;
    assert_eq!(world.api("POST", "/tunnels/nobody/pause", Value::Null).await.0, 404);
    let (_, first) = world.api("GET", "/activity", Value::Null).await;
    let told = |entries: &Value| -> Vec<(String, String)> {
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (text(entry, "event"), text(entry, "tunnel")))
            .collect()
    };
    let pair = |event: &str, tunnel: &str| (event.to_owned(), tunnel.to_owned());
    assert_eq!(told(&first), [pair("tunnel.connected", "my-app"), pair("POST /tunnels/my-app/pause", "")]);
    assert_eq!((&first[0]["by"], &first[1]["by"]), (&json!("gateway"), &json!("owner")));
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    let path = format!("/activity?since={}&limit=1", first[1]["at"]);
    let gone = async {
        loop {
            let (_, rest) = world.api("GET", &path, Value::Null).await;
            if !rest.as_array().unwrap().is_empty() {
                return rest;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rest = tokio::time::timeout(PATIENCE, gone).await.expect("nothing is noted");
    assert_eq!(told(&rest), [pair("tunnel.disconnected", "my-app")]);
    let (status, _, _) = world.api_as(&world.secret, &[], "GET", "/activity", Value::Null).await;
    assert_eq!(status, 403, "an agent reads no journal");
}

#[tokio::test]
async fn the_idle_clock_stands_while_a_stream_is_open_that_counts_as_use() {
    let world = World::start_with(|config, _| config.idle_after = Duration::from_millis(300)).await;
    world.agent(http_tunnel(Ticker::start().await, "my-app")).serving().await;
    let clock = async || world.api("GET", "/tunnels/my-app/activity", Value::Null).await.1;
    let idle = async || {
        let is_idle = async {
            while clock().await["is_idle"] != true {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_idle).await.expect("never idle");
    };
    idle().await;
    let mut stream = Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    let used = clock().await;
    assert_eq!((&used["is_idle"], &used["idle_in_ms"]), (&json!(false), &Value::Null), "{used}");
    // A new rule counts for what opens from now on; what is open goes on counting as it did.
    let rule = json!({ "http_keep_alive": false });
    assert_eq!(world.api("PUT", "/tunnels/my-app/policy", rule).await.0, 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.goes_on().await;
    let used = clock().await;
    assert_eq!((&used["is_idle"], &used["http_keep_alive"]), (&json!(false), &json!(false)), "{used}");
    drop(stream);
    idle().await;
    let _not_counted = Streaming::start(world.http().await, &get(&world.host("my-app"))).await;
    assert_eq!(clock().await["is_idle"], true, "HTTP is no use of it now");
    assert_eq!(world.api("GET", "/tunnels/my-app", Value::Null).await.1["is_idle"], true);
}

#[tokio::test]
async fn resume_triggers_go_before_wake_on_http() {
    let world = World::start().await;
    world.api("POST", "/tunnels", json!({ "name": "my-app" })).await;
    for (policy, wakes) in [
        (json!({}), false),
        (json!({ "wake_on_http": true }), true),
        (json!({ "lifecycle": { "resume_triggers": { "http": true } } }), true),
        (json!({ "wake_on_http": false, "lifecycle": { "resume_triggers": { "http": true } } }), true),
        (json!({ "wake_on_http": true, "lifecycle": { "resume_triggers": { "http": false } } }), false),
        (json!({ "wake_on_http": true, "lifecycle": { "resume_triggers": { "http": null } } }), true),
    ] {
        assert_eq!(world.api("PUT", "/tunnels/my-app/policy", policy.clone()).await.0, 200);
        let (_, clock) = world.api("GET", "/tunnels/my-app/activity", Value::Null).await;
        assert_eq!(clock["wake_on_http"], wakes, "{policy}");
    }
    let wrong = json!({ "lifecycle": { "resume_triggers": { "tcp": true } } });
    assert_eq!(world.api("PUT", "/tunnels/my-app/policy", wrong).await.0, 400);
}

#[tokio::test]
async fn the_wake_command_is_told_which_tunnel_it_is_for() {
    let folder = support::Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("woken");
    let command = format!("printf %s \"$ADIT_TUNNEL\" > '{0}.part' && mv '{0}.part' '{0}'", file.display());
    let world = World::start_with(|config, _| config.wake = Some(WakeHook::command(command))).await;
    let create = json!({ "name": "my-app", "policy": { "wake_on_http": true } });
    assert_eq!(world.api("POST", "/tunnels", create).await.0, 201);
    let visitor = world.http().await;
    let request = get(&world.host("my-app"));
    let visiting = tokio::spawn(async move { raw(visitor, &request).await });
    let woken = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, woken).await.expect("nothing was run");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "my-app");
    let upstream = Greeter::start("awake").await;
    let terms = Terms { wake_on_http: true, ..Terms::default() };
    world.agent_on(http_tunnel(upstream.address, "my-app"), terms).serving().await;
    assert!(visiting.await.unwrap().ends_with("awake"));
}

#[tokio::test]
async fn an_agent_that_pauses_lets_nobody_in_until_its_owner_resumes() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let terms = Terms { pause: true, ..Terms::default() };
    world.agent_on(http_tunnel(upstream.address, "my-app"), terms.clone()).serving().await;
    world.agent_on(tls_tunnel(upstream.address, "my-vault"), terms).serving().await;
    let visit = async || raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(visit().await.contains("TUNNEL_PAUSED"));
    assert!(world.https(&world.host("my-vault")).await.is_err());
    assert_eq!(upstream.count(), 0);
    for name in ["my-app", "my-vault"] {
        let (_, resumed) = world.api("POST", &format!("/tunnels/{name}/resume"), Value::Null).await;
        assert_eq!(resumed["status"], "active");
    }
    assert!(visit().await.ends_with('a'));
    let vault = world.https(&world.host("my-vault")).await.unwrap();
    assert!(raw(vault, &get(&world.host("my-vault"))).await.ends_with('a'));
}

#[tokio::test]
async fn the_agents_program_makes_a_share_and_prints_its_link() {
    let world = World::start().await;
    let upstream = Greeter::start("shared").await;
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .args(["--json", "http", &upstream.address.to_string(), "--name", "my-app", "--share", "1h"])
        .args(["--gateway", &world.gateway.agent_address().to_string()])
        .args(["--admin", &world.gateway.admin_address().to_string()])
        .arg("--ca")
        .arg(world.gateway.anchor_path())
        .arg("--state")
        .arg(world.folder.0.join("agent"))
        .env("ADIT_SECRET", &world.secret)
        .env("ADIT_ADMIN_TOKEN", world.gateway.fresh_admin_token().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let shared = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            match event["event"].as_str().unwrap() {
                "shared" => return event["link"].as_str().unwrap().to_owned(),
                "not_shared" | "stopped" => panic!("{event}"),
                _ => {}
            }
        }
        panic!("the agent ended");
    };
    let link = tokio::time::timeout(PATIENCE, shared).await.expect("no share");
    let close = json!({ "auth_mode": "shares" });
    assert_eq!(world.api("PUT", "/tunnels/my-app/policy", close).await.0, 200);
    let host = world.host("my-app");
    assert!(raw(world.http().await, &get(&host)).await.starts_with("HTTP/1.1 404"));
    let key = link.rsplit('/').next().unwrap();
    let request =
        format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-adit-share: {key}\r\nconnection: close\r\n\r\n");
    assert!(raw(world.http().await, request.as_bytes()).await.ends_with("shared"));
    let (_, shares) = world.api("GET", "/tunnels/my-app/shares", Value::Null).await;
    assert_eq!(shares[0]["expiresIn"], "1h");
    agent.kill().await.unwrap();
}
