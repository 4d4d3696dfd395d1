//! Everything on one machine, and a visitor: see [`adit_examples::quickstart`].

use adit_examples::quickstart::{Config, run};
use adit_examples::{BoxError, logs};
use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    logs::start_quiet();
    let holds = run(Config::parse()).await?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
