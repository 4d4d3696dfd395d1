//! Hosts of the form `{port}-{key}`: which port of the agent's machine they lead to, and which ones nowhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use adit_examples::agent::{Local, Terms, Tunnel};
use serde_json::Value;
use support::{Agent, Greeter, World, get, http_tunnel, raw};

async fn key(world: &World, name: &str) -> Value {
    world.api("GET", &format!("/tunnels/{name}"), Value::Null).await.1["tunnel_key"].clone()
}

async fn visit(world: &World, label: &str) -> String {
    raw(world.http().await, &get(&world.host(label))).await
}

#[tokio::test]
async fn r25_a_visitor_chooses_among_the_ports_that_the_agents_owner_allowed() {
    let world = World::start().await;
    let (own, allowed, other) =
        (Greeter::start("own").await, Greeter::start("allowed").await, Greeter::start("other").await);
    let ports = vec![allowed.address.port().to_string().parse().unwrap()];
    let local = Local { ports, ..Local::default() };
    let mut agent = Agent::start_with(http_tunnel(own.address, "my-app"), world.link(), local, &world.secret);
    agent.serving().await;
    let key = key(&world, "my-app").await;
    let key = key.as_str().unwrap();
    for (greeter, says) in [(&own, "own"), (&allowed, "allowed")] {
        let reply = visit(&world, &format!("{}-{key}", greeter.address.port())).await;
        assert!(reply.ends_with(says), "{reply}");
    }
    let reply = visit(&world, &format!("{}-{key}", other.address.port())).await;
    assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    assert_eq!(other.count(), 0, "it was never dialled");
    assert!(visit(&world, "my-app").await.ends_with("own"), "the name leads where it did");
}

#[tokio::test]
async fn r03_a_key_that_was_not_sealed_here_leads_where_an_unknown_name_does() {
    let world = World::start().await;
    let upstream = Greeter::start("own").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    let key = key(&world, "my-app").await;
    let key = key.as_str().unwrap();
    let port = upstream.address.port();
    let unknown = visit(&world, "nobody").await;
    let forged = key.chars().rev().collect::<String>();
    for label in
        [format!("{port}-{forged}"), format!("0-{key}"), format!("65536-{key}"), format!("0{port}-{key}")]
    {
        let reply = visit(&world, &label).await;
        let status = |reply: &str| reply.split("\r\n").next().unwrap().to_owned();
        assert_eq!(status(&reply), status(&unknown), "{label}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn private_tunnels_and_those_whose_requests_nobody_reads_have_no_key() {
    let world = World::start().await;
    let upstream = Greeter::start("own").await;
    let private = Terms { private: true, ..Terms::default() };
    let mut hidden = world.agent_on(http_tunnel(upstream.address, "my-secret"), private);
    hidden.serving().await;
    let raw_port = Tunnel::Tcp {
        upstream: upstream.address.into(),
        name: Some("my-port".to_owned()),
        public_port: None,
    };
    let mut by_port = world.agent(raw_port);
    by_port.serving().await;
    assert_eq!([key(&world, "my-secret").await, key(&world, "my-port").await], [Value::Null, Value::Null]);
}

#[tokio::test]
async fn a_key_outlives_its_agent_and_ends_with_the_tunnel() {
    let world = World::start().await;
    let upstream = Greeter::start("own").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let before = key(&world, "my-app").await;
    let label = format!("{}-{}", upstream.address.port(), before.as_str().unwrap());
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    world.until_disconnected("my-app").await;
    let status = |reply: String| reply.split("\r\n").next().unwrap().to_owned();
    assert_eq!(status(visit(&world, &label).await), status(visit(&world, "my-app").await), "as for the name");
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    assert_eq!(key(&world, "my-app").await, before);
    assert!(visit(&world, &label).await.ends_with("own"));
    let (status, _) = world.api("DELETE", "/tunnels/my-app", Value::Null).await;
    assert_eq!(status, 200);
    assert!(visit(&world, &label).await.starts_with("HTTP/1.1 404"));
}
