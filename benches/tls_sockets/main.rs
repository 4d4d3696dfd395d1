//! TLS over real sockets: what an edge and a passthrough cost beside the plainest program that does the same, and beside
//! nginx (`ssl_preread`) and HAProxy where those are installed.
//!
//! `cargo bench -p adit-benches --bench tls_sockets`
//!
//! Each proxy has one thread, or one worker process; visitors and servers have threads of their own. Rounds are
//! interleaved, each beginning with another contestant; a figure is a median, and so are ratios to the plain program of the
//! same round.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

mod foreign;
mod handshakes;
mod passthrough;

use adit_benches::median;
use std::time::Duration;

const ROUNDS: usize = 12;

fn main() {
    handshakes::run();
    passthrough::run();
    passthrough::count_allocations();
}

/// Runs the contestants in turns and prints a line for each: the median of its figures, and of their ratios to the first
/// contestant's in the same round.
fn compare(what: &str, unit: &str, contestants: &mut [(&str, &mut dyn FnMut() -> f64)]) {
    let mut figures = vec![Vec::new(); contestants.len()];
    for round in 0..=ROUNDS {
        // Each round begins with another one: who follows whom is not to matter.
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let figure = (contestants[index].1)();
            // The first round warms up.
            if round > 0 {
                figures[index].push(figure);
            }
        }
    }
    println!("\n{what}");
    for (index, (name, _)) in contestants.iter().enumerate() {
        let ratios: Vec<f64> =
            figures[index].iter().zip(&figures[0]).map(|(ours, plain)| ours / plain).collect();
        println!(
            "  {name:<28} {:>10.1} {unit}   x {:.3}",
            median(&figures[index]).unwrap(),
            median(&ratios).unwrap()
        );
    }
}

/// The processor's time of this thread.
fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
