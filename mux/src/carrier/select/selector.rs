//! The machine that chooses.

use super::choice::{Choice, Failure, Loser, Reason};
use super::preferences::Preferences;
use super::race::{Race, Step, after};
use crate::Carrier;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Chooses the carrier of an agent's sessions; see the [module](super).
///
/// *Commands:* [`begin`](Self::begin), [`abandon`](Self::abandon). *From below:* `receive_*`,
/// [`handle_timeout`](Self::handle_timeout), [`note_rtt`](Self::note_rtt). *Outputs:*
/// [`poll_verdict`](Self::poll_verdict) until there is none, then [`poll_timeout`](Self::poll_timeout). What comes too
/// late, of a dial that was cancelled for instance, is ignored.
#[derive(Clone, Debug)]
pub struct Selector {
    preferences: Preferences,
    phase: Phase,
    /// At most a start and a cancel for each carrier, and a decision, until they are polled.
    verdicts: VecDeque<Verdict>,
    /// The carrier of the last session, and when that was lost.
    remembered: Option<(Carrier, Instant)>,
    /// Those whose last session was lost early; each once.
    doubtful: Vec<Carrier>,
    /// Probes since the last one that led to a session which proved itself.
    fruitless: u32,
    /// What became of the last race, while it goes on too.
    losers: Vec<Loser>,
    random: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Dial; there is no session.
    Start {
        /// By this carrier.
        carrier: Carrier,
    },
    /// Dial beside the session that serves.
    Probe {
        /// By this carrier.
        carrier: Carrier,
    },
    /// Give a dial up.
    Cancel {
        /// By this carrier.
        carrier: Carrier,
    },
    /// Make the session on this connection. Say [`Selector::receive_ready`] once it serves, or
    /// [`Selector::receive_loss`].
    Use {
        /// On this carrier.
        carrier: Carrier,
    },
    /// Make a session on the new connection, have it registered, say [`Selector::receive_ready`], and only then drain the
    /// old one.
    MoveOver {
        /// The carrier that serves.
        from: Carrier,
        /// The carrier that is to serve.
        to: Carrier,
    },
    /// Every carrier has failed: [`begin`](Selector::begin) again after a wait. [`Selector::losers`] says what was tried.
    GiveUp,
}

#[derive(Clone, Debug)]
enum Phase {
    Idle,
    /// Nothing serves.
    Racing(Race),
    /// Nothing serves yet; the choice's session is being made. What is left of the race waits.
    Settling(Choice, Race),
    Serving(Choice, Beside),
}

/// What goes on beside the session that serves.
#[derive(Clone, Debug)]
enum Beside {
    /// It is on the best carrier there is.
    Nothing,
    Waiting {
        at: Instant,
    },
    Probing {
        race: Race,
        /// Whether any other carrier is welcome, since the one in use is silent.
        is_rescue: bool,
    },
    Settling(Choice),
}

impl Selector {
    /// A selector that has not begun. `seed` is any number, best a random one: waits are spread by it.
    pub const fn new(preferences: Preferences, seed: u64) -> Self {
        Self {
            preferences,
            phase: Phase::Idle,
            verdicts: VecDeque::new(),
            remembered: None,
            doubtful: Vec::new(),
            fruitless: 0,
            losers: Vec::new(),
            random: seed,
        }
    }

    /// Takes `carrier` for the one of the last session, as though that were lost now: for what a program remembers of its
    /// last run. Say it before [`begin`](Self::begin); what is none of the [`Preferences`] is ignored.
    pub fn recall(&mut self, now: Instant, carrier: Carrier) {
        self.remember(now, carrier);
    }

