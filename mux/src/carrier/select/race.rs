//! Dials beside each other, each begun when the one before has had its head start, or has failed.

use super::choice::{Failure, Loser, Outcome};
use crate::Carrier;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(super) struct Race {
    /// In the order of their beginning; each carrier at most once.
    lanes: Vec<Lane>,
}

#[derive(Clone, Debug)]
struct Lane {
    carrier: Carrier,
    head_start: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be dialled.
    Waiting { at: Instant },
    /// Under way.
    Dialling { since: Instant, until: Instant },
    /// It didn't work.
    Failed(Failure),
}

/// What is to be done now.
pub(super) enum Step {
    Dial(Carrier),
    GiveUp(Carrier),
}

impl Race {
    /// A race of `entrants`, of which the first is due now.
    pub(super) fn new(now: Instant, entrants: impl IntoIterator<Item = (Carrier, Duration)>) -> Self {
        let mut race = Self { lanes: Vec::new() };
        race.join(now, entrants);
        race
    }

    /// Adds those that are not in it, behind the others.
    pub(super) fn join(&mut self, now: Instant, entrants: impl IntoIterator<Item = (Carrier, Duration)>) {
        let mut turn = self.lanes.iter().filter_map(Lane::turn_ends).max().map_or(now, |end| end.max(now));
        for (carrier, head_start) in entrants {
            if self.lane(carrier).is_none() {
                self.lanes.push(Lane { carrier, head_start, state: State::Waiting { at: turn } });
                turn = after(turn, head_start);
            }
        }
    }

    /// What is due. Repeat until there is nothing.
    pub(super) fn poll(&mut self, now: Instant, patience: Duration) -> Option<Step> {
        for lane in &mut self.lanes {
            match lane.state {
                State::Waiting { at } if at <= now => {
                    lane.state = State::Dialling { since: now, until: after(now, patience) };
                    return Some(Step::Dial(lane.carrier));
                }
                State::Dialling { until, .. } if until <= now => {
                    let carrier = lane.carrier;
                    self.fail(now, carrier, Failure::NoAnswer);
                    return Some(Step::GiveUp(carrier));
                }
                State::Waiting { .. } | State::Dialling { .. } | State::Failed(_) => {}
            }
        }
        None
    }

    /// Notes a failure: the next one's turn has come. Whether that dial was under way.
    pub(super) fn fail(&mut self, now: Instant, carrier: Carrier, failure: Failure) -> bool {
        let Some(lane) = self.lane(carrier).filter(|lane| matches!(lane.state, State::Dialling { .. }))
        else {
            return false;
        };
        lane.state = State::Failed(failure);
        // The next one begins now, and those behind it no later than so many head starts from now.
        let mut turn = now;
        for lane in &mut self.lanes {
            if let State::Waiting { at } = &mut lane.state {
                *at = turn.min(*at);
                turn = after(*at, lane.head_start);
            }
        }
        true
    }

    /// How long the dial of `carrier` took, if it is under way.
    pub(super) fn took(&mut self, now: Instant, carrier: Carrier) -> Option<Duration> {
        match self.lane(carrier)?.state {
            State::Dialling { since, .. } => Some(now.saturating_duration_since(since)),
            State::Waiting { .. } | State::Failed(_) => None,
        }
    }

    /// Ends the dials that `ends` picks; gives them. They wait from then on, until [`resume`](Self::resume).
    pub(super) fn halt(&mut self, now: Instant, ends: impl Fn(Carrier) -> bool) -> Vec<Carrier> {
        let mut halted = Vec::new();
        for lane in &mut self.lanes {
            if matches!(lane.state, State::Dialling { .. }) && ends(lane.carrier) {
                lane.state = State::Waiting { at: now };
                halted.push(lane.carrier);
            }
        }
        halted
    }

    /// Goes on without the winner, whose session came to nothing.
    pub(super) fn resume(&mut self, now: Instant, winner: Carrier, failure: Failure) {
        let mut turn = now;
        for lane in &mut self.lanes {
            if lane.carrier == winner {
                lane.state = State::Failed(failure);
            } else if let State::Waiting { at } = &mut lane.state {
                *at = turn;
                turn = after(turn, lane.head_start);
            }
        }
    }

    /// Takes out those that `leaves` picks.
    pub(super) fn leave(&mut self, leaves: impl Fn(Carrier) -> bool) {
        self.lanes.retain(|lane| !leaves(lane.carrier));
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = |lane: &Lane| match lane.state {
            State::Waiting { at } => Some(at),
            State::Dialling { until, .. } => Some(until),
            State::Failed(_) => None,
        };
        self.lanes.iter().filter_map(due).min()
    }

    /// Whether all have failed.
    pub(super) fn is_over(&self) -> bool {
        self.lanes.iter().all(|lane| matches!(lane.state, State::Failed(_)))
    }

    /// Whether `carrier` has failed.
    pub(super) fn has_failed(&self, carrier: Carrier) -> bool {
        self.lanes.iter().any(|lane| lane.carrier == carrier && matches!(lane.state, State::Failed(_)))
    }

    /// What has become of all but `winner`.
    pub(super) fn losers(&self, winner: Option<Carrier>) -> Vec<Loser> {
        let others = self.lanes.iter().filter(|lane| Some(lane.carrier) != winner);
        let others = others.map(|lane| {
            let outcome = match lane.state {
                State::Failed(failure) => Outcome::Failed(failure),
                State::Dialling { .. } => Outcome::TooSlow,
                State::Waiting { .. } => Outcome::NotAsked,
            };
            Loser { carrier: lane.carrier, outcome }
        });
        others.collect()
    }

    fn lane(&mut self, carrier: Carrier) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.carrier == carrier)
    }
}

impl Lane {
    /// When the next one may begin.
    fn turn_ends(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { at: begin } | State::Dialling { since: begin, .. } => {
                Some(after(begin, self.head_start))
            }
            State::Failed(_) => None,
        }
    }
}

pub(super) fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}
