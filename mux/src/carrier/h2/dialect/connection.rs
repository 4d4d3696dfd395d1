//! A connection of HTTP/2, either side of it.

use super::error::LinkError;
use super::frames::{Frames, goaway};
use super::limits::{LARGEST_WINDOW, Limits};
use super::request::{Answer, Asked, Exchange};
use super::stream::SendHalf;
use super::wire::Wire;
use bytes::Bytes;
use h2::ext::Protocol;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// A connection of HTTP/2, either side of it. It moves while it is polled, and ends without a word when it is dropped.
pub struct Connection<T> {
    side: Side<T>,
    wire: Wire<T>,
    /// The highest request of the peer that was handed out.
    last_id: u32,
    /// Requests without a path that were reset since somebody asked.
    pathless: u32,
    settings: Settled,
}

enum Side<T> {
    Server(h2::server::Connection<Wire<T>, Bytes>),
    Client { connection: h2::client::Connection<Wire<T>, Bytes>, requests: h2::client::SendRequest<Bytes> },
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// The server of HTTP/2, whose peer opens requests, over anything that carries octets. Which side dialled doesn't matter.
    ///
    /// Waits for the client's preface, without a limit of time.
    ///
    /// # Errors
    /// [`LinkError`] if the peer speaks something else or the connection fails.
    pub async fn server(io: T, limits: &Limits) -> Result<Self, LinkError> {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(limits.streams)
            .initial_window_size(limits.window)
            .initial_connection_window_size(LARGEST_WINDOW)
            .max_frame_size(limits.frame)
            .max_header_list_size(limits.head)
            .max_send_buffer_size(limits.send_budget)
            .max_pending_accept_reset_streams(limits.left_early)
            .data_frame_budget(limits.small_frames);
        if limits.takes_extended_connect {
            builder.enable_connect_protocol();
        }
        let wire = Wire::new(io, Frames::of_server());
        let connection = builder.handshake(wire.share()).await?;
        Ok(Self {
            side: Side::Server(connection),
            wire,
            last_id: 0,
            pathless: 0,
            settings: Settled::default(),
        })
    }

    /// The client of HTTP/2, which opens requests. Pushes are off, so that the peer opens nothing.
    ///
    /// # Errors
    /// [`LinkError`] if the connection fails.
    pub async fn client(io: T, limits: &Limits) -> Result<Self, LinkError> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(limits.window)
            .initial_connection_window_size(LARGEST_WINDOW)
            .max_frame_size(limits.frame)
            .max_header_list_size(limits.head)
            .max_send_buffer_size(limits.send_budget)
            .data_frame_budget(limits.small_frames)
            // Nothing is sent before the peer's settings are there: only then is it known what it takes.
            .initial_max_send_streams(0);
        let wire = Wire::new(io, Frames::of_client());
        let (requests, connection) = builder.handshake(wire.share()).await?;
        let side = Side::Client { connection, requests };
        Ok(Self { side, wire, last_id: 0, pathless: 0, settings: Settled::default() })
    }

    /// Moves the connection along; gives the next request of the peer. `None` when the connection is over.
    ///
    /// # Errors
    /// [`LinkError`] with what ended the connection.
    pub fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Asked, LinkError>>> {
        loop {
            let asked = match &mut self.side {
                Side::Server(connection) => ready!(connection.poll_accept(task)),
                Side::Client { connection, requests } => {
                    let ended = Pin::new(connection).poll(task);
                    if !self.settings.are_there() && requests.current_max_send_streams() > 0 {
                        self.settings.come();
                    }
                    ready!(ended).err().map(Err)
                }
            };
            let Some(asked) = asked else { return Poll::Ready(None) };
            let asked = asked.map(|(request, respond)| Asked::new(request, respond))?;
            self.last_id = self.last_id.max(asked.id());
            if asked.has_target() {
                return Poll::Ready(Some(Ok(asked)));
            }
            self.pathless = self.pathless.saturating_add(1);
            asked.reset(h2::Reason::PROTOCOL_ERROR.into());
        }
    }

    /// How many requests without a path were reset since this was last asked.
    pub(in crate::carrier::h2) const fn take_pathless(&mut self) -> u32 {
        std::mem::replace(&mut self.pathless, 0)
    }

    /// The next request of the peer, as [`poll_accept`](Self::poll_accept). Cancel-safe. A client has to wait here too, for
    /// the connection to move; it never gets one.
    ///
    /// # Errors
    /// [`LinkError`] with what ended the connection.
    pub async fn accept(&mut self) -> Option<Result<Asked, LinkError>> {
        poll_fn(|task| self.poll_accept(task)).await
    }

    /// A handle that opens requests; `None` on the server.
    pub fn opener(&self) -> Option<Opener> {
        match &self.side {
            Side::Server(_) => None,
            Side::Client { requests, .. } => {
                Some(Opener { requests: requests.clone(), settings: self.settings.clone() })
            }
        }
    }

    /// Whether this side is HTTP/2's client.
    pub const fn is_client(&self) -> bool {
        matches!(self.side, Side::Client { .. })
    }

    /// Tells the client to open no more requests and lets those that are open finish; then
    /// [`accept`](Self::accept) gives `None`. A client just opens no more: this does nothing there.
    pub fn drain(&mut self) {
        match &mut self.side {
            Side::Server(connection) => connection.graceful_shutdown(),
            Side::Client { .. } => {}
        }
    }

    /// Ends the connection with GOAWAY: `code` may be any number, `debug_data` is cut at 16,376 octets. It is the last
    /// frame that the peer gets, after everything that its windows let through; whatever else is under way is lost.
    ///
    /// Waits until the peer has ended its side too, so that the frame isn't lost with the socket, for at most `patience`.
    ///
    /// # Errors
    /// [`LinkError::TimedOut`] or [`LinkError::Io`] if the peer may not have got it.
    pub async fn close(self, code: u32, debug_data: &[u8], patience: Duration) -> Result<(), LinkError> {
        let mut closing =
            Closing { last: goaway(self.last_id, code, debug_data), step: Step::Flush, connection: self };
        let closed = tokio::time::timeout(patience, poll_fn(|task| closing.poll(task))).await;
        match closed {
            Ok(closed) => closed,
            // The peer has all, and only keeps its side open.
            Err(_) if closing.step == Step::Listen => Ok(()),
            Err(_) => Err(LinkError::TimedOut),
        }
    }

    /// Moves the connection along without taking requests.
    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match &mut self.side {
            Side::Server(connection) => connection.poll_closed(task).map(drop),
            Side::Client { connection, .. } => Pin::new(connection).poll(task).map(drop),
        }
    }
}

