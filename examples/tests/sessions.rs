//! What becomes of agents: let in, turned away, replaced, drained.
#![allow(missing_docs, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Event, Link, Tunnel};
use adit_examples::gateway::{Config, Gateway};
use serde_json::{Value, json};
use std::time::Duration;
use support::network::Wire;
use support::{Agent, Folder, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
async fn neighbours() -> (TcpListener, u16) {
    for port in (20_000..30_000).step_by(2) {
        let local = |port: u16| TcpListener::bind(("127.0.0.1", port));
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
async fn w25_a_port_whose_hold_is_over_goes_to_the_next_tunnel_with_its_visitors() {
    let world = World::start_with(|config, _| config.port_hold = Duration::ZERO).await;
    let (old, new) = (Greeter::start("old").await, Greeter::start("new").await);
    let tunnel = |to: &Greeter, name: &str, public_port| Tunnel::Tcp {
        upstream: to.address.into(),
        name: Some(name.to_owned()),
        public_port,
    };
    let mut first = world.agent(tunnel(&old, "my-old", None));
    let address = first.serving().await.remove(0).strip_prefix("tcp://").unwrap().to_owned();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    first.stop.cancel();
    assert!(first.task.await.unwrap());
    world.until_disconnected("my-old").await;
    for round in 0..3 {
        let mut second = world.agent(tunnel(&new, "my-new", Some(port)));
        assert_eq!(second.serving().await, [format!("tcp://{address}")], "round {round}");
        let visit = raw(TcpStream::connect(&*address).await.unwrap(), b"x").await;
        assert!(visit.ends_with("new"), "{visit}");
    }
    let mut again = world.agent(tunnel(&old, "my-old", None));
    assert_ne!(again.serving().await, [format!("tcp://{address}")]);
}

#[tokio::test]
async fn a_tunnel_whose_agent_was_cut_off_is_in_error_until_another_comes_and_one_that_left_is_not() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let shown = async || world.api("GET", "/tunnels/my-app", Value::Null).await.1;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    assert_eq!(
        (shown().await["status"].clone(), shown().await["last_error"].clone()),
        (json!("active"), Value::Null)
    );
    assert!(shown().await["last_address"].as_str().unwrap().starts_with("127.0.0.1:"));
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    world.until_disconnected("my-app").await;
    assert_eq!(shown().await["status"], "connecting", "it said that it leaves");
    let wire = Wire::in_front_of(world.gateway.agent_address()).await;
    let link = Link { gateway: wire.address.to_string(), ..world.link() };
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    agent.serving().await;
    agent.task.abort();
    wire.cut();
    world.until_disconnected("my-app").await;
    let cut_off = shown().await;
    assert_eq!(cut_off["status"], "error", "{cut_off}");
    assert!(cut_off["last_error"].is_string(), "{cut_off}");
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    assert_eq!(
        (shown().await["status"].clone(), shown().await["last_error"].clone()),
        (json!("active"), Value::Null)
    );
}

#[tokio::test]
async fn f06_a_drain_finishes_what_runs_and_tells_the_agents() {
    let world = World::start().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    let visitor = TcpStream::connect(gateway.http_address()).await.unwrap();
    assert!(raw(visitor, &get(&host)).await.ends_with("back"));
    drop(folder);
}

#[tokio::test]
async fn w21_a_secret_that_was_rotated_opens_no_session_and_ends_those_that_it_opened() {
    let world = World::start_with(|config, _| config.drain = Duration::from_secs(2)).await;
    let (upstream, slow) = (Greeter::start("a").await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    // A visit is under way on a session that the old secret opened.
    let mut old = world.agent(http_tunnel(slow.local_addr().unwrap(), "old-app"));
    old.serving().await;
    let mut visitor = world.http().await;
    visitor.write_all(&get(&world.host("old-app"))).await.unwrap();
    let (mut served, _) = slow.accept().await.unwrap();
    let _ = served.read(&mut [0; 4096]).await.unwrap();
    let mut link = world.link();
    link.rotate_secret = Some(0);
    let mut rotating = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    let fresh = rotating
        .event(|event| match event {
            Event::SecretRotated { secret, old_valid_ms: 0 } => Some(secret.0.clone()),
            _ => None,
        })
        .await;
    assert_ne!(fresh, world.secret);
    // Everybody is told; the visit is finished; and only who has the new secret comes back.
    old.event(|event| matches!(event, Event::SecretReplaced { old_valid_ms: 0 }).then_some(())).await;
    old.event(|event| matches!(event, Event::Draining).then_some(())).await;
    assert_eq!(old.stopped().await.0, "AUTH_FAILED");
    served.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await.unwrap();
    let mut reply = String::new();
    visitor.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("late"), "{reply}");
    rotating.event(|event| matches!(event, Event::Draining).then_some(())).await;
    rotating.serving().await;
    let greeting = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(greeting.ends_with("a"), "{greeting}");
    let mut late = world.agent(http_tunnel(upstream.address, "late-app"));
    assert_eq!(late.stopped().await.0, "AUTH_FAILED");
}

#[tokio::test]
async fn w21_both_secrets_are_good_while_they_overlap_and_after_it_the_session_of_the_old_one_drains() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut old = world.agent(http_tunnel(upstream.address, "old-app"));
    old.serving().await;
    let mut link = world.link();
    link.rotate_secret = Some(2);
    let mut rotating = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    let fresh = rotating
        .event(|event| match event {
            Event::SecretRotated { secret, old_valid_ms: 2000 } => Some(secret.0.clone()),
            _ => None,
        })
        .await;
    // One with each secret, in the overlap.
    let mut with_old = world.agent(http_tunnel(upstream.address, "late-app"));
    with_old.serving().await;
    let mut with_new = Agent::start(http_tunnel(upstream.address, "new-app"), world.link(), &fresh);
    with_new.serving().await;
    for agent in [&mut old, &mut with_old] {
        agent.event(|event| matches!(event, Event::Draining).then_some(())).await;
        assert_eq!(agent.stopped().await.0, "AUTH_FAILED");
    }
    // The one that rotated comes back by itself, and nobody ends the session of the new secret.
    rotating.event(|event| matches!(event, Event::Draining).then_some(())).await;
    rotating.serving().await;
    let greeting = raw(world.http().await, &get(&world.host("new-app"))).await;
    assert!(greeting.ends_with("a"), "{greeting}");
    assert!(with_new.events.try_recv().is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn w21_a_rotation_survives_a_restart_in_a_file_of_the_gateway_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let config = Config::on_loopback(folder.0.join("gateway"), (36_100, 36_199));
    let gateway = Gateway::start(config.clone()).await.unwrap();
    let secret = gateway.fresh_secret().unwrap().to_owned();
    let world = World { gateway, secret, folder };
    let upstream = Greeter::start("a").await;
    let mut link = world.link();
    link.rotate_secret = Some(0);
    let mut rotating = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
    let fresh = rotating
        .event(|event| match event {
            Event::SecretRotated { secret, .. } => Some(secret.0.clone()),
            _ => None,
        })
        .await;
    let file = world.folder.0.join("gateway/credential");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    rotating.stop.cancel();
    let World { gateway, secret, folder } = world;
    gateway.stop(PATIENCE).await;
    let world = World { gateway: Gateway::start(config).await.unwrap(), secret, folder };
    let mut with_old = world.agent(http_tunnel(upstream.address, "my-app"));
    assert_eq!(with_old.stopped().await.0, "AUTH_FAILED");
    Agent::start(http_tunnel(upstream.address, "my-app"), world.link(), &fresh).serving().await;
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
