//! From where a tunnel may be visited.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Finding, PolicyError};

/// Networks that may visit, and networks that may not.
///
/// A denied network stays out even if a wider or narrower one is allowed. Without an allowed network, all are. The
/// address is the one that the connection came from, or that a trusted PROXY header named: never one that a visitor
/// wrote into a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRules {
    /// At most [`MAX_NETWORKS`](Self::MAX_NETWORKS), as is `deny`.
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl SourceRules {
    /// The most networks of either kind.
    pub const MAX_NETWORKS: usize = 64;

    /// Everybody may visit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a network visit: `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    ///
    /// # Errors
    /// [`PolicyError::Network`] if it is none, has bits beyond its length, or is one too many.
    pub fn allow(mut self, network: &str) -> Result<Self, PolicyError> {
        self.allow.push(parse(network, self.allow.len())?);
        Ok(self)
    }

    /// Keeps a network out.
    ///
    /// # Errors
    /// As for [`allow`](Self::allow).
    pub fn deny(mut self, network: &str) -> Result<Self, PolicyError> {
        self.deny.push(parse(network, self.deny.len())?);
        Ok(self)
    }

    /// Why this address gets in, or why it doesn't.
    pub(super) fn check(&self, address: IpAddr) -> Result<Finding, Finding> {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        match () {
            () if is_in(&self.deny) => Err(Finding::SourceDenied),
            () if self.allow.is_empty() => Ok(Finding::AnySource),
            () if is_in(&self.allow) => Ok(Finding::SourceAllowed),
            () => Err(Finding::SourceNotAllowed),
        }
    }
}

fn parse(text: &str, present: usize) -> Result<IpNet, PolicyError> {
    let refused = || PolicyError::Network { max_networks: SourceRules::MAX_NETWORKS };
    let address = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    let network = text.parse::<IpNet>().or_else(|_| address()).map_err(|_| refused())?;
    // A network with bits beyond its length is a slip of the pen: nobody can say which was meant.
    let is_clear = network.trunc() == network && present < SourceRules::MAX_NETWORKS;
    is_clear.then_some(network).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_network_stays_out_of_an_allowed_one() {
        let rules = SourceRules::new().allow("192.0.2.0/24").unwrap().deny("192.0.2.64/26").unwrap();
        let rules = rules.allow("2001:db8::/32").unwrap().allow("203.0.113.7").unwrap();
        for (address, found) in [
            ("192.0.2.1", Ok(Finding::SourceAllowed)),
            ("::ffff:192.0.2.1", Ok(Finding::SourceAllowed)),
            ("192.0.2.65", Err(Finding::SourceDenied)),
            ("2001:db8:1::1", Ok(Finding::SourceAllowed)),
            ("203.0.113.7", Ok(Finding::SourceAllowed)),
            ("203.0.113.8", Err(Finding::SourceNotAllowed)),
        ] {
            assert_eq!(rules.check(address.parse().unwrap()), found, "{address}");
        }
        assert_eq!(SourceRules::new().check("203.0.113.8".parse().unwrap()), Ok(Finding::AnySource));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "example.com", "192.0.2.0/24 ", "2001:db8::1/32"] {
            assert!(SourceRules::new().allow(text).is_err(), "{text:?}");
        }
        let mut rules = SourceRules::new();
        for number in 0..SourceRules::MAX_NETWORKS {
            rules = rules.deny(&format!("192.0.2.{number}")).unwrap();
        }
        assert!(rules.deny("203.0.113.1").is_err(), "one too many");
    }
}
