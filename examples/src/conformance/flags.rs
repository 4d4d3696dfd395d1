//! The program's command line.

use super::{Dialler, Listener, Player, Script, agent_scripts, gateway_scripts, parse};
use crate::BoxError;
use crate::agent::{Carriers, Link, Secret};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// Plays good and hostile scripts against a gateway or an agent, and names the section of SPEC.md that each failure
/// breaks.
#[derive(Clone, Debug, Parser)]
#[command(name = "conformance", version, about)]
pub struct Flags {
    /// What is tested.
    #[command(subcommand)]
    pub role: Role,
    /// Scripts of your own in the place of those that come with the program.
    #[arg(long, global = true)]
    pub scripts: Option<PathBuf>,
    /// Only the scripts in whose names this occurs.
    #[arg(long, global = true)]
    pub only: Option<String>,
    /// Also the scripts that wait for limits of time, which take up to a minute each.
    #[arg(long, global = true)]
    pub slow: bool,
    /// Also the scripts that rotate the gateway's connect secret; the one that is good in the end is printed.
    #[arg(long, global = true)]
    pub rotate_secret: bool,
    /// Plain TCP in the place of TLS.
    #[arg(long, global = true)]
    pub plain: bool,
}

/// What is tested.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Role {
    /// Connects to a gateway, as an agent; its connect secret is in ADIT_SECRET.
    Gateway(GatewayFlags),
    /// Waits for an agent, as a gateway, and as the agent's upstream.
    Agent(AgentFlags),
}

/// The gateway under test.
#[derive(Clone, Debug, Args)]
pub struct GatewayFlags {
    /// Its agent port, as host:port.
    #[arg(long)]
    connect: String,
    /// The authority that signed its certificate, as PEM.
    #[arg(long, default_value = "adit-state/ca.pem")]
    ca: PathBuf,
    /// The name in its certificate.
    #[arg(long, default_value = "gateway.adit.localhost")]
    server_name: String,
}

/// Where the agent under test finds us.
#[derive(Clone, Debug, Args)]
pub struct AgentFlags {
    /// Where the agent is to connect.
    #[arg(long)]
    listen: SocketAddr,
    /// Where the agent is to forward to: the program is the local service too.
    #[arg(long)]
    upstream: SocketAddr,
    /// Where the development authority and the hash of the connect secret are kept.
    #[arg(long, default_value = "adit-conformance")]
    state: PathBuf,
}

impl Flags {
    /// The scripts to play.
    ///
    /// # Errors
    /// A file that can't be read or understood.
    pub fn scripts(&self) -> Result<Vec<Script>, BoxError> {
        let mut scripts = match (&self.scripts, &self.role) {
            (Some(path), _) => parse(&std::fs::read_to_string(path)?)?,
            (None, Role::Gateway(_)) => gateway_scripts()?,
            (None, Role::Agent(_)) => agent_scripts()?,
        };
        scripts.retain(|script| self.only.as_ref().is_none_or(|only| script.name.contains(only)));
        scripts.retain(|script| self.slow || !script.is_slow());
        scripts.retain(|script| self.rotate_secret || !script.rotates_secret());
        Ok(scripts)
    }

    /// Whoever plays them.
    ///
    /// # Errors
    /// A sentence for the person who started the program.
    pub async fn player(&self) -> Result<Player, BoxError> {
        match &self.role {
            Role::Gateway(gateway) => {
                let link = Link {
                    gateway: gateway.connect.clone(),
                    carriers: Carriers::only(adit_mux::Carrier::Native),
                    server_name: gateway.server_name.clone(),
                    ca: gateway.ca.clone(),
                    secret_file: None,
                    rotate_secret: None,
                    state: PathBuf::new(),
                    json: false,
                };
                let secret = Secret::load(&link)?;
                let dialler = if self.plain { Dialler::plain(link) } else { Dialler::tls(link) };
                Ok(Player::against_gateway(dialler, secret))
            }
            Role::Agent(agent) => {
                let listener = Listener::bind(agent.listen, &agent.state, self.plain).await?;
                let upstream = TcpListener::bind(agent.upstream).await?;
                println!("the agent connects to {} as {}", listener.address()?, listener.server_name());
                println!("and trusts {}", agent.state.join("ca.pem").display());
                if let Some(secret) = listener.fresh_secret() {
                    println!("its connect secret, shown this once: {secret}");
                }
                println!("and forwards TCP to {}\n", upstream.local_addr()?);
                Ok(Player::against_agent(listener, upstream))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }
}
