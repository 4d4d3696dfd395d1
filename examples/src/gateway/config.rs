//! The gateway's settings: defaults, then a TOML file, then flags.

use clap::Parser;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The public side of reverse tunnels.
#[derive(Clone, Debug, Default, Parser, Deserialize)]
#[command(name = "gateway", version, about)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flags {
    /// A TOML file with the same names as these flags; a flag goes before it.
    #[arg(long, env = "ADIT_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// The domain under which tunnels get their hosts. [default: adit.localhost]
    #[arg(long, env = "ADIT_ZONE")]
    pub zone: Option<String>,
    /// Where agents connect. [default: 127.0.0.1:7000]
    #[arg(long)]
    pub agents: Option<SocketAddr>,
    /// Where visitors connect by HTTP. [default: 127.0.0.1:8080]
    #[arg(long)]
    pub http: Option<SocketAddr>,
    /// Where visitors connect by HTTPS, ended here or passed through. [default: 127.0.0.1:8443]
    #[arg(long)]
    pub https: Option<SocketAddr>,
    /// Where `/health` and `/ready` are answered. [default: 127.0.0.1:9090]
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// The address on which public TCP ports are opened. [default: 127.0.0.1]
    #[arg(long)]
    pub tcp_address: Option<IpAddr>,
    /// The public TCP ports that tunnels may have, both ends included. [default: 35000-35999]
    #[arg(long, value_parser = ports)]
    #[serde(default, deserialize_with = "ports_from_text")]
    pub tcp_ports: Option<(u16, u16)>,
    /// Where the development authority and the hash of the connect secret are kept. [default: adit-state]
    #[arg(long, env = "ADIT_STATE")]
    pub state: Option<PathBuf>,
    /// How long running streams may go on after SIGTERM, in seconds. [default: 30]
    #[arg(long)]
    pub drain_seconds: Option<u64>,
    /// Logs as JSON.
    #[arg(long)]
    #[serde(default)]
    pub json_logs: bool,
}

/// Settings without gaps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The domain under which tunnels get their hosts.
    pub zone: String,
    /// Where agents connect.
    pub agents: SocketAddr,
    /// Where visitors connect by HTTP.
    pub http: SocketAddr,
    /// Where visitors connect by HTTPS.
    pub https: SocketAddr,
    /// Where liveness and readiness are answered.
    pub admin: SocketAddr,
    /// The address on which public TCP ports are opened.
    pub tcp_address: IpAddr,
    /// The public TCP ports, both ends included.
    pub tcp_ports: (u16, u16),
    /// Where state is kept.
    pub state: PathBuf,
    /// How long running streams may go on after the gateway was asked to stop.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            zone: "adit.localhost".to_owned(),
            agents: local(7000),
            http: local(8080),
            https: local(8443),
            admin: local(9090),
            tcp_address: Ipv4Addr::LOCALHOST.into(),
            tcp_ports: (35_000, 35_999),
            state: PathBuf::from("adit-state"),
            drain: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Everything on free ports of the loopback interface, with state in `state`.
    pub fn on_loopback(state: PathBuf, tcp_ports: (u16, u16)) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { agents: any, http: any, https: any, admin: any, tcp_ports, state, ..Self::default() }
    }
}

impl Flags {
    /// Fills the gaps of the flags from the file, and those of the file from the defaults.
    ///
    /// # Errors
    /// A sentence for the person who started the program, if the file can't be read or understood.
    pub fn resolve(self) -> Result<Config, String> {
        let file = match &self.config {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
            None => Self::default(),
        };
        let default = Config::default();
        Ok(Config {
            zone: self.zone.or(file.zone).unwrap_or(default.zone),
            agents: self.agents.or(file.agents).unwrap_or(default.agents),
            http: self.http.or(file.http).unwrap_or(default.http),
            https: self.https.or(file.https).unwrap_or(default.https),
            admin: self.admin.or(file.admin).unwrap_or(default.admin),
            tcp_address: self.tcp_address.or(file.tcp_address).unwrap_or(default.tcp_address),
            tcp_ports: self.tcp_ports.or(file.tcp_ports).unwrap_or(default.tcp_ports),
            state: self.state.or(file.state).unwrap_or(default.state),
            drain: self.drain_seconds.or(file.drain_seconds).map_or(default.drain, Duration::from_secs),
        })
    }
}

/// `first-last`, or one port.
fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is no range of ports; try 35000-35999")),
    }
}

fn ports_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<(u16, u16)>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| ports(&text).map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn a_file_fills_the_gaps_of_the_flags() {
        let file: Flags = toml::from_str("zone = \"t.example\"\ntcp-ports = \"4000-4001\"").unwrap();
        assert_eq!((file.zone.as_deref(), file.tcp_ports), (Some("t.example"), Some((4000, 4001))));
        assert!(
            toml::from_str::<Flags>("zoen = \"t.example\"").is_err(),
            "a misspelt name is no silent default"
        );
    }

    #[test]
    fn a_range_of_ports_is_ascending_and_starts_above_zero() {
        assert_eq!(ports("35000-35999"), Ok((35_000, 35_999)));
        assert_eq!(ports("35432"), Ok((35_432, 35_432)));
        for wrong in ["", "0", "0-5", "9-8", "1-70000", "a-b"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
