//! Whose connections give way while many come from addresses that may be spoofed.

use adit_tls_modes::FlowId;
use std::collections::{HashMap, VecDeque};

/// Connections from addresses that nobody has answered from yet, by the host they are for.
///
/// The gateway can't send a Retry in a server's place, since its client would refuse a server that doesn't know of it
/// (RFC 9000 §7.3). What it can do is to let each tunnel have its share of them only: then a flood for one tunnel pushes
/// out that tunnel's connections alone, the oldest first, and a server that does send Retry proves its visitors' addresses
/// within one round trip, long before they would have to give way.
#[derive(Debug)]
pub(super) struct Unproven {
    /// How many a host may have while there are too many.
    share: usize,
    /// How many there can be of any host: as many as the table holds.
    most: usize,
    /// Oldest first, at most `most` each; of hosts that had a connection since the last sweep.
    by_host: HashMap<String, VecDeque<FlowId>>,
}

impl Unproven {
    /// For a table of `most` such connections: a tunnel has an eighth of it.
    pub(super) fn new(most: usize) -> Self {
        Self { share: (most / 8).max(1), most: most.max(1), by_host: HashMap::new() }
    }

    /// Notes a new connection for `host`. Returns what has to go for it: something only if `is_crowded`.
    pub(super) fn admit(
        &mut self,
        host: &str,
        flow: FlowId,
        is_crowded: bool,
        is_unproven: impl Fn(FlowId) -> bool,
    ) -> Vec<FlowId> {
        let flows = self.by_host.entry(host.to_owned()).or_default();
        flows.push_back(flow);
        let allowed = if is_crowded { self.share } else { self.most };
        if flows.len() <= allowed {
            return Vec::new();
        }
        flows.retain(|flow| is_unproven(*flow));
        let excess = flows.len().saturating_sub(allowed);
        flows.drain(..excess).collect()
    }

    /// Forgets what has gone or was proven.
    pub(super) fn sweep(&mut self, is_unproven: impl Fn(FlowId) -> bool) {
        self.by_host.retain(|_, flows| {
            flows.retain(|flow| is_unproven(*flow));
            !flows.is_empty()
        });
    }
}
