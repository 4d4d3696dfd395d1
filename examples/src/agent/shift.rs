//! A session while visitors are served on it, and the move to the next one beside it.
//!
//! ```text
//!   old   ── serves ───────────────────┬─ Superseded: ours ─ visits end ─ leave ─ drain
//!   new        dial ─ hello ─ register ┴─ serves ──────────────────────────────────────►
//! ```
//!
//! The gateway opens every stream on the newest registration, so nothing is between the two.

use super::choose::{Chooser, Turn};
use super::course::{Course, Pulse};
use super::link::{Agent, End, LEAVE_DEADLINE, Secret, close, lost, terminal};
use super::report::Event;
use super::serve::Server;
use super::status::Doing;
use super::vault::Vault;
use adit_mux::{Carrier, IncomingStream, Stream};
use adit_wire_proto::CloseCode;
use adit_wire_proto::control::{Generation, Notice, Registered, RegistrationId};
use adit_wire_proto::drive::{AgentControl, AgentEvent};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For certificates that there aren't: far enough away, and near enough for the clock's arithmetic.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// A session on which a tunnel is registered.
pub(super) struct Shift {
    pub(super) carrier: Carrier,
    pub(super) course: Course,
    pub(super) server: Server,
    pub(super) renewal: Renewal,
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
    let mut pulse = Pulse::of(&shift.course.session);
    loop {
        agent.note(chooser, Doing::Serving);
        let step = tokio::select! {
            stream = shift.course.incoming.accept() => match stream {
                Some(stream) => shift.visit(stream),
                None => Step::Lost(lost(&shift.course.session.closed().await, CloseCode::NONE)),
            },
            event = shift.course.control.next_event() => match event {
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
                Err(error) => Step::Lost(close(&shift.course.session, lost(&error, error.close_code()))),
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
                    pulse = Pulse::of(&shift.course.session);
                }
                Step::Go
            },
            rtt = pulse.beat() => {
                chooser.note_pulse(rtt);
                Step::Go
            }
            () = shift.renewal.due() => {
                shift.renewal.renew(&mut shift.course.control).await;
                Step::Go
            }
            () = stop.cancelled() => {
                if let Err(error) = shift.course.control.leave(LEAVE_DEADLINE).await {
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
                            pulse = Pulse::of(&shift.course.session);
                            continue;
                        }
                        lost(&"the move to another carrier failed half-way", CloseCode::NONE)
                    }
                    attempt => {
                        if let Some(Attempt { moved: Ok(next), .. }) = attempt {
                            next.course.session.close(CloseCode::NONE, "");
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
                    pulse = Pulse::of(&shift.course.session);
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
pub(super) async fn settled<F: Future>(moving: Option<F>, stop: &CancellationToken) -> Option<F::Output> {
    stop.run_until_cancelled(moving?).await
}

/// What comes of an attempt, if one is under way.
pub(super) async fn ended<F: Future + Unpin>(moving: &mut Option<F>) -> F::Output {
    match moving {
        Some(moving) => moving.await,
        None => pending().await,
    }
}

impl Shift {
    fn visit(&self, stream: IncomingStream) -> Step {
        visiting(&self.course.visits, &self.server)(stream);
        Step::Go
    }

    /// Another session has the registration: serves what was opened before, to its end, and leaves.
    async fn retire(self) {
        let visit = visiting(&self.course.visits, &self.server);
        self.course.retire(visit).await;
    }

    /// Serves what the gateway opened before it knew that we go, and lets running visits come to their end.
    async fn finish(self, deadline: Duration) {
        let visit = visiting(&self.course.visits, &self.server);
        self.course.finish(deadline, visit).await;
    }
}

/// Serves a visitor in a task of its own.
fn visiting(visits: &TaskTracker, server: &Server) -> impl Fn(IncomingStream) + Send + Sync + use<> {
    let (visits, server) = (visits.clone(), server.clone());
    move |stream| drop(visits.spawn(server.clone().visit(stream)))
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
