//! What was chosen, and why; as values, for statistics, logs and people. No addresses and no secrets.

use crate::Carrier;
use std::fmt;
use std::time::{Duration, Instant};

/// The carrier in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub(super) carrier: Carrier,
    pub(super) reason: Reason,
    pub(super) since: Instant,
    pub(super) took: Duration,
    pub(super) rtt: Option<Duration>,
    pub(super) losers: Vec<Loser>,
}

impl Choice {
    /// What it is.
    pub const fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Why this one.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Since when its session serves, or is being made.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// How long its dial took.
    pub const fn took(&self) -> Duration {
        self.took
    }

    /// The round trip, as far as [`Selector::note_rtt`](super::Selector::note_rtt) was told.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// What became of the others in the race that this one won, in the order of the race.
    pub fn losers(&self) -> &[Loser] {
        &self.losers
    }
}

/// Why a carrier is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There is no other.
    Only,
    /// It is the best one, and answered first.
    Preferred,
    /// The last session was on it, so it was asked first, and answered first.
    Remembered,
    /// It answered before better ones did.
    FirstToAnswer,
    /// Every better one failed.
    Fallback,
    /// The one in use fell silent, and this one answered.
    Rescue,
    /// It answered again, and is better than the one that served meanwhile.
    Returned,
}

impl Reason {
    /// The same in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "the only one",
            Self::Preferred => "preferred",
            Self::Remembered => "worked last time",
            Self::FirstToAnswer => "first to answer",
            Self::Fallback => "fallback: all better ones failed",
            Self::Rescue => "the one before fell silent",
            Self::Returned => "preferred, answers again",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A carrier that isn't in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Loser {
    pub(super) carrier: Carrier,
    pub(super) outcome: Outcome,
}

impl Loser {
    /// What it is.
    pub const fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// What became of its dial.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// What became of a dial that didn't win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It failed.
    Failed(Failure),
    /// It had not answered when another one did.
    TooSlow,
    /// It was not its turn yet.
    NotAsked,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::TooSlow => f.write_str("no answer yet"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

/// Why a carrier doesn't work: a class, from which nothing of the network or of credentials can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing can be sent there: no route, no name, connection refused.
    Unreachable,
    /// No answer in time: dropped on the way, perhaps.
    NoAnswer,
    /// The other side's certificate isn't good: somebody in between, perhaps.
    Untrusted,
    /// What answers speaks something else.
    OtherProtocol,
    /// What answers, or a proxy on the way, said no.
    Refused,
    /// The session was lost.
    Lost,
}

impl Failure {
    /// The same in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoAnswer => "no answer",
            Self::Untrusted => "not trusted",
            Self::OtherProtocol => "another protocol",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
