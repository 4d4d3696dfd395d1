//! A session while visitors are served on it, and the move to the next one beside it.
//!
//! ```text
//!   old   ── serves ───────────────────┬─ Superseded: ours ─ visits end ─ leave ─ drain
//!   new        dial ─ hello ─ register ┴─ serves ──────────────────────────────────────►
//! ```
//!
//! The gateway opens every stream on the newest registration, so nothing is between the two.

use super::choose::{Chooser, Turn};
use super::link::{Agent, End, LEAVE_DEADLINE, Secret, close, hear_out, lost, terminal};
use super::report::Event;
use super::serve::Server;
use super::vault::Vault;
use adit_mux::{Carrier, Incoming, IncomingStream, Session, Stream};
use adit_wire_proto::CloseCode;
use adit_wire_proto::control::{Generation, Notice, Registered, RegistrationId};
use adit_wire_proto::drive::{AgentControl, AgentEvent};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For certificates that there aren't: far enough away, and near enough for the clock's arithmetic.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// How often the session in use is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(2);

/// How long it may take to give one until other carriers are tried beside it. With the time between two questions and that
/// of a dial, a path that dies is left within five seconds.
const SILENCE: Duration = Duration::from_millis(1_500);

/// How long visits may go on that a session began before the agent moved to another one.
const RETIREMENT: Duration = Duration::from_secs(3600);

/// How long a session that was moved from is kept for streams that are under way to it.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// A session on which a tunnel is registered.
pub(super) struct Shift {
    pub(super) carrier: Carrier,
    pub(super) session: Session,
    pub(super) incoming: Incoming,
    pub(super) control: AgentControl<Stream>,
    pub(super) server: Server,
    pub(super) renewal: Renewal,
    pub(super) visits: TaskTracker,
}

/// An attempt to move over: the generation that it registered, if it came to that, and what became of it.
pub(super) struct Attempt {
    pub(super) carrier: Carrier,
    pub(super) generation: Option<Generation>,
    pub(super) moved: Result<Shift, End>,
}

type Moving<'a> = Pin<Box<dyn Future<Output = Attempt> + Send + 'a>>;

/// What ends a turn of the loop.
enum Step {
    Go,
    End(End),
    /// Our registration is not the newest any more.
    Superseded(Generation),
    Lost(End),
}

/// Serves until the session ends or drains, on one carrier after the other.
pub(super) async fn work(
    agent: &Agent<'_>,
    secret: &Secret,
    chooser: &mut Chooser,
    mut shift: Shift,
    stop: &CancellationToken,
) -> End {
    let mut moving: Option<Moving<'_>> = None;
    let mut pulse = Pulse::of(&shift.session);
    loop {
        agent.note(chooser);
        let step = tokio::select! {
            stream = shift.incoming.accept() => match stream {
                Some(stream) => shift.visit(stream),
                None => Step::Lost(lost(&shift.session.closed().await, CloseCode::NONE)),
            },
            event = shift.control.next_event() => match event {
                Ok(AgentEvent::Noticed(Notice::Drain(drain))) => {
                    agent.report(Event::Draining);
                    // What runs here goes on while the next session begins: no visitor waits for either.
                    tokio::spawn(shift.finish(drain.deadline));
                    chooser.abandon();
                    return End::Drained;
                }
                Ok(AgentEvent::Noticed(Notice::SecretRotated { old_valid })) => {
                    agent.report(Event::replaced(old_valid));
                    Step::Go
                }
                Ok(AgentEvent::Noticed(Notice::Superseded { generation, .. })) => Step::Superseded(generation),
                Ok(AgentEvent::Noticed(notice)) => match terminal(notice) {
                    Some(refusal) => Step::End(End::Refused(refusal)),
                    None => Step::Go,
                },
                Ok(_) => Step::Go,
                Err(error) => Step::Lost(close(&shift.session, lost(&error, error.close_code()))),
            },
            turn = chooser.next() => {
                if let Turn::Connected(carrier, dialled) = turn {
                    moving = Some(Box::pin(agent.attempt(secret.clone(), carrier, dialled)));
                }
                Step::Go
            },
            attempt = ended(&mut moving) => {
                moving = None;
                if take_over(agent, chooser, &mut shift, attempt) {
                    pulse = Pulse::of(&shift.session);
                }
                Step::Go
            },
            rtt = pulse.beat() => {
                chooser.note_pulse(rtt);
                Step::Go
            }
            () = shift.renewal.due() => {
                shift.renewal.renew(&mut shift.control).await;
                Step::Go
            }
            () = stop.cancelled() => {
                if let Err(error) = shift.control.leave(LEAVE_DEADLINE).await {
                    tracing::debug!(%error, "the gateway was not told that we go");
                }
                Step::End(End::Asked)
            }
        };
        let end = match step {
            Step::Go => continue,
            Step::Superseded(generation) => {
                // By ourselves, if it is the session that is being made beside this one.
                match settled(moving.take(), stop).await {
                    // Ours is the newest, or newer: whoever came between has been told to stop.
                    Some(attempt) if attempt.generation.is_some_and(|ours| ours >= generation) => {
                        if take_over(agent, chooser, &mut shift, attempt) {
                            pulse = Pulse::of(&shift.session);
                            continue;
                        }
                        lost(&"the move to another carrier failed half-way", CloseCode::NONE)
                    }
                    attempt => {
                        if let Some(Attempt { moved: Ok(next), .. }) = attempt {
                            next.session.close(CloseCode::NONE, "");
                        }
                        End::superseded()
                    }
                }
            }
            Step::Lost(end) => {
                chooser.lost(shift.carrier, "the session was lost");
                if let Some(attempt) = settled(moving.take(), stop).await
                    && take_over(agent, chooser, &mut shift, attempt)
                {
                    pulse = Pulse::of(&shift.session);
                    continue;
                }
                return end;
            }
            Step::End(end) => end,
        };
        chooser.abandon();
        shift.finish(LEAVE_DEADLINE).await;
        return end;
    }
}

