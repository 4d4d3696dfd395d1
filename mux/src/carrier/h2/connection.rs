//! What a session asks of the layer below: its limits, and the requests of the gateway.

use super::dialect::{Exchange, Limits, Opener};
use super::heads::{Purpose, request};
use crate::{Config, Role};
use bytes::Bytes;
use std::task::{Context, Poll, ready};

/// The limits of the layer below for a session with those of `config`.
pub(super) fn limits(role: Role, config: &Config) -> Limits {
    let streams = match role {
        Role::Dialler => config.max_peer_streams.saturating_add(RESERVED_STREAMS),
        Role::Listener => 1,
    };
    Limits::default()
        .streams(streams)
        .window(window(config))
        .head(HEADER_BYTES)
        .send_budget(config.send_buffer)
        .frame(FRAME_BYTES)
        .small_frames(SMALL_FRAME_BUDGET)
}

/// Sends a request of the gateway, if it may now; `None` if it never will be sent. There is an opener once the peer's settings
/// came and allow it.
pub(super) fn poll_ask(
    opener: Option<&mut Opener>,
    task: &mut Context<'_>,
    purpose: Purpose,
    head: Option<&Bytes>,
) -> Poll<Option<Exchange>> {
    let Some(opener) = opener else { return Poll::Pending };
    match ready!(opener.poll_ready(task)) {
        Ok(()) => Poll::Ready(opener.send(request(purpose, head), false).ok()),
        // Whoever polls the connection sees why.
        Err(_) => Poll::Pending,
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
/// Each stream may make this side hold so much.
const MOST_STREAM_WINDOW: u32 = 1024 * 1024;
const FRAME_BYTES: u32 = 64 * 1024;
/// Small frames are moved on at once, and copied together: only those of one read count at a time.
const SMALL_FRAME_BUDGET: usize = 64 * 1024 * 1024;
