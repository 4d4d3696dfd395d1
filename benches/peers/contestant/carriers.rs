//! Ours on the other carriers, each to be compared with the bare library below it.

use std::io;
use std::sync::Arc;

use adit_mux::carrier::websocket::WebSocketIo;
use adit_mux::carrier::{h2, quic, websocket};
use adit_mux::{Builder, Driver, Incoming, Role};
use quinn::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};

use super::adit::{Dialler, Listener, limits};
use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, quinn as bare_quinn};
use crate::peers::carrier::{Carrier, Network, Security, Socket};

pub(crate) const HTTP2: Contestant = Contestant {
    name: "adit-h2",
    about: "adit-mux on HTTP/2's streams; compare with h2-bare",
    max_streams: MANY,
    on_any_carrier: true,
    quick: false,
    connect: |network| Box::pin(connect_h2(network, false)),
};

pub(crate) const HTTP2_CHUNKS: Contestant = Contestant {
    name: "adit-h2-chunks",
    about: "the same, moving whole chunks in bulk; compare with h2-bare-chunks",
    connect: |network| Box::pin(connect_h2(network, true)),
    ..HTTP2
};

pub(crate) const QUIC: Contestant = Contestant {
    name: "adit-quic",
    about: "adit-mux on QUIC's streams; compare with quinn-bare",
    on_any_carrier: false,
    connect: |_| Box::pin(connect_quic()),
    ..HTTP2
};

pub(crate) const WEBSOCKET: Contestant = Contestant {
    name: "adit-ws",
    about: "adit-mux in WebSocket messages; compare with adit",
    connect: |network| Box::pin(connect_websocket(network, Security::Plain)),
    ..HTTP2
};

pub(crate) const WEBSOCKET_TLS: Contestant = Contestant {
    name: "adit-ws-tls",
    about: "the same over rustls; compare with adit-tls",
    on_any_carrier: false,
    connect: |network| Box::pin(connect_websocket(network, Security::Tls)),
    ..HTTP2
};

type End = (adit_mux::Session, Incoming, Driver);

async fn connect_h2(network: Arc<Network>, in_chunks: bool) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    // The gateway opens streams without invitation, and it is the one that listens.
    let (near, far) = (h2::start(Role::Listener, near, &limits()), h2::start(Role::Dialler, far, &limits()));
    Ok(session(near, far, in_chunks))
}

async fn connect_quic() -> io::Result<Session> {
    let (near, far) = bare_quinn::connections(quic::transport(&limits())).await?;
    let ends = (quic::start(near.connection, &limits()), quic::start(far.connection, &limits()));
    let session = session(ends.0, ends.1, false);
    let opener = Arc::new(WithEndpoint(session.opener, near.endpoint));
    Ok(Session { opener, acceptor: Box::new(WithEndpoint(session.acceptor, far.endpoint)) })
}

async fn connect_websocket(network: Arc<Network>, security: Security) -> io::Result<Session> {
    match network.pair(security).await? {
        (Carrier::Tcp(near), Carrier::Tcp(far)) => upgrade(near, far, Socket::into_split).await,
        (near, far) => upgrade(near, far, tokio::io::split).await,
    }
}

async fn upgrade<T, R, W>(near: T, far: T, split: fn(T) -> (R, W)) -> io::Result<Session>
where
    T: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (near, far) = tokio::try_join!(websocket::connect(near, "ws://bench/"), websocket::accept(far))
        .map_err(io::Error::other)?;
    let build = |role, io: WebSocketIo<T>| {
        let (reader, writer) = io.split_with(split);
        Builder::new(role).config(limits()).build_split(reader, writer)
    };
    Ok(session(build(Role::Dialler, near), build(Role::Listener, far), false))
}

fn session((near, rest, dialler): End, (far, incoming, listener): End, in_chunks: bool) -> Session {
    tokio::spawn(dialler);
    tokio::spawn(listener);
    drop(rest);
    let opener = Arc::new(Dialler { session: near, in_chunks });
    Session { opener, acceptor: Box::new(Listener { incoming, _session: far, in_chunks }) }
}

/// An end whose endpoint lives as long as it does.
struct WithEndpoint<T>(T, #[expect(dead_code, reason = "kept alive")] Endpoint);

impl Opener for WithEndpoint<Arc<dyn Opener>> {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        self.0.open()
    }
}

impl Acceptor for WithEndpoint<Box<dyn Acceptor>> {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        self.0.accept()
    }
}
