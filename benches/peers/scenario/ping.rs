//! 64 bytes there and back, again and again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::flows::{Flows, MESSAGE, pairs};
use super::{Column, Scenario, compared, figure, plain};
use crate::peers::child::Bench;
use crate::peers::contestant::BoxStream;
use crate::peers::measure::{Phase, latency_outcome, nanoseconds};
use crate::peers::outcome::Outcome;

pub(crate) const ONE: Scenario =
    plain("ping1", "64 bytes there and back on one stream", COLUMNS, |bench| ping(bench, 1));

pub(crate) const MANY: Scenario =
    plain("ping256", "the same on 256 streams at once", RATE_FIRST, |bench| ping(bench, 256));

/// Latencies from many tasks.
#[derive(Clone, Default)]
pub(crate) struct Latencies(Arc<Mutex<Vec<u64>>>);

fn ping(bench: &Bench, streams: usize) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let (flows, phase, latencies) = (Flows::default(), Phase::default(), Latencies::default());
        for pair in pairs(&mut session, bench.streams(streams)).await? {
            flows.spawn_echo(pair.far);
            flows.spawn(pings(pair.near, phase.clone(), latencies.clone()));
        }
        sleep(bench.warm_up).await;
        phase.record();
        let interval = bench.observe(&flows).await?;
        phase.end();
        // Each task hands in what it recorded when its last reply arrives.
        sleep(std::time::Duration::from_millis(50)).await;
        Ok(latency_outcome(latencies.take()?, &interval))
    })
}

/// Round trips until the phase is over.
pub(crate) async fn pings(mut stream: BoxStream, phase: Phase, latencies: Latencies) -> io::Result<()> {
    let mut recorded = Vec::with_capacity(1 << 12);
    let mut message = [7; MESSAGE];
    while !phase.is_over() {
        let begun = Instant::now();
        stream.write_all(&message).await?;
        stream.flush().await?;
        stream.read_exact(&mut message).await?;
        if phase.is_recording() {
            recorded.push(nanoseconds(begun.elapsed()));
        }
    }
    latencies.hand_in(&recorded);
    Ok(())
}

impl Latencies {
    pub(crate) fn hand_in(&self, recorded: &[u64]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(recorded);
    }

    /// All of them; fails if there are none.
    pub(crate) fn take(&self) -> io::Result<Vec<u64>> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if all.is_empty() {
            return Err(io::Error::other("no round trip ended"));
        }
        Ok(all)
    }
}

const RATE_FIRST: &[Column] = &[
    compared("per_s", "round trips/s", 0),
    compared("cpu_us", "CPU µs each", 1),
    compared("p50_us", "p50 µs", 1),
    compared("p99_us", "p99 µs", 1),
    figure("writes", "writes each", 2),
    figure("reads", "reads each", 2),
];

const COLUMNS: &[Column] = &[
    compared("p50_us", "p50 µs", 1),
    compared("p99_us", "p99 µs", 1),
    compared("per_s", "round trips/s", 0),
    compared("cpu_us", "CPU µs each", 1),
    figure("writes", "writes each", 2),
    figure("reads", "reads each", 2),
];
