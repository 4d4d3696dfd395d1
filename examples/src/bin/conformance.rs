//! The conformance program: see [`adit_examples::conformance`] and CONFORMANCE.md.

use adit_examples::BoxError;
use adit_examples::conformance::{Flags, run};
use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match play(&Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no script failed, and at least one passed.
async fn play(flags: &Flags) -> Result<bool, BoxError> {
    let scripts = flags.scripts()?;
    let player = flags.player().await?;
    let report = run(&player, &scripts).await;
    if let Some(secret) = player.rotated_secret() {
        println!(
            "\nthe connect secret was rotated; the one that is good now:\n\n  export ADIT_SECRET={secret}"
        );
    }
    Ok(report.failed.is_empty() && !report.passed.is_empty())
}
