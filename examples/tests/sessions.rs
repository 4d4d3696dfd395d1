//! What becomes of agents: let in, turned away, replaced, drained.
#![allow(missing_docs, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Event, Tunnel};
use adit_examples::gateway::{Config, Gateway};
use std::time::Duration;
use support::{Agent, Folder, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn w18_w19_a_wrong_secret_stops_the_agent_with_what_to_do() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    // Another gateway's secret: well formed, unknown here.
    let other = World::start().await;
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), world.link(), &other.secret);
    let (code, next_action) = agent.stopped().await;
    assert_eq!(code, "AUTH_FAILED");
    assert!(next_action.starts_with("REPLACE_CREDENTIALS"), "{next_action}");
    assert!(!agent.task.await.unwrap());
}

#[tokio::test]
async fn w26_the_newest_agent_wins_and_the_older_stops_for_good() {
    let world = World::start().await;
    let (old, new) = (Greeter::start("old").await, Greeter::start("new").await);
    let mut first = world.agent(http_tunnel(old.address, "my-app"));
    first.serving().await;
    let host = world.host("my-app");
    assert!(raw(world.http().await, &get(&host)).await.ends_with("old"));
    let mut second = world.agent(http_tunnel(new.address, "my-app"));
    second.serving().await;
    assert_eq!(first.stopped().await.0, "SUPERSEDED");
    assert!(raw(world.http().await, &get(&host)).await.ends_with("new"));
}

#[tokio::test]
async fn w27_a_gateway_with_another_name_gets_no_credential() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut link = world.link();
    link.server_name = "other.adit.localhost".to_owned();
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    let reason = agent
        .event(|event| match event {
            Event::Reconnecting { reason, .. } => Some(reason.clone()),
            Event::Connected { .. } => panic!("connected to a gateway of another name"),
            _ => None,
        })
        .await;
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn w25_r13_a_port_out_of_range_stops_the_agent_with_a_port_to_try() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let tunnel = Tunnel::Tcp { upstream: upstream.address.into(), name: None, public_port: Some(80) };
    let mut agent = world.agent(tunnel);
    let (code, next_action) = agent.stopped().await;
    assert_eq!(code, "PORT_UNAVAILABLE");
    assert!(next_action.starts_with("CHOOSE_DIFFERENT_PORT"), "{next_action}");
}

#[tokio::test]
async fn a_port_that_another_program_has_is_passed_over() {
    let upstream = Greeter::start("a").await;
    let (outside, taken) = neighbours().await;
    let folder = Folder::new();
    // Two ports, the first of which is another program's.
    let config = Config::on_loopback(folder.0.join("gateway"), (taken, taken + 1));
    let gateway = Gateway::start(config).await.unwrap();
    let secret = gateway.fresh_secret().unwrap().to_owned();
    let world = World { gateway, secret, folder };
    let tunnel = Tunnel::Tcp { upstream: upstream.address.into(), name: None, public_port: None };
    let addresses = world.agent(tunnel).serving().await;
    assert!(addresses[0].ends_with(&format!(":{}", taken + 1)), "{addresses:?}");
    drop(outside);
}

/// A listener on a port whose neighbour above is free, below the ports that the system gives out by itself.
async fn neighbours() -> (tokio::net::TcpListener, u16) {
    for port in (20_000..30_000).step_by(2) {
        let local = |port: u16| tokio::net::TcpListener::bind(("127.0.0.1", port));
        if let (Ok(listener), Ok(_free)) = (local(port).await, local(port + 1).await) {
            return (listener, port);
        }
    }
    panic!("no two free ports beside each other");
}

#[tokio::test]
async fn a_name_that_breaks_the_rules_comes_back_with_one_that_does_not() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "My--App_"));
    let message = agent
        .event(|event| match event {
            Event::Stopped { message, .. } => Some(message.clone()),
            _ => None,
        })
        .await;
    assert!(message.contains("my-app"), "{message}");
}

#[tokio::test]
async fn a_port_stays_with_its_tunnel_across_a_restart_of_the_agent() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let tunnel = || Tunnel::Tcp {
        upstream: upstream.address.into(),
        name: Some("my-db".to_owned()),
        public_port: None,
    };
    let mut first = world.agent(tunnel());
    let before = first.serving().await;
    first.stop.cancel();
    assert!(first.task.await.unwrap(), "an agent that was asked to stop stops in order");
    let mut second = world.agent(tunnel());
    assert_eq!(second.serving().await, before);
}

#[tokio::test]
async fn f06_a_drain_finishes_what_runs_and_tells_the_agents() {
    let world = World::start().await;
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = world.agent(http_tunnel(upstream.local_addr().unwrap(), "my-app"));
    agent.serving().await;
    let (request, mut visitor) = (get(&world.host("my-app")), world.http().await);
    visitor.write_all(&request).await.unwrap();
    // The request is at the upstream when the gateway is asked to stop.
    let (mut served, _) = upstream.accept().await.unwrap();
    let _ = served.read(&mut [0; 4096]).await.unwrap();
    let stopping = tokio::spawn(world.gateway.stop(PATIENCE));
    agent.event(|event| matches!(event, Event::Draining).then_some(())).await;
    served.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await.unwrap();
    let mut reply = String::new();
    visitor.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("late"), "{reply}");
    assert_eq!(stopping.await.unwrap(), 0, "nothing was cut off");
}

#[tokio::test]
async fn f07_agents_come_back_to_a_gateway_that_was_restarted() {
    let folder = Folder::new();
    let mut config = Config::on_loopback(folder.0.join("gateway"), (36_100, 36_199));
    let gateway = Gateway::start(config.clone()).await.unwrap();
    (config.agents, config.http) = (gateway.agent_address(), gateway.http_address());
    let secret = gateway.fresh_secret().unwrap().to_owned();
    let world = World { gateway, secret, folder };
    let upstream = Greeter::start("back").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let host = world.host("my-app");
    let World { gateway, folder, .. } = world;
    gateway.stop(Duration::from_secs(5)).await;
    let gateway = restart(&config).await;
    assert_eq!(gateway.fresh_secret(), None, "the secret is shown once, and goes on being good");
    agent.serving().await;
    let visitor = tokio::net::TcpStream::connect(gateway.http_address()).await.unwrap();
    assert!(raw(visitor, &get(&host)).await.ends_with("back"));
    drop(folder);
}

/// The listeners of the gateway before end with their tasks, a moment after it.
async fn restart(config: &Config) -> Gateway {
    let try_again = async {
        loop {
            match Gateway::start(config.clone()).await {
                Ok(gateway) => return gateway,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, try_again).await.expect("the ports are never free again")
}
