//! `h2`: HTTP/2 streams, with a request's body one way and a response's the other.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Network, Security};

pub(crate) const DEFAULT: Contestant = Contestant {
    name: "h2",
    about: "h2 0.4; windows of 64 KiB, frames of 16 KiB",
    max_streams: MANY,
    on_any_carrier: true,
    quick: false,
    connect: |network| Box::pin(connect(network, Windows::Default, Copying::Slices)),
};

pub(crate) const LARGE: Contestant = Contestant {
    name: "h2-large",
    about: "h2 0.4; windows of 16 MiB, 1 GiB for the connection, frames of 64 KiB",
    quick: true,
    connect: |network| Box::pin(connect(network, Windows::Large, Copying::Slices)),
    ..DEFAULT
};

pub(crate) const LARGE_CHUNKS: Contestant = Contestant {
    name: "h2-large-chunks",
    about: "the same, moving whole chunks in bulk",
    quick: false,
    connect: |network| Box::pin(connect(network, Windows::Large, Copying::Chunks)),
    ..DEFAULT
};

pub(crate) const BARE: Contestant = Contestant {
    name: "h2-bare",
    about: "h2 0.4; the settings and the heads of adit-h2",
    quick: false,
    connect: |network| Box::pin(connect(network, Windows::OfOurs, Copying::Slices)),
    ..DEFAULT
};

pub(crate) const BARE_CHUNKS: Contestant = Contestant {
    name: "h2-bare-chunks",
    about: "the same, moving whole chunks in bulk",
    connect: |network| Box::pin(connect(network, Windows::OfOurs, Copying::Chunks)),
    ..BARE
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Windows {
    Default,
    Large,
    /// As the carrier has them.
    OfOurs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copying {
    Slices,
    Chunks,
}

struct Dialler {
    requests: SendRequest<Bytes>,
    windows: Windows,
    copying: Copying,
}

struct Listener {
    accepted: mpsc::UnboundedReceiver<(RecvStream, SendResponse<Bytes>)>,
    copying: Copying,
}

/// One stream: what it sends, and what it receives or will.
struct Exchange {
    send: SendStream<Bytes>,
    receive: Receive,
    /// Received and not yet read.
    rest: Bytes,
    copying: Copying,
}

enum Receive {
    AwaitingHeaders(ResponseFuture),
    Body(RecvStream),
}

async fn connect(network: Arc<Network>, windows: Windows, copying: Copying) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let (mut client, mut server) = (h2::client::Builder::new(), h2::server::Builder::new());
    client.initial_max_send_streams(MANY);
    server.max_concurrent_streams(100_000);
    let large = match windows {
        Windows::Default => None,
        Windows::Large => Some((STREAM_WINDOW, CONNECTION_WINDOW, SEND_BUFFER)),
        Windows::OfOurs => Some((STREAM_WINDOW / 16, 0x7fff_ffff, SEND_BUFFER / 4)),
    };
    if let Some((stream, connection, buffer)) = large {
        client.initial_window_size(stream).initial_connection_window_size(connection);
        client.max_frame_size(FRAME).max_send_buffer_size(buffer);
        server.initial_window_size(stream).initial_connection_window_size(connection);
        server.max_frame_size(FRAME).max_send_buffer_size(buffer);
    }
    if windows == Windows::OfOurs {
        server.enable_connect_protocol();
    }
    let (near, far) = tokio::try_join!(client.handshake::<_, Bytes>(near), server.handshake(far))
        .map_err(io::Error::other)?;
    let ((requests, near), mut far) = (near, far);
    let (pass_on, accepted) = mpsc::unbounded_channel();
    tokio::spawn(near);
    tokio::spawn(async move {
        while let Some(Ok((request, respond))) = far.accept().await {
            if pass_on.send((request.into_body(), respond)).is_err() {
                return;
            }
        }
    });
    while windows == Windows::OfOurs && !requests.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let opener = Arc::new(Dialler { requests, windows, copying });
    Ok(Session { opener, acceptor: Box::new(Listener { accepted, copying }) })
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        let requests = self.requests.clone();
        Box::pin(async {
            let mut requests = requests.ready().await.map_err(io::Error::other)?;
            let request = match self.windows {
                Windows::OfOurs => as_ours(),
                Windows::Default | Windows::Large => Request::post("http://bench/").body(()),
            };
            let request = request.map_err(io::Error::other)?;
            let (response, send) = requests.send_request(request, false).map_err(io::Error::other)?;
            let receive = Receive::AwaitingHeaders(response);
            Ok(boxed(Exchange { send, receive, rest: Bytes::new(), copying: self.copying }))
        })
    }
}

/// The head with which the carrier opens a stream.
fn as_ours() -> http::Result<Request<()>> {
    let request = Request::connect("https://adit/stream").header("adit-head", HeaderValue::from_static(""));
    request.extension(Protocol::from_static("adit")).body(())
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (body, mut respond) = self.accepted.recv().await.ok_or_else(ended)?;
            let send = respond.send_response(Response::new(()), false).map_err(io::Error::other)?;
            let receive = Receive::Body(body);
            Ok(boxed(Exchange { send, receive, rest: Bytes::new(), copying: self.copying }))
        })
    }
}

impl Exchange {
    /// Waits for room to send up to `wanted` bytes and tells how much there is.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(wanted);
        let room = ready!(self.send.poll_capacity(cx)).ok_or_else(ended)?.map_err(io::Error::other)?;
        Poll::Ready(Ok(room.min(wanted)))
    }

    /// The next bytes of the body, empty at its end; their credit is returned at once.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if let Receive::AwaitingHeaders(response) = &mut self.receive {
            let response = ready!(Pin::new(response).poll(cx)).map_err(io::Error::other)?;
            self.receive = Receive::Body(response.into_body());
        }
        let Receive::Body(body) = &mut self.receive else { return Poll::Pending };
        let Some(bytes) = ready!(body.poll_data(cx)) else { return Poll::Ready(Ok(Bytes::new())) };
        let bytes = bytes.map_err(io::Error::other)?;
        body.flow_control().release_capacity(bytes.len()).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncRead for Exchange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.rest = ready!(self.poll_body(cx))?;
        }
        let taken = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..taken]);
        self.rest.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx, buf.len()))?;
        self.send.send_data(Bytes::copy_from_slice(&buf[..room]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

impl Stream for Exchange {
    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let room = ready!(self.poll_room(cx, chunk.len()))?;
        let piece = match self.copying {
            Copying::Chunks => chunk.split_to(room),
            Copying::Slices => Bytes::copy_from_slice(&chunk.split_to(room)),
        };
        Poll::Ready(self.send.send_data(piece, false).map_err(io::Error::other))
    }

    fn poll_read_chunk(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.copying == Copying::Chunks && self.rest.is_empty() {
            return self.poll_body(cx).map_ok(|bytes| bytes.len());
        }
        let mut scratch = ReadBuf::new(scratch);
        ready!(Pin::new(self).poll_read(cx, &mut scratch))?;
        Poll::Ready(Ok(scratch.filled().len()))
    }
}

const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;
const FRAME: u32 = 64 * 1024;
const SEND_BUFFER: usize = 1024 * 1024;
