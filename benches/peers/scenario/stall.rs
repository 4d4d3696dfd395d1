//! One reader that stops.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::flows::{Flows, Pair, pairs};
use super::{Scenario, figure, plain};
use crate::peers::child::Bench;
use crate::peers::contestant::BoxStream;
use crate::peers::outcome::Outcome;

pub(crate) const STALL: Scenario = Scenario {
    extra: Duration::from_secs(4),
    ..plain(
        "stall",
        "4 bulk streams beside a fifth one that isn't read, over 5 that are; the windows alternate",
        &[
            figure("kept", "kept", 2),
            figure("mib_s", "MiB/s beside it", 0),
            figure("all_mib_s", "MiB/s when all are read", 0),
        ],
        stall,
    )
};

/// Windows alternate: a machine, or a scheduler, that changes its mood in between doesn't look like a stall.
fn stall(bench: &Bench) -> io::Result<Outcome> {
    bench.block_on(async {
        let mut session = bench.connect().await?;
        let (stop, stopped) = watch::channel(false);
        let fifth = pairs(&mut session, 1).await?;
        let mut flows = Flows::bulk(&mut session, 4, 64 * 1024).await?;
        for Pair { near, far } in fifth {
            flows.spawn_source(near, 64 * 1024);
            flows.spawn_counted(|received| reads_at_times(far, stopped.clone(), received));
        }
        sleep(bench.warm_up).await;
        let (mut read, mut unread) = (0.0, 0.0);
        for _ in 0..ALTERNATIONS {
            read += bench.observe(&flows).await?.mib_per_second();
            stop.send_replace(true);
            sleep(SETTLE).await;
            unread += bench.observe(&flows).await?.mib_per_second();
            stop.send_replace(false);
            sleep(SETTLE).await;
        }
        let turns = f64::from(ALTERNATIONS);
        Ok(Outcome::default()
            .with("kept", unread / read)
            .with("mib_s", unread / turns)
            .with("all_mib_s", read / turns))
    })
}

/// Reads, except while it's told not to.
async fn reads_at_times(
    mut stream: BoxStream,
    mut stopped: watch::Receiver<bool>,
    received: super::flows::Received,
) -> io::Result<()> {
    let mut scratch = vec![0; 64 * 1024];
    loop {
        // The scenario is over when nobody is left to say so.
        if stopped.wait_for(|stopped| !stopped).await.is_err() {
            return Ok(());
        }
        match poll_fn(|cx| stream.poll_read_chunk(cx, &mut scratch)).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received.add(length),
        }
    }
}

const ALTERNATIONS: u32 = 3;
/// For the unread stream to run into its limit, or out of it.
const SETTLE: Duration = Duration::from_millis(150);
