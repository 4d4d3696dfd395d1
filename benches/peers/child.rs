//! One measurement, in a process of its own: nothing that a contestant leaves behind reaches the next.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::time::sleep;

use super::carrier::Network;
use super::contestant::{Contestant, Session, contestant};
use super::link::LinkProfile;
use super::measure::{Interval, Snapshot};
use super::options::Options;
use super::outcome::Outcome;
use super::scenario::{Flows, scenario};

/// What a scenario runs with.
pub(crate) struct Bench {
    runtime: Runtime,
    network: Arc<Network>,
    contestant: &'static Contestant,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// Runs one scenario with one contestant, prints what came out, and leaves without tidying up.
pub(crate) fn run(options: &Options, scenario_name: &str, contestant_name: &str) -> ExitCode {
    let outcome = measure(options, scenario_name, contestant_name);
    let (text, code) = match outcome {
        Ok(outcome) => (outcome.to_lines(), 0),
        Err(error) => (format!("{ERROR}{error}\n"), 1),
    };
    let mut stdout = io::stdout();
    // A parent that has gone needs no figures.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    std::process::exit(code)
}

fn measure(options: &Options, scenario_name: &str, contestant_name: &str) -> Result<Outcome, String> {
    let scenario = scenario(scenario_name).ok_or_else(|| format!("no scenario {scenario_name}"))?;
    let contestant = contestant(contestant_name).ok_or_else(|| format!("no contestant {contestant_name}"))?;
    let workers = if scenario.on_one_thread { 0 } else { options.workers };
    let bench = Bench::new(options, workers, contestant, scenario.link).map_err(|error| error.to_string())?;
    (scenario.run)(&bench).map_err(|error| error.to_string())
}

impl Bench {
    fn new(
        options: &Options,
        workers: usize,
        contestant: &'static Contestant,
        link: Option<LinkProfile>,
    ) -> io::Result<Self> {
        let runtime = match workers {
            0 => runtime::Builder::new_current_thread().enable_all().build()?,
            _ => runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?,
        };
        let network = Arc::new(runtime.block_on(Network::new(link))?);
        Ok(Self { runtime, network, contestant, warm_up: options.warm_up(), window: options.window })
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) async fn connect(&self) -> io::Result<Session> {
        (self.contestant.connect)(Arc::clone(&self.network)).await
    }

    /// As many of the wanted streams as the contestant can have.
    pub(crate) fn streams(&self, wanted: usize) -> usize {
        wanted.min(self.contestant.max_streams)
    }

    pub(crate) fn snapshot(&self, flows: &Flows) -> Snapshot {
        Snapshot::take(flows.received(), &self.network.calls())
    }

    /// What happens in one window from now.
    pub(crate) async fn observe(&self, flows: &Flows) -> io::Result<Interval> {
        let before = self.snapshot(flows);
        sleep(self.window).await;
        let interval = before.until(&self.snapshot(flows));
        flows.check()?;
        Ok(interval)
    }
}

/// What a line with the reason of a failure begins with.
pub(crate) const ERROR: &str = "error: ";
