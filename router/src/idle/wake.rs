//! One wake at a time, and the visitors who wait for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_errors::{Code, Refusal};

/// How long, and by how many, a wake is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeLimits {
    max_held: usize,
    hold: Duration,
    wake: Duration,
    rest: Duration,
}

impl WakeLimits {
    /// At most 64 visitors held for 30 s each, a wake given up after 60 s, and 5 s of rest after one that failed.
    #[must_use]
    pub fn new() -> Self {
        let seconds = Duration::from_secs;
        Self { max_held: 64, hold: seconds(30), wake: seconds(60), rest: seconds(5) }
    }

    /// How many visitors are held at once; 64 unless set. Each costs an open connection.
    #[must_use]
    pub fn max_held(self, max_held: usize) -> Self {
        Self { max_held, ..self }
    }

    /// How long a visitor is held; 30 s unless set.
    #[must_use]
    pub fn hold(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    /// How long a wake may take until it counts as failed; 60 s unless set.
    #[must_use]
    pub fn wake(self, wake: Duration) -> Self {
        Self { wake, ..self }
    }

    /// How long no wake is tried after one that failed; 5 s unless set.
    #[must_use]
    pub fn rest(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    /// Whether HTTP wakes, where two settings may say so: the trigger of the machine's own life cycle goes before the
    /// tunnel's `wake_on_http`, and without either HTTP doesn't wake.
    #[must_use]
    pub fn wakes_on_http(resume_trigger: Option<bool>, wake_on_http: Option<bool>) -> bool {
        resume_trigger.or(wake_on_http).unwrap_or(false)
    }
}

impl Default for WakeLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds the visitors of one tunnel while its machine is woken, and sees to it that it is woken once.
///
/// ```text
///              handle_suspended              receive_visitor
///    Awake ───────────────────────▶ Asleep ──────────────────▶ Waking, StartWake
///      ▲                              ▲                          │     │
///      │ handle_awake: Release all    │ too long, or it failed:  │     │
///      └──────────────────────────────┼──────────────────────────┘     │
///                                     └───── TurnAway all ◀────────────┘
/// ```
///
/// `V` is how the caller tells visitors apart: a number, a channel. After each call carry out what
/// [`poll_output`](Self::poll_output) gives until it gives nothing, and call
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). Only visits that a
/// [policy](crate) has let through may come here: a wake costs its owner money.
#[derive(Debug)]
pub struct WakeGate<V> {
    limits: WakeLimits,
    phase: Phase,
    /// In the order of arrival, which is that of their deadlines; at most `limits.max_held`.
    held: VecDeque<Held<V>>,
    /// At most one start of a wake, and those who were held.
    outputs: VecDeque<WakeOutput<V>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Awake,
    /// No wake is tried before this moment.
    Asleep {
        not_before: Option<Instant>,
    },
    Waking {
        deadline: Option<Instant>,
    },
}

#[derive(Debug)]
struct Held<V> {
    visitor: V,
    /// `None` if the clock has no number for it.
    deadline: Option<Instant>,
}

/// What becomes of a visitor who has just arrived.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever holds visitors must know each")]
pub enum Arrival<V> {
    /// The machine is awake: forward.
    Forward(V),
    /// Wait for [`WakeOutput::Release`] or [`WakeOutput::TurnAway`].
    Held,
    /// Too many wait, or the last wake has just failed: answer with the refusal, which says when to come back.
    TurnAway(V, Refusal),
}

/// What the caller is to do.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever holds visitors must know each")]
pub enum WakeOutput<V> {
    /// Wake the machine, and report with [`handle_awake`](WakeGate::handle_awake) or
    /// [`handle_wake_failed`](WakeGate::handle_wake_failed).
    StartWake,
    /// Forward this visitor.
    Release(V),
    /// Answer this visitor with the refusal.
    TurnAway(V, Refusal),
}

impl<V> WakeGate<V> {
    /// A machine that is awake.
    #[must_use]
    pub fn new(limits: WakeLimits) -> Self {
        Self { limits, phase: Phase::Awake, held: VecDeque::new(), outputs: VecDeque::new() }
    }

    /// Whether visits can be forwarded at once.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.phase == Phase::Awake
    }

    /// How many visitors are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The machine was suspended. Nothing happens while it is being woken: that is the newer wish.
    pub fn handle_suspended(&mut self) {
        if self.phase == Phase::Awake {
            self.phase = Phase::Asleep { not_before: None };
        }
    }

    /// The machine is awake, by whatever it was woken: all who wait go on, in the order in which they came.
    pub fn handle_awake(&mut self) {
        self.phase = Phase::Awake;
        self.outputs.retain(|output| !matches!(output, WakeOutput::StartWake));
        self.outputs.extend(self.held.drain(..).map(|held| WakeOutput::Release(held.visitor)));
    }

    /// The wake failed: all who wait are turned away, and for a while none is tried.
    pub fn handle_wake_failed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Waking { .. }) {
            self.phase = Phase::Asleep { not_before: now.checked_add(self.limits.rest) };
            let refusal = waking(self.limits.rest);
            let turned = self.held.drain(..).map(|held| WakeOutput::TurnAway(held.visitor, refusal.clone()));
            self.outputs.extend(turned);
        }
    }

    /// A visitor came who is to be forwarded, and whom the policy lets wake the machine.
    pub fn receive_visitor(&mut self, visitor: V, now: Instant) -> Arrival<V> {
        match self.phase {
            Phase::Awake => return Arrival::Forward(visitor),
            Phase::Asleep { not_before: Some(not_before) } if now < not_before => {
                return Arrival::TurnAway(visitor, waking(not_before.saturating_duration_since(now)));
            }
            Phase::Asleep { .. } => {
                self.phase = Phase::Waking { deadline: now.checked_add(self.limits.wake) };
                self.outputs.push_back(WakeOutput::StartWake);
            }
            Phase::Waking { .. } => {}
        }
        if self.held.len() >= self.limits.max_held {
            return Arrival::TurnAway(visitor, waking(RETRY));
        }
        self.held.push_back(Held { visitor, deadline: now.checked_add(self.limits.hold) });
        Arrival::Held
    }

    /// Time has passed: who has waited too long is turned away, and a wake that takes too long has failed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Waking { deadline: Some(deadline) } if deadline <= now) {
            self.handle_wake_failed(now);
        }
        let is_due = |held: &Held<V>| held.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(held) = self.held.pop_front_if(|held| is_due(held)) {
            self.outputs.push_back(WakeOutput::TurnAway(held.visitor, waking(RETRY)));
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<WakeOutput<V>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wake = match self.phase {
            Phase::Waking { deadline } => deadline,
            Phase::Awake | Phase::Asleep { .. } => None,
        };
        let visitor = self.held.front().and_then(|held| held.deadline);
        wake.into_iter().chain(visitor).min()
    }
}

impl<V: PartialEq> WakeGate<V> {
    /// A visitor who is held went away, and makes room.
    pub fn forget_visitor(&mut self, visitor: &V) {
        self.held.retain(|held| held.visitor != *visitor);
    }
}

/// The refusal for who can't wait: the machine is being woken, come back then.
fn waking(after: Duration) -> Refusal {
    Refusal::from(Code::TUNNEL_WAKING).with_retry_after(after)
}

/// When to come back while a wake is under way.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