/// A connection that says its last.
struct Closing<T> {
    connection: Connection<T>,
    last: Bytes,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// HTTP/2 writes what it can.
    Flush,
    /// HTTP/2 is heard no more; the last frame is written.
    Say,
    /// The peer ends its side.
    Listen,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Closing<T> {
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.step == Step::Flush {
            let is_over = self.connection.poll_closed(task).is_ready();
            if !self.connection.wire.is_between_frames() {
                let broken = Err(LinkError::Io { kind: std::io::ErrorKind::BrokenPipe });
                return if is_over { Poll::Ready(broken) } else { Poll::Pending };
            }
            self.step = Step::Say;
        }
        if self.step == Step::Say {
            let said = ready!(self.connection.wire.poll_end(task, &mut self.last));
            said.map_err(|error| LinkError::Io { kind: error.kind() })?;
            self.step = Step::Listen;
        }
        self.connection.wire.poll_rest(task).map(Ok)
    }
}

impl<T> std::fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("last_id", &self.last_id).finish_non_exhaustive()
    }
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        // Nobody waits for settings that won't come: HTTP/2 says why.
        self.settings.come();
    }
}

/// Whether the peer's settings came, or never will.
#[derive(Clone, Default)]
struct Settled {
    inner: Arc<(AtomicBool, Notify)>,
}

impl Settled {
    fn come(&self) {
        let (are_there, told) = &*self.inner;
        if !are_there.swap(true, Ordering::AcqRel) {
            told.notify_waiters();
        }
    }

    fn are_there(&self) -> bool {
        self.inner.0.load(Ordering::Acquire)
    }

    async fn wait(&self) {
        let told = self.inner.1.notified();
        if !self.are_there() {
            told.await;
        }
    }
}

/// Opens requests. Clones are for the same connection.
#[derive(Clone)]
pub struct Opener {
    requests: h2::client::SendRequest<Bytes>,
    settings: Settled,
}

impl Opener {
    /// Opens a request once the peer's limit of streams allows; its body may follow at once. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError`] if the connection is over or HTTP/2 can't send such a head.
    pub async fn open(&mut self, head: http::Request<()>) -> Result<Exchange, LinkError> {
        self.ready().await?;
        self.send(head, false)
    }

    /// Opens a request without a body.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn ask(&mut self, head: http::Request<()>) -> Result<Answer, LinkError> {
        self.ready().await?;
        Ok(self.send(head, true)?.answer)
    }

    /// Opens an extended CONNECT (RFC 8441) for `protocol`; the method of `head` is set.
    ///
    /// # Errors
    /// [`LinkError::NotOffered`] if the peer's settings don't allow it; otherwise as [`open`](Self::open).
    pub async fn connect(&mut self, protocol: &str, head: http::Request<()>) -> Result<Exchange, LinkError> {
        self.ready().await?;
        if !self.is_extended_connect_taken() {
            return Err(LinkError::NotOffered);
        }
        self.send(extended(protocol, head), false)
    }

    /// Whether the peer's settings came and allow extended CONNECT.
    pub fn is_extended_connect_taken(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Waits for the peer's settings, and until the last request was opened.
    async fn ready(&mut self) -> Result<(), LinkError> {
        self.settings.wait().await;
        poll_fn(|task| self.poll_ready(task)).await
    }

    pub(in crate::carrier::h2) fn poll_ready(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), LinkError>> {
        self.requests.poll_ready(task).map_err(LinkError::from)
    }

    pub(in crate::carrier::h2) fn send(
        &mut self,
        head: http::Request<()>,
        ends: bool,
    ) -> Result<Exchange, LinkError> {
        let (answer, send) = self.requests.send_request(head, ends)?;
        Ok(Exchange { send: SendHalf::new(send), answer: Answer::new(answer) })
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

/// The head of an extended CONNECT.
pub(in crate::carrier::h2) fn extended(protocol: &str, mut head: http::Request<()>) -> http::Request<()> {
    *head.method_mut() = http::Method::CONNECT;
    *head.version_mut() = http::Version::HTTP_2;
    head.extensions_mut().insert(Protocol::from(protocol));
    head
}
