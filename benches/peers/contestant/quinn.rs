//! `quinn`: QUIC over UDP, which brings its own encryption.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use tokio::io::join;

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, boxed};
use crate::peers::carrier::{Identity, SERVER_NAME};

pub(crate) const QUINN: Contestant = Contestant {
    name: "quinn",
    about: "quinn 0.11 (ring) over UDP, encrypted; defaults but 100,000 streams",
    max_streams: MANY,
    on_any_carrier: false,
    quick: true,
    connect: |_| Box::pin(connect(defaults())),
};

pub(crate) const BARE: Contestant = Contestant {
    name: "quinn-bare",
    about: "quinn 0.11 (ring); the settings and the heads of adit-quic",
    quick: false,
    connect: |_| Box::pin(connect_as_ours()),
    ..QUINN
};

/// With a head before each stream, as the carrier has it: two octets, for an empty one.
struct WithHeads(End);

/// One end of a connection.
pub(super) struct End {
    pub(super) connection: Connection,
    pub(super) endpoint: Endpoint,
}

fn defaults() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(100_000));
    transport
}

async fn connect(transport: TransportConfig) -> io::Result<Session> {
    let (near, far) = connections(transport).await?;
    Ok(Session { opener: Arc::new(near), acceptor: Box::new(far) })
}

async fn connect_as_ours() -> io::Result<Session> {
    let (near, far) = connections(adit_mux::carrier::quic::transport(&super::adit::limits())).await?;
    Ok(Session { opener: Arc::new(WithHeads(near)), acceptor: Box::new(WithHeads(far)) })
}

/// A client and a server over loopback, connected.
pub(super) async fn connections(transport: TransportConfig) -> io::Result<(End, End)> {
    let (client, server) = Identity::new()?.configs(b"bench")?;
    let transport = Arc::new(transport);
    let server = QuicServerConfig::try_from(server).map_err(io::Error::other)?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::clone(&transport));
    let client = QuicClientConfig::try_from(client).map_err(io::Error::other)?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport);

    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (dialler, listener) = (Endpoint::client(any_port)?, Endpoint::server(server, any_port)?);
    let dial = dialler.connect_with(client, listener.local_addr()?, SERVER_NAME).map_err(io::Error::other)?;
    let accept = async { listener.accept().await.ok_or_else(super::ended)?.await.map_err(io::Error::other) };
    let dial = async { dial.await.map_err(io::Error::other) };
    let (near, far) = tokio::try_join!(dial, accept)?;
    Ok((End { connection: near, endpoint: dialler }, End { connection: far, endpoint: listener }))
}

impl Opener for End {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, receive) = self.connection.open_bi().await.map_err(io::Error::other)?;
            Ok(boxed(join(receive, send)))
        })
    }
}

impl Opener for WithHeads {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (mut send, receive) = self.0.connection.open_bi().await.map_err(io::Error::other)?;
            send.write_all(&[0; 2]).await.map_err(io::Error::other)?;
            Ok(boxed(join(receive, send)))
        })
    }
}

impl Acceptor for WithHeads {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, mut receive) = self.0.connection.accept_bi().await.map_err(io::Error::other)?;
            receive.read_exact(&mut [0; 2]).await.map_err(io::Error::other)?;
            Ok(boxed(join(receive, send)))
        })
    }
}

impl Acceptor for End {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, receive) = self.connection.accept_bi().await.map_err(io::Error::other)?;
            Ok(boxed(join(receive, send)))
        })
    }
}
