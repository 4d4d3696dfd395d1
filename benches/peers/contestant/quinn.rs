//! `quinn`: QUIC over UDP, which brings its own encryption.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed};
use crate::peers::carrier::{Identity, Network, SERVER_NAME};

pub(crate) const QUINN: Contestant = Contestant {
    name: "quinn",
    about: "quinn 0.11 (ring) over UDP, encrypted; defaults but 100,000 streams",
    max_streams: MANY,
    on_any_carrier: false,
    quick: true,
    connect: |network| Box::pin(connect(network)),
};

struct End {
    connection: Connection,
    _endpoint: Endpoint,
}

/// The two halves of a stream as one.
struct Both {
    send: SendStream,
    receive: RecvStream,
}

async fn connect(_network: Arc<Network>) -> io::Result<Session> {
    let (client, server) = Identity::new()?.configs(b"bench")?;
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(100_000));
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
    let opener = Arc::new(End { connection: near, _endpoint: dialler });
    Ok(Session { opener, acceptor: Box::new(End { connection: far, _endpoint: listener }) })
}

impl Opener for End {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, receive) = self.connection.open_bi().await.map_err(io::Error::other)?;
            Ok(boxed(Both { send, receive }))
        })
    }
}

impl Acceptor for End {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, receive) = self.connection.accept_bi().await.map_err(io::Error::other)?;
            Ok(boxed(Both { send, receive }))
        })
    }
}

impl AsyncRead for Both {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receive).poll_read(cx, buf).map_err(io::Error::other)
    }
}

impl AsyncWrite for Both {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

impl Stream for Both {}
