//! Which of a tunnel's agents gets a visitor, and who is next if that one fails.

use std::sync::Arc;

use super::{Agent, Generation, Standing, Tunnel};

/// Finds agents for one visitor, one after another, until one has answered.
///
/// A visitor who may go anywhere gets the less loaded of two agents chosen by chance, which spreads load nearly as
/// well as asking all of them. A visitor who sticks gets the agent that ranks highest for its key (rendezvous hashing):
/// when an agent leaves, only its own visitors move. A later attempt never asks an agent twice, and none is made once
/// the first byte of an answer was seen, since the work may have been done.
///
/// ```text
///   next ──▶ agent ──▶ failed before an answer ──▶ next ──▶ another agent …
///                └───▶ answered ──▶ no further attempt
/// ```
#[derive(Clone, Debug)]
pub struct Dispatch {
    random: u64,
    stick: Option<Stick>,
    /// The agents asked so far; the first `attempts` count.
    tried: [Generation; MAX_ATTEMPTS],
    attempts: usize,
    max_attempts: usize,
    is_answered: bool,
}

impl Dispatch {
    /// Attempts for a visitor without a preference. `random` is a fresh random number.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self {
            random,
            stick: None,
            tried: [Generation::NONE; MAX_ATTEMPTS],
            attempts: 0,
            max_attempts: 2,
            is_answered: false,
        }
    }

    /// Prefers the agent that this visitor had before.
    #[must_use]
    pub fn stick(mut self, stick: Stick) -> Self {
        self.stick = Some(stick);
        self
    }

    /// How many agents may be asked, from 1 to 4; 2 unless set. With 1 there is no failover.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: usize) -> Self {
        self.max_attempts = max_attempts.clamp(1, MAX_ATTEMPTS);
        self
    }

    /// The agent to ask next; `None` if nobody is left to ask, no attempt is left, or an answer was seen.
    ///
    /// Give the entry as it is now: look it up again before each attempt.
    pub fn next<T, P>(&mut self, tunnel: &Tunnel<T, P>) -> Option<Arc<Agent<T>>> {
        if self.is_answered || self.attempts == self.max_attempts {
            return None;
        }
        let agent = match self.stick {
            Some(stick) => self.highest(tunnel.agents(), stick),
            None => self.less_loaded(tunnel.agents()),
        }?;
        *self.tried.get_mut(self.attempts)? = agent.generation();
        self.attempts += 1;
        Some(Arc::clone(agent))
    }

    /// The first byte of an answer was seen: from now on there is no other attempt.
    pub fn answered(&mut self) {
        self.is_answered = true;
    }

    fn highest<'a, T>(&self, agents: &'a [Arc<Agent<T>>], stick: Stick) -> Option<&'a Arc<Agent<T>>> {
        self.candidates(agents).max_by_key(|agent| stick.rank(agent.generation()))
    }

    fn less_loaded<'a, T>(&self, agents: &'a [Arc<Agent<T>>]) -> Option<&'a Arc<Agent<T>>> {
        let count = u64::try_from(self.candidates(agents).count()).unwrap_or(u64::MAX);
        let first = self.random.checked_rem(count)?;
        let others = count - 1;
        let Some(step) = (self.random >> 32).checked_rem(others) else {
            return self.candidate(agents, first);
        };
        let second = (first + 1 + step) % count;
        let (first, second) = (self.candidate(agents, first)?, self.candidate(agents, second)?);
        Some(if second.in_flight() < first.in_flight() { second } else { first })
    }

    fn candidate<'a, T>(&self, agents: &'a [Arc<Agent<T>>], index: u64) -> Option<&'a Arc<Agent<T>>> {
        self.candidates(agents).nth(usize::try_from(index).ok()?)
    }

    fn candidates<'a, T>(&self, agents: &'a [Arc<Agent<T>>]) -> impl Iterator<Item = &'a Arc<Agent<T>>> {
        let tried = self.tried.get(..self.attempts).unwrap_or_default();
        agents
            .iter()
            .filter(|agent| agent.standing() == Standing::Serving)
            .filter(move |agent| !tried.contains(&agent.generation()))
    }
}

/// What makes a visitor come back to the same agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stick(u64);

impl Stick {
    /// Sticks by a number of the caller's, such as that of an account.
    #[must_use]
    pub const fn by_number(number: u64) -> Self {
        Self(number)
    }

