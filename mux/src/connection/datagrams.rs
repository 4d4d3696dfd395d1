//! Datagrams on their way: bounded in octets and age, the oldest go first.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A queue of datagrams that never grows past its bounds and never makes anybody wait.
#[derive(Debug)]
pub(crate) struct DatagramQueue {
    /// At most `most_bytes` octets of payload, each datagram counted with [`DatagramQueue::OVERHEAD`].
    queue: VecDeque<(Instant, u32, Bytes)>,
    /// Octets per flow that has datagrams queued; no more entries than `queue` has.
    flows: HashMap<u32, usize>,
    bytes: usize,
    most_bytes: usize,
    most_flow_bytes: usize,
    pub(crate) dropped: u64,
}

impl DatagramQueue {
    /// What an empty datagram costs, so that a flood of them is bounded too.
    const OVERHEAD: usize = 64;

    pub(crate) fn new(most_bytes: usize, most_flow_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            flows: HashMap::new(),
            bytes: 0,
            most_bytes,
            most_flow_bytes,
            dropped: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a datagram; drops the oldest if there is too much, and this one if its own flow has too much.
    pub(crate) fn push(&mut self, now: Instant, flow: u32, payload: Bytes) {
        let cost = payload.len() + Self::OVERHEAD;
        let held = self.flows.get(&flow).copied().unwrap_or_default();
        if held + cost > self.most_flow_bytes || cost > self.most_bytes {
            self.dropped += 1;
            return;
        }
        while self.bytes + cost > self.most_bytes && self.pop().is_some() {
            self.dropped += 1;
        }
        self.bytes += cost;
        *self.flows.entry(flow).or_default() += cost;
        self.queue.push_back((now, flow, payload));
    }

    /// The oldest that has waited at most `age`; older ones are dropped.
    pub(crate) fn pop_fresh(&mut self, now: Instant, age: Duration) -> Option<(u32, Bytes)> {
        loop {
            let (since, ..) = self.queue.front()?;
            let is_fresh = now.saturating_duration_since(*since) <= age;
            let popped = self.pop();
            if is_fresh {
                return popped;
            }
            self.dropped += 1;
        }
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<(u32, Bytes)> {
        let (_, flow, payload) = self.queue.pop_front()?;
        let cost = payload.len() + Self::OVERHEAD;
        self.bytes -= cost;
        if let Some(held) = self.flows.get_mut(&flow) {
            *held -= cost;
            if *held == 0 {
                self.flows.remove(&flow);
            }
        }
        Some((flow, payload))
    }
}
