//! The reference agent: see [`adit_examples::agent`].

use adit_examples::agent::{Command, Config, Program, Reach, Secret, print_statuses, printer, run};
use adit_examples::{BoxError, logs};
use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let Program { command, link, local, terms } = Program::parse();
    logs::start(link.json);
    if let Command::Status = command {
        print_statuses(&link)?;
        return Ok(ExitCode::SUCCESS);
    }
    let secret = match Secret::load(&link) {
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
    let print = printer(&link);
    let was_asked = match command {
        Command::Serve(tunnel) => run(Config { tunnel, link, local, terms }, secret, stop, print).await,
        Command::Reach { name, local_port } => {
            Reach::bind(name, local_port).await?.run(&link, &secret, &stop, print).await
        }
        // Answered above.
        Command::Status => true,
        _ => return Err("this command is not known here".into()),
    };
    Ok(if was_asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