/// Lets the new session serve in the place of the old one, which comes to its end by itself. Whether there is one.
fn take_over(agent: &Agent<'_>, chooser: &mut Chooser, shift: &mut Shift, attempt: Attempt) -> bool {
    match attempt.moved {
        Ok(next) => {
            chooser.ready(next.carrier);
            agent.report(Event::Moved {
                from: shift.carrier.to_string(),
                to: next.carrier.to_string(),
                generation: attempt.generation.map_or(0, Generation::as_u64),
            });
            let old = std::mem::replace(shift, next);
            tokio::spawn(old.retire());
            true
        }
        Err(end) => {
            let reason = end.reason();
            tracing::info!(carrier = %attempt.carrier, %reason, "the session stays on the carrier that it has");
            chooser.lost(attempt.carrier, &reason);
            false
        }
    }
}

/// What becomes of an attempt that is under way, unless the agent is to stop.
async fn settled(moving: Option<Moving<'_>>, stop: &CancellationToken) -> Option<Attempt> {
    stop.run_until_cancelled(moving?).await
}

async fn ended(moving: &mut Option<Moving<'_>>) -> Attempt {
    match moving {
        Some(moving) => moving.await,
        None => pending().await,
    }
}

impl Shift {
    fn visit(&self, stream: IncomingStream) -> Step {
        self.visits.spawn(self.server.clone().visit(stream));
        Step::Go
    }

    /// Another session has the registration: serves what was opened before, to its end, and leaves.
    async fn retire(mut self) {
        self.visits.close();
        let serve = async {
            let stragglers = Instant::now() + STRAGGLERS;
            loop {
                let is_idle = self.visits.is_empty();
                tokio::select! {
                    stream = self.incoming.accept() => match stream {
                        Some(stream) => drop(self.visit(stream)),
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
        if let Err(error) = self.control.leave(LEAVE_DEADLINE).await {
            tracing::debug!(%error, "the gateway was not told that we go");
        }
        self.finish(LEAVE_DEADLINE).await;
    }

    /// Serves what the gateway opened before it knew that we go, and lets running visits come to their end.
    async fn finish(self, deadline: Duration) {
        let Self { session, mut incoming, mut control, server, .. } = self;
        let serve = async {
            if let Err(error) = control.finish().await {
                tracing::debug!(%error, "the control stream ended early");
            }
            session.drain(CloseCode::DRAINING, "");
            tokio::spawn(hear_out(control));
            while let Some(stream) = incoming.accept().await {
                tokio::spawn(server.clone().visit(stream));
            }
            session.closed().await
        };
        // Past the deadline they are cut off; the gateway would do the same.
        let code = match timeout(deadline, serve).await {
            Ok(_) => CloseCode::DRAINING,
            Err(_) => CloseCode::SHUTDOWN,
        };
        session.close(code, "");
    }
}

/// Signs of life of one session: a task of its own asks, so that visits neither hurry nor hold up the next question.
struct Pulse {
    beats: mpsc::Receiver<Option<Duration>>,
    /// Ends with us.
    _asking: JoinSet<()>,
}

impl Pulse {
    fn of(session: &Session) -> Self {
        let (heard, beats) = mpsc::channel(1);
        let mut asking = JoinSet::new();
        asking.spawn(ask(session.clone(), heard));
        Self { beats, _asking: asking }
    }

    /// The next answer's round trip, or that none came. Cancel-safe.
    async fn beat(&mut self) -> Option<Duration> {
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

/// When the certificate is to be renewed, if there is one.
pub(super) struct Renewal {
    vault: Option<Arc<Vault>>,
    registered: Registered,
    due: Instant,
}

impl Renewal {
    pub(super) fn new(vault: Option<Arc<Vault>>, registered: Registered) -> Self {
        let due = Instant::now() + vault.as_ref().map_or(NEVER, |vault| vault.due_in());
        Self { vault, registered, due }
    }

    pub(super) const fn registration(&self) -> RegistrationId {
        self.registered.registration
    }

    async fn due(&self) {
        sleep_until(self.due).await;
    }

    async fn renew(&mut self, control: &mut AgentControl<Stream>) {
        let next = match &self.vault {
            None => NEVER,
            Some(vault) => match vault.renew(control, &self.registered).await {
                Ok(()) => vault.due_in(),
                Err(error) => {
                    tracing::warn!(%error, "the certificate was not renewed; trying again later");
                    Vault::retry_in()
                }
            },
        };
        self.due = Instant::now() + next;
    }
}
