//! The reference agent: see [`adit_examples::agent`].

use adit_examples::agent::{Config, Secret, printer, run};
use adit_examples::{BoxError, logs};
use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let config = Config::parse();
    logs::start(config.link.json);
    let secret = match Secret::load(&config.link) {
        Ok(secret) => secret,
        Err(error) => {
            eprintln!("agent: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    let print = printer(&config);
    Ok(if run(config, secret, stop, print).await { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
