//! Links with a delay.

use std::io;
use std::time::Duration;

use adit_benches::float;
use tokio::time::{Instant, sleep, sleep_until};

use super::flows::{Flows, pairs};
use super::ping::{Latencies, pings};
use super::{Column, Scenario, figure, plain};
use crate::peers::child::Bench;
use crate::peers::link::LinkProfile;
use crate::peers::measure::{Phase, microseconds};
use crate::peers::outcome::Outcome;

pub(crate) const RTT20: Scenario = Scenario {
    quick: false,
    ..long("rtt20", "one bulk stream over 1 Gbit/s with a round trip of 20 ms", 20)
};

pub(crate) const RTT60: Scenario =
    long("rtt60", "one bulk stream over 1 Gbit/s with a round trip of 60 ms", 60);

pub(crate) const RTT150: Scenario = Scenario {
    quick: false,
    ..long("rtt150", "one bulk stream over 1 Gbit/s with a round trip of 150 ms", 150)
};

pub(crate) const WAN63: Scenario = Scenario {
    quick: false,
    link: Some(LinkProfile { round_trip: Duration::from_millis(63), bytes_per_second: 10 * GIGABIT }),
    extra: Duration::from_secs(4),
    ..plain(
        "wan63",
        "one bulk stream over 10 Gbit/s with a round trip of 63 ms, after two seconds",
        &[figure("gbit_s", "Gbit/s", 2), figure("cpu_gib", "CPU s/GiB", 2)],
        wide,
    )
};

pub(crate) const KEYS: Scenario = Scenario {
    quick: false,
    link: Some(LinkProfile { round_trip: Duration::from_millis(20), bytes_per_second: 1_250_000 }),
    extra: Duration::from_secs(5),
    ..plain(
        "keys10",
        "64 bytes there and back over 10 Mbit/s, 20 ms: alone, then beside a bulk stream",
        &[
            figure("times", "p99 / p99 alone", 2),
            figure("alone_ms", "p99 ms alone", 1),
            figure("p99_ms", "p99 ms", 1),
            figure("share", "bulk, of the link", 2),
        ],
        keys,
    )
};

const fn long(name: &'static str, about: &'static str, milliseconds: u64) -> Scenario {
    let link = LinkProfile { round_trip: Duration::from_millis(milliseconds), bytes_per_second: GIGABIT };
    Scenario { link: Some(link), extra: Duration::from_secs(3), ..plain(name, about, LONG, ramp) }
}

/// From the first byte: how soon the link is full, and how full it stays.
fn ramp(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let begun = Instant::now();
        let flows = Flows::bulk(&mut session, 1, 64 * 1024).await?;
        let mut samples = vec![bench.snapshot(&flows)];
        for slot in 1..=60 {
            sleep_until(begun + slot * SAMPLE).await;
            samples.push(bench.snapshot(&flows));
        }
        flows.check()?;
        let share = |from: usize, to: usize| {
            let interval = samples[from].until(&samples[to]);
            float(interval.total_bytes()) / interval.seconds / float(GIGABIT)
        };
        let full = (0..=56).find(|&slot| share(slot, slot + 4) >= 0.95);
        let full = full.map(|slot| 50.0 * float(u64::try_from(slot + 4).unwrap_or(u64::MAX)));
        Ok(Outcome::default()
            .with("second", share(20, 40))
            .with("first", share(0, 20))
            .with("third", share(40, 60))
            .with_some("full_ms", full))
    })
}

fn wide(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let flows = Flows::bulk(&mut session, 1, 64 * 1024).await?;
        sleep(Duration::from_secs(2)).await;
        let interval = bench.observe(&flows).await?;
        let gigabits = float(interval.total_bytes()) * 8.0 / 1e9;
        Ok(interval.bulk_outcome().with("gbit_s", gigabits / interval.seconds))
    })
}

fn keys(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let alone = keystrokes(bench, &mut session, &Flows::default()).await?;
        let flows = Flows::bulk(&mut session, 1, 64 * 1024).await?;
        sleep(Duration::from_secs(1)).await;
        let before = bench.snapshot(&flows);
        let beside = keystrokes(bench, &mut session, &flows).await?;
        let interval = before.until(&bench.snapshot(&flows));
        let share = float(interval.total_bytes()) / interval.seconds / 1_250_000.0;
        Ok(Outcome::default()
            .with("times", beside / alone)
            .with("alone_ms", alone)
            .with("p99_ms", beside)
            .with("share", share))
    })
}

/// The 99th percentile, in milliseconds, over two seconds.
async fn keystrokes(
    bench: &Bench,
    session: &mut crate::peers::contestant::Session,
    flows: &Flows,
) -> io::Result<f64> {
    let (phase, latencies) = (Phase::default(), Latencies::default());
    for pair in pairs(session, 1).await? {
        flows.spawn_echo(pair.far);
        flows.spawn(pings(pair.near, phase.clone(), latencies.clone()));
    }
    phase.record();
    sleep(bench.window.max(Duration::from_secs(2))).await;
    phase.end();
    sleep(Duration::from_secs(1)).await;
    flows.check()?;
    let p99 = microseconds(&mut latencies.take()?, 990);
    p99.map(|microseconds| microseconds / 1000.0).ok_or_else(|| io::Error::other("no round trip ended"))
}

/// Payload bytes a second of a link of 1 Gbit/s.
const GIGABIT: u64 = 125_000_000;
const SAMPLE: Duration = Duration::from_millis(50);

const LONG: &[Column] = &[
    figure("second", "of the link in second 2", 2),
    figure("first", "in second 1", 2),
    figure("third", "in second 3", 2),
    figure("full_ms", "95 % for 200 ms, reached at ms", 0),
];
