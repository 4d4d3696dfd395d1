//! Datagrams on their way: bounded in octets and age, the oldest go first.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A queue of datagrams that never grows past its bounds and never makes anybody wait.
///
/// Trees and not hash tables: the peer chooses the numbers of flows, and nothing here rolls dice.
#[derive(Debug)]
pub(crate) struct DatagramQueue {
    /// By flow and age: at most `most_bytes` octets of payload, each datagram counted with
    /// [`DatagramQueue::OVERHEAD`].
    queue: BTreeMap<(u32, u64), (Instant, Bytes)>,
    /// The flow of each datagram, by age.
    ages: BTreeMap<u64, u32>,
    /// Octets per flow that has datagrams queued.
    flows: BTreeMap<u32, usize>,
    /// The age of the next datagram.
    next: u64,
    bytes: usize,
    most_bytes: usize,
    most_flow_bytes: usize,
    pub(crate) dropped: u64,
}

impl DatagramQueue {
    /// What an empty datagram costs, so that a flood of them is bounded too: its places in three trees.
    const OVERHEAD: usize = 128;

    pub(crate) const fn new(most_bytes: usize, most_flow_bytes: usize) -> Self {
        Self {
            queue: BTreeMap::new(),
            ages: BTreeMap::new(),
            flows: BTreeMap::new(),
            next: 0,
            bytes: 0,
            most_bytes,
            most_flow_bytes,
            dropped: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a datagram. Its flow's oldest go if that has too much, then the oldest of all if there is too much.
    pub(crate) fn push(&mut self, now: Instant, flow: u32, payload: Bytes) {
        let cost = payload.len() + Self::OVERHEAD;
        if cost > self.most_flow_bytes.min(self.most_bytes) {
            self.dropped += 1;
            return;
        }
        while self.held(flow) + cost > self.most_flow_bytes && self.take_oldest_of(flow).is_some() {
            self.dropped += 1;
        }
        while self.bytes + cost > self.most_bytes && self.pop().is_some() {
            self.dropped += 1;
        }
        self.bytes += cost;
        *self.flows.entry(flow).or_default() += cost;
        self.ages.insert(self.next, flow);
        self.queue.insert((flow, self.next), (now, payload));
        self.next += 1;
    }

    /// The oldest that has waited at most `age`; older ones are dropped.
    pub(crate) fn pop_fresh(&mut self, now: Instant, age: Duration) -> Option<(u32, Bytes)> {
        loop {
            let (flow, (since, payload)) = self.take_oldest()?;
            if now.saturating_duration_since(since) <= age {
                return Some((flow, payload));
            }
            self.dropped += 1;
        }
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<(u32, Bytes)> {
        self.take_oldest().map(|(flow, (_, payload))| (flow, payload))
    }

    fn held(&self, flow: u32) -> usize {
        self.flows.get(&flow).copied().unwrap_or_default()
    }

    fn take_oldest(&mut self) -> Option<(u32, (Instant, Bytes))> {
        let flow = *self.ages.first_key_value()?.1;
        self.take_oldest_of(flow).map(|taken| (flow, taken))
    }

    fn take_oldest_of(&mut self, flow: u32) -> Option<(Instant, Bytes)> {
        let (&(_, age), _) = self.queue.range((flow, 0)..=(flow, u64::MAX)).next()?;
        self.ages.remove(&age);
        let taken = self.queue.remove(&(flow, age))?;
        let cost = taken.1.len() + Self::OVERHEAD;
        self.bytes -= cost;
        let held = self.held(flow) - cost;
        if held == 0 {
            self.flows.remove(&flow);
        } else {
            self.flows.insert(flow, held);
        }
        Some(taken)
    }
}
