//! One way, as fast as it goes.

use std::io;
use std::time::Duration;

use adit_benches::{float, jain_index};
use allocation_counter::measure;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::flows::{Pair, pairs};
use super::{Column, Flows, Scenario, compared, figure, plain};
use crate::peers::child::Bench;
use crate::peers::measure::MIB;
use crate::peers::outcome::Outcome;

pub(crate) const ONE_64K: Scenario =
    plain("bulk1-64k", "one stream, writes of 64 KiB", COLUMNS, |bench| bulk(bench, 1, 64 * 1024));

pub(crate) const ONE_4K: Scenario =
    plain("bulk1-4k", "one stream, writes of 4 KiB", COLUMNS, |bench| bulk(bench, 1, 4 * 1024));

pub(crate) const MANY_64K: Scenario =
    plain("bulk32-64k", "32 streams, writes of 64 KiB", COLUMNS, |bench| bulk(bench, 32, 64 * 1024));

pub(crate) const MANY_4K: Scenario = Scenario {
    quick: false,
    ..plain("bulk32-4k", "32 streams, writes of 4 KiB", COLUMNS, |bench| bulk(bench, 32, 4 * 1024))
};

pub(crate) const THOUSAND: Scenario = Scenario {
    quick: false,
    extra: Duration::from_secs(6),
    ..plain(
        "bulk1000",
        "1,000 streams at once, writes of 64 KiB; Jain's index of their shares",
        &[
            figure("jain", "Jain index", 3),
            compared("mib_s", "MiB/s", 0),
            compared("cpu_gib", "CPU s/GiB", 2),
        ],
        thousand,
    )
};

pub(crate) const TINY: Scenario = plain(
    "tiny",
    "one stream, writes of 64 bytes back to back",
    &[compared("writes_s", "writes/s", 0), figure("cpu_us", "CPU µs/write", 3)],
    tiny,
);

pub(crate) const ALLOCATIONS: Scenario = Scenario {
    on_one_thread: true,
    ..plain(
        "allocations",
        "one stream, one thread, writes of 64 KiB: allocations per 64 KiB, both ends together",
        &[
            figure("per_64k", "allocations per 64 KiB", 3),
            figure("bytes_64k", "bytes allocated per 64 KiB", 0),
            figure("mib_s", "MiB/s", 0),
        ],
        allocations,
    )
};

fn bulk(bench: &Bench, streams: usize, write_size: usize) -> io::Result<Outcome> {
    bulk_after(bench, bench.warm_up, streams, write_size)
}

/// At first a thousand senders fill whatever buffers there are; that takes a while.
fn thousand(bench: &Bench) -> io::Result<Outcome> {
    bulk_after(bench, Duration::from_secs(2), 1000, 64 * 1024)
}

fn bulk_after(bench: &Bench, warm_up: Duration, streams: usize, write_size: usize) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let flows = Flows::bulk(&mut session, bench.streams(streams), write_size).await?;
        sleep(warm_up).await;
        let interval = bench.observe(&flows).await?;
        if interval.total_bytes() == 0 {
            return Err(io::Error::other("nothing arrived"));
        }
        Ok(interval.bulk_outcome().with_some("jain", jain_index(&interval.bytes)))
    })
}

fn tiny(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let mut flows = Flows::default();
        for Pair { mut near, far } in pairs(&mut session, 1).await? {
            flows.spawn_sink(far);
            flows.spawn(async move {
                loop {
                    near.write_all(&[0x5a; 64]).await?;
                }
            });
        }
        sleep(bench.warm_up).await;
        let interval = bench.observe(&flows).await?;
        let writes = float(interval.total_bytes()) / 64.0;
        let outcome = Outcome::default().with("writes_s", writes / interval.seconds);
        Ok(outcome.with("cpu_us", interval.cpu_seconds * 1e6 / writes))
    })
}

fn allocations(bench: &Bench) -> io::Result<Outcome> {
    let flows = bench.block_on(async {
        let mut session = bench.connect().await?;
        let flows = Flows::bulk(&mut session, 1, 64 * 1024).await?;
        sleep(bench.warm_up).await;
        // The handles of a session may end it when they go; they stay until the process ends.
        std::mem::forget(session);
        io::Result::Ok(flows)
    })?;
    let mut interval = Err(io::ErrorKind::Other.into());
    let counted = measure(|| interval = bench.block_on(bench.observe(&flows)));
    let interval = interval?;
    let pieces = interval.mib() * MIB / (64.0 * 1024.0);
    Ok(Outcome::default()
        .with("per_64k", float(counted.count_total) / pieces)
        .with("bytes_64k", float(counted.bytes_total) / pieces)
        .with("mib_s", interval.mib_per_second()))
}

const COLUMNS: &[Column] = &[
    compared("mib_s", "MiB/s", 0),
    compared("cpu_gib", "CPU s/GiB", 2),
    figure("writes_64k", "writes/64K", 2),
    figure("reads_64k", "reads/64K", 2),
];
