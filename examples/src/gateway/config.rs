//! The gateway's settings: defaults, then a TOML file, then flags.

use super::{Clock, WakeHook};
use crate::acme::Authority;
use adit_naming::{CustomDomain, TunnelName};
use adit_router::{Cents, Detector, UdpFlowLimits, WakeLimits};
use adit_tls_modes::{ChallengeKind, RoomLimits, SourceNetwork};
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
    /// Where agents connect by QUIC, and visitors, who are passed through to agents that end it themselves. [default:
    /// 127.0.0.1:8443]
    #[arg(long)]
    pub quic: Option<SocketAddr>,
    /// How many QUIC connections may be from addresses that may be spoofed. From half of that on, a tunnel has an eighth of
    /// it. [default: 1024]
    #[arg(long)]
    pub quic_unproven: Option<usize>,
    /// Where `/health` and `/ready` are answered. [default: 127.0.0.1:9090]
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// The address on which public TCP and UDP ports are opened. [default: 127.0.0.1]
    #[arg(long)]
    pub tcp_address: Option<IpAddr>,
    /// The public TCP ports that tunnels may have, both ends included. [default: 35000-35999]
    #[arg(long, value_parser = ports)]
    #[serde(default, deserialize_with = "ports_from_text")]
    pub tcp_ports: Option<(u16, u16)>,
    /// The public UDP ports that tunnels may have, both ends included. [default: 19000-19999]
    #[arg(long, value_parser = ports)]
    #[serde(default, deserialize_with = "ports_from_text")]
    pub udp_ports: Option<(u16, u16)>,
    /// How many seconds a public port waits for its tunnel after the agent went, before another tunnel may have it.
    /// [default: 300]
    #[arg(long)]
    pub port_hold_seconds: Option<u64>,
    /// How many UDP visitors a public port may have at once; then the oldest goes. Agents allow 1,024 streams, of whatever
    /// tunnels. [default: 1000]
    #[arg(long)]
    pub udp_flows: Option<usize>,
    /// How many times the octets that came from it a UDP visitor may be sent before it is heard of again; servers of long
    /// answers, as for DNS, need more. [default: 3]
    #[arg(long)]
    pub udp_answer_ratio: Option<u32>,
    /// Networks of the load balancers through which all visitors come, such as 10.0.0.0/8: each of their connections has
    /// to begin with a PROXY header, and nobody else may connect. [default: none, visitors connect by themselves]
    #[arg(long, value_delimiter = ',', value_parser = network)]
    #[serde(default, deserialize_with = "networks_from_text")]
    pub proxy_from: Option<Vec<SourceNetwork>>,
    /// A folder of certificates for the edge beside the gateway's own: each `.pem` file a chain and its key. Read again on
    /// SIGHUP.
    #[arg(long)]
    pub certificates: Option<PathBuf>,
    /// NAME=FILE: visitors of the tunnel NAME, whose TLS the gateway ends, have to show a certificate by an authority in
    /// the PEM file. May be given more than once.
    #[arg(long, value_parser = name_and_file)]
    #[serde(default, deserialize_with = "names_and_files_from_text")]
    pub client_ca: Option<Vec<(String, PathBuf)>>,
    /// Where the development authority and the hash of the connect secret are kept. [default: adit-state]
    #[arg(long, env = "ADIT_STATE")]
    pub state: Option<PathBuf>,
    /// How long running streams may go on after SIGTERM, in seconds. [default: 30]
    #[arg(long)]
    pub drain_seconds: Option<u64>,
    /// Agents come by plain TCP: for tests below TLS, and on the loopback interface only.
    #[arg(long)]
    #[serde(default)]
    pub plain_agents: bool,
    /// What registering a tunnel costs its credential, in cents. [default: 0]
    #[arg(long)]
    pub tunnel_cents: Option<u64>,
    /// Run in a shell to start the machine behind a tunnel, whose name is in ADIT_TUNNEL; only for tunnels that wake
    /// on HTTP.
    #[arg(long)]
    pub wake_command: Option<String>,
    /// After how many seconds without a visit a tunnel is shown as idle. [default: 300]
    #[arg(long)]
    pub idle_seconds: Option<u64>,
    /// A domain of a tenant's own, and the name of the tunnel that it leads to: `vault.example=my-vault`. May be given
    /// several times.
    #[arg(long, value_name = "DOMAIN=NAME")]
    #[serde(default)]
    pub custom_domain: Vec<String>,
    /// For how long the development authority certifies agents' keys, in seconds. [default: 7776000, 90 days]
    #[arg(long)]
    pub certificate_seconds: Option<u64>,
    /// The directory of a certificate authority with ACME, such as
    /// `https://acme-v02.api.letsencrypt.org/directory`: it certifies the hosts of tunnels and the keys of agents in
    /// place of the development authority.
    #[arg(long)]
    pub acme_directory: Option<String>,
    /// Where that authority may write to, such as `mailto:ops@gateway.example`.
    #[arg(long)]
    pub acme_contact: Option<String>,
    /// The roots by which its own HTTPS is trusted, as PEM. [default: those of the system]
    #[arg(long)]
    pub acme_roots: Option<PathBuf>,
    /// How names are proven: `http-01` on the HTTP port, which the world must see as 80, or `tls-alpn-01` on the HTTPS
    /// port, which it must see as 443. [default: http-01]
    #[arg(long, value_parser = challenge)]
    #[serde(default, deserialize_with = "challenge_from_text")]
    pub acme_challenge: Option<ChallengeKind>,
    /// You have read that authority's terms of service and agree.
    #[arg(long)]
    #[serde(default)]
    pub acme_agree_to_terms: bool,
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
    /// Where agents and visitors connect by QUIC, if anywhere.
    pub quic: Option<SocketAddr>,
    /// How many agents may be connected that have not shown a credential, by source address and in all.
    pub waiting_agents: RoomLimits,
    /// Of these, how many make a crowd: from more on, QUIC's clients have to prove their addresses (Retry). [default: 1024]
    pub waiting_crowd: usize,
    /// How many QUIC connections may be from addresses that nobody has answered from yet. From half of that on, a tunnel
    /// has an eighth of it.
    pub quic_unproven: usize,
    /// Where liveness and readiness are answered.
    pub admin: SocketAddr,
    /// The address on which public TCP and UDP ports are opened.
    pub tcp_address: IpAddr,
    /// The public TCP ports, both ends included.
    pub tcp_ports: (u16, u16),
    /// The public UDP ports, both ends included.
    pub udp_ports: (u16, u16),
    /// How long a public port waits for its tunnel after a disconnect.
    pub port_hold: Duration,
    /// How many visitors a public UDP port has, and for how long.
    pub udp_limits: UdpFlowLimits,
    /// Networks of the load balancers through which all visitors come; none if they connect by themselves.
    pub proxy_from: Vec<SourceNetwork>,
    /// A folder of certificates for the edge.
    pub certificates: Option<PathBuf>,
    /// Tunnels whose visitors have to show a certificate, and the file of the authority that signs it.
    pub client_ca: Vec<(String, PathBuf)>,
    /// Where state is kept.
    pub state: PathBuf,
    /// How long an agent that ends TLS itself may take to say its first word to a visitor.
    pub answer_deadline: Duration,
    /// How long running streams may go on after the gateway was asked to stop.
    pub drain: Duration,
    /// Domains of tenants' own, with the tunnel that each leads to.
    pub custom_domains: Vec<(CustomDomain, TunnelName)>,
    /// For how long the development authority certifies agents' keys.
    pub certificate_lifetime: Duration,
    /// Who certifies in place of the development authority, if anybody, and how names are proven.
    pub acme: Option<(Authority, ChallengeKind)>,
    /// Whether agents come by plain TCP, which only tests on the loopback interface want.
    pub plain_agents: bool,
    /// What registering a tunnel costs.
    pub tunnel_price: Cents,
    /// How a machine is woken.
    pub wake: Option<WakeHook>,
    /// How many visitors wait for that, and how long.
    pub wake_limits: WakeLimits,
    /// What bodies may hold together, in octets, that are read whole to check whose they are.
    pub max_body_bytes: usize,
    /// When a tunnel is idle.
    pub idle_after: Duration,
    /// How visitors of `auto` ports are told apart, and how long one of them may be silent.
    pub detector: Detector,
    /// By what times to live and months are counted.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            zone: "adit.localhost".to_owned(),
            agents: local(7000),
            http: local(8080),
            https: local(8443),
            quic: Some(local(8443)),
            waiting_agents: super::doors::WAITING,
            waiting_crowd: super::doors::CROWD,
            quic_unproven: 1_024,
            admin: local(9090),
            tcp_address: Ipv4Addr::LOCALHOST.into(),
            tcp_ports: (35_000, 35_999),
            udp_ports: (19_000, 19_999),
            port_hold: Duration::from_secs(300),
            udp_limits: UdpFlowLimits::new().max_flows(1_000),
            proxy_from: Vec::new(),
            certificates: None,
            client_ca: Vec::new(),
            state: PathBuf::from("adit-state"),
            answer_deadline: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            custom_domains: Vec::new(),
            certificate_lifetime: Duration::from_secs(90 * 86_400),
            acme: None,
            plain_agents: false,
            tunnel_price: Cents::ZERO,
            wake: None,
            wake_limits: WakeLimits::new(),
            max_body_bytes: 256 * 1024 * 1024,
            idle_after: Duration::from_secs(300),
            detector: Detector::new(),
            clock: Clock::default(),
        }
    }
}

