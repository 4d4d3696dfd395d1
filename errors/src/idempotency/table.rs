use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, NotStored};
use super::fingerprint::Fingerprint;
use super::key::{Principal, Slot};
use super::limits::Limits;
use super::store::{Begin, StoreError, Ticket};
use crate::retry_after::RetryAfter;

/// The machine of idempotency, in memory: no clock, no lock, no I/O.
///
/// `now` is the time since any fixed moment. The methods mean what those of [`Store`](super::Store) mean.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    /// At most `max_entries_per_principal` for each principal, and `max_bytes` in all.
    entries: HashMap<Arc<Slot>, Entry>,
    /// One line for each entry, soonest first.
    expiry: BTreeSet<(Duration, u64, Arc<Slot>)>,
    /// One line for each principal that has entries, and so bounded like them.
    usage: HashMap<Principal, Usage>,
    /// Invariant: the sum of what all entries cost, at most `max_bytes`.
    bytes: usize,
    next_number: u64,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            expiry: BTreeSet::new(),
            usage: HashMap::new(),
            bytes: 0,
            next_number: 0,
        }
    }

    /// Asks what to do about a request; see [`Store::begin`](super::Store::begin).
    ///
    /// # Errors
    /// [`StoreError::Quota`] or [`StoreError::Full`]; nothing was changed.
    pub fn begin(
        &mut self,
        now: Duration,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> Result<Begin, StoreError> {
        self.forget_expired(now);
        match self.entries.get(slot) {
            Some(entry) if entry.fingerprint != *fingerprint => Ok(Begin::Conflict {}),
            Some(Entry { state: State::Stored { answer }, .. }) => {
                Ok(Begin::Replay { answer: Arc::clone(answer) })
            }
            Some(Entry { state: State::InFlight { lease_ends }, .. }) if now < *lease_ends => {
                let left = lease_ends.saturating_sub(now);
                Ok(Begin::InFlight { retry_after: RetryAfter::from_duration(left.min(ASK_AGAIN)) })
            }
            Some(_) => {
                // Room for the new entry is certain: it costs what the removed one did.
                self.remove(slot);
                self.insert(now, slot, fingerprint)
            }
            None => self.insert(now, slot, fingerprint),
        }
    }

    /// Keeps an answer; see [`Store::complete`](super::Store::complete).
    ///
    /// # Errors
    /// [`NotStored::LeaseOver`] if a later request holds the slot or it is forgotten; [`NotStored::NoRoom`] if the
    /// answer does not fit any more, and then the slot is free.
    pub fn complete(&mut self, now: Duration, ticket: Ticket, answer: Answer) -> Result<(), NotStored> {
        self.forget_expired(now);
        if !self.holds(&ticket) {
            return Err(NotStored::LeaseOver {});
        }
        let more = answer.size_bytes();
        let usage = self.usage.get(ticket.slot().principal()).copied().unwrap_or_default();
        let fits = usage.bytes.saturating_add(more) <= self.limits.max_bytes_per_principal
            && self.bytes.saturating_add(more) <= self.limits.max_bytes;
        if !fits {
            self.remove(ticket.slot());
            return Err(NotStored::NoRoom {});
        }
        self.charge(ticket.slot().principal(), 0, more);
        if let Some(entry) = self.entries.get_mut(ticket.slot()) {
            entry.cost += more;
            entry.state = State::Stored { answer: Arc::new(answer) };
        }
        Ok(())
    }

    /// Frees a slot; see [`Store::abandon`](super::Store::abandon).
    pub fn abandon(&mut self, now: Duration, ticket: Ticket) {
        self.forget_expired(now);
        if self.holds(&ticket) {
            self.remove(ticket.slot());
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes count as used, of at most the limit.
    #[must_use]
    pub const fn used_bytes(&self) -> usize {
        self.bytes
    }

    /// When to call [`forget_expired`](Self::forget_expired) next, so that secrets are gone in time even when nobody
    /// asks.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.expiry.first().map(|(expires, ..)| *expires)
    }

    /// Forgets all entries whose time is over. The other methods do so first, too.
    pub fn forget_expired(&mut self, now: Duration) {
        while let Some((expires, _, slot)) = self.expiry.first() {
            if now < *expires {
                break;
            }
            let slot = Arc::clone(slot);
            self.remove(&slot);
        }
    }

    fn insert(&mut self, now: Duration, slot: &Slot, fingerprint: &Fingerprint) -> Result<Begin, StoreError> {
        let cost = ENTRY_BYTES + slot.principal().as_str().len() + slot.key().as_str().len();
        self.admit(now, slot.principal(), cost)?;
        let number = self.next_number;
        self.next_number += 1;
        let expires = now.saturating_add(self.limits.time_to_live);
        let state = State::InFlight { lease_ends: now.saturating_add(self.limits.lease) };
        let shared = Arc::new(slot.clone());
        self.expiry.insert((expires, number, Arc::clone(&shared)));
        self.entries.insert(shared, Entry { fingerprint: *fingerprint, number, expires, cost, state });
        self.charge(slot.principal(), 1, cost);
        Ok(Begin::Fresh { ticket: Ticket::new(slot.clone(), number) })
    }

    fn admit(&self, now: Duration, principal: &Principal, cost: usize) -> Result<(), StoreError> {
        let usage = self.usage.get(principal).copied().unwrap_or_default();
        let limits = &self.limits;
        if usage.entries >= limits.max_entries_per_principal
            || usage.bytes.saturating_add(cost) > limits.max_bytes_per_principal
        {
            let retry_after = self.until_next_expiry(now, |slot| slot.principal() == principal);
            return Err(StoreError::Quota { retry_after });
        }
        if self.bytes.saturating_add(cost) > limits.max_bytes {
            return Err(StoreError::Full { retry_after: self.until_next_expiry(now, |_| true) });
        }
        Ok(())
    }

    /// When room comes: exactly, if an entry that counts is among those that expire soonest; a minute otherwise, so that
    /// a refusal never walks the whole table.
    fn until_next_expiry(&self, now: Duration, counts: impl Fn(&Slot) -> bool) -> RetryAfter {
        let soonest = self.expiry.iter().take(LOOKED_AT).find(|(_, _, slot)| counts(slot));
        let wait = soonest.map_or(Duration::from_secs(60), |(expires, ..)| expires.saturating_sub(now));
        RetryAfter::from_duration(wait)
    }

    fn holds(&self, ticket: &Ticket) -> bool {
        let entry = self.entries.get(ticket.slot());
        entry.is_some_and(|entry| {
            entry.number == ticket.number() && matches!(entry.state, State::InFlight { .. })
        })
    }

    fn remove(&mut self, slot: &Slot) {
        let Some((slot, entry)) = self.entries.remove_entry(slot) else { return };
        self.bytes -= entry.cost;
        if let Some(usage) = self.usage.get_mut(slot.principal()) {
            usage.entries -= 1;
            usage.bytes -= entry.cost;
            if usage.entries == 0 {
                self.usage.remove(slot.principal());
            }
        }
        self.expiry.remove(&(entry.expires, entry.number, slot));
    }

    fn charge(&mut self, principal: &Principal, entries: usize, bytes: usize) {
        let usage = self.usage.entry(principal.clone()).or_default();
        usage.entries += entries;
        usage.bytes += bytes;
        self.bytes += bytes;
    }
}

#[derive(Debug)]
struct Entry {
    fingerprint: Fingerprint,
    number: u64,
    expires: Duration,
    cost: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    InFlight { lease_ends: Duration },
    Stored { answer: Arc<Answer> },
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    entries: usize,
    bytes: usize,
}

/// What an entry costs beside its texts and its answer, rounded up generously.
const ENTRY_BYTES: usize = 512;

/// How soon those who come second are told to ask again; most handlers are done by then.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How many expiries a refusal looks at.
const LOOKED_AT: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Model;

    use super::*;
    use crate::idempotency::key::IdempotencyKey;
    use crate::idempotency::{MemoryStore, conformance};
    use proptest::prelude::*;

    #[tokio::test]
    async fn b08_b09_b10_b11_b12_b13_b16_b18_b20_the_store_in_memory_conforms() {
        conformance::check(MemoryStore::new).await;
    }

    #[test]
    fn b18_a_secret_is_gone_after_a_day_even_if_nobody_asks() {
        let mut table = Table::new(Limits::new());
        let ticket = fresh(&mut table, START, &slot(1, 1));
        table.complete(START, ticket, answer(100)).unwrap();
        let timeout = table.poll_timeout().unwrap();
        assert_eq!(timeout, START + Duration::from_secs(86_400));
        table.forget_expired(timeout);
        assert!(table.is_empty() && table.used_bytes() == 0 && table.poll_timeout().is_none());
        assert!(table.usage.is_empty());
    }

    #[test]
    fn b20_the_whole_store_is_bounded_and_says_when_to_come_back() {
        let limits = Limits::new().with_max_bytes(4_000);
        let mut table = Table::new(limits);
        let mut refused = 0;
        for principal in 0..20 {
            match table.begin(START, &slot(principal, 1), &fingerprint(1)) {
                Ok(begin) => assert!(matches!(begin, Begin::Fresh { .. })),
                Err(StoreError::Full { retry_after }) => {
                    assert_eq!(retry_after.as_duration(), Duration::from_secs(86_400));
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 0 && table.used_bytes() <= 4_000);
        assert_eq!(table.len() + refused, 20);
    }

    #[test]
    fn b20_a_quota_refusal_is_429_with_a_hint() {
        let mut table = Table::new(Limits::new().with_max_entries_per_principal(1));
        let _ticket = fresh(&mut table, START, &slot(1, 1));
        let later = START + Duration::from_secs(3600);
        let error = table.begin(later, &slot(1, 2), &fingerprint(1)).unwrap_err();
        let refusal = crate::Refusal::from(error);
        assert_eq!((refusal.status(), refusal.code()), (429, &crate::Code::IDEMPOTENCY_QUOTA));
        assert_eq!(refusal.retry_after().unwrap().as_millis(), 23 * 3_600_000);
    }

    #[test]
    fn b13_the_second_is_409_with_a_hint() {
        let mut table = Table::new(Limits::new());
        let _ticket = fresh(&mut table, START, &slot(1, 1));
        let refusal = table.begin(START, &slot(1, 1), &fingerprint(1)).unwrap().refusal().unwrap();
        assert_eq!((refusal.status(), refusal.code()), (409, &crate::Code::IDEMPOTENCY_IN_FLIGHT));
        assert!(refusal.retry_after().is_some());
        let refusal = table.begin(START, &slot(1, 1), &fingerprint(2)).unwrap().refusal().unwrap();
        assert_eq!((refusal.status(), refusal.code()), (409, &crate::Code::IDEMPOTENCY_CONFLICT));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin { principal: u8, key: u8, body: u8 },
        Complete { which: usize, size: usize },
        Abandon { which: usize },
        Wait { seconds: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..3, 0_u8..4, 0_u8..2).prop_map(|(principal, key, body)| Step::Begin { principal, key, body }),
            3 => (any::<usize>(), 0_usize..3000).prop_map(|(which, size)| Step::Complete { which, size }),
            1 => any::<usize>().prop_map(|which| Step::Abandon { which }),
            2 => (0_u64..50).prop_map(|seconds| Step::Wait { seconds }),
        ];
        proptest::collection::vec(step, 0..80)
    }

    proptest! {
        /// Any list of operations keeps the sums right, and never runs one slot twice within its lease.
        #[test]
        fn any_operations_keep_the_invariants(steps in steps()) {
            let limits = Limits::new()
                .with_time_to_live(Duration::from_secs(100))
                .with_lease(Duration::from_secs(30))
                .with_max_entries_per_principal(3)
                .with_max_bytes_per_principal(5_000)
                .with_max_bytes(9_000);
            let mut table = Table::new(limits);
            let (mut now, mut tickets) = (START, Vec::<Ticket>::new());
            let mut last_fresh = Model::<Slot, (Duration, u64)>::new();
            for step in steps {
                match step {
                    Step::Begin { principal, key, body } => {
                        let slot = slot(principal, key);
                        if let Ok(Begin::Fresh { ticket }) = table.begin(now, &slot, &fingerprint(body)) {
                            if let Some((since, _)) = last_fresh.get(&slot) {
                                prop_assert!(now >= *since + Duration::from_secs(30));
                            }
                            last_fresh.insert(slot, (now, ticket.number()));
                            tickets.push(ticket);
                        }
                    }
                    Step::Complete { which, size } if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(which % tickets.len());
                        let newest = last_fresh.get(ticket.slot()).map(|(_, number)| *number);
                        let (slot, number) = (ticket.slot().clone(), ticket.number());
                        let stored = table.complete(now, ticket, answer(size));
                        prop_assert!(stored != Ok(()) || newest == Some(number));
                        if stored == Err(NotStored::NoRoom {}) {
                            last_fresh.remove(&slot);
                        }
                    }
                    Step::Abandon { which } if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(which % tickets.len());
                        if last_fresh.get(ticket.slot()).map(|(_, number)| *number) == Some(ticket.number()) {
                            last_fresh.remove(ticket.slot());
                        }
                        table.abandon(now, ticket);
                    }
                    Step::Wait { seconds } => now += Duration::from_secs(seconds),
                    Step::Complete { .. } | Step::Abandon { .. } => {}
                }
                check(&table)?;
            }
            table.forget_expired(now + Duration::from_secs(100));
            prop_assert!(table.is_empty() && table.bytes == 0 && table.usage.is_empty() && table.expiry.is_empty());
        }
    }

    fn check(table: &Table) -> Result<(), TestCaseError> {
        prop_assert_eq!(table.entries.values().map(|entry| entry.cost).sum::<usize>(), table.bytes);
        prop_assert_eq!(table.expiry.len(), table.entries.len());
        prop_assert_eq!(table.usage.values().map(|usage| usage.entries).sum::<usize>(), table.entries.len());
        prop_assert_eq!(table.usage.values().map(|usage| usage.bytes).sum::<usize>(), table.bytes);
        prop_assert!(table.bytes <= 9_000);
        prop_assert!(table.usage.values().all(|usage| usage.entries <= 3 && usage.bytes <= 5_000));
        Ok(())
    }

    fn fresh(table: &mut Table, now: Duration, slot: &Slot) -> Ticket {
        let Begin::Fresh { ticket } = table.begin(now, slot, &fingerprint(1)).unwrap() else {
            panic!("not free")
        };
        ticket
    }

    fn slot(principal: u8, key: u8) -> Slot {
        let key = IdempotencyKey::parse(key.to_string().as_bytes()).unwrap();
        Slot::new(Principal::new(principal.to_string()).unwrap(), key)
    }

    fn answer(size: usize) -> Answer {
        Answer::new(200, vec![], vec![0; size], 1 << 20).unwrap()
    }

    fn fingerprint(body: u8) -> Fingerprint {
        Fingerprint::of("POST", "/", &[body])
    }

    const START: Duration = Duration::from_secs(1_700_000_000);
}
