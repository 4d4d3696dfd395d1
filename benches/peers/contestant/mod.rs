//! Contestants: ways of carrying many streams between two places, behind one interface.

mod adit;
mod async_smux;
mod carriers;
mod direct;
mod floor;
mod h2;
mod muxado;
mod penguin;
mod quinn;
mod sockets;
mod tokio_yamux;
mod yamux;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf};

use super::carrier::Network;

/// One way of carrying streams.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// Version and settings, in a few words.
    pub(crate) about: &'static str,
    /// How many streams it can have open at once, where that is few.
    pub(crate) max_streams: usize,
    /// Whether it runs on any byte stream, hence also on a link with a delay.
    pub(crate) on_any_carrier: bool,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    pub(crate) connect: fn(Arc<Network>) -> Later<'static, io::Result<Session>>,
}

/// A connected session: the dialler's side opens streams, the listener's accepts them.
pub(crate) struct Session {
    pub(crate) opener: Arc<dyn Opener>,
    pub(crate) acceptor: Box<dyn Acceptor>,
}

/// The side that opens.
pub(crate) trait Opener: Send + Sync {
    fn open(&self) -> Later<'_, io::Result<BoxStream>>;
}

/// The side that accepts.
pub(crate) trait Acceptor: Send {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>>;
}

/// A stream of any contestant; shutting down its writing half is the half-close.
///
/// The chunk methods are for contestants that move whole buffers without copying; the others copy.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Takes some of `chunk` for sending; the rest stays in it.
    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let taken = ready!(Pin::new(self).poll_write(cx, chunk))?;
        chunk.advance(taken);
        Poll::Ready(Ok(()))
    }

    /// Receives what is there and tells how much it was; 0 at the end. `scratch` is for those who need room.
    fn poll_read_chunk(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut scratch = ReadBuf::new(scratch);
        ready!(Pin::new(self).poll_read(cx, &mut scratch))?;
        Poll::Ready(Ok(scratch.filled().len()))
    }
}

pub(crate) type BoxStream = Box<dyn Stream>;
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All of them, the references first.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    sockets::RAW,
    sockets::TLS,
    floor::FLOOR,
    adit::ADIT,
    adit::CHUNKS,
    adit::TLS,
    adit::WAN,
    yamux::YAMUX,
    tokio_yamux::DEFAULT,
    tokio_yamux::LARGE,
    h2::DEFAULT,
    h2::LARGE,
    h2::LARGE_CHUNKS,
    async_smux::ASYNC_SMUX,
    muxado::DEFAULT,
    muxado::LARGE,
    penguin::PENGUIN,
    quinn::QUINN,
    quinn::BARE,
    h2::BARE,
    h2::BARE_CHUNKS,
    direct::DIRECT,
    carriers::HTTP2,
    carriers::HTTP2_CHUNKS,
    carriers::QUIC,
    carriers::WEBSOCKET,
    carriers::WEBSOCKET_TLS,
];

/// The contestant of this name.
pub(crate) fn contestant(name: &str) -> Option<&'static Contestant> {
    CONTESTANTS.iter().find(|contestant| contestant.name == name)
}

/// Two halves as one.
impl<R, W> Stream for Join<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
}

fn boxed(stream: impl Stream + 'static) -> BoxStream {
    Box::new(stream)
}

/// What a session's own task ends with, once that matters to nobody.
fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the session has ended")
}

const MANY: usize = 100_000;
