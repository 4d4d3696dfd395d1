//! The agent's command line.

use super::carriers::Carriers;
use super::local::Local;
use super::terms::Terms;
use clap::{Args, Parser, Subcommand};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Makes a local service reachable through a gateway, or reaches one that another agent serves.
#[derive(Clone, Debug, Parser)]
#[command(name = "agent", version, about)]
pub struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to reach the gateway.
    #[command(flatten)]
    pub link: Link,
    /// How to speak to the local service.
    #[command(flatten)]
    pub local: Local,
    /// On what terms the tunnel is asked for.
    #[command(flatten)]
    pub terms: Terms,
}

/// What the agent does.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serves a tunnel.
    #[command(flatten)]
    Serve(Tunnel),
    /// Says how the agents are doing that run with this folder (`--state`).
    Status,
    /// Opens another agent's tunnel at a port of this machine; its owner has to have made it visible to us.
    Reach {
        /// The tunnel's name.
        name: String,
        /// The local port; any free one for 0.
        #[arg(long, default_value_t = 0)]
        local_port: u16,
    },
}

/// A tunnel to serve, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to make reachable.
    pub tunnel: Tunnel,
    /// How to reach the gateway.
    pub link: Link,
    /// How to speak to the local service.
    pub local: Local,
    /// On what terms the tunnel is asked for.
    pub terms: Terms,
}

impl Config {
    /// What gets visitors' datagrams: the service of a UDP tunnel; or one for QUIC, where TLS is ended on this side.
    pub fn udp_upstream(&self) -> Option<Upstream> {
        match &self.tunnel {
            Tunnel::Udp { upstream, .. } => Some(upstream.clone()),
            Tunnel::Tls { .. } => self.local.quic.map(Upstream::from),
            Tunnel::Http { .. } | Tunnel::Tcp { .. } | Tunnel::Auto { .. } => None,
        }
    }
}

/// The gateway and how the agent proves who it is.
#[derive(Clone, Debug, Args)]
pub struct Link {
    /// The gateway: its port for agents, or the one for visitors by HTTPS, which takes agents as well.
    #[arg(long, global = true, env = "ADIT_GATEWAY", default_value = "127.0.0.1:8443")]
    pub gateway: String,
    /// By what it is reached.
    #[command(flatten)]
    pub carriers: Carriers,
    /// The name in the gateway's certificate, where it differs from the host of `--gateway`.
    #[arg(long, global = true, env = "ADIT_SERVER_NAME", default_value = "gateway.adit.localhost")]
    pub server_name: String,
    /// The authority that signed the gateway's certificate, as PEM.
    #[arg(long, global = true, env = "ADIT_CA", default_value = "adit-state/ca.pem")]
    pub ca: PathBuf,
    /// A file that holds the connect secret; the variable ADIT_SECRET goes before it. There is no flag for the
    /// secret itself: command lines are visible to every user of the machine.
    #[arg(long, global = true)]
    pub secret_file: Option<PathBuf>,
    /// Where the agent keeps its keys and certificates.
    #[arg(long, global = true, env = "ADIT_AGENT_STATE", default_value = "adit-agent")]
    pub state: PathBuf,
    /// Once the tunnel is public, ask for a new connect secret, which is printed this once and used from then on; the old
    /// one stays good for so many seconds, or for less if the gateway says so.
    #[arg(long, global = true, value_name = "OVERLAP_SECONDS")]
    pub rotate_secret: Option<u64>,
    /// One JSON object per event on standard output, for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// One tunnel.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Tunnel {
    /// HTTP, WebSocket and server-sent events; TLS is ended by the gateway.
    Http {
        /// The local service: a port, or host:port.
        upstream: Upstream,
        /// The tunnel's name, which is its first label; made up by the gateway if left out.
        #[arg(long)]
        name: Option<String>,
    },
    /// Raw TCP on a public port of the gateway.
    Tcp {
        /// The local service: a port, or host:port.
        upstream: Upstream,
        /// The tunnel's name; made up by the gateway if left out.
        #[arg(long)]
        name: Option<String>,
        /// The public port; the gateway picks one if left out.
        #[arg(long)]
        public_port: Option<u16>,
    },
    /// Whatever the local service speaks, on a public port of the gateway, which tells it from visitors' first octets:
    /// HTTP is treated as such, and anything else is carried as it is. Visitors by host are as those of `http`.
    Auto {
        /// The local service: a port, or host:port.
        upstream: Upstream,
        /// The tunnel's name; made up by the gateway if left out.
        #[arg(long)]
        name: Option<String>,
        /// The public port; the gateway picks one if left out.
        #[arg(long)]
        public_port: Option<u16>,
    },
    /// UDP on a public port of the gateway: DNS, games, WireGuard.
    Udp {
        /// The local service: a port, or host:port.
        upstream: Upstream,
        /// The tunnel's name; made up by the gateway if left out.
        #[arg(long)]
        name: Option<String>,
        /// The public port; the gateway picks one if left out.
        #[arg(long)]
        public_port: Option<u16>,
    },
    /// TLS that only this agent ends: the gateway forwards what it can't read.
    Tls {
        /// The local service, plain: a port, or host:port.
        upstream: Upstream,
        /// The tunnel's name, which is its first label; made up by the gateway if left out.
        #[arg(long)]
        name: Option<String>,
    },
}

impl Tunnel {
    /// The local service.
    pub const fn upstream(&self) -> &Upstream {
        match self {
            Self::Http { upstream, .. }
            | Self::Tcp { upstream, .. }
            | Self::Auto { upstream, .. }
            | Self::Udp { upstream, .. }
            | Self::Tls { upstream, .. } => upstream,
        }
    }

    /// The name asked for.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Http { name, .. }
            | Self::Tcp { name, .. }
            | Self::Auto { name, .. }
            | Self::Udp { name, .. }
            | Self::Tls { name, .. } => name.as_deref(),
        }
    }
}

/// Where the local service listens. The gateway has no say in it (W-28, R-25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    host: String,
    port: u16,
}

impl Upstream {
    /// Host and port, as `TcpStream::connect` takes them.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port),
            None => (Ipv4Addr::LOCALHOST.to_string(), text),
        };
        match port.parse() {
            Ok(port) if port != 0 && !host.is_empty() => Ok(Self { host, port }),
            _ => Err(format!("`{text}` is neither a port nor host:port; try 3000 or localhost:3000")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn an_upstream_is_a_port_or_a_host_and_port() {
        assert_eq!("3000".parse::<Upstream>().unwrap().address(), ("127.0.0.1", 3000));
        assert_eq!("db.lan:5432".parse::<Upstream>().unwrap().address(), ("db.lan", 5432));
        assert_eq!("[::1]:80".parse::<Upstream>().unwrap().address(), ("::1", 80));
        for wrong in ["", "x", "0", "65536", ":80", "a:b"] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
    }
}