impl Config {
    /// Everything on free ports of the loopback interface, with state in `state`; `ports` are for TCP and for UDP.
    pub fn on_loopback(state: PathBuf, ports: (u16, u16)) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            agents: any,
            http: any,
            https: any,
            quic: Some(any),
            admin: any,
            tcp_ports: ports,
            udp_ports: ports,
            state,
            ..Self::default()
        }
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
        let mut custom_domains = Vec::new();
        for text in self.custom_domain.iter().chain(&file.custom_domain) {
            custom_domains.push(custom_domain(text)?);
        }
        let acme = self.acme_directory.or(file.acme_directory).map(|directory| {
            let authority = Authority {
                directory,
                contact: self.acme_contact.or(file.acme_contact),
                roots: self.acme_roots.or(file.acme_roots),
                agrees_to_terms: self.acme_agree_to_terms || file.acme_agree_to_terms,
            };
            let challenge = self.acme_challenge.or(file.acme_challenge).unwrap_or(ChallengeKind::Http01);
            (authority, challenge)
        });
        let mut udp_limits = default.udp_limits;
        if let Some(flows) = self.udp_flows.or(file.udp_flows) {
            udp_limits = udp_limits.max_flows(flows);
        }
        if let Some(times) = self.udp_answer_ratio.or(file.udp_answer_ratio) {
            udp_limits = udp_limits.answer_ratio(times);
        }
        let lifetime = self.certificate_seconds.or(file.certificate_seconds);
        Ok(Config {
            zone: self.zone.or(file.zone).unwrap_or(default.zone),
            agents: self.agents.or(file.agents).unwrap_or(default.agents),
            http: self.http.or(file.http).unwrap_or(default.http),
            https: self.https.or(file.https).unwrap_or(default.https),
            quic: self.quic.or(file.quic).or(default.quic),
            waiting_agents: default.waiting_agents,
            waiting_crowd: default.waiting_crowd,
            quic_unproven: self.quic_unproven.or(file.quic_unproven).unwrap_or(default.quic_unproven),
            admin: self.admin.or(file.admin).unwrap_or(default.admin),
            tcp_address: self.tcp_address.or(file.tcp_address).unwrap_or(default.tcp_address),
            tcp_ports: self.tcp_ports.or(file.tcp_ports).unwrap_or(default.tcp_ports),
            udp_ports: self.udp_ports.or(file.udp_ports).unwrap_or(default.udp_ports),
            port_hold: self
                .port_hold_seconds
                .or(file.port_hold_seconds)
                .map_or(default.port_hold, Duration::from_secs),
            udp_limits,
            proxy_from: self.proxy_from.or(file.proxy_from).unwrap_or(default.proxy_from),
            certificates: self.certificates.or(file.certificates),
            client_ca: self.client_ca.or(file.client_ca).unwrap_or(default.client_ca),
            state: self.state.or(file.state).unwrap_or(default.state),
            answer_deadline: default.answer_deadline,
            drain: self.drain_seconds.or(file.drain_seconds).map_or(default.drain, Duration::from_secs),
            custom_domains,
            certificate_lifetime: lifetime.map_or(default.certificate_lifetime, Duration::from_secs),
            acme,
            plain_agents: self.plain_agents || file.plain_agents,
            tunnel_price: self.tunnel_cents.or(file.tunnel_cents).map_or(default.tunnel_price, Cents::new),
            wake: self.wake_command.or(file.wake_command).map(WakeHook::command),
            wake_limits: default.wake_limits,
            max_body_bytes: default.max_body_bytes,
            idle_after: self
                .idle_seconds
                .or(file.idle_seconds)
                .map_or(default.idle_after, Duration::from_secs),
            detector: default.detector,
            clock: default.clock,
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

fn network(text: &str) -> Result<SourceNetwork, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn networks_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<SourceNetwork>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    let networks = texts.map(|texts| texts.iter().map(|text| network(text)).collect());
    networks.transpose().map_err(serde::de::Error::custom)
}

/// `NAME=FILE`.
fn name_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err(format!("`{text}` is no NAME=FILE; try my-app=clients.pem")),
    }
}

