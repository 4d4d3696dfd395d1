//! The same agent by each of the carriers.
#![allow(missing_docs, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Link, Tunnel};
use adit_mux::Carrier;
use adit_tls_modes::RoomLimits;
use adit_wire_proto::credential::{ChannelBinding, Credential};
use adit_wire_proto::drive::ConnectError;
use quinn::{ConnectionError, VarInt};
use std::net::Ipv4Addr;
use std::time::Duration;
use support::raw_agent::{Line, RawAgent, quic_from};
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// An agent's link that uses `carrier` alone.
fn by(world: &World, carrier: Carrier) -> Link {
    let quic_gateway = world.gateway.quic_address().map(|address| address.to_string());
    let carriers = Carriers { quic_gateway, ..Carriers::only(carrier) };
    Link { carriers, ..world.link() }
}

#[tokio::test]
async fn http_and_tcp_travel_on_every_carrier() {
    let world = World::start().await;
    let upstream = Greeter::start("hello").await;
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let echo_address = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    for carrier in Carrier::ALL {
        let name = format!("by-{carrier}");
        let link = by(&world, carrier);
        let mut agent = Agent::start(http_tunnel(upstream.address, &name), link.clone(), &world.secret);
        agent.serving().await;
        let reply = raw(world.http().await, &get(&world.host(&name))).await;
        assert!(reply.ends_with("hello"), "{carrier}: {reply}");
        let (_, tunnels) = world.api("GET", &format!("/tunnels/{name}"), serde_json::Value::Null).await;
        assert!(tunnels.to_string().contains(&format!("\"{carrier}\"")), "{carrier}: {tunnels}");

        let tunnel = Tunnel::Tcp { upstream: echo_address.into(), name: None, public_port: None };
        let mut agent = Agent::start(tunnel, link, &world.secret);
        let address = agent.serving().await[0].strip_prefix("tcp://").unwrap().to_owned();
        let mut visitor = TcpStream::connect(address).await.unwrap();
        let sent = vec![7; 300_000];
        let (mut reader, mut writer) = visitor.split();
        let mut got = Vec::new();
        let send = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(send, reader.read_to_end(&mut got));
        read.unwrap();
        assert!(got == sent, "{carrier}");
    }
}

#[tokio::test]
async fn agents_come_in_by_the_visitors_door_when_they_ask_for_the_gateway() {
    let world = World::start().await;
    let upstream = Greeter::start("hello").await;
    for carrier in [Carrier::Native, Carrier::Http2, Carrier::WebSocket] {
        let name = format!("by-{carrier}");
        let link = Link { gateway: world.gateway.https_address().to_string(), ..by(&world, carrier) };
        let mut agent = Agent::start(http_tunnel(upstream.address, &name), link, &world.secret);
        agent.serving().await;
        let mut visitor = world.https(&world.host(&name)).await.unwrap();
        visitor.write_all(&get(&world.host(&name))).await.unwrap();
        let mut reply = String::new();
        visitor.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("hello"), "{carrier}: {reply}");
    }
}

#[tokio::test]
async fn those_without_a_credential_are_bounded_by_address_and_let_others_in() {
    let few = RoomLimits::new().max_per_source(4);
    let world = World::start_with(|config, _| config.waiting_agents = few).await;
    let crowd = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(world.gateway.agent_address()).await.unwrap()
    };
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(crowd().await);
    }
    // Nothing is read from the one too many: it is closed at once, while those before it may take their time.
    let mut late = crowd().await;
    let end = timeout(PATIENCE, late.read(&mut [0])).await.expect("it is kept");
    assert!(!matches!(end, Ok(1..)));
    assert!(waiting.iter().all(|socket| socket.try_read(&mut [0]).is_err()), "they wait");
    // Others are not held up, by any carrier.
    let upstream = Greeter::start("a").await;
    for carrier in Carrier::ALL {
        let mut agent =
            Agent::start(http_tunnel(upstream.address, "my-app"), by(&world, carrier), &world.secret);
        agent.serving().await;
    }
}

#[tokio::test]
async fn by_quic_those_without_a_credential_are_bounded_by_address_and_let_others_in() {
    let few = RoomLimits::new().max_per_source(4);
    let world = World::start_with(|config, _| config.waiting_agents = few).await;
    let crowd = Ipv4Addr::new(127, 0, 0, 2);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(quic_from(&world, crowd).await.unwrap());
    }
    let late = timeout(PATIENCE, quic_from(&world, crowd)).await.expect("it is left without an answer");
    assert!(matches!(late, Err(ConnectionError::ConnectionClosed(_))), "refused: {late:?}");
    assert!(waiting.iter().all(|connection| connection.close_reason().is_none()), "they wait");
    let upstream = Greeter::start("a").await;
    world.agent(http_tunnel(upstream.address, "my-app")).serving().await;
    let by_quic = by(&world, Carrier::Quic);
    Agent::start(http_tunnel(upstream.address, "my-app"), by_quic, &world.secret).serving().await;
    // Whoever goes makes room.
    waiting.pop().unwrap().close(VarInt::from_u32(0), b"");
    let comes_in = async {
        while quic_from(&world, crowd).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, comes_in).await.expect("there is no room again");
}

#[tokio::test]
async fn w18_a_wrong_secret_is_refused_by_every_carrier_and_told_from_an_unknown_one_by_nothing() {
    let (world, other) = (World::start().await, World::start().await);
    let upstream = Greeter::start("a").await;
    let own: Credential = world.secret.parse().unwrap();
    let forged = Credential::from_random(own.id().kind(), own.id().nonce(), [7; 32]);
    assert_eq!(forged.id(), own.id());
    for carrier in Carrier::ALL {
        let mut told = Vec::new();
        for secret in [&other.secret, forged.reveal().as_str()] {
            let tunnel = http_tunnel(upstream.address, "my-app");
            told.push(Agent::start(tunnel, by(&world, carrier), secret).stopped().await.0);
        }
        assert_eq!(told, ["AUTH_FAILED", "AUTH_FAILED"], "{carrier}");
    }
}

#[tokio::test]
async fn w19_a_proof_for_another_connection_is_refused_by_every_carrier() {
    let world = World::start().await;
    for carrier in Carrier::ALL {
        // The right secret, proven on a connection of whoever stands between.
        let (victim, relayed) = (Line::by(&world, carrier).await, Line::by(&world, carrier).await);
        let relayed = Line { binding: victim.binding, ..relayed };
        let unbound = Line { binding: ChannelBinding::NONE, ..Line::by(&world, carrier).await };
        for wrong in [relayed, unbound] {
            match RawAgent::prove(wrong, &world.secret).await.map(drop) {
                Err(ConnectError::Refused { refusal }) => {
                    assert_eq!(refusal.code().to_string(), "AUTH_FAILED", "{carrier}");
                }
                other => panic!("{carrier}: {other:?}"),
            }
        }
        let right = Line::by(&world, carrier).await;
        assert!(RawAgent::prove(right, &world.secret).await.is_ok(), "{carrier}: the right one is let in");
    }
}
