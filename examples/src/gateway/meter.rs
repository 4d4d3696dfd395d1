//! What the datagrams of a flow may move, by the month's octets and by the second's.

use super::hub::{Facts, Link};
use super::leased::Paces;
use adit_router::{ByteBudget, BytesSpent, Pace};
use std::sync::Arc;
use std::time::Instant;

/// What one direction of a flow may move.
pub(super) struct Meter {
    bytes: Option<Arc<ByteBudget>>,
    /// Of all tunnels of the agent's credential.
    pace: Option<Arc<Pace>>,
    /// Of the tunnel.
    paces: Option<Arc<Paces>>,
    is_to_agent: bool,
    /// When the next datagram may move. One that comes before is lost, as on any way that is too narrow.
    free_at: Instant,
}

impl Meter {
    /// Stands behind all that has moved before.
    pub(super) fn new(facts: &Facts, link: &Link, is_to_agent: bool) -> Self {
        let bytes = facts.policy.byte_budget().cloned();
        let (pace, paces) = (link.pace.clone(), facts.paces.clone());
        let now = Instant::now();
        let mut meter = Self { bytes, pace, paces, is_to_agent, free_at: now };
        meter.keep_pace(now, 0);
        meter
    }

    /// Whether a datagram of so many octets may move now. An error ends the flow: nothing may move any more.
    pub(super) fn lets_through(&mut self, now: Instant, octets: usize) -> Result<bool, BytesSpent> {
        if now < self.free_at {
            return Ok(false);
        }
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        if let Some(bytes) = &self.bytes {
            bytes.charge(octets)?;
        }
        self.keep_pace(now, octets);
        Ok(true)
    }

    fn keep_pace(&mut self, now: Instant, octets: u64) {
        let own = self.paces.as_ref().map(|paces| match self.is_to_agent {
            true => &paces.to_agent,
            false => &paces.to_visitor,
        });
        let charged = self.pace.as_deref().into_iter().chain(own).map(|pace| pace.charge(octets, now));
        self.free_at = charged.max().unwrap_or(now);
    }
}
