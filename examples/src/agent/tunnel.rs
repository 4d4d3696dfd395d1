//! The agent's registration: what it asks for, and what it tells about the answer.

use super::config::{Config, Tunnel};
use super::report::Event;
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{Claim, Register, Registered, TlsMode};

/// Asks for the tunnel of the command line.
pub(super) fn wanted(tunnel: &Tunnel) -> Register {
    let claim = tunnel.name().map_or(Claim::Assigned, |name| Claim::Name(name.to_owned()));
    match tunnel {
        Tunnel::Http { .. } => Register::new(Protocol::HTTP, claim),
        Tunnel::Tls { .. } => {
            let mut register = Register::new(Protocol::HTTPS, claim);
            register.tls_mode = TlsMode::PASSTHROUGH;
            register
        }
        Tunnel::Tcp { public_port, .. } => {
            let mut register = Register::new(Protocol::TCP, claim);
            register.port = *public_port;
            register
        }
    }
}

/// What is told once the tunnel is public, with the command that a person would try next.
pub(super) fn serving(config: &Config, registered: &Registered) -> Event {
    let first = registered.addresses.first().cloned().unwrap_or_default();
    let r#try = match &config.tunnel {
        Tunnel::Http { .. } | Tunnel::Tls { .. } => curl(&first, &config.link.ca.display().to_string()),
        Tunnel::Tcp { .. } => first.replacen("tcp://", "nc ", 1).replace(':', " "),
    };
    Event::Serving {
        name: registered.name.clone(),
        addresses: registered.addresses.clone(),
        r#try,
        generation: registered.generation.as_u64(),
    }
}

/// The development authority is trusted by nobody, so curl has to be told.
fn curl(address: &str, ca: &str) -> String {
    match address.strip_prefix("https://") {
        Some(_) => format!("curl --cacert {ca} {address}"),
        None => format!("curl {address}"),
    }
}
