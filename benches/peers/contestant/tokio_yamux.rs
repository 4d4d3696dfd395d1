//! `tokio-yamux`: fixed windows, frames batched in the codec's buffer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_yamux::{Config, Control, Session as Yamux, StreamHandle};

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Network, Security};

pub(crate) const DEFAULT: Contestant = Contestant {
    name: "tokio-yamux",
    about: "tokio-yamux 0.3; windows of 256 KiB",
    max_streams: MANY,
    on_any_carrier: true,
    quick: false,
    connect: |network| Box::pin(connect(network, 256 * 1024)),
};

pub(crate) const LARGE: Contestant = Contestant {
    name: "tokio-yamux-large",
    about: "tokio-yamux 0.3; windows of 16 MiB",
    quick: true,
    connect: |network| Box::pin(connect(network, 16 * 1024 * 1024)),
    ..DEFAULT
};

struct Controls(Control);

/// A stream learns of credit only while it's read: without this, one that is only written stops for good.
struct ReadsWhileWriting(StreamHandle);

struct Accepted {
    streams: mpsc::UnboundedReceiver<StreamHandle>,
    /// The session ends when nobody could open a stream any more.
    _control: Control,
}

async fn connect(network: Arc<Network>, window: u32) -> io::Result<Session> {
    let config = Config {
        max_stream_window_size: window,
        max_stream_count: MANY,
        accept_backlog: MANY,
        ..Config::default()
    };
    let (near, far) = network.pair(Security::Plain).await?;
    let (mut near, mut far) = (Yamux::new_client(near, config), Yamux::new_server(far, config));
    let (opener, control) = (Arc::new(Controls(near.control())), far.control());
    let (accepted, streams) = mpsc::unbounded_channel();
    tokio::spawn(async move { while let Some(Ok(_)) = near.next().await {} });
    tokio::spawn(async move {
        while let Some(Ok(stream)) = far.next().await {
            if accepted.send(stream).is_err() {
                return;
            }
        }
    });
    Ok(Session { opener, acceptor: Box::new(Accepted { streams, _control: control }) })
}

impl Opener for Controls {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        let mut control = self.0.clone();
        Box::pin(async move {
            let stream = control.open_stream().await.map_err(io::Error::other)?;
            Ok(boxed(ReadsWhileWriting(stream)))
        })
    }
}

impl Acceptor for Accepted {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(ReadsWhileWriting(self.streams.recv().await.ok_or_else(ended)?))) })
    }
}

impl AsyncRead for ReadsWhileWriting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ReadsWhileWriting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, buf);
        if written.is_ready() {
            return written;
        }
        // Reads nothing, but takes frames in and registers for more of them.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut [])) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for ReadsWhileWriting {}
