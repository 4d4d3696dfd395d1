//! The command line.

use std::time::Duration;

/// What to run, and for how long.
pub(crate) struct Options {
    pub(crate) mode: Mode,
    /// Threads of the tokio runtime in each measurement; 0 = everything on one thread.
    pub(crate) workers: usize,
    /// Measurements of each contestant in each scenario, interleaved with the others'.
    pub(crate) rounds: usize,
    /// How long one measurement counts.
    pub(crate) window: Duration,
    /// Scenarios whose name contains one of these; all if empty.
    pub(crate) scenarios: Vec<String>,
    /// Contestants whose name is one of these; all if empty. The references always run.
    pub(crate) contestants: Vec<String>,
    /// Only the scenarios and contestants marked as quick.
    pub(crate) quick: bool,
}

/// What this process is for.
pub(crate) enum Mode {
    Help,
    List,
    /// All tables.
    Tables,
    /// One short measurement of each contestant, to see that it works: what `cargo test --benches` runs.
    Smoke,
    /// One measurement, printed for the parent.
    Child {
        scenario: String,
        contestant: String,
    },
}

/// How to call `bench`.
pub(crate) fn usage(bench: &str) -> String {
    format!("usage: cargo bench -p adit-benches --bench {bench} -- [options]\n\n{OPTIONS}")
}

const OPTIONS: &str = "\
  --quick                     a subset of scenarios and contestants in one short round: under a minute
  --scenario NAME[,NAME..]    only scenarios whose name contains one of these
  --contestant NAME[,NAME..]  only these contestants (raw and tls always run, as references)
  --rounds N                  measurements of each cell, interleaved; the table shows medians (3)
  --seconds S                 how long one measurement counts (1.0)
  --workers N                 threads of the tokio runtime; 0 = one thread for everything (2)
  --list                      names of scenarios and contestants
  --once SCENARIO CONTESTANT  one measurement in this process, for a profiler";

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut given = Given::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => given.bench = true,
                "--help" | "-h" => options.mode = Mode::Help,
                "--list" => options.mode = Mode::List,
                "--quick" => options.quick = true,
                "--scenario" => options.scenarios = names(&value()?),
                "--contestant" => options.contestants = names(&value()?),
                "--rounds" => given.rounds = Some(number(&value()?)?),
                "--workers" => options.workers = number(&value()?)?,
                "--seconds" => given.window = Some(seconds(&value()?)?),
                "--once" => options.mode = Mode::Child { scenario: value()?, contestant: value()? },
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        Ok(options.complete(&given))
    }

    /// How long a measurement runs before it counts.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.window / 3).min(Duration::from_millis(500))
    }

    fn complete(mut self, given: &Given) -> Self {
        if self.quick {
            self.rounds = 1;
            self.window = Duration::from_millis(200);
        }
        self.rounds = given.rounds.unwrap_or(self.rounds).max(1);
        self.window = given.window.unwrap_or(self.window);
        // Cargo passes `--bench` to `cargo bench` and nothing to `cargo test --benches`.
        if !given.bench && matches!(self.mode, Mode::Tables) {
            self.mode = Mode::Smoke;
            self.window = Duration::from_millis(20);
        }
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Tables,
            workers: 2,
            rounds: 3,
            window: Duration::from_secs(1),
            scenarios: Vec::new(),
            contestants: Vec::new(),
            quick: false,
        }
    }
}

/// Values that win over what `--quick` sets, wherever they stand.
#[derive(Default)]
struct Given {
    bench: bool,
    rounds: Option<usize>,
    window: Option<Duration>,
}

fn names(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is not a whole number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(window) if (0.01..=60.0).contains(&seconds) => Ok(window),
        _ => Err(format!("{text} seconds are not between 0.01 and 60")),
    }
}
