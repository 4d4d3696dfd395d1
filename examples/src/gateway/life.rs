//! What happens to a tunnel beside its record: streams that hear of changes, use and idleness, and waking.

use super::hub::{Facts, Hub, Link};
use super::{Clock, moment};
use crate::deadline;
use adit_errors::{Code, Refusal};
use adit_router::{
    Activity, Arrival, IdleRule, Moment, Pass, RouteKey, Traffic, Tunnel, TunnelId, WakeGate, WakeLimits,
    WakeOutput,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Starts the machine behind the tunnel of this name, and returns at once. The machine's agent registers when it is up.
#[derive(Clone)]
pub struct WakeHook(Arc<dyn Fn(&str) + Send + Sync>);

impl WakeHook {
    /// Wakes by calling `wake`.
    pub fn new(wake: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes by running `command` in a shell, with the tunnel's name in `ADIT_TUNNEL`.
    pub fn command(command: String) -> Self {
        Self::new(move |name| {
            let child =
                tokio::process::Command::new("sh").arg("-c").arg(&command).env("ADIT_TUNNEL", name).spawn();
            match child {
                Ok(mut child) => drop(tokio::spawn(async move { child.wait().await })),
                Err(error) => tracing::warn!(%error, "the wake command can't be run"),
            }
        })
    }
}

impl fmt::Debug for WakeHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WakeHook")
    }
}

/// One tunnel's life: shared by all versions of its entry.
pub(super) struct Life {
    name: String,
    hook: Option<WakeHook>,
    clock: Clock,
    changes: watch::Sender<()>,
    idle_after: Duration,
    activities: Mutex<Activities>,
    waiting: Mutex<Waiting>,
}

impl Life {
    pub(super) fn new(
        name: &str,
        hook: Option<WakeHook>,
        limits: WakeLimits,
        idle_after: Duration,
        clock: Clock,
    ) -> Self {
        let present = Arc::new(Activity::new(IdleRule::new(idle_after), moment().instant()));
        let mut gate = WakeGate::new(limits);
        // Until its agent comes there is nobody to forward to.
        gate.handle_suspended();
        Self {
            name: name.to_owned(),
            hook,
            clock,
            changes: watch::Sender::new(()),
            idle_after,
            activities: Mutex::new(Activities { present, http_keep_alive: true, before: Vec::new() }),
            waiting: Mutex::new(Waiting { gate, answers: HashMap::new(), next: 0 }),
        }
    }

    /// Now, by the calendar that the tunnel's terms are counted by.
    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Streams that run ask whether they still may.
    pub(super) fn signal(&self) {
        self.changes.send_replace(());
    }

    /// Hears of changes to the tunnel from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether HTTP counts as use from now on; what is open goes on counting as it did.
    pub(super) fn set_keep_alive(&self, http_keep_alive: bool) {
        let rule = IdleRule::new(self.idle_after).http_keep_alive(http_keep_alive);
        let mut activities = self.activities();
        if activities.http_keep_alive != http_keep_alive {
            let present = Arc::new(Activity::new(rule, moment().instant()));
            let before = std::mem::replace(&mut activities.present, present);
            activities.before.push(before);
            activities.before.retain(|activity| !activity.is_idle(moment().instant()));
            activities.http_keep_alive = http_keep_alive;
        }
    }

    /// Whether nobody has used the tunnel for a while.
    pub(super) fn is_idle(&self) -> bool {
        self.idle_in().is_some_and(|time| time.is_zero())
    }

    /// How long until the tunnel is idle, if nobody comes; `None` while a stream is open that counts as use.
    pub(super) fn idle_in(&self) -> Option<Duration> {
        let (mut activities, now) = (self.activities(), moment().instant());
        activities.before.retain(|activity| !activity.is_idle(now));
        let all = activities.before.iter().chain([&activities.present]);
        let idle_at: Option<Vec<Instant>> = all.map(|activity| activity.idle_at()).collect();
        idle_at?.into_iter().max().map(|at| at.saturating_duration_since(now))
    }

    /// Counts as use until dropped.
    pub(super) fn use_for(&self, traffic: Traffic) -> InUse {
        let activity = Arc::clone(&self.activities().present);
        activity.open(traffic, moment().instant());
        InUse { activity, traffic }
    }

    /// The machine's agent is there.
    pub(super) fn handle_awake(&self) {
        let mut waiting = self.waiting();
        waiting.gate.handle_awake();
        waiting.carry_out(self);
    }

    /// The machine's agent is gone.
    pub(super) fn handle_suspended(&self) {
        self.waiting().gate.handle_suspended();
    }

