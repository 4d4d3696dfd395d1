//! A WebSocket as a connection: octets in, octets out.

use crate::Violation;
use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError};

/// A WebSocket whose binary messages are one flow of octets each way; give it to [`Builder`](crate::Builder).
///
/// Pings are answered by the library underneath. A text message, or one that is too long, fails the reading with a
/// [`Violation`] inside, and the peer is told with a Close of 1003 or 1009.
#[derive(Debug)]
pub struct WebSocketIo<T> {
    socket: WebSocketStream<T>,
    /// What is left of the message that is being read; at most [`LONGEST_MESSAGE`].
    unread: Bytes,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocketIo<T> {
    /// The client's side of a connection that was upgraded elsewhere, by an HTTP library for instance.
    pub async fn upgraded_client(io: T) -> Self {
        Self::new(WebSocketStream::from_raw_socket(io, Role::Client, Some(config())).await)
    }

    /// The server's side of a connection that was upgraded elsewhere.
    pub async fn upgraded_server(io: T) -> Self {
        Self::new(WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await)
    }

    pub(super) const fn new(socket: WebSocketStream<T>) -> Self {
        Self { socket, unread: Bytes::new() }
    }

    /// The connection below.
    pub fn get_ref(&self) -> &T {
        self.socket.get_ref()
    }

    /// The next octets; none at the end.
    fn poll_message(&mut self, task: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(task)) {
                Some(Ok(Message::Binary(octets))) if !octets.is_empty() => return Poll::Ready(Ok(octets)),
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let violation = Violation::TextMessage;
                    return Poll::Ready(Err(self.refuse(task, CloseCode::Unsupported, violation)));
                }
                Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                    let violation = Violation::MessageTooLong;
                    return Poll::Ready(Err(self.refuse(task, CloseCode::Size, violation)));
                }
                // The library answers a Close, and then says that the connection is closed.
                Some(Ok(Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                    return Poll::Ready(Ok(Bytes::new()));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
    }

    /// Tells the peer why, as far as the connection takes it, and makes an error of it.
    fn refuse(&mut self, task: &mut Context<'_>, code: CloseCode, violation: Violation) -> io::Error {
        let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
        let mut socket = Pin::new(&mut self.socket);
        // The connection is given up in any case: whether this arrives changes nothing here.
        if socket.as_mut().start_send(close).is_ok() {
            let _ = socket.poll_flush(task);
        }
        io::Error::new(io::ErrorKind::InvalidData, violation)
    }

    fn send(&mut self, octets: Bytes) -> io::Result<usize> {
        let length = octets.len();
        Pin::new(&mut self.socket).start_send(Message::Binary(octets)).map_err(failed)?;
        Ok(length)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            this.unread = ready!(this.poll_message(task))?;
        }
        let taken = this.unread.len().min(out.remaining());
        out.put_slice(this.unread.get(..taken).unwrap_or_default());
        this.unread.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(task)).map_err(failed)?;
        let octets = octets.get(..octets.len().min(WRITTEN_MESSAGE)).unwrap_or_default();
        Poll::Ready(self.send(Bytes::copy_from_slice(octets)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(task)).map_err(failed)?;
        let offered = slices.iter().fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
        let length = offered.min(WRITTEN_MESSAGE);
        let mut message = BytesMut::with_capacity(length);
        for slice in slices {
            let room = length.saturating_sub(message.len()).min(slice.len());
            message.extend_from_slice(slice.get(..room).unwrap_or_default());
        }
        Poll::Ready(self.send(message.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(task).map_err(failed)
    }
}

pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WRITTEN_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * WRITTEN_MESSAGE)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        Error::WriteBufferFull(_)
        | Error::Tls(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => io::Error::other(error),
    }
}

/// How much goes into one message: no more may queue ahead of a slow connection.
const WRITTEN_MESSAGE: usize = 64 * 1024;
/// The longest message taken.
const LONGEST_MESSAGE: usize = 1024 * 1024;
