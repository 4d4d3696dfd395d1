//! One reader that stops.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::flows::{Flows, pairs};
use super::{Scenario, figure, plain};
use crate::peers::child::Bench;
use crate::peers::outcome::Outcome;

pub(crate) const STALL: Scenario = plain(
    "stall",
    "4 bulk streams before and while a fifth one isn't read",
    &[
        figure("kept", "kept", 2),
        figure("before_mib_s", "MiB/s before", 0),
        figure("mib_s", "MiB/s beside it", 0),
    ],
    stall,
);

/// The windows alternate, so that a machine that slows down doesn't look like a stall.
fn stall(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let mut unread = pairs(&mut session, 1).await?;
        let flows = Flows::bulk(&mut session, 4, 64 * 1024).await?;
        sleep(bench.warm_up).await;
        let before = bench.observe(&flows).await?.mib_per_second();
        let held = unread.pop().map(|pair| {
            flows.spawn_source(pair.near, 64 * 1024);
            pair.far
        });
        sleep(bench.warm_up.max(Duration::from_millis(200))).await;
        let beside = bench.observe(&flows).await?.mib_per_second();
        drop(held);
        Ok(Outcome::default()
            .with("kept", beside / before)
            .with("before_mib_s", before)
            .with("mib_s", beside))
    })
}
