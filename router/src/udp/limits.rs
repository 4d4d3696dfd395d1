use std::time::Duration;

/// How many flows a public UDP port may have, how fast they may come, and for how long they stay.
///
/// A flow takes about a quarter of a kilobyte here, a stream in the agent's session, and a socket at its upstream: don't
/// allow more than the agent allows streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFlowLimits {
    pub(super) max_flows: usize,
    pub(super) max_flows_per_address: usize,
    pub(super) new_per_second: u32,
    pub(super) new_per_second_per_address: u32,
    pub(super) idle_timeout: Duration,
    pub(super) answer_ratio: u64,
}

impl Default for UdpFlowLimits {
    fn default() -> Self {
        Self {
            max_flows: 10_000,
            max_flows_per_address: 256,
            new_per_second: 1_000,
            new_per_second_per_address: 100,
            idle_timeout: Duration::from_secs(60),
            answer_ratio: 3,
        }
    }
}

impl UdpFlowLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most flows of the port; default 10,000, at least 1. Beyond it the oldest goes of those whose visitor has not been
    /// heard of since it was answered, or else the oldest of all.
    #[must_use]
    pub fn max_flows(self, flows: usize) -> Self {
        Self { max_flows: flows.max(1), ..self }
    }

    /// The most flows of one address (for IPv6, of one /64), each from a port of its own; default 256, at least 1. Beyond it
    /// the address's own oldest goes.
    #[must_use]
    pub fn max_flows_per_address(self, flows: usize) -> Self {
        Self { max_flows_per_address: flows.max(1), ..self }
    }

    /// How many flows may begin a second, all together and from one address (or /64), and as many at once after a rest;
    /// default 1,000 and 100. Datagrams that would begin more are dropped.
    #[must_use]
    pub fn new_per_second(self, flows: u32, per_address: u32) -> Self {
        Self { new_per_second: flows, new_per_second_per_address: per_address, ..self }
    }

    /// After how long a silence of its visitor a flow is forgotten; default 60 s. What the upstream sends doesn't count, or
    /// else it could keep a flow that nobody wants. RFC 4787 recommends more where visitors wait for long: 5 minutes.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        Self { idle_timeout: timeout, ..self }
    }

    /// How many times the octets that came from it a visitor may be sent, as long as it has not been heard of since it was
    /// answered; default 3, as in QUIC (RFC 9000 §8.1). Each datagram counts with 28 octets of headers. A server of long
    /// answers to short questions, as for DNS, needs more: the owner of a spoofed address pays for it.
    #[must_use]
    pub fn answer_ratio(self, times: u32) -> Self {
        Self { answer_ratio: u64::from(times), ..self }
    }
}

/// What a public UDP port has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpFlowStats {
    /// Flows that began.
    pub opened: u64,
    /// Flows whose visitors were silent for too long.
    pub expired: u64,
    /// Flows that made room for others.
    pub displaced: u64,
    /// Datagrams that would have begun a flow too many in too short a time.
    pub refused_pace: u64,
    /// Datagrams from addresses that nobody can be answered at.
    pub refused_source: u64,
    /// Answers that were more than an unproven address may be sent.
    pub withheld: u64,
    /// Answers of flows that have gone.
    pub late: u64,
}
