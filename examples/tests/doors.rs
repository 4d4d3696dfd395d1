//! The doors by which agents come in, before they have shown a credential.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Link};
use adit_mux::carrier::{h2, websocket};
use adit_mux::{Builder, Carrier, Config, Incoming, Role, Session};
use adit_tls_modes::RoomLimits;
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const OVER_TCP: [Carrier; 3] = [Carrier::Native, Carrier::Http2, Carrier::WebSocket];

#[tokio::test]
async fn sessions_that_began_without_a_credential_are_bounded_by_address_at_both_doors() {
    let few = RoomLimits::new().max_per_source(4);
    let world = World::start_with(|config, _| config.waiting_agents = few).await;
    let upstream = Greeter::start("a").await;
    for door in [world.gateway.agent_address(), world.gateway.https_address()] {
        for carrier in OVER_TCP {
            let mut waiting = Vec::new();
            for _ in 0..4 {
                let (session, incoming) = begin(carrier, tls(&world, carrier, door).await.unwrap()).await;
                session.ping().await.unwrap();
                waiting.push((session, incoming));
            }
            assert!(tls(&world, carrier, door).await.is_err(), "{carrier} at {door}");
            assert!(waiting.iter().all(|(session, _)| session.end().is_none()), "{carrier} at {door}");
            // Others come in meanwhile, by the same door.
            let link = Link { gateway: door.to_string(), carriers: Carriers::only(carrier), ..world.link() };
            let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), link, &world.secret);
            agent.serving().await;
            for (session, _) in waiting {
                session.close(CloseCode::NONE, "");
                session.closed().await;
            }
            // All four places are free once the gateway has noticed.
            let freed = async {
                loop {
                    let mut again = Vec::new();
                    for _ in 0..4 {
                        again.extend(tls(&world, carrier, door).await);
                    }
                    if again.len() == 4 {
                        return;
                    }
                    drop(again);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, freed).await.expect("they are kept");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// On QUIC the transport lets one stream through before the welcome.
#[tokio::test]
async fn a_stream_before_the_welcome_is_refused_and_never_served() {
    let world = World::start().await;
    let control = StreamHead::builder(Protocol::CONTROL).build().unwrap().encode();
    let early = StreamHead::builder(Protocol::TCP).build().unwrap().encode();
    for carrier in OVER_TCP {
        let io = tls(&world, carrier, world.gateway.agent_address()).await.unwrap();
        let (session, _incoming) = begin(carrier, io).await;
        let _control = session.open(control.clone()).await.unwrap();
        for _ in 0..20 {
            let mut stream = session.open(early.clone()).await.unwrap();
            let answer = tokio::time::timeout(PATIENCE, stream.read_chunk()).await.expect("it waits");
            assert_eq!(answer.unwrap_err().close_code(), CloseCode::REFUSED, "{carrier}");
        }
        assert_eq!(session.end(), None, "{carrier}");
    }
}

#[tokio::test]
async fn below_tls_the_first_octets_tell_the_carriers_on_tcp_apart() {
    let (world, upstream) = (World::plain().await, Greeter::start("hello").await);
    for carrier in OVER_TCP {
        let name = format!("by-{carrier}");
        let gateway = format!("tcp://{}", world.gateway.agent_address());
        let link = Link { gateway, carriers: Carriers::only(carrier), ..world.link() };
        let mut agent = Agent::start(http_tunnel(upstream.address, &name), link, &world.secret);
        agent.serving().await;
        let reply = raw(world.http().await, &get(&world.host(&name))).await;
        assert!(reply.ends_with("hello"), "{carrier}: {reply}");
        let (_, tunnel) = world.api("GET", &format!("/tunnels/{name}"), serde_json::Value::Null).await;
        assert_eq!(tunnel["carrier"], carrier.to_string());
    }
}

/// TLS by `carrier` from another address of this machine.
async fn tls(
    world: &World,
    carrier: Carrier,
    door: SocketAddr,
) -> Result<TlsStream<TcpStream>, std::io::Error> {
    let alpn: &[u8] = match carrier {
        Carrier::Http2 => h2::ALPN,
        Carrier::WebSocket => b"http/1.1",
        _ => b"adit/1",
    };
    let config = world.agent_tls(alpn).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let name = ServerName::try_from(world.gateway.server_name().to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket.connect(door).await.unwrap()).await
}

/// A session as an agent begins it that shows no credential.
async fn begin(carrier: Carrier, io: TlsStream<TcpStream>) -> (Session, Incoming) {
    let (session, incoming, driver) = match carrier {
        Carrier::Http2 => h2::start(Role::Dialler, io, &Config::default()),
        Carrier::WebSocket => {
            let io = websocket::connect(io, "wss://gateway/").await.unwrap();
            Builder::new(Role::Dialler).carrier(carrier).build(io)
        }
        _ => Builder::new(Role::Dialler).build(io),
    };
    tokio::spawn(driver);
    (session, incoming)
}
