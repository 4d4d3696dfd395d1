//! An agent below the program: it says what a test has it say.

use super::World;
use adit_mux::carrier::{h2, quic, websocket};
use adit_mux::{Builder, Carrier, Config, Incoming, Role, Session, Stream};
use adit_wire_proto::StreamHead;
use adit_wire_proto::agent::Options;
use adit_wire_proto::control::Offer;
use adit_wire_proto::credential::ChannelBinding;
use adit_wire_proto::drive::{AgentControl, ConnectError};
use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A connection to the gateway on which nothing was said yet.
pub struct Line {
    pub session: Session,
    pub incoming: Incoming,
    pub binding: ChannelBinding,
}

impl Line {
    pub async fn by(world: &World, carrier: Carrier) -> Self {
        if carrier == Carrier::Quic {
            let connection = quic_from(world, Ipv4Addr::LOCALHOST).await.unwrap();
            let binding = ChannelBinding::tls_exporter(quic::channel_binding(&connection).unwrap());
            let (session, incoming, driver) = quic::start(connection, &Config::default());
            tokio::spawn(driver);
            return Self { session, incoming, binding };
        }
        let alpn = match carrier {
            Carrier::Http2 => h2::ALPN,
            Carrier::WebSocket => b"http/1.1",
            _ => b"adit/1",
        };
        let io = world.agent_port_for(alpn).await.unwrap();
        let exporter = io.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
        let binding = ChannelBinding::tls_exporter(exporter.unwrap());
        let (session, incoming, driver) = match carrier {
            Carrier::Http2 => h2::start(Role::Dialler, io, &Config::default()),
            Carrier::WebSocket => {
                let url = format!("wss://{}/", world.gateway.server_name());
                let io = websocket::connect(io, &url).await.unwrap();
                let (reader, writer) = io.split_with(tokio::io::split);
                Builder::new(Role::Dialler).carrier(Carrier::WebSocket).build_split(reader, writer)
            }
            _ => Builder::new(Role::Dialler).build(io),
        };
        tokio::spawn(driver);
        Self { session, incoming, binding }
    }
}

/// A QUIC connection to the agents' side of the gateway, from this address of the machine.
pub async fn quic_from(world: &World, from: Ipv4Addr) -> Result<quinn::Connection, quinn::ConnectionError> {
    let tls = QuicClientConfig::try_from(world.agent_tls(quic::ALPN).unwrap()).unwrap();
    let endpoint = Endpoint::client((from, 0).into()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let gateway = world.gateway.quic_address().unwrap();
    endpoint.connect_with(config, gateway, world.gateway.server_name()).unwrap().await
}

/// An agent that was let in.
pub struct RawAgent {
    pub session: Session,
    pub incoming: Incoming,
    pub control: AgentControl<Stream>,
}

impl RawAgent {
    /// By the native carrier, with the secret that `key` is.
    pub async fn enter(world: &World, key: &str) -> Self {
        Self::prove(Line::by(world, Carrier::Native).await, key).await.unwrap()
    }

    /// Proves the secret on `line`.
    pub async fn prove(line: Line, key: &str) -> Result<Self, ConnectError> {
        let Line { session, incoming, binding } = line;
        let stream = session.open(StreamHead::control().encode()).await.unwrap();
        let options =
            Options::new(Offer::new("raw/1", [7; 32])).with_credential(key.parse().unwrap(), binding);
        let (control, _) = AgentControl::connect(stream, options).await?;
        Ok(Self { session, incoming, control })
    }
}
