//! How a session of an agent comes to its end, and the pulse by which it is known to live.

use super::link::{LEAVE_DEADLINE, hear_out};
use adit_mux::{Incoming, IncomingStream, Session, Stream};
use adit_wire_proto::CloseCode;
use adit_wire_proto::drive::AgentControl;
use std::future::pending;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

/// How often the session in use is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(2);

/// How long it may take to give one until other carriers are tried beside it. With the time between two questions and that
/// of a dial, a path that dies is left within five seconds.
const SILENCE: Duration = Duration::from_millis(1_500);

/// How long visits may go on that a session began before the agent moved to another one.
const RETIREMENT: Duration = Duration::from_secs(3600);

/// How long a session that was moved from is kept for streams that are under way to it.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// A session whose hello was answered, with what runs on it.
pub(super) struct Course {
    pub(super) session: Session,
    pub(super) incoming: Incoming,
    pub(super) control: AgentControl<Stream>,
    /// What runs on it, either way.
    pub(super) visits: TaskTracker,
}

impl Course {
    pub(super) fn new(session: Session, incoming: Incoming, control: AgentControl<Stream>) -> Self {
        Self { session, incoming, control, visits: TaskTracker::new() }
    }

    /// Another session has taken over: lets what runs here come to its end, and leaves. Streams that come still are given to
    /// `visit`.
    pub(super) async fn retire(mut self, visit: impl Fn(IncomingStream)) {
        self.visits.close();
        let serve = async {
            let stragglers = Instant::now() + STRAGGLERS;
            loop {
                let is_idle = self.visits.is_empty();
                tokio::select! {
                    stream = self.incoming.accept() => match stream {
                        Some(stream) => visit(stream),
                        None => return,
                    },
                    event = self.control.next_event() => if event.is_err() { return },
                    () = sleep_until(stragglers), if is_idle => return,
                    () = self.visits.wait(), if !is_idle => {}
                }
            }
        };
        // An hour is much for a visit, and little for a session that would never end.
        let _ = timeout(RETIREMENT, serve).await;
        self.leave(visit).await;
    }

    /// Says that we go, and lets what runs come to its end, but not for long.
    pub(super) async fn leave(mut self, visit: impl Fn(IncomingStream)) {
        if let Err(error) = self.control.leave(LEAVE_DEADLINE).await {
            tracing::debug!(%error, "the gateway was not told that we go");
        }
        self.finish(LEAVE_DEADLINE, visit).await;
    }

    /// Gives to `visit` what the gateway opened before it knew that we go, and lets what runs come to its end.
    pub(super) async fn finish(self, deadline: Duration, visit: impl Fn(IncomingStream)) {
        let Self { session, mut incoming, mut control, .. } = self;
        let serve = async {
            if let Err(error) = control.finish().await {
                tracing::debug!(%error, "the control stream ended early");
            }
            session.drain(CloseCode::DRAINING, "");
            tokio::spawn(hear_out(control));
            while let Some(stream) = incoming.accept().await {
                visit(stream);
            }
            session.closed().await
        };
        // Past the deadline they are cut off; the gateway would do the same.
        let code = timeout(deadline, serve).await.map_or(CloseCode::SHUTDOWN, |_| CloseCode::DRAINING);
        session.close(code, "");
    }
}

/// Signs of life of one session: a task of its own asks, so that visits neither hurry nor hold up the next question.
pub(super) struct Pulse {
    beats: mpsc::Receiver<Option<Duration>>,
    /// Ends with us.
    _asking: JoinSet<()>,
}

impl Pulse {
    pub(super) fn of(session: &Session) -> Self {
        let (heard, beats) = mpsc::channel(1);
        let mut asking = JoinSet::new();
        asking.spawn(ask(session.clone(), heard));
        Self { beats, _asking: asking }
    }

    /// The next answer's round trip, or that none came. Cancel-safe.
    pub(super) async fn beat(&mut self) -> Option<Duration> {
        match self.beats.recv().await {
            Some(beat) => beat,
            // The session is over, which is told elsewhere.
            None => pending().await,
        }
    }
}

async fn ask(session: Session, heard: mpsc::Sender<Option<Duration>>) {
    loop {
        let beat = match timeout(SILENCE, session.ping()).await {
            Ok(Ok(rtt)) => Some(rtt),
            Ok(Err(_)) => return,
            Err(_) => None,
        };
        if heard.send(beat).await.is_err() {
            return;
        }
        sleep(PULSE).await;
    }
}
