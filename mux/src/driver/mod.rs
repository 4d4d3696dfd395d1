//! The tokio driver: carries bytes and time between a connection and the core, and wakes who waits.

mod incoming;
#[cfg(any(feature = "stream", feature = "axum", feature = "tower"))]
mod listener;
mod relay;
mod session;
mod shared;
mod stream;

pub use incoming::{Incoming, IncomingStream};
#[cfg(feature = "tower")]
pub use listener::{Connector, TunnelIo};
pub use relay::{RelayEnd, RelayOptions, RelayReport, relay};
pub use session::Session;
pub use stream::{ReceiveStream, SendStream, Stream};

use crate::connection::Connection;
use crate::{Config, Role, SessionEnd};
use adit_wire_proto::CloseCode;
use bytes::{Bytes, BytesMut};
use shared::{SEND_ROUNDS, Shared, now};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Sleep;

/// Makes a session of a connection.
///
/// ```
/// # async fn example(socket: tokio::net::TcpStream) -> std::io::Result<()> {
/// use adit_mux::{Builder, Role};
///
/// socket.set_nodelay(true)?;
/// let (reader, writer) = socket.into_split();
/// let (session, incoming, driver) = Builder::new(Role::Dialler).build_split(reader, writer);
/// tokio::spawn(driver);
/// # let _ = (session, incoming);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    role: Role,
    config: Config,
}

impl Builder {
    /// A session with the default limits.
    pub fn new(role: Role) -> Self {
        Self { role, config: Config::default() }
    }

    /// Other limits.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Starts a session over `io`.
    ///
    /// Nothing happens until the [`Driver`] is polled: spawn it. A connection that can be split without a lock, like
    /// a `TcpStream`, is faster with [`build_split`](Self::build_split). Set TCP_NODELAY on a TCP socket.
    pub fn build<T>(self, io: T) -> (Session, Incoming, Driver)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(Box::pin(io));
        self.build_split(reader, writer)
    }

    /// Starts a session over the two halves of a connection. See [`build`](Self::build).
    pub fn build_split<R, W>(self, reader: R, writer: W) -> (Session, Incoming, Driver)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let core = Connection::new(self.role, self.config, now());
        let shared = Arc::new(Shared::new(core, Box::new(writer)));
        let driver = Driver {
            shared: Arc::clone(&shared),
            input: Input { io: Box::new(reader), segment: BytesMut::new(), spare: None, is_over: false },
            sleep: None,
            registered: None,
            wakes: Vec::new(),
            has_yielded: false,
            closing: None,
        };
        (Session::new(Arc::clone(&shared)), Incoming::new(shared), driver)
    }
}

/// Moves the session along; resolves with the reason when it ended.
///
/// Spawn it on a tokio runtime, of either kind. To drop it ends the session at once, without CLOSE; to end it in
/// order, call [`Session::close`] or [`Session::drain`] and let it resolve.
#[must_use = "a session stands still until its driver is polled"]
pub struct Driver {
    shared: Arc<Shared>,
    input: Input,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The waker that whoever writes uses.
    registered: Option<Waker>,
    /// Reused from read to read.
    wakes: Vec<Waker>,
    /// Whether tasks that have just been woken were let go first.
    has_yielded: bool,
    closing: Option<Closing>,
}

/// The reading half of the connection.
struct Input {
    io: Box<dyn AsyncRead + Send + Unpin>,
    /// What is read goes here, and is handed out in slices; the memory comes back when they are gone.
    segment: BytesMut,
    /// A segment whose slices were still held when it was used up.
    spare: Option<BytesMut>,
    is_over: bool,
}

/// The session ended; the connection is yet to be closed in order.
struct Closing {
    until: Instant,
    is_shut_down: bool,
}

