//! Runs measurements one after the other, each in a child process with a deadline.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::child::ERROR;
use super::contestant::{CONTESTANTS, Contestant};
use super::options::Options;
use super::outcome::Outcome;
use super::report::{self, Cell, Row, Table};
use super::scenario::{SCENARIOS, Scenario, scenario};

/// Runs all that was asked for and prints a table for each scenario, then the summary.
pub(crate) fn tables(options: &Options) {
    let contestants = chosen_contestants(options);
    report::heading(options, &contestants);
    let begun = Instant::now();
    let mut tables = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| is_chosen(options, scenario)) {
        let table = run(options, scenario, &contestants);
        report::table(&table);
        tables.push(table);
    }
    report::summary(&tables, &contestants);
    report::targets(&tables);
    println!("\nTook {:.0} s.", begun.elapsed().as_secs_f64());
}

/// One short measurement of each contestant; fails if one of them gives no result.
pub(crate) fn smoke(options: &Options) -> ExitCode {
    let mut failed = false;
    let Some(scenario) = scenario("ping1") else { return ExitCode::FAILURE };
    for contestant in CONTESTANTS {
        match measure(options, scenario, contestant) {
            Ok(_) => println!("{}: works", contestant.name),
            Err(reason) => {
                println!("{}: {reason}", contestant.name);
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All rounds of one scenario; each begins with another contestant.
fn run(options: &Options, scenario: &'static Scenario, contestants: &[&'static Contestant]) -> Table {
    let able = |contestant: &&&Contestant| scenario.link.is_none() || contestant.on_any_carrier;
    let able: Vec<_> = contestants.iter().filter(able).collect();
    let mut rows: Vec<Row> = able.iter().map(|contestant| Row::new(contestant.name)).collect();
    for round in 0..options.rounds {
        for turn in 0..able.len() {
            let index = (round + turn) % able.len();
            rows[index].cells.push(measure(options, scenario, able[index]));
        }
    }
    Table { scenario, rows }
}

/// One measurement, or the reason why there is none.
pub(super) fn measure(options: &Options, scenario: &Scenario, contestant: &Contestant) -> Cell {
    let deadline = GRACE + scenario.extra + 8 * (options.warm_up() + options.window);
    let mut child = start(options, scenario, contestant).map_err(|error| error.to_string())?;
    let Some(status) = wait(&mut child, Instant::now() + deadline).map_err(|error| error.to_string())? else {
        return Err(format!("stopped after {:.0} s without a result", deadline.as_secs_f64()));
    };
    let (said, complaint) = (read(child.stdout.take()), read(child.stderr.take()));
    let outcome = Outcome::from_lines(&said);
    if !status.success() || outcome.is_empty() {
        return Err(reason(status, &said, &complaint));
    }
    Ok(outcome)
}

fn start(options: &Options, scenario: &Scenario, contestant: &Contestant) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--once", scenario.name, contestant.name])
        .args(["--workers", &options.workers.to_string()])
        .args(["--seconds", &options.window.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// The child's end, or `None` if it had to be killed.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(2));
    }
}

fn read(pipe: Option<impl Into<std::os::fd::OwnedFd>>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What can be read is enough to say why there's no result.
        let _ = File::from(pipe.into()).take(64 * 1024).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reason(status: ExitStatus, said: &str, complaint: &str) -> String {
    let error = said.lines().find_map(|line| line.strip_prefix(ERROR));
    let panic = complaint.lines().find(|line| line.contains("panicked"));
    match error.or(panic) {
        Some(reason) => reason.to_owned(),
        None => format!("ended with {status}"),
    }
}

fn is_chosen(options: &Options, scenario: &Scenario) -> bool {
    let named = options.scenarios.iter().any(|part| scenario.name.contains(part.as_str()));
    named || (options.scenarios.is_empty() && (scenario.quick || !options.quick))
}

fn chosen_contestants(options: &Options) -> Vec<&'static Contestant> {
    let is_named = |name: &str| options.contestants.iter().any(|chosen| chosen == name);
    let is_chosen = |contestant: &&Contestant| match options.contestants.is_empty() {
        true => contestant.quick || !options.quick,
        false => REFERENCES.contains(&contestant.name) || is_named(contestant.name),
    };
    CONTESTANTS.iter().filter(is_chosen).collect()
}

/// What ratios are ratios to.
const REFERENCES: [&str; 2] = ["raw", "tls"];
/// For starting the process, and for whatever a busy machine adds.
const GRACE: Duration = Duration::from_secs(8);