    /// Has the machine woken, unless somebody else has, and waits until it is there.
    ///
    /// # Errors
    /// 503 with a hint when to come back, if it takes too long or too many wait.
    pub(super) async fn wake(&self) -> Result<(), Refusal> {
        let (number, mut answer) = {
            let mut waiting = self.waiting();
            waiting.tick(self);
            let number = waiting.next;
            waiting.next = number.wrapping_add(1);
            match waiting.gate.receive_visitor(number, moment().instant()) {
                Arrival::Forward(_) => return Ok(()),
                Arrival::TurnAway(_, refusal) => return Err(refusal),
                Arrival::Held => {}
            }
            let (tell, answer) = oneshot::channel();
            waiting.answers.insert(number, tell);
            waiting.carry_out(self);
            (number, answer)
        };
        let held = HeldVisitor { life: self, number };
        loop {
            let deadline = self.waiting().gate.poll_timeout();
            tokio::select! {
                answer = &mut answer => {
                    drop(held);
                    return answer.unwrap_or_else(|_| Err(Refusal::internal()));
                }
                () = deadline::reached(deadline) => self.waiting().tick(self),
            }
        }
    }

    fn activities(&self) -> MutexGuard<'_, Activities> {
        self.activities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts the use of a tunnel.
struct Activities {
    present: Arc<Activity>,
    http_keep_alive: bool,
    /// Those of rules before, until they are idle.
    before: Vec<Arc<Activity>>,
}

/// Visitors who wait for the machine.
struct Waiting {
    gate: WakeGate<u64>,
    /// Of those whom the gate holds.
    answers: HashMap<u64, oneshot::Sender<Result<(), Refusal>>>,
    next: u64,
}

impl Waiting {
    fn tick(&mut self, life: &Life) {
        self.gate.handle_timeout(moment().instant());
        self.carry_out(life);
    }

    fn carry_out(&mut self, life: &Life) {
        while let Some(output) = self.gate.poll_output() {
            let (number, answer) = match output {
                WakeOutput::StartWake => {
                    tracing::info!(tunnel = %life.name, "waking a machine");
                    match &life.hook {
                        Some(hook) => hook.0(&life.name),
                        None => self.gate.handle_wake_failed(moment().instant()),
                    }
                    continue;
                }
                WakeOutput::Release(number) => (number, Ok(())),
                WakeOutput::TurnAway(number, refusal) => (number, Err(refusal)),
            };
            if let Some(tell) = self.answers.remove(&number) {
                // Who went away meanwhile needs no answer.
                let _ = tell.send(answer);
            }
        }
    }
}

/// Makes room when the visitor goes away.
struct HeldVisitor<'a> {
    life: &'a Life,
    number: u64,
}

impl Drop for HeldVisitor<'_> {
    fn drop(&mut self) {
        let mut waiting = self.life.waiting();
        waiting.gate.forget_visitor(&self.number);
        waiting.answers.remove(&self.number);
    }
}

/// A stream that is open.
pub(super) struct InUse {
    activity: Arc<Activity>,
    traffic: Traffic,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.activity.close(self.traffic, moment().instant());
    }
}

/// Waits until what a stream rests on no longer holds: its token or share was revoked, the share has ended, the tunnel
/// was deleted, or visitors from there are kept out.
pub(super) fn ended(
    hub: Arc<Hub>,
    tunnel: &Tunnel<Link, Facts>,
    pass: Pass,
) -> impl Future<Output = Refusal> + Send + use<> {
    let id = tunnel.id();
    until_refused(tunnel, pass.deadline(), move || recheck(&hub, id, &pass))
}

/// Waits until `check` refuses: it is asked at once, whenever the tunnel changes, and at `deadline`.
pub(super) fn until_refused<C>(
    tunnel: &Tunnel<Link, Facts>,
    deadline: Option<Instant>,
    check: C,
) -> impl Future<Output = Refusal> + Send + use<C>
where
    C: Fn() -> Result<(), Refusal> + Send,
{
    let mut changes = tunnel.facts().life.changes();
    async move {
        loop {
            if let Err(refusal) = check() {
                return refusal;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Refusal::from(Code::NOT_FOUND);
                },
                () = deadline::reached(deadline) => {}
            }
        }
    }
}

fn recheck(hub: &Hub, id: TunnelId, pass: &Pass) -> Result<(), Refusal> {
    let tunnel = hub.look_up(RouteKey::id(id)).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
    let Facts { policy, record, life, .. } = tunnel.facts();
    policy.recheck(record, pass, life.moment())
}
