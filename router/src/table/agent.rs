//! One agent's place behind a tunnel: its generation, its standing, and how much it carries.

use std::fmt;

use crate::sync::{Arc, AtomicU8, AtomicU32, Ordering};

/// The number of a registration. A newer one is always greater, and fences every older one.
///
/// A table counts its own; where several gateways share a directory, the directory's fence is the generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The generation that no registration has: every registration's is greater.
    pub const NONE: Self = Self(0);

    /// A generation counted elsewhere, such as a directory's fence.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, as it travels on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The generation after this one; at the end of the numbers there is none.
    pub(crate) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An agent attached to a tunnel, with the handle through which it is reached.
///
/// Shared by all snapshots that know it, so that what is said about it here holds at once, also for a request that was
/// looked up before.
#[derive(Debug)]
pub struct Agent<T> {
    generation: Generation,
    standing: AtomicU8,
    in_flight: AtomicU32,
    handle: T,
}

impl<T> Agent<T> {
    pub(crate) fn new(generation: Generation, handle: T) -> Self {
        Self {
            generation,
            standing: AtomicU8::new(Standing::Serving.code()),
            in_flight: AtomicU32::new(0),
            handle,
        }
    }

    /// Starts one piece of work on this agent: the check that a send needs, made as late as possible.
    ///
    /// Call it right before the stream is opened. The work counts as load until the returned value is dropped.
    ///
    /// # Errors
    /// [`Superseded`] if the agent was replaced, drained or detached since it was looked up. Nothing was sent; look the
    /// tunnel up again.
    pub fn begin(self: &Arc<Self>) -> Result<InFlight<T>, Superseded> {
        // Counted before the standing is read: whoever sets the standing first and then sees no load knows that
        // none will come. Both are SeqCst, because each side writes one and reads the other.
        let counted = InFlight { agent: Arc::clone(self) };
        counted.agent.in_flight.fetch_add(1, Ordering::SeqCst);
        match counted.agent.standing() {
            Standing::Serving => Ok(counted),
            Standing::Draining | Standing::Gone => Err(Superseded { generation: self.generation }),
        }
    }

    /// The generation of this agent's registration.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether new work may go to this agent.
    pub fn standing(&self) -> Standing {
        Standing::from_code(self.standing.load(Ordering::SeqCst))
    }

    /// Pieces of work begun and not yet dropped.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// What was given when the agent was attached. For sending, [`begin`](Self::begin) first.
    pub fn handle(&self) -> &T {
        &self.handle
    }

    /// Takes a worse standing. A standing never improves: an agent that comes back has a new generation.
    pub(crate) fn retire(&self, standing: Standing) {
        self.standing.fetch_max(standing.code(), Ordering::SeqCst);
    }
}

/// Whether new work may go to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// New work is welcome.
    Serving,
    /// No new work; what is in flight may finish.
    Draining,
    /// Detached: its streams are to be reset.
    Gone,
}

impl Standing {
    fn code(self) -> u8 {
        match self {
            Self::Serving => 0,
            Self::Draining => 1,
            Self::Gone => 2,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Serving,
            1 => Self::Draining,
            _ => Self::Gone,
        }
    }
}

/// One piece of work on an agent. While it lives, the agent's load is one higher.
#[derive(Debug)]
pub struct InFlight<T> {
    agent: Arc<Agent<T>>,
}

impl<T> InFlight<T> {
    /// The agent that does the work.
    pub fn agent(&self) -> &Arc<Agent<T>> {
        &self.agent
    }

    /// The handle through which the agent is reached.
    pub fn handle(&self) -> &T {
        self.agent.handle()
    }
}

impl<T> Drop for InFlight<T> {
    fn drop(&mut self) {
        self.agent.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The agent no longer takes work: replaced, drained or detached. Nothing was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("registration {generation} no longer takes work; look the tunnel up again")]
#[non_exhaustive]
pub struct Superseded {
    /// The registration that was asked.
    pub generation: Generation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_counts_what_is_in_flight() {
        let agent = Arc::new(Agent::new(Generation::new(1), ()));
        let first = agent.begin().unwrap();
        let second = agent.begin().unwrap();
        assert_eq!(agent.in_flight(), 2);
        drop(first);
        drop(second);
        assert_eq!(agent.in_flight(), 0);
    }

    #[test]
    fn r15_work_is_refused_by_an_agent_that_was_retired_after_the_lookup() {
        let agent = Arc::new(Agent::new(Generation::new(4), ()));
        let running = agent.begin().unwrap();
        agent.retire(Standing::Draining);
        assert_eq!(agent.begin().unwrap_err(), Superseded { generation: Generation::new(4) });
        assert_eq!(agent.in_flight(), 1, "a refusal leaves no load behind");
        drop(running);
        assert_eq!(agent.in_flight(), 0);
    }

    #[test]
    fn a_standing_never_improves() {
        let agent = Agent::new(Generation::new(1), ());
        agent.retire(Standing::Gone);
        agent.retire(Standing::Draining);
        assert_eq!(agent.standing(), Standing::Gone);
    }
}
