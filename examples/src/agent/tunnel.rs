//! The agent's registration: what it asks for, and what it tells about the answer.

use super::config::{Config, Tunnel};
use super::report::{Event, Secret};
use adit_naming::{Endpoint, Service};
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{Claim, Register, Registered, TlsMode};

/// Asks for the tunnel of the command line.
pub(super) fn wanted(config: &Config) -> Register {
    let mut register = kind(&config.tunnel);
    config.terms.apply(&mut register);
    register
}

/// What visitors of an authenticated tunnel present, if it has just been made: it is shown this once.
pub(super) fn token(registered: &Registered) -> Option<Event> {
    let token = registered.visitor_token.as_ref()?;
    Some(Event::VisitorToken { token: Secret(token.reveal().to_owned()) })
}

fn kind(tunnel: &Tunnel) -> Register {
    let claim = tunnel.name().map_or(Claim::Assigned, |name| Claim::Name(name.to_owned()));
    match tunnel {
        Tunnel::Http { .. } => Register::new(Protocol::HTTP, claim),
        Tunnel::Tls { .. } => {
            let mut register = Register::new(Protocol::HTTPS, claim);
            register.tls_mode = TlsMode::PASSTHROUGH;
            register
        }
        Tunnel::Tcp { public_port, .. } => on_port(Register::new(Protocol::TCP, claim), *public_port),
        Tunnel::Udp { public_port, .. } => on_port(Register::new(Protocol::UDP, claim), *public_port),
        Tunnel::Auto { public_port, .. } => on_port(Register::new(Protocol::AUTO, claim), *public_port),
    }
}

fn on_port(mut register: Register, port: Option<u16>) -> Register {
    register.port = port;
    register
}

/// What is told once the tunnel is public, with the command that a person would try next.
pub(super) fn serving(config: &Config, registered: &Registered) -> Event {
    let r#try = match (registered.addresses.first(), &config.tunnel) {
        (None, _) => format!("agent reach {} --local-port 0", registered.name),
        (Some(first), Tunnel::Http { .. } | Tunnel::Tls { .. }) => {
            curl(first, &config.link.ca.display().to_string())
        }
        (Some(first), Tunnel::Udp { .. }) => first.replacen("udp://", "nc -u ", 1).replace(':', " "),
        (Some(first), Tunnel::Tcp { upstream, .. } | Tunnel::Auto { upstream, .. }) => {
            connection_string(first, upstream.address().1)
        }
    };
    Event::Serving {
        name: registered.name.clone(),
        addresses: registered.addresses.clone(),
        r#try,
        generation: registered.generation.as_u64(),
    }
}

/// What people paste to reach a TCP service: by what the port of the upstream is known for, or else a plain client.
fn connection_string(address: &str, upstream_port: u16) -> String {
    let plain = || address.replacen("tcp://", "nc ", 1).replace(':', " ");
    match (Endpoint::parse(address), Service::choose(Some(Service::Tcp), upstream_port)) {
        (Ok(_), Service::Tcp) | (Err(_), _) => plain(),
        (Ok(endpoint), service) => endpoint.connect_with(service).to_string(),
    }
}

/// The development authority is trusted by nobody, so curl has to be told.
fn curl(address: &str, ca: &str) -> String {
    match address.strip_prefix("https://") {
        Some(_) => format!("curl --cacert {ca} {address}"),
        None => format!("curl {address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_tunnel_is_reached_by_what_its_upstream_is_known_for() {
        let show = |port| connection_string("tcp://127.0.0.1:35432", port);
        assert_eq!(show(5432), "postgresql://127.0.0.1:35432/");
        assert_eq!(show(6379), "redis://127.0.0.1:35432/");
        assert_eq!(show(1), "nc 127.0.0.1 35432");
    }
}