fn names_and_files_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<(String, PathBuf)>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    let pairs = texts.map(|texts| texts.iter().map(|text| name_and_file(text)).collect());
    pairs.transpose().map_err(serde::de::Error::custom)
}

/// `domain=name`.
fn custom_domain(text: &str) -> Result<(CustomDomain, TunnelName), String> {
    let (domain, name) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not like vault.example=my-vault"))?;
    let domain = CustomDomain::parse(domain).map_err(|error| format!("`{domain}`: {error}"))?;
    let name = TunnelName::parse(name).map_err(|error| format!("`{name}`: {error}"))?;
    Ok((domain, name))
}

fn challenge(text: &str) -> Result<ChallengeKind, String> {
    [ChallengeKind::Http01, ChallengeKind::TlsAlpn01]
        .into_iter()
        .find(|kind| kind.to_string() == text)
        .ok_or_else(|| format!("`{text}` is neither http-01 nor tls-alpn-01"))
}

fn challenge_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ChallengeKind>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| challenge(&text).map_err(serde::de::Error::custom)).transpose()
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
        let file: Flags =
            toml::from_str("proxy-from = [\"10.0.0.0/8\"]\nclient-ca = [\"my-app=clients.pem\"]").unwrap();
        assert_eq!(file.proxy_from.unwrap()[0].to_string(), "10.0.0.0/8");
        assert_eq!(file.client_ca.unwrap(), [("my-app".to_owned(), PathBuf::from("clients.pem"))]);
        assert!(toml::from_str::<Flags>("proxy-from = [\"10.0.0.1/8\"]").is_err());
        assert!(toml::from_str::<Flags>("client-ca = [\"my-app\"]").is_err());
    }

    #[test]
    fn a_custom_domain_leads_to_a_name_and_a_challenge_has_one() {
        let (domain, name) = custom_domain("vault.example=my-vault").unwrap();
        assert_eq!((domain.as_str(), name.as_str()), ("vault.example", "my-vault"));
        for wrong in ["vault.example", "=my-vault", "localhost=my-vault", "vault.example=-"] {
            assert!(custom_domain(wrong).is_err(), "{wrong}");
        }
        assert_eq!(challenge("tls-alpn-01"), Ok(ChallengeKind::TlsAlpn01));
        assert!(challenge("dns-01").is_err());
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
