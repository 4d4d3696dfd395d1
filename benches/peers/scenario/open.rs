//! Open, a request of 64 bytes, a reply of 64 bytes, close.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::flows::{Flows, MESSAGE};
use super::ping::Latencies;
use super::{Column, Scenario, compared, figure, plain};
use crate::peers::child::Bench;
use crate::peers::contestant::{Acceptor, BoxStream, Opener};
use crate::peers::measure::{Phase, latency_outcome, nanoseconds};
use crate::peers::outcome::Outcome;

pub(crate) const ONE: Scenario =
    plain("open1", "open, request, reply, close; one at a time", COLUMNS, |bench| exchanges(bench, 1));

pub(crate) const MANY: Scenario =
    plain("open64", "the same, 64 at a time", COLUMNS, |bench| exchanges(bench, 64));

fn exchanges(bench: &Bench, at_a_time: usize) -> io::Result<Outcome> {
    bench.block_on(async {
        let session = bench.connect().await?;
        let (flows, phase, latencies) = (Arc::new(Flows::default()), Phase::default(), Latencies::default());
        flows.spawn(serve(Arc::clone(&flows), session.acceptor));
        for _ in 0..at_a_time {
            flows.spawn(requests(Arc::clone(&session.opener), phase.clone(), latencies.clone()));
        }
        sleep(bench.warm_up).await;
        phase.record();
        let interval = bench.observe(&flows).await?;
        phase.end();
        sleep(std::time::Duration::from_millis(50)).await;
        Ok(latency_outcome(latencies.take()?, &interval))
    })
}

async fn requests(opener: Arc<dyn Opener>, phase: Phase, latencies: Latencies) -> io::Result<()> {
    let mut recorded = Vec::with_capacity(1 << 12);
    let mut reply = Vec::with_capacity(2 * MESSAGE);
    while !phase.is_over() {
        let begun = Instant::now();
        let mut stream = opener.open().await?;
        stream.write_all(&[7; MESSAGE]).await?;
        stream.flush().await?;
        reply.clear();
        stream.read_to_end(&mut reply).await?;
        if reply.len() != MESSAGE {
            return Err(io::Error::other("a reply of another length"));
        }
        stream.shutdown().await?;
        drop(stream);
        if phase.is_recording() {
            recorded.push(nanoseconds(begun.elapsed()));
        }
    }
    latencies.hand_in(&recorded);
    Ok(())
}

async fn serve(flows: Arc<Flows>, mut acceptor: Box<dyn Acceptor>) -> io::Result<()> {
    loop {
        let stream = acceptor.accept().await?;
        flows.spawn(reply(stream));
    }
}

async fn reply(mut stream: BoxStream) -> io::Result<()> {
    let mut request = [0; MESSAGE];
    stream.read_exact(&mut request).await?;
    stream.write_all(&request).await?;
    stream.shutdown().await?;
    // The opener closes next; how it does so is the contestant's affair.
    let _ = stream.read(&mut request).await;
    Ok(())
}

const COLUMNS: &[Column] = &[
    compared("per_s", "streams/s", 0),
    compared("p50_us", "p50 µs", 1),
    compared("p99_us", "p99 µs", 1),
    compared("cpu_us", "CPU µs each", 1),
    figure("writes", "writes each", 2),
    figure("reads", "reads each", 2),
];
