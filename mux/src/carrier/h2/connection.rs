//! HTTP/2's connection, either side of it.

use super::heads::{Purpose, request};
use crate::Config;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) enum Connection<T> {
    /// The gateway: asks.
    Client { connection: h2::client::Connection<T, Bytes>, requests: h2::client::SendRequest<Bytes> },
    /// The agent: answers.
    Server(h2::server::Connection<T, Bytes>),
}

/// A request of the peer.
pub(super) type Asked = (http::Request<RecvStream>, SendResponse<Bytes>);

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) async fn client(io: T, config: &Config) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(window(config))
            .initial_connection_window_size(LARGEST_WINDOW)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buffer_size(config.send_buffer.max(1))
            .data_frame_budget(SMALL_FRAME_BUDGET)
            .initial_max_send_streams(0);
        let (requests, connection) = builder.handshake(io).await?;
        Ok(Self::Client { connection, requests })
    }

    pub(super) async fn server(io: T, config: &Config) -> Result<Self, h2::Error> {
        let mut builder = h2::server::Builder::new();
        builder
            .enable_connect_protocol()
            .max_concurrent_streams(config.max_peer_streams.saturating_add(RESERVED_STREAMS))
            .initial_window_size(window(config))
            .initial_connection_window_size(LARGEST_WINDOW)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buffer_size(config.send_buffer.max(1))
            .data_frame_budget(SMALL_FRAME_BUDGET);
        Ok(Self::Server(builder.handshake(io).await?))
    }

    /// Moves the connection along; gives the next request of the peer. `None` when the connection is over.
    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Asked, h2::Error>>> {
        match self {
            Self::Server(connection) => connection.poll_accept(task),
            Self::Client { connection, .. } => {
                std::pin::Pin::new(connection).poll(task).map(|ended| ended.err().map(Err))
            }
        }
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self, Self::Client { .. })
    }

    /// Sends a request, if this side may now.
    pub(super) fn poll_ask(
        &mut self,
        task: &mut Context<'_>,
        purpose: Purpose,
        head: Option<&Bytes>,
    ) -> Poll<Option<(ResponseFuture, SendStream<Bytes>)>> {
        let Self::Client { requests, .. } = self else { return Poll::Pending };
        if !requests.is_extended_connect_protocol_enabled() {
            return Poll::Pending;
        }
        match requests.poll_ready(task) {
            Poll::Ready(Ok(())) => Poll::Ready(requests.send_request(request(purpose, head), false).ok()),
            // Whoever polls the connection sees why.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// How much each stream may have under way. HTTP/2's windows don't grow by stream, so all have what a stream may reach.
fn window(config: &Config) -> u32 {
    config.max_window.clamp(Config::FLOOR_BYTES, MOST_STREAM_WINDOW)
}

/// Streams that an agent grants beside those of visitors: the control stream, its own, and invitations.
pub(super) const RESERVED_STREAMS: u32 = 1_088;
/// A head of 4,096 octets in base64, and the fields beside it.
const HEADER_BYTES: u32 = 16 * 1024;
/// No limit for the connection that a stream which isn't read could use up.
const LARGEST_WINDOW: u32 = 0x7fff_ffff;
/// Each stream may make this side hold so much.
const MOST_STREAM_WINDOW: u32 = 1024 * 1024;
const FRAME_BYTES: u32 = 64 * 1024;
/// Small frames are moved on at once, and copied together: only those of one read count at a time.
const SMALL_FRAME_BUDGET: usize = 64 * 1024 * 1024;
