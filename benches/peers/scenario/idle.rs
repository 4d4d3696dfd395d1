//! What an open stream costs while nothing happens on it.

use std::io;
use std::time::Duration;

use adit_benches::float;
use allocation_counter::measure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::flows::{Pair, pairs};
use super::{Scenario, figure, plain};
use crate::peers::child::Bench;
use crate::peers::measure::resident_bytes;
use crate::peers::outcome::Outcome;

pub(crate) const IDLE: Scenario = Scenario {
    on_one_thread: true,
    quick: false,
    extra: Duration::from_secs(40),
    ..plain(
        "idle",
        "10,000 open streams (raw 4,000, tls 2,000): KiB of memory each, both ends together",
        &[
            figure("fresh_rss", "fresh, resident", 2),
            figure("used_rss", "after 64 KiB, resident", 2),
            figure("fresh_heap", "fresh, heap", 2),
            figure("used_heap", "after 64 KiB, heap", 2),
        ],
        idle,
    )
};

fn idle(bench: &Bench) -> io::Result<Outcome> {
    let streams = bench.streams(10_000);
    let count = float(u64::try_from(streams).unwrap_or(u64::MAX));
    let (mut session, first) = bench.block_on(async {
        let mut session = bench.connect().await?;
        let first = pairs(&mut session, 16).await?;
        io::Result::Ok((session, exercise(first).await?))
    })?;

    let resident = resident_bytes();
    let mut opened = Err(io::ErrorKind::Other.into());
    let fresh = measure(|| {
        opened = bench.block_on(async {
            let opened = pairs(&mut session, streams).await;
            sleep(SETTLE).await;
            opened
        });
    });
    let fresh_resident = resident_bytes();
    let mut exercised = Err(io::ErrorKind::Other.into());
    let opened = opened?;
    let used = measure(|| {
        exercised = bench.block_on(async {
            let exercised = exercise(opened).await;
            sleep(SETTLE).await;
            exercised
        });
    });
    let used_resident = resident_bytes();
    let exercised = exercised?;

    let each =
        |bytes: Option<u64>, base: Option<u64>| Some(float(bytes?.saturating_sub(base?)) / 1024.0 / count);
    let heap = |bytes: i64| float(u64::try_from(bytes).unwrap_or(0)) / 1024.0 / count;
    // Closing ten thousand streams is no part of this.
    std::mem::forget((session, first, exercised));
    Ok(Outcome::default()
        .with_some("fresh_rss", each(fresh_resident, resident))
        .with_some("used_rss", each(used_resident, resident))
        .with("fresh_heap", heap(fresh.bytes_current))
        .with("used_heap", heap(fresh.bytes_current + used.bytes_current)))
}

/// 64 KiB through each stream, one after the other.
async fn exercise(mut streams: Vec<Pair>) -> io::Result<Vec<Pair>> {
    let (sent, mut received) = (vec![3; 64 * 1024], vec![0; 64 * 1024]);
    for Pair { near, far } in &mut streams {
        let send = async {
            near.write_all(&sent).await?;
            near.flush().await
        };
        tokio::try_join!(send, far.read_exact(&mut received))?;
    }
    Ok(streams)
}

const SETTLE: Duration = Duration::from_millis(200);
