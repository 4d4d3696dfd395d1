//! Keystrokes beside a bulk transfer in the same session.

use std::io;

use tokio::time::sleep;

use super::flows::{Flows, pairs};
use super::ping::{Latencies, pings};
use super::{Scenario, compared, plain};
use crate::peers::child::Bench;
use crate::peers::measure::{Phase, microseconds};
use crate::peers::outcome::Outcome;

pub(crate) const FAIR: Scenario = plain(
    "fair",
    "64 bytes there and back on one stream while another carries bulk in writes of 64 KiB",
    &[
        compared("p99_us", "p99 µs", 1),
        compared("p50_us", "p50 µs", 1),
        compared("mib_s", "bulk MiB/s", 0),
        compared("cpu_gib", "CPU s/GiB", 2),
    ],
    fair,
);

fn fair(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let keystrokes = pairs(&mut session, 1).await?;
        let flows = Flows::bulk(&mut session, 1, 64 * 1024).await?;
        let (phase, latencies) = (Phase::default(), Latencies::default());
        for pair in keystrokes {
            flows.spawn_echo(pair.far);
            flows.spawn(pings(pair.near, phase.clone(), latencies.clone()));
        }
        sleep(bench.warm_up).await;
        phase.record();
        let interval = bench.observe(&flows).await?;
        phase.end();
        sleep(std::time::Duration::from_millis(400)).await;
        let mut nanoseconds = latencies.take()?;
        Ok(interval
            .bulk_outcome()
            .with_some("p50_us", microseconds(&mut nanoseconds, 500))
            .with_some("p99_us", microseconds(&mut nanoseconds, 990)))
    })
}
