//! What a selector is told once: the order, and how patient it is.

use crate::Carrier;
use std::time::Duration;

/// Which carriers there are, the best first, and how long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Each at most once, with its head start; at most [`Carrier::ALL`].
    lanes: Vec<(Carrier, Duration)>,
    pub(super) patience: Duration,
    pub(super) first_probe: Duration,
    pub(super) longest_probe: Duration,
    pub(super) memory: Duration,
    pub(super) proven_after: Duration,
}

impl Default for Preferences {
    /// All carriers in the order of [`Carrier::ALL`].
    fn default() -> Self {
        Self::new(Carrier::ALL)
    }
}

impl Preferences {
    /// These carriers, the best first; one that comes twice counts where it comes first.
    pub fn new(order: impl IntoIterator<Item = Carrier>) -> Self {
        let mut lanes: Vec<(Carrier, Duration)> = Vec::new();
        for carrier in order {
            if lanes.iter().all(|(known, _)| *known != carrier) {
                lanes.push((carrier, Duration::from_millis(300)));
            }
        }
        Self {
            lanes,
            patience: Duration::from_secs(10),
            first_probe: Duration::from_secs(30),
            longest_probe: Duration::from_secs(600),
            memory: Duration::from_secs(3600),
            proven_after: Duration::from_secs(60),
        }
    }

    /// How long `carrier` may go without an answer until the next one is dialled beside it; default 300 ms for each, a
    /// round trip around the world. At 0 all are dialled at once; from [`patience`](Self::patience) on, one after the other.
    #[must_use]
    pub fn head_start(mut self, carrier: Carrier, time: Duration) -> Self {
        for (known, head_start) in &mut self.lanes {
            if *known == carrier {
                *head_start = time;
            }
        }
        self
    }

    /// How long a dial may take before it counts as failed; default 10 s.
    #[must_use]
    pub const fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// After how long a session better carriers are tried again, and up to what this doubles while none answers; default
    /// 30 s and 10 min. Each wait is changed by up to a quarter either way, so that agents don't probe in step.
    #[must_use]
    pub const fn probe(mut self, first: Duration, longest: Duration) -> Self {
        self.first_probe = first;
        self.longest_probe = longest;
        self
    }

    /// How long the carrier of the last session is asked first when it is lost; default 1 h, 0 for never.
    #[must_use]
    pub const fn memory(mut self, time: Duration) -> Self {
        self.memory = time;
        self
    }

    /// How long a session has to serve before its carrier is taken to work; default 60 s. One whose session is lost sooner
    /// is asked last the next time, and probed ever more rarely: some networks let a handshake through and nothing more.
    #[must_use]
    pub const fn proven_after(mut self, time: Duration) -> Self {
        self.proven_after = time;
        self
    }

    /// The carriers, the best first.
    pub fn order(&self) -> impl Iterator<Item = Carrier> + '_ {
        self.lanes.iter().map(|(carrier, _)| *carrier)
    }

    pub(super) fn lanes(&self) -> &[(Carrier, Duration)] {
        &self.lanes
    }

    /// The place of `carrier` in the order; behind all others if it has none.
    pub(super) fn rank(&self, carrier: Carrier) -> usize {
        self.order().position(|known| known == carrier).unwrap_or(usize::MAX)
    }
}
