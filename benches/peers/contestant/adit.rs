//! Ours. Limits on how many streams there are, and how fast they come, are raised; they have nothing to do with speed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adit_mux::{Builder, Config, Incoming, Role, StreamError};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const ADIT: Contestant = Contestant {
    name: "adit",
    about: "adit-mux; default windows (up to 16 MiB), 100,000 streams",
    max_streams: MANY,
    on_any_carrier: true,
    quick: true,
    connect: |network| Box::pin(connect(network, Security::Plain, Config::default(), false)),
};

pub(crate) const CHUNKS: Contestant = Contestant {
    name: "adit-chunks",
    about: "the same, moving whole chunks in bulk",
    connect: |network| Box::pin(connect(network, Security::Plain, Config::default(), true)),
    ..ADIT
};

pub(crate) const TLS: Contestant = Contestant {
    name: "adit-tls",
    about: "the same over rustls; compare with tls",
    on_any_carrier: false,
    connect: |network| Box::pin(connect(network, Security::Tls, Config::default(), false)),
    ..ADIT
};

pub(crate) const WAN: Contestant = Contestant {
    name: "adit-wan",
    about: "adit-mux with the `wan` profile (windows up to 64 MiB)",
    quick: false,
    connect: |network| Box::pin(connect(network, Security::Plain, Config::wan(), false)),
    ..ADIT
};

pub(super) struct Dialler {
    pub(super) session: adit_mux::Session,
    pub(super) in_chunks: bool,
}

pub(super) struct Listener {
    pub(super) incoming: Incoming,
    pub(super) _session: adit_mux::Session,
    pub(super) in_chunks: bool,
}

/// A stream whose bulk moves in whole chunks.
struct InChunks(adit_mux::Stream);

/// The default limits, but for how many streams there are and how fast they come.
pub(super) fn limits() -> Config {
    unlimited(Config::default())
}

fn unlimited(config: Config) -> Config {
    config.max_peer_streams(100_000).opens_per_second(10_000_000)
}

async fn connect(
    network: Arc<Network>,
    security: Security,
    config: Config,
    in_chunks: bool,
) -> io::Result<Session> {
    let (near, far) = network.pair(security).await?;
    let config = unlimited(config);
    let (session, _) = start(Builder::new(Role::Dialler).config(config.clone()), near);
    let opener = Arc::new(Dialler { session, in_chunks });
    let (session, incoming) = start(Builder::new(Role::Listener).config(config), far);
    Ok(Session { opener, acceptor: Box::new(Listener { incoming, _session: session, in_chunks }) })
}

fn start(builder: Builder, carrier: Carrier) -> (adit_mux::Session, Incoming) {
    let (session, incoming, driver) = match carrier {
        Carrier::Tcp(socket) => {
            let (reader, writer) = socket.into_split();
            builder.build_split(reader, writer)
        }
        Carrier::Tls(_) | Carrier::Link(_) => builder.build(carrier),
    };
    tokio::spawn(driver);
    (session, incoming)
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let stream = self.session.open(Bytes::new()).await.map_err(io::Error::other)?;
            Ok(wrap(stream, self.in_chunks))
        })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let incoming = self.incoming.accept().await.ok_or_else(ended)?;
            Ok(wrap(incoming.accept(), self.in_chunks))
        })
    }
}

impl AsyncRead for InChunks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for InChunks {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for adit_mux::Stream {}

impl Stream for InChunks {
    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        ready!(self.0.send_half().poll_write_chunk(cx, chunk)).map_err(failed)?;
        chunk.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_read_chunk(&mut self, cx: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.0.receive_half().poll_read_chunk(cx)).map_err(failed)?;
        Poll::Ready(Ok(chunk.map_or(0, |chunk| chunk.len())))
    }
}

fn wrap(stream: adit_mux::Stream, in_chunks: bool) -> BoxStream {
    if in_chunks { boxed(InChunks(stream)) } else { boxed(stream) }
}

fn failed(error: StreamError) -> io::Error {
    io::Error::other(error)
}
