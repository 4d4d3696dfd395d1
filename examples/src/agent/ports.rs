//! Ports of the local service's host that visitors may name, by hosts of the form `{port}-{key}` (SPEC 10).

use adit_naming::PortPrefix;
use adit_wire_proto::{Protocol, StreamHead};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A port, or all from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(RangeInclusive<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first != 0 && first <= last => Ok(Self(first..=last)),
            _ => Err(format!("`{text}` is neither a port nor two of them; try 3000 or 8000-8100")),
        }
    }
}

/// The port to connect to for the visitor in `head`: `own`, or the one that the visitor's host names, if it is `allowed`.
pub(super) fn chosen(head: &StreamHead, allowed: &[Ports], own: u16) -> Option<u16> {
    match named(head) {
        Some(port) if port == own || allowed.iter().any(|Ports(ports)| ports.contains(&port)) => Some(port),
        Some(_) => None,
        None => Some(own),
    }
}

/// The port in the visitor's host. A head's port is a public one where the host doesn't say the same.
fn named(head: &StreamHead) -> Option<u16> {
    let is_http = [Protocol::HTTP, Protocol::GRPC].contains(&head.protocol());
    let label = head.host().filter(|_| is_http)?.split('.').next()?;
    let port = PortPrefix::of(label)?.port()?;
    (head.port() == Some(port)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!("3000".parse(), Ok(Ports(3000..=3000)));
        assert_eq!("8000-8100".parse(), Ok(Ports(8000..=8100)));
        for wrong in ["", "0", "0-9", "9-8", "65536", "1-", "-1", "a"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn r25_only_ports_that_the_owner_allowed_are_connected_to() {
        let allowed = ["3000-3001".parse().unwrap()];
        for (protocol, host, port, wanted) in [
            (Protocol::HTTP, "3000-k.example", 3000, Some(3000)),
            (Protocol::HTTP, "3001-k.example", 3001, Some(3001)),
            (Protocol::HTTP, "8080-k.example", 8080, Some(8080)),
            (Protocol::HTTP, "22-k.example", 22, None),
            // An auto port, a name, and what the gateway had no host for.
            (Protocol::HTTP, "my-app.example", 22, Some(8080)),
            (Protocol::HTTP, "3000-k.example", 22, Some(8080)),
            (Protocol::HTTP, "", 22, Some(8080)),
            (Protocol::TCP, "22-k.example", 22, Some(8080)),
        ] {
            let head = StreamHead::builder(protocol).host(host).port(port).build();
            assert_eq!(chosen(&head.unwrap(), &allowed, 8080), wanted, "{host} {port}");
        }
    }
}