    /// Begins a race, since there is no session. Does nothing while one is under way, or a session is there.
    pub fn begin(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Idle) {
            self.losers.clear();
            self.phase = Phase::Racing(Race::new(now, self.entrants(now)));
            self.handle_timeout(now);
        }
    }

    /// Stops whatever goes on, for a reason that isn't the carrier's: the gateway refused the agent, or the agent stops.
    /// The carrier in use is remembered.
    pub fn abandon(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Racing(race) => self.cancel_all(now, race),
            Phase::Settling(choice, _) => self.remember(now, choice.carrier),
            Phase::Serving(choice, beside) => {
                self.cancel_beside(now, beside);
                self.remember(now, choice.carrier);
            }
        }
    }

    /// A dial was answered: its connection is good, and a session could begin on it.
    pub fn receive_answer(&mut self, now: Instant, carrier: Carrier) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Racing(mut race) => {
                let Some(took) = race.took(now, carrier) else {
                    self.phase = Phase::Racing(race);
                    return;
                };
                let reason = self.reason(&race, carrier, now);
                let choice = self.win(now, &mut race, carrier, took, reason);
                self.verdicts.push_back(Verdict::Use { carrier });
                self.phase = Phase::Settling(choice, race);
            }
            Phase::Serving(choice, Beside::Probing { mut race, is_rescue }) => {
                let Some(took) = race.took(now, carrier) else {
                    self.phase = Phase::Serving(choice, Beside::Probing { race, is_rescue });
                    return;
                };
                let reason = if is_rescue { Reason::Rescue } else { Reason::Returned };
                let next = self.win(now, &mut race, carrier, took, reason);
                self.verdicts.push_back(Verdict::MoveOver { from: choice.carrier, to: carrier });
                self.phase = Phase::Serving(choice, Beside::Settling(next));
            }
            phase @ (Phase::Idle | Phase::Settling(..) | Phase::Serving(..)) => self.phase = phase,
        }
    }

    /// A dial failed.
    pub fn receive_failure(&mut self, now: Instant, carrier: Carrier, failure: Failure) {
        if let Phase::Racing(race) | Phase::Serving(_, Beside::Probing { race, .. }) = &mut self.phase
            && race.fail(now, carrier, failure)
        {
            self.handle_timeout(now);
        }
    }

    /// The session on `carrier` serves: after [`Verdict::Use`] for the first time, after [`Verdict::MoveOver`] in the place
    /// of the one before.
    pub fn receive_ready(&mut self, now: Instant, carrier: Carrier) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Settling(mut choice, _) if choice.carrier == carrier => {
                choice.since = now;
                self.serve(now, choice)
            }
            Phase::Serving(old, Beside::Settling(mut next)) if next.carrier == carrier => {
                if next.reason == Reason::Rescue {
                    self.judge(now, &old);
                }
                next.since = now;
                self.serve(now, next)
            }
            phase @ (Phase::Idle | Phase::Racing(_) | Phase::Settling(..) | Phase::Serving(..)) => phase,
        };
    }

    /// The session on `carrier` is over by the carrier's fault: it was cut, fell silent, or never came to serve. The race
    /// goes on, if it was being made; begin another one, if it served.
    pub fn receive_loss(&mut self, now: Instant, carrier: Carrier) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Settling(choice, mut race) if choice.carrier == carrier => {
                race.resume(now, carrier, Failure::Lost);
                self.phase = Phase::Racing(race);
                self.handle_timeout(now);
            }
            Phase::Serving(choice, Beside::Settling(next)) if next.carrier == carrier => {
                self.doubt(carrier);
                let beside = self.wait(now, choice.carrier);
                self.phase = Phase::Serving(choice, beside);
            }
            Phase::Serving(choice, beside) if choice.carrier == carrier => {
                self.judge(now, &choice);
                self.phase = self.without_session(now, beside);
                self.handle_timeout(now);
            }
            phase @ (Phase::Idle | Phase::Racing(_) | Phase::Settling(..) | Phase::Serving(..)) => {
                self.phase = phase;
            }
        }
    }

    /// The session that serves doesn't answer its pings, and isn't lost yet: any other carrier is welcome now.
    pub fn receive_silence(&mut self, now: Instant) {
        let others: Vec<_> = match &self.phase {
            Phase::Serving(choice, _) => {
                self.preferences.lanes().iter().copied().filter(|(c, _)| *c != choice.carrier).collect()
            }
            Phase::Idle | Phase::Racing(_) | Phase::Settling(..) => return,
        };
        if let Phase::Serving(_, beside) = &mut self.phase
            && !others.is_empty()
        {
            match beside {
                Beside::Probing { race, is_rescue } => {
                    race.join(now, others);
                    *is_rescue = true;
                }
                Beside::Nothing | Beside::Waiting { .. } => {
                    *beside = Beside::Probing { race: Race::new(now, others), is_rescue: true };
                }
                Beside::Settling(_) => {}
            }
            self.handle_timeout(now);
        }
    }

    /// The session that serves answers again: only better carriers are welcome.
    pub fn receive_life(&mut self, now: Instant) {
        let Phase::Serving(choice, Beside::Probing { race, is_rescue: is_rescue @ true }) = &mut self.phase
        else {
            return;
        };
        *is_rescue = false;
        let (rank, preferences) = (self.preferences.rank(choice.carrier), &self.preferences);
        let is_worse = |carrier: Carrier| preferences.rank(carrier) > rank;
        let halted = race.halt(now, is_worse);
        race.leave(is_worse);
        self.verdicts.extend(halted.into_iter().map(|carrier| Verdict::Cancel { carrier }));
        self.handle_timeout(now);
    }

    /// Time has passed; call it when [`poll_timeout`](Self::poll_timeout) says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Racing(mut race) => {
                self.run(now, &mut race, |carrier| Verdict::Start { carrier });
                self.losers = race.losers(None);
                if race.is_over() {
                    self.verdicts.push_back(Verdict::GiveUp);
                } else {
                    self.phase = Phase::Racing(race);
                }
            }
            Phase::Serving(choice, beside) => {
                let beside = self.look_beside(now, &choice, beside);
                self.phase = Phase::Serving(choice, beside);
            }
            phase @ (Phase::Idle | Phase::Settling(..)) => self.phase = phase,
        }
    }

    /// Notes the round trip of the session that serves.
    pub const fn note_rtt(&mut self, rtt: Duration) {
        if let Phase::Serving(choice, _) = &mut self.phase {
            choice.rtt = Some(rtt);
        }
    }

    /// What to do, one thing at a time, until there is nothing more.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Racing(race) | Phase::Serving(_, Beside::Probing { race, .. }) => race.deadline(),
            Phase::Serving(_, Beside::Waiting { at }) => Some(*at),
            Phase::Idle | Phase::Settling(..) | Phase::Serving(_, Beside::Nothing | Beside::Settling(_)) => {
                None
            }
        }
    }

    /// What is in use, or about to be.
    pub const fn choice(&self) -> Option<&Choice> {
        match &self.phase {
            Phase::Settling(choice, _) | Phase::Serving(choice, _) => Some(choice),
            Phase::Idle | Phase::Racing(_) => None,
        }
    }

    /// When better carriers are tried again, if that is awaited.
    pub const fn next_probe(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Serving(_, Beside::Waiting { at }) => Some(*at),
            Phase::Idle | Phase::Racing(_) | Phase::Settling(..) | Phase::Serving(..) => None,
        }
    }

    /// What became of the dials of the last race, or has so far of those of this one.
    pub fn losers(&self) -> &[Loser] {
        &self.losers
    }

    /// Who races, in which order: the remembered one first, the doubtful ones last.
    fn entrants(&self, now: Instant) -> Vec<(Carrier, Duration)> {
        let remembered = self.remembered(now);
        let mut lanes = self.preferences.lanes().to_vec();
        lanes.sort_by_key(|(carrier, _)| {
            (self.doubtful.contains(carrier), remembered != Some(*carrier), self.preferences.rank(*carrier))
        });
        lanes
    }

    fn remembered(&self, now: Instant) -> Option<Carrier> {
        let (carrier, lost) = self.remembered?;
        (now.saturating_duration_since(lost) < self.preferences.memory).then_some(carrier)
    }

    fn remember(&mut self, now: Instant, carrier: Carrier) {
        self.remembered = Some((carrier, now));
    }

    fn reason(&self, race: &Race, winner: Carrier, now: Instant) -> Reason {
        let rank = self.preferences.rank(winner);
        let mut better = self.preferences.order().take(rank);
        if self.preferences.lanes().len() == 1 {
            Reason::Only
        } else if rank == 0 {
            Reason::Preferred
        } else if better.all(|carrier| race.has_failed(carrier)) {
            Reason::Fallback
        } else if self.remembered(now) == Some(winner) {
            Reason::Remembered
        } else {
            Reason::FirstToAnswer
        }
    }

    /// Ends the other dials of a race that is won.
    fn win(
        &mut self,
        now: Instant,
        race: &mut Race,
        carrier: Carrier,
        took: Duration,
        reason: Reason,
    ) -> Choice {
        self.losers = race.losers(Some(carrier));
        let halted = race.halt(now, |other| other != carrier);
        self.verdicts.extend(halted.into_iter().map(|carrier| Verdict::Cancel { carrier }));
        Choice { carrier, reason, since: now, took, rtt: None, losers: self.losers.clone() }
    }

    fn serve(&mut self, now: Instant, choice: Choice) -> Phase {
        self.remember(now, choice.carrier);
        let beside = self.wait(now, choice.carrier);
        Phase::Serving(choice, beside)
    }

    /// The wait for the next probe, if there is anything to look for.
    fn wait(&mut self, now: Instant, serving: Carrier) -> Beside {
        if self.preferences.rank(serving) == 0 {
            return Beside::Nothing;
        }
        let Preferences { first_probe, longest_probe, .. } = self.preferences;
        let wait = first_probe.saturating_mul(1 << self.fruitless.min(MOST_DOUBLINGS)).min(longest_probe);
        self.fruitless = self.fruitless.saturating_add(1);
        // Between three and five quarters.
        let quarter = wait / 4;
        let spread = (wait / 2).as_nanos().max(1);
        let jitter = u128::from(self.next_random()) % spread;
        let wait = wait.saturating_sub(quarter) + Duration::from_nanos(u64::try_from(jitter).unwrap_or(0));
        Beside::Waiting { at: after(now, wait) }
    }

    fn look_beside(&mut self, now: Instant, choice: &Choice, beside: Beside) -> Beside {
        let (mut race, is_rescue) = match beside {
            Beside::Waiting { at } if at <= now => {
                let rank = self.preferences.rank(choice.carrier);
                let better: Vec<_> = self.preferences.lanes().iter().take(rank).copied().collect();
                (Race::new(now, better), false)
            }
            Beside::Probing { race, is_rescue } => (race, is_rescue),
            beside @ (Beside::Nothing | Beside::Waiting { .. } | Beside::Settling(_)) => return beside,
        };
        self.run(now, &mut race, |carrier| Verdict::Probe { carrier });
        match (race.is_over(), is_rescue) {
            (false, _) => Beside::Probing { race, is_rescue },
            (true, false) => self.wait(now, choice.carrier),
            // Nothing else works either: look again as soon as a probe may.
            (true, true) => Beside::Waiting { at: after(now, self.preferences.first_probe) },
        }
    }

    fn run(&mut self, now: Instant, race: &mut Race, dial: impl Fn(Carrier) -> Verdict) {
        while let Some(step) = race.poll(now, self.preferences.patience) {
            self.verdicts.push_back(match step {
                Step::Dial(carrier) => dial(carrier),
                Step::GiveUp(carrier) => Verdict::Cancel { carrier },
            });
        }
    }

    /// What goes on when the session that served is lost: what was beside it comes to its place.
    fn without_session(&mut self, now: Instant, beside: Beside) -> Phase {
        match beside {
            Beside::Nothing | Beside::Waiting { .. } => Phase::Idle,
            Beside::Probing { mut race, .. } => {
                race.join(now, self.entrants(now));
                Phase::Racing(race)
            }
            Beside::Settling(next) => {
                let others = self.entrants(now).into_iter();
                let race = Race::new(now, others.filter(|(carrier, _)| *carrier != next.carrier));
                Phase::Settling(next, race)
            }
        }
    }

    /// Notes of a session that is lost whether its carrier works.
    fn judge(&mut self, now: Instant, lost: &Choice) {
        self.remember(now, lost.carrier);
        if now.saturating_duration_since(lost.since) < self.preferences.proven_after {
            self.doubt(lost.carrier);
        } else {
            self.doubtful.retain(|carrier| *carrier != lost.carrier);
            self.fruitless = 0;
        }
    }

    fn doubt(&mut self, carrier: Carrier) {
        if !self.doubtful.contains(&carrier) {
            self.doubtful.push(carrier);
        }
    }

    fn cancel_all(&mut self, now: Instant, mut race: Race) {
        let halted = race.halt(now, |_| true);
        self.verdicts.extend(halted.into_iter().map(|carrier| Verdict::Cancel { carrier }));
    }

    fn cancel_beside(&mut self, now: Instant, beside: Beside) {
        if let Beside::Probing { race, .. } = beside {
            self.cancel_all(now, race);
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): enough for jitter.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Beyond it, waits have reached any bound that makes sense.
const MOST_DOUBLINGS: u32 = 20;
