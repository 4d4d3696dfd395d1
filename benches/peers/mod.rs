//! The harness: contestants behind one trait, scenarios written once, a process for each measurement.

mod carrier;
mod child;
mod contestant;
mod link;
mod measure;
mod options;
mod outcome;
mod parent;
mod report;
mod scenario;
mod target;

use std::process::ExitCode;

use options::{Mode, Options};

/// Runs the tables, or the one measurement that a parent process asked for.
pub(crate) fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match options.mode {
        Mode::Help => println!("{}", options::USAGE),
        Mode::List => report::list(),
        Mode::Child { ref scenario, ref contestant } => return child::run(&options, scenario, contestant),
        Mode::Smoke => return parent::smoke(&options),
        Mode::Tables => parent::tables(&options),
    }
    ExitCode::SUCCESS
}
