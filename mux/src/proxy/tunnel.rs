//! CONNECT over a connection.

use super::{ConnectError, Handshake, Progress, Proxy, Target};
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Limits of one CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    deadline: Duration,
    max_head_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), max_head_bytes: 16 * 1024 }
    }
}

impl ConnectOptions {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it may take from the request to the end of the answer's head, whatever comes meanwhile; default 10 s. The
    /// proxy dials the target in that time.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many octets the answer's head may have, with interim answers before it; default 16 KiB.
    #[must_use]
    pub fn max_head_bytes(self, bytes: usize) -> Self {
        Self { max_head_bytes: bytes, ..self }
    }
}

/// Has `proxy`, to which `io` is connected, lead on to `target`. Not cancel-safe: give `io` up.
///
/// # Errors
/// [`ConnectError`]; `io` is closed.
pub async fn connect<Io>(
    mut io: Io,
    proxy: &Proxy,
    target: &Target,
    options: ConnectOptions,
) -> Result<Tunnelled<Io>, ConnectError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let ConnectOptions { deadline: after, max_head_bytes } = options;
    let open = async {
        io.write_all(&Handshake::request(proxy, target)).await?;
        io.flush().await?;
        let mut handshake = Handshake::new(proxy, max_head_bytes);
        let mut piece = [0; PIECE];
        loop {
            let length = io.read(&mut piece).await?;
            if length == 0 {
                return Err(ConnectError::Closed);
            }
            if let Progress::Open(ahead) = handshake.receive(piece.get(..length).unwrap_or_default())? {
                return Ok(ahead);
            }
        }
    };
    let ahead = tokio::time::timeout(after, open).await.map_err(|_| ConnectError::TimedOut { after })??;
    Ok(Tunnelled { io, ahead })
}

/// Read at once. An answer is short, and what comes behind it waits for us.
const PIECE: usize = 1024;

/// A connection that a proxy leads on, with what was read of it already.
#[derive(Debug)]
pub struct Tunnelled<Io> {
    io: Io,
    ahead: Bytes,
}

impl<Io> Tunnelled<Io> {
    /// The connection to the proxy, and what was read behind the proxy's answer. That is nothing as long as the target
    /// waits for us to speak, as in TLS.
    pub fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.ahead)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Tunnelled<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(task, out);
        }
        let taken = self.ahead.len().min(out.remaining());
        out.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Tunnelled<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(task, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(task)
    }
}