    /// Sticks by any bytes: the value of a cookie, or the octets of the visitor's address.
    ///
    /// Different bytes may share a number, in which case both visitors get the same agent and nothing else is shared.
    #[must_use]
    pub fn by_bytes(bytes: &[u8]) -> Self {
        Self(
            bytes
                .iter()
                .fold(bytes.len().try_into().unwrap_or(u64::MAX), |hash, byte| mix(hash ^ u64::from(*byte))),
        )
    }

    fn rank(self, generation: Generation) -> u64 {
        mix(self.0 ^ mix(generation.number()))
    }
}

/// A bijection that spreads each bit of `number` over the result (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

const MAX_ATTEMPTS: usize = 4;

#[cfg(test)]
mod tests {
    use adit_naming::TunnelId;

    use super::super::{Join, OwnedRouteKey, RouteTable};
    use super::*;

    const ID: TunnelId = TunnelId::from_u128(1);
    const NO_KEYS: [OwnedRouteKey; 0] = [];

    #[test]
    fn without_an_agent_there_is_nobody_to_ask() {
        let table = table(0);
        assert!(Dispatch::new(3).next(&entry(&table)).is_none());
    }

    #[test]
    fn the_less_loaded_of_two_gets_the_work() {
        let table = table(2);
        let tunnel = entry(&table);
        let busy: Vec<_> = (0..5).map(|_| tunnel.agents()[0].begin().unwrap()).collect();
        for random in 0..100 {
            let chosen = Dispatch::new(mix(random)).next(&tunnel).unwrap();
            assert_eq!(chosen.generation(), tunnel.agents()[1].generation());
        }
        drop(busy);
    }

    #[test]
    fn two_choices_keep_the_load_even() {
        let table = table(8);
        let tunnel = entry(&table);
        let running: Vec<_> =
            (0..800).map(|step| Dispatch::new(mix(step)).next(&tunnel).unwrap().begin().unwrap()).collect();
        for agent in tunnel.agents() {
            assert!((90..=110).contains(&agent.in_flight()), "{} of 100", agent.in_flight());
        }
        assert_eq!(running.len(), 800);
    }

    #[test]
    fn a_visitor_who_sticks_moves_only_if_its_agent_leaves() {
        let table = table(5);
        let before: Vec<_> = (0..200u64).map(|visitor| sticky(&table, visitor)).collect();
        assert_eq!(before, (0..200u64).map(|visitor| sticky(&table, visitor)).collect::<Vec<_>>());
        let leaving = before[0];
        table.detach(ID, leaving).unwrap();
        for (visitor, had) in (0..200).zip(before) {
            let has = sticky(&table, visitor);
            assert_eq!(has == had, had != leaving);
        }
    }

    #[test]
    fn every_agent_gets_some_of_those_who_stick() {
        let table = table(4);
        for agent in entry(&table).agents() {
            assert!((0..100u64).any(|visitor| sticky(&table, visitor) == agent.generation()));
        }
    }

    #[test]
    fn failover_asks_each_agent_once_and_stops_at_the_bound() {
        let table = table(8);
        let tunnel = entry(&table);
        let mut dispatch = Dispatch::new(77).max_attempts(3);
        let mut asked: Vec<_> =
            std::iter::from_fn(|| dispatch.next(&tunnel)).map(|agent| agent.generation()).collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), 3);
    }

    #[test]
    fn after_an_answer_nobody_else_is_asked() {
        let table = table(3);
        let mut dispatch = Dispatch::new(1);
        dispatch.next(&entry(&table)).unwrap();
        dispatch.answered();
        assert!(dispatch.next(&entry(&table)).is_none());
    }

    #[test]
    fn sticky_bytes_of_different_lengths_differ() {
        assert_ne!(Stick::by_bytes(b""), Stick::by_bytes(b"\0"));
        assert_ne!(Stick::by_bytes(b"\0"), Stick::by_bytes(b"\0\0"));
        assert_eq!(Stick::by_bytes(b"cookie"), Stick::by_bytes(b"cookie"));
    }

    fn sticky(table: &RouteTable<usize>, visitor: u64) -> Generation {
        let mut dispatch = Dispatch::new(0).stick(Stick::by_bytes(&visitor.to_be_bytes()));
        dispatch.next(&entry(table)).unwrap().generation()
    }

    fn entry(table: &RouteTable<usize>) -> Arc<Tunnel<usize>> {
        table.find(super::super::RouteKey::id(ID)).unwrap()
    }

    fn table(agents: usize) -> RouteTable<usize> {
        let table = RouteTable::new();
        table.publish(ID, NO_KEYS, ()).unwrap();
        for agent in 0..agents {
            table.attach(ID, Join::Beside { max_agents: 8 }, agent).unwrap();
        }
        table
    }
}
