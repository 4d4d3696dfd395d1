//! Where no proxy is wanted.

use super::Target;
use super::address::{port_of, split_port};
use ipnet::IpNet;
use std::net::IpAddr;

/// The list in NO_PROXY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bypass {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    place: Place,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Everywhere,
    /// The name and all names below it.
    Domain(String),
    Network(IpNet),
}

impl Bypass {
    /// Reads a list with commas or spaces between. What can't be read matches nothing, as in curl.
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Self { entries: entries.filter_map(Entry::parse).collect() }
    }

    pub(super) fn holds(&self, target: &Target) -> bool {
        let address = target.host().parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.entries.iter().any(|entry| entry.holds(target, address))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { place: Place::Everywhere, port: None });
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self { place: Place::Network(network), port: None });
        }
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(port) => Some(port_of(port)?),
            None => None,
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self { place: Place::Network(address.to_canonical().into()), port });
        }
        let name = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
        (!name.is_empty()).then(|| Self { place: Place::Domain(name.to_ascii_lowercase()), port })
    }

    fn holds(&self, target: &Target, address: Option<IpAddr>) -> bool {
        let is_there = match (&self.place, address) {
            (Place::Everywhere, _) => true,
            (Place::Network(network), Some(address)) => network.contains(&address),
            (Place::Domain(name), None) => is_below(target.host(), name),
            (Place::Network(_), None) | (Place::Domain(_), Some(_)) => false,
        };
        is_there && self.port.is_none_or(|port| port == target.port())
    }
}

/// Compared by labels: `notexample.com` isn't below `example.com`.
fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_as_people_expect() {
        let rows = [
            ("*", "gateway.example:443", true),
            ("other, *", "gateway.example:443", true),
            ("gateway.example", "gateway.example:443", true),
            ("GATEWAY.example", "gateway.Example:443", true),
            ("gateway.example.", "gateway.example:443", true),
            ("example", "gateway.example:443", true),
            (".gateway.example", "gateway.example:443", true),
            (".gateway.example", "a.gateway.example:443", true),
            ("*.gateway.example", "a.gateway.example:443", true),
            ("gateway.example", "notgateway.example:443", false),
            ("way.example", "gateway.example:443", false),
            ("gateway.example:443", "gateway.example:443", true),
            ("gateway.example:444", "gateway.example:443", false),
            ("a,gateway.example", "gateway.example:443", true),
            ("a gateway.example", "gateway.example:443", true),
            (" , ,", "gateway.example:443", false),
            ("", "gateway.example:443", false),
            ("gateway.example:x", "gateway.example:443", false),
            ("10.0.0.0/8", "10.1.2.3:443", true),
            ("10.0.0.0/8", "11.1.2.3:443", false),
            ("10.0.0.0/33", "10.1.2.3:443", false),
            ("10.1.2.3", "10.1.2.3:443", true),
            ("10.1.2.3:80", "10.1.2.3:443", false),
            ("2.3", "10.1.2.3:443", false),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]:443", true),
            ("2001:db8::/32", "[2001:db8::1]:443", true),
            ("2001:db8::1", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:443", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:444", "[2001:db8::1]:443", false),
            ("2001:db8::/32", "gateway.example:443", false),
        ];
        for (list, target, expected) in rows {
            let holds = Bypass::parse(list).holds(&target.parse().unwrap());
            assert_eq!(holds, expected, "{list:?} and {target}");
        }
    }
}
