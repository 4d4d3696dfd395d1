//! A connection on which an HTTP library makes the upgrade, and reads no further.

use bytes::{Buf, Bytes, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives octets up to the end of a head at a time, and keeps what came behind it, which are frames.
pub(super) struct Upgrade<T> {
    io: T,
    /// What came and wasn't given; at most [`READ_BYTES`].
    came: BytesMut,
    line: Line,
}

/// Where in a head the last octet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Inside,
    Begins,
    /// Only a carriage return stands in it.
    Returned,
}

impl<T> Upgrade<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, came: BytesMut::new(), line: Line::Inside }
    }

    /// The connection, and what came behind the head.
    pub(super) fn into_parts(self) -> (T, Bytes) {
        (self.io, self.came.freeze())
    }

    /// How many octets of `came` stand before the end of a head, with it; all if there is none.
    fn head_bytes(&mut self, most: usize) -> usize {
        for (at, octet) in self.came.iter().take(most).enumerate() {
            self.line = match (self.line, octet) {
                (Line::Begins | Line::Returned, b'\n') => {
                    self.line = Line::Inside;
                    return at + 1;
                }
                (_, b'\n') => Line::Begins,
                (Line::Begins, b'\r') => Line::Returned,
                (_, _) => Line::Inside,
            };
        }
        self.came.len().min(most)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Upgrade<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.came.is_empty() {
            let mut octets = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut octets);
            ready!(Pin::new(&mut this.io).poll_read(task, &mut read))?;
            this.came.extend_from_slice(read.filled());
        }
        let taken = this.head_bytes(out.remaining());
        out.put_slice(this.came.get(..taken).unwrap_or_default());
        this.came.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Upgrade<T> {
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

const READ_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_head_is_given_to_its_end_and_what_is_behind_it_is_kept() {
        for head in ["HTTP/1.1 101 Yes\r\na: b\r\n\r\n", "GET / HTTP/1.1\na: b\n\r\n", "\r\n\r\n", "a\n\n"] {
            let all = format!("{head}\u{2}\n\r\nframes");
            for most in [1, 2, 7, 1_000] {
                let mut upgrade = Upgrade::new(all.as_bytes());
                let (mut given, mut buffer) = (Vec::new(), vec![0; most]);
                while given.len() < head.len() {
                    let read = upgrade.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "{head:?}");
                    given.extend_from_slice(&buffer[..read]);
                }
                assert_eq!(given, head.as_bytes());
                assert_eq!(upgrade.into_parts().1, "\u{2}\n\r\nframes");
            }
        }
    }
}
