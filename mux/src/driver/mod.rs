//! The tokio driver: carries bytes and time between a connection and the core, and wakes who waits.

mod cell;
mod direct;
mod ends;
mod incoming;
mod input;
#[cfg(any(feature = "stream", feature = "axum", feature = "tower"))]
mod listener;
#[cfg(test)]
mod model;
mod output;
mod relay;
mod session;
mod shared;
mod state;
mod stream;
mod sync;
mod turns;

pub use incoming::{Incoming, IncomingStream};
#[cfg(feature = "tower")]
pub use listener::{Connector, TunnelIo};
pub use relay::{RelayEnd, RelayOptions, RelayReport, relay};
pub use session::Session;
pub use stream::{ReceiveStream, SendStream};

use crate::connection::Connection;
use crate::{Carrier, Config, Role, SessionEnd};
use bytes::Bytes;
use input::Input;
use shared::{SEND_ROUNDS, Shared, now};
use state::Turn;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
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
    carrier: Carrier,
    /// Whether the session begins as if many streams were in use.
    #[cfg(test)]
    in_a_crowd: bool,
}

impl Builder {
    /// A session with the default limits.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            config: Config::default(),
            carrier: Carrier::Native,
            #[cfg(test)]
            in_a_crowd: false,
        }
    }

    /// Other limits.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// What the connection is, for [`Session::capabilities`](crate::Session::capabilities): its octets are the same on
    /// [`Carrier::Native`], the default, and [`Carrier::WebSocket`].
    pub fn carrier(self, carrier: Carrier) -> Self {
        Self { carrier, ..self }
    }

    /// Starts a session over `io`.
    ///
    /// Nothing happens until the [`Driver`](crate::Driver) is polled: spawn it. A connection that can be split without a lock, like
    /// a `TcpStream`, is faster with [`build_split`](Self::build_split). Set TCP_NODELAY on a TCP socket.
    pub fn build<T>(self, io: T) -> (crate::Session, crate::Incoming, crate::Driver)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(Box::pin(io));
        self.build_split(reader, writer)
    }

    /// Starts a session over the two halves of a connection. See [`build`](Self::build).
    pub fn build_split<R, W>(self, reader: R, writer: W) -> (crate::Session, crate::Incoming, crate::Driver)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let config = if self.config.id == 0 { self.config.id(next_id()) } else { self.config };
        let config = if config.seed == 0 { config.seed(random_seed()) } else { config };
        let send_buffer = config.send_buffer;
        let core = Connection::new(self.role, config, now());
        let shared = Arc::new(Shared::new(core, send_buffer, Box::new(writer)));
        #[cfg(test)]
        if self.in_a_crowd {
            shared.pretend_a_crowd();
        }
        let driver = Driver {
            shared: Arc::clone(&shared),
            input: Input::new(Box::new(reader)),
            input_is_over: false,
            sleep: None,
            registered: None,
            wakes: Vec::new(),
            closing: None,
        };
        (
            crate::Session::native(Session::new(Arc::clone(&shared)), self.carrier),
            crate::Incoming::native(Incoming::new(shared)),
            crate::Driver::native(driver),
        )
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
    input_is_over: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The waker that whoever writes uses.
    registered: Option<Waker>,
    /// Reused from read to read.
    wakes: Vec<Waker>,
    closing: Option<Closing>,
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
        let (turn, has_more_input) = this.poll_input(task);
        if turn.is_over {
            this.closing = Some(Closing { until: now() + LINGER, is_shut_down: false });
            this.sleep = None;
            return this.poll_closing(task);
        }
        let has_more_output = turn.has_work && this.poll_output(task, &turn);
        let deadline = if turn.has_work { this.shared.state().deadline() } else { turn.deadline };
        this.poll_timer(task, deadline);
        if has_more_input || has_more_output {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Driver {
    /// Reads until the connection gives nothing more, or others should have a turn; says whether it is the latter.
    fn poll_input(&mut self, task: &mut Context<'_>) -> (Turn, bool) {
        let mut has_more = false;
        let mut read = 0;
        while read < INPUT_AT_ONCE {
            has_more = false;
            if self.input_is_over {
                break;
            }
            let end = match self.input.poll(task) {
                Poll::Pending => break,
                Poll::Ready(Ok(octets)) if !octets.is_empty() => {
                    read += octets.len();
                    if let Some(turn) = self.receive(task, octets) {
                        return (turn, false);
                    }
                    has_more = true;
                    continue;
                }
                Poll::Ready(Ok(_)) => SessionEnd::Cut,
                Poll::Ready(Err(error)) => error.into(),
            };
            self.input_is_over = true;
            self.shared.end(end);
        }
        (self.begin_turn(task), has_more)
    }

    /// Hands what came to the core, and wakes whom it concerns. Begins the driver's turn if nothing more has come.
    fn receive(&mut self, task: &Context<'_>, octets: Bytes) -> Option<Turn> {
        let now = now();
        let mut state = self.shared.state();
        state.driver_runs();
        // Why it failed, if it did, is kept in the core.
        let _ = state.core.receive(now, octets);
        state.take_wakes_of_input(now, &self.shared, &mut self.wakes);
        let turn = self.input.is_drained().then(|| state.begin_turn(&self.shared, task.waker()));
        drop(state);
        self.wakes.drain(..).for_each(Waker::wake);
        turn
    }

    fn begin_turn(&self, task: &Context<'_>) -> Turn {
        self.shared.state().begin_turn(&self.shared, task.waker())
    }

    /// Sends what is due, once those who were woken have added to it; says whether more is due.
    fn poll_output(&mut self, task: &mut Context<'_>, turn: &Turn) -> bool {
        if turn.lets_others_first {
            // Comes back behind all that is ready to run and all that has come in.
            let _ = pin!(tokio::task::yield_now()).poll(task);
            return false;
        }
        let mut output = self.shared.output();
        let was_blocked = output.is_blocked();
        let has_more = match self.shared.send(&mut output, SEND_ROUNDS) {
            Ok(has_more) => has_more,
            Err(error) => {
                drop(output);
                self.input_is_over = true;
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
    fn wake_blocked_writers(&mut self) -> bool {
        const AT_ONCE: usize = 32;
        let mut state = self.shared.state();
        state.unblock_writers(AT_ONCE, &mut self.wakes);
        let is_left = state.has_blocked_writers();
        drop(state);
        self.wakes.drain(..).for_each(Waker::wake);
        is_left
    }

    fn poll_timer(&mut self, task: &mut Context<'_>, mut deadline: Option<Instant>) {
        while let Some(at) = deadline {
            let at = tokio::time::Instant::from_std(at);
            // Early or not, the core has a look: a side whose peer always asks first would never have one.
            let went_off = self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
            let sleep = match &mut self.sleep {
                // A timer that goes off early costs one look; one that is set anew at each read costs more.
                Some(sleep) if sleep.deadline() <= at && !sleep.is_elapsed() => return,
                Some(sleep) => {
                    sleep.as_mut().reset(at);
                    sleep
                }
                None => self.sleep.insert(Box::pin(tokio::time::sleep_until(at))),
            };
            if sleep.as_mut().poll(task).is_pending() && !went_off {
                return;
            }
            let now = now();
            // What becomes due by that wakes the driver again.
            let rests;
            (deadline, rests) = self.shared.with(|state| {
                state.core.handle_timeout(now);
                state.ends.handle_timeout(now, &mut self.wakes);
                (state.deadline(), state.take_rest())
            });
            self.wakes.drain(..).for_each(Waker::wake);
            if rests {
                self.input.shrink();
            }
        }
    }

    /// Sends CLOSE, shuts the connection down, and waits a little for the peer to do the same: a socket that is
    /// closed with unread input resets the connection, and the peer might never see why.
    fn poll_closing(&mut self, task: &mut Context<'_>) -> Poll<SessionEnd> {
        let end = self.shared.state().core.end().cloned().unwrap_or(SessionEnd::Cut);
        let Some(closing) = &mut self.closing else { return Poll::Ready(end) };
        let deadline = tokio::time::Instant::from_std(closing.until);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if self.input_is_over || sleep.as_mut().poll(task).is_ready() {
            return Poll::Ready(end);
        }
        let mut output = self.shared.output();
        output.set_driver(task.waker());
        if !closing.is_shut_down {
            match self.shared.send(&mut output, SEND_ROUNDS) {
                Ok(false) => {}
                // It takes more, but others have their turn first; CLOSE may still be due.
                Ok(true) => {
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(_) => return Poll::Ready(end),
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

/// How many octets the driver reads before others get their turn: what is handed on is taken while it is in the cache.
const INPUT_AT_ONCE: usize = 256 * 1024;

/// A number for a session that was given none, unlike all others of this process.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number that nobody knows beforehand, and unlike those of other sessions: the keys of the standard library's hash
/// tables are random.
fn random_seed() -> u64 {
    RandomState::new().hash_one(next_id())
}

/// How long the peer may take to close a connection after CLOSE.
const LINGER: Duration = Duration::from_secs(1);
