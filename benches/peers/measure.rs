//! Clocks, counters and percentiles of one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit_benches::{float, percentile};
use rustix::time::{ClockId, clock_gettime};

use super::carrier::Calls;
use super::outcome::Outcome;

/// What had happened by one instant.
pub(crate) struct Snapshot {
    at: Instant,
    cpu: Duration,
    bytes: Vec<u64>,
    reads: u64,
    writes: u64,
}

/// What happened between two.
pub(crate) struct Interval {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// Received, by stream.
    pub(crate) bytes: Vec<u64>,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

/// Tells tasks whether to record what they do.
#[derive(Clone, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Snapshot {
    pub(crate) fn take(received: &[Arc<AtomicU64>], calls: &Calls) -> Self {
        Self {
            bytes: received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect(),
            reads: calls.reads(),
            writes: calls.writes(),
            cpu: cpu_time(),
            at: Instant::now(),
        }
    }

    pub(crate) fn until(&self, later: &Self) -> Interval {
        Interval {
            seconds: (later.at - self.at).as_secs_f64(),
            cpu_seconds: later.cpu.saturating_sub(self.cpu).as_secs_f64(),
            bytes: self.bytes.iter().zip(&later.bytes).map(|(before, after)| after - before).collect(),
            reads: later.reads - self.reads,
            writes: later.writes - self.writes,
        }
    }
}

impl Interval {
    pub(crate) fn total_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    pub(crate) fn mib(&self) -> f64 {
        float(self.total_bytes()) / MIB
    }

    pub(crate) fn mib_per_second(&self) -> f64 {
        self.mib() / self.seconds
    }

    /// The figures of every bulk transfer.
    pub(crate) fn bulk_outcome(&self) -> Outcome {
        let mib = self.mib();
        let outcome = Outcome::default()
            .with("mib_s", self.mib_per_second())
            .with("cpu_gib", self.cpu_seconds / (mib / 1024.0));
        match self.writes {
            0 => outcome,
            _ => outcome
                .with("writes_64k", float(self.writes) / mib / 16.0)
                .with("reads_64k", float(self.reads) / mib / 16.0),
        }
    }
}

impl Phase {
    pub(crate) fn is_recording(&self) -> bool {
        self.0.load(Ordering::Relaxed) == RECORDING
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    pub(crate) fn record(&self) {
        self.0.store(RECORDING, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
}

/// Rate, median and 99th percentile of what took `nanoseconds` each.
pub(crate) fn latency_outcome(mut nanoseconds: Vec<u64>, interval: &Interval) -> Outcome {
    let count = float(u64::try_from(nanoseconds.len()).unwrap_or(u64::MAX));
    let outcome = match interval.writes {
        0 => Outcome::default(),
        _ => Outcome::default()
            .with("writes", float(interval.writes) / count)
            .with("reads", float(interval.reads) / count),
    };
    outcome
        .with("per_s", count / interval.seconds)
        .with("cpu_us", interval.cpu_seconds * 1e6 / count)
        .with_some("p50_us", microseconds(&mut nanoseconds, 500))
        .with_some("p99_us", microseconds(&mut nanoseconds, 990))
}

pub(crate) fn microseconds(nanoseconds: &mut [u64], permille: usize) -> Option<f64> {
    percentile(nanoseconds, permille).map(|nanoseconds| float(nanoseconds) / 1000.0)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Memory of this process that is in RAM.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// What all threads of this process used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

const RECORDING: u8 = 1;
const OVER: u8 = 2;
