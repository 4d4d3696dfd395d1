//! TLS over real sockets: what an edge and a passthrough cost beside the plainest program that does the same, and beside
//! nginx (`ssl_preread`) and HAProxy where those are installed.
//!
//! `cargo bench -p adit-benches --bench tls_sockets`
//!
//! Each proxy has one thread, or one worker process; visitors and servers have threads of their own. Rounds are short,
//! many and interleaved, each beginning with another contestant: what else the machine does hits all alike. A figure is a
//! median, and so is a ratio, of those to the plain program of the same round; beside it stand the quartiles, which tell how
//! noisy the run was. The aims are judged by processor time, which other programs disturb least.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

mod flood;
mod foreign;
mod handshakes;
mod passthrough;

use adit_benches::median;
use std::time::Duration;

fn main() {
    // With a name as argument, that part alone.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let runs: [(&str, fn()); 4] = [
        ("handshakes", handshakes::run),
        ("passthrough", passthrough::run),
        ("allocations", passthrough::count_allocations),
        ("flood", flood::run),
    ];
    for (name, run) in runs {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            run();
        }
    }
}

/// Figures of several contestants, a row for each round.
struct Figures {
    names: Vec<&'static str>,
    rounds: Vec<Vec<f64>>,
}

impl Figures {
    /// Runs the contestants in turns, `rounds` times and once to warm up; `measure` gets the index of one.
    fn collect(names: &[&'static str], rounds: usize, mut measure: impl FnMut(usize) -> f64) -> Self {
        let mut kept = Vec::new();
        for round in 0..=rounds {
            let mut figures = vec![0.0; names.len()];
            // Each round begins with another one: who follows whom is not to matter.
            for turn in 0..names.len() {
                let index = (round + turn) % names.len();
                figures[index] = measure(index);
            }
            if round > 0 {
                kept.push(figures);
            }
        }
        Self { names: names.to_vec(), rounds: kept }
    }

    /// A line for each: the median, and the median and quartiles of the ratios to the first one.
    fn print(&self, what: &str, unit: &str) {
        println!("\n{what}");
        for (index, name) in self.names.iter().enumerate() {
            let figures: Vec<f64> = self.rounds.iter().map(|round| round[index]).collect();
            let mut ratios: Vec<f64> = self.rounds.iter().map(|round| round[index] / round[0]).collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "  {name:<28} {:>10.1} {unit:<12} x {:.3}  ({:.3} to {:.3}, {} rounds)",
                median(&figures).unwrap(),
                median(&ratios).unwrap(),
                ratios[ratios.len() / 4],
                ratios[ratios.len() * 3 / 4],
                ratios.len(),
            );
        }
    }
}

/// The processor's time of this thread.
fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// With a timer that runs, as in each server that lives for more than one connection: where there is none, tokio wakes
/// itself up for every first deadline, by a write to a descriptor of its own.
fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.spawn(async {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
        }
    });
    runtime
}
