//! The harness: contestants behind one trait, scenarios written once, a process for each measurement.

mod carrier;
mod carriers;
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

/// Runs the tables of this bench, or the one measurement that a parent process asked for.
pub(crate) fn main(bench: &str) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::usage(bench));
            return ExitCode::from(2);
        }
    };
    match options.mode {
        Mode::Help => println!("{}", options::usage(bench)),
        Mode::List => report::list(),
        Mode::Child { ref scenario, ref contestant } => return child::run(&options, scenario, contestant),
        Mode::Smoke => return parent::smoke(&options),
        Mode::Tables if bench == "carriers" => carriers::table(&options),
        Mode::Tables => parent::tables(&options),
    }
    ExitCode::SUCCESS
}
