//! Scenarios: each written once, for every contestant.

mod bulk;
mod fair;
mod flows;
mod idle;
mod links;
mod open;
mod ping;
mod stall;

use std::io;
use std::time::Duration;

use super::child::Bench;
use super::link::LinkProfile;
use super::outcome::Outcome;

pub(crate) use flows::Flows;

/// One thing to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What the table shows; the first one is the headline.
    pub(crate) columns: &'static [Column],
    /// The link that replaces loopback.
    pub(crate) link: Option<LinkProfile>,
    /// Everything on one thread, whatever `--workers` says, so that allocations can be counted.
    pub(crate) on_one_thread: bool,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    /// How long a measurement takes beside its warm-up and window, at most, if all goes well.
    pub(crate) extra: Duration,
    pub(crate) run: fn(&Bench) -> io::Result<Outcome>,
}

/// One figure of a scenario.
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Whether the table shows its ratio to the reference, too.
    pub(crate) ratio: bool,
}

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    bulk::ONE_64K,
    bulk::ONE_4K,
    bulk::MANY_64K,
    bulk::MANY_4K,
    bulk::TINY,
    ping::ONE,
    ping::MANY,
    open::ONE,
    open::MANY,
    fair::FAIR,
    stall::STALL,
    bulk::THOUSAND,
    idle::IDLE,
    bulk::ALLOCATIONS,
    links::RTT20,
    links::RTT60,
    links::RTT150,
    links::WAN63,
    links::KEYS,
];

/// The scenario of this name.
pub(crate) fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

const fn figure(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, ratio: false }
}

const fn compared(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, ratio: true }
}

/// A scenario over loopback with nothing special.
const fn plain(
    name: &'static str,
    about: &'static str,
    columns: &'static [Column],
    run: fn(&Bench) -> io::Result<Outcome>,
) -> Scenario {
    let extra = Duration::from_secs(1);
    Scenario { name, about, columns, link: None, on_one_thread: false, quick: true, extra, run }
}
