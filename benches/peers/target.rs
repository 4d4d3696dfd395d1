//! What we want to reach, as ratios to the limits or as figures.

/// One bound on one figure of ours.
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) contestant: &'static str,
    /// Whose figure ours is divided by.
    pub(crate) reference: Option<&'static str>,
    pub(crate) key: &'static str,
    pub(crate) bound: Bound,
}

pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

/// All on one connection over loopback TCP with the default settings, unless they say otherwise.
pub(crate) const TARGETS: &[Target] = &[
    ratio("bulk, one stream, 64 KiB writes: rate × raw", "bulk1-64k", "mib_s", AtLeast(0.90)),
    ratio("the same: CPU × raw", "bulk1-64k", "cpu_gib", AtMost(1.3)),
    ratio("bulk, one stream, 4 KiB writes: rate × raw", "bulk1-4k", "mib_s", AtLeast(0.80)),
    ratio("bulk, 32 streams, 64 KiB writes: rate × raw", "bulk32-64k", "mib_s", AtLeast(0.90)),
    Target {
        what: "bulk under TLS: rate × a bare rustls pipe",
        contestant: "adit-tls",
        reference: Some("tls"),
        ..ratio("", "bulk1-64k", "mib_s", AtLeast(0.85))
    },
    ratio("ping-pong, one stream: p50 × raw", "ping1", "p50_us", AtMost(1.05)),
    ratio("ping-pong, 256 streams: rate × raw", "ping256", "per_s", AtLeast(2.5)),
    ratio("open, request, reply, close; one at a time: rate × raw", "open1", "per_s", AtLeast(2.5)),
    ratio("the same, 64 at a time: rate × raw", "open64", "per_s", AtLeast(3.2)),
    ratio("64-byte writes back to back: rate × raw", "tiny", "writes_s", AtLeast(20.0)),
    ratio("keystrokes beside bulk: p99 × raw", "fair", "p99_us", AtMost(3.0)),
    ratio("bulk beside keystrokes: rate × raw", "fair", "mib_s", AtLeast(0.80)),
    figure("an idle stream, both ends: KiB", "idle", "fresh_rss", AtMost(0.9)),
    figure("the same after 64 KiB", "idle", "used_rss", AtMost(0.9)),
    figure("1 Gbit/s, 60 ms: share of the link in second 2", "rtt60", "second", AtLeast(0.95)),
    Target {
        what: "`wan` at 63 ms: Gbit/s",
        contestant: "adit-wan",
        ..figure("", "wan63", "gbit_s", AtLeast(4.7))
    },
    figure("keystrokes beside bulk at 10 Mbit/s: p99 × alone", "keys10", "times", AtMost(2.0)),
    figure("write calls per 64 KiB", "bulk1-64k", "writes_64k", AtMost(1.0)),
    // A thousandth for each of four DATA frames: timers and PINGs allocate now and then.
    figure("allocations per 64 KiB", "allocations", "per_64k", AtMost(0.004)),
    figure("Jain's index over 1,000 streams", "bulk1000", "jain", AtLeast(0.98)),
    figure("bulk kept beside a stalled reader", "stall", "kept", AtLeast(0.95)),
];

const fn ratio(what: &'static str, scenario: &'static str, key: &'static str, bound: Bound) -> Target {
    Target { what, scenario, contestant: "adit", reference: Some("raw"), key, bound }
}

const fn figure(what: &'static str, scenario: &'static str, key: &'static str, bound: Bound) -> Target {
    Target { what, scenario, contestant: "adit", reference: None, key, bound }
}
