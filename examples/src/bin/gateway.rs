//! The reference gateway: see [`adit_examples::gateway`].

use adit_examples::gateway::{Flags, Gateway};
use adit_examples::logs;
use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    logs::start(flags.json_logs);
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), adit_examples::BoxError> {
    let config = flags.resolve()?;
    let (drain, state) = (config.drain, config.state.clone());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let gateway = Gateway::start(config).await?;
    println!("agents  {}", gateway.agent_address());
    println!("http    http://{}  (*.{})", gateway.http_address(), gateway.zone());
    println!("https   https://{}", gateway.https_address());
    if let Some(address) = gateway.quic_address() {
        println!("quic    {address}");
    }
    println!("admin   http://{}/ready", gateway.admin_address());
    println!("state   {}", state.display());
    if let Some(secret) = gateway.fresh_secret() {
        println!(
            "\nthe connect secret, shown this once; give it to the agent:\n\n  export ADIT_SECRET={secret}\n"
        );
    }
    if let Some(token) = gateway.fresh_admin_token() {
        println!(
            "the owner's token for the admin API, shown this once:\n\n  export ADIT_ADMIN_TOKEN={token}\n"
        );
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match gateway.renew_certificates() {
                Ok(()) => tracing::info!("the edge serves with new certificates"),
                Err(error) => tracing::error!(%error, "the edge goes on with the certificates it has"),
            },
        }
    }
    tracing::info!(seconds = drain.as_secs(), "draining; a second signal ends at once");
    tokio::select! {
        left = gateway.stop(drain) => tracing::info!(cut_off = left, "stopped"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