impl Future for Driver {
    type Output = SessionEnd;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<SessionEnd> {
        let this = self.get_mut();
        if this.closing.is_some() {
            return this.poll_closing(task);
        }
        if !this.registered.as_ref().is_some_and(|known| known.will_wake(task.waker())) {
            this.shared.output().set_driver(task.waker());
            this.registered = Some(task.waker().clone());
            // Set anew below, for the task that polls now.
            this.sleep = None;
        }
        this.shared.state().set_driver(task.waker());
        let has_more_input = this.poll_input(task);
        let has_more_output = this.poll_output(task);
        this.poll_timer(task);
        if this.is_over() {
            return this.poll_closing(task);
        }
        if has_more_input || has_more_output {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Driver {
    /// Reads until the connection gives nothing more, or others should have a turn; says whether it is the latter.
    fn poll_input(&mut self, task: &mut Context<'_>) -> bool {
        const READS: usize = 8;
        for _ in 0..READS {
            if self.input.is_over {
                return false;
            }
            let octets = match self.input.poll(task) {
                Poll::Pending => return false,
                Poll::Ready(Ok(octets)) => octets,
                Poll::Ready(Err(error)) => {
                    self.input.is_over = true;
                    self.shared.end(error.into());
                    return false;
                }
            };
            if octets.is_empty() {
                self.input.is_over = true;
                self.shared.end(SessionEnd::Cut);
                return false;
            }
            let now = now();
            let mut state = self.shared.state();
            // Why it failed, if it did, is kept in the core.
            let _ = state.core.receive(now, octets);
            state.take_wakes_into(&self.shared, &mut self.wakes);
            drop(state);
            self.wakes.drain(..).for_each(Waker::wake);
        }
        true
    }

    /// Sends what is due, once those who were woken have added to it; says whether more is due.
    fn poll_output(&mut self, task: &Context<'_>) -> bool {
        let mut state = self.shared.state();
        if state.is_abandoned() {
            state.core.close(CloseCode::NONE, Bytes::new());
        }
        let is_due = state.core.has_output();
        let lets_others_first = is_due && !self.has_yielded && state.core.end().is_none();
        if !lets_others_first {
            state.expect_nothing();
        }
        let has_nothing_to_do = !is_due && !self.shared.is_unfinished() && !state.has_blocked_writers();
        drop(state);
        self.has_yielded = lets_others_first;
        if has_nothing_to_do {
            return false;
        }
        if lets_others_first {
            task.waker().wake_by_ref();
            return false;
        }
        let mut output = self.shared.output();
        let was_blocked = output.is_blocked();
        let has_more = match self.shared.send(&mut output, SEND_ROUNDS) {
            Ok(has_more) => has_more,
            Err(error) => {
                drop(output);
                self.input.is_over = true;
                self.shared.end(error.into());
                return false;
            }
        };
        let is_blocked = output.is_blocked();
        drop(output);
        let has_blocked = !is_blocked && self.wake_blocked_writers();
        has_more || has_blocked || (was_blocked && !is_blocked && self.shared.state().core.has_output())
    }

    /// Lets writers that wait for the connection try again; says whether some are left.
    fn wake_blocked_writers(&self) -> bool {
        const AT_ONCE: usize = 32;
        let mut wakes = Vec::new();
        let mut state = self.shared.state();
        state.unblock_writers(AT_ONCE, &mut wakes);
        let is_left = state.has_blocked_writers();
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        is_left
    }

    fn poll_timer(&mut self, task: &mut Context<'_>) {
        loop {
            let Some(deadline) = self.shared.state().core.poll_timeout() else { return };
            let deadline = tokio::time::Instant::from_std(deadline);
            let sleep = match &mut self.sleep {
                // A timer that goes off early costs one look; one that is set anew at each read costs more.
                Some(sleep) if sleep.deadline() <= deadline && !sleep.is_elapsed() => return,
                Some(sleep) => {
                    sleep.as_mut().reset(deadline);
                    sleep
                }
                None => self.sleep.insert(Box::pin(tokio::time::sleep_until(deadline))),
            };
            if sleep.as_mut().poll(task).is_pending() {
                return;
            }
            let now = now();
            self.shared.with(|state| state.core.handle_timeout(now));
            if !self.shared.state().core.has_output() {
                continue;
            }
            task.waker().wake_by_ref();
            return;
        }
    }

    fn is_over(&mut self) -> bool {
        let state = self.shared.state();
        if state.core.end().is_none() {
            return false;
        }
        self.closing = Some(Closing { until: now() + LINGER, is_shut_down: false });
        self.sleep = None;
        true
    }

    /// Sends CLOSE, shuts the connection down, and waits a little for the peer to do the same: a socket that is
    /// closed with unread input resets the connection, and the peer might never see why.
    fn poll_closing(&mut self, task: &mut Context<'_>) -> Poll<SessionEnd> {
        let end = self.shared.state().core.end().cloned().unwrap_or(SessionEnd::Cut);
        let Some(closing) = &mut self.closing else { return Poll::Ready(end) };
        let deadline = tokio::time::Instant::from_std(closing.until);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if self.input.is_over || sleep.as_mut().poll(task).is_ready() {
            return Poll::Ready(end);
        }
        let mut output = self.shared.output();
        output.set_driver(task.waker());
        if !closing.is_shut_down {
            if self.shared.send(&mut output, SEND_ROUNDS).is_err() {
                return Poll::Ready(end);
            }
            if !output.is_done() {
                return Poll::Pending;
            }
            let _ = ready!(output.poll_shutdown());
            closing.is_shut_down = true;
        }
        drop(output);
        if matches!(end, SessionEnd::Peer { .. }) {
            return Poll::Ready(end);
        }
        while let Ok(octets) = ready!(self.input.poll(task)) {
            if octets.is_empty() {
                break;
            }
        }
        Poll::Ready(end)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.output().disconnect();
        self.shared.end(SessionEnd::DriverDropped);
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Input {
    /// The next octets; none at the end.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<std::io::Result<Bytes>> {
        self.make_room();
        loop {
            match pin!(self.io.read_buf(&mut self.segment)).poll(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(self.segment.split().freeze())),
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes the whole segment back if its readers are done with it; goes on behind their slices, or to the other
    /// segment, if not.
    fn make_room(&mut self) {
        if self.segment.try_reclaim(SEGMENT_BYTES) || self.segment.capacity() >= LEAST_READ {
            return;
        }
        let used = std::mem::take(&mut self.segment);
        if let Some(mut spare) = self.spare.replace(used)
            && spare.try_reclaim(SEGMENT_BYTES)
        {
            self.segment = spare;
            return;
        }
        self.segment = BytesMut::with_capacity(SEGMENT_BYTES);
    }
}

/// How much is read at once at most.
const SEGMENT_BYTES: usize = 256 * 1024;
/// How much room a read should find at least.
const LEAST_READ: usize = 64 * 1024;
/// How long the peer may take to close a connection after CLOSE.
const LINGER: Duration = Duration::from_secs(1);
