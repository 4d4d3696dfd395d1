//! From a host to what it names.

use alloc::{boxed::Box, vec::Vec};

use thiserror::Error;

use crate::{CustomDomainRef, Host, KeyLabelRef, PortPrefix, TunnelNameRef, Zone, zone::ends_in_number};

/// The zones of a gateway: what tells its own hosts from custom domains and from those of others.
///
/// ```
/// use adit_naming::{Destination, Host, HostSource, Zone, Zones};
///
/// let zones = Zones::new([Zone::parse("tunnel.example").unwrap()]).unwrap();
/// let host = Host::parse(b"my-app.tunnel.example", HostSource::Header).unwrap();
/// let Destination::TunnelByName { name, zone } = zones.classify(&host) else { panic!() };
/// assert_eq!((name.as_str(), zone.as_str()), ("my-app", "tunnel.example"));
/// ```
#[derive(Clone, Debug)]
pub struct Zones {
    /// Sorted by domain, without doubles.
    zones: Box<[Zone]>,
    /// Every domain that a zone lies in, sorted: `example` for `tunnel.example`.
    parents: Box<[Box<str>]>,
    /// Whether a zone lies in another.
    nested: bool,
}

impl Zones {
    /// Takes the zones of a gateway, in any order. None at all is fine for one that serves custom domains only.
    ///
    /// One zone may lie in another (`eu.tunnel.example` in `tunnel.example`): a host belongs to the innermost, and the
    /// outer one can't have a tunnel `eu`; [`Zones::is_reachable`] tells.
    ///
    /// # Errors
    /// [`ZonesError::Twice`] if a zone is given twice.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Result<Self, ZonesError> {
        let mut zones: Vec<Zone> = zones.into_iter().collect();
        zones.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        if let Some(pair) = zones.windows(2).find(|pair| pair[0].as_str() == pair[1].as_str()) {
            return Err(ZonesError::Twice { zone: pair[0].as_str().into() });
        }
        let mut parents: Vec<Box<str>> =
            zones.iter().flat_map(|zone| ancestors(zone.as_str())).map(Into::into).collect();
        parents.sort();
        parents.dedup();
        let nested =
            zones.iter().any(|zone| parents.binary_search_by(|parent| (**parent).cmp(zone.as_str())).is_ok());
        Ok(Self { zones: zones.into(), parents: parents.into(), nested })
    }

    /// Says what a host names. Allocates nothing and takes time that grows with the host's labels and the logarithm of
    /// the number of zones.
    ///
    /// Domains are compared label by label: `notunnel.example` has nothing to do with the zone `tunnel.example`.
    #[inline]
    pub fn classify<'a>(&'a self, host: &'a Host) -> Destination<'a> {
        // Nearly all requests are for a tunnel in a zone, so that is asked first; a zone that lies in another is the exception.
        match host.split_first_label() {
            Some((label, rest)) => {
                self.classify_labels(label, rest, || host.domain().unwrap_or_default(), host.is_plain())
            }
            None => host.domain().map_or(Destination::Foreign, |domain| self.classify_single(domain)),
        }
    }

    /// The zone with exactly this domain.
    #[inline]
    pub fn zone(&self, domain: &str) -> Option<&Zone> {
        // Nearly every gateway has a handful, and most differ in length, so comparing beats searching.
        if self.zones.len() <= FEW {
            return self.zones.iter().find(|zone| zone.as_str() == domain);
        }
        let at = self.zones.binary_search_by(|zone| zone.as_str().cmp(domain)).ok()?;
        self.zones.get(at)
    }

    /// All zones, in the order of their domains.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// Whether a tunnel of this name can be reached in `zone`: its host is no zone of its own, none lies below it, and it
    /// isn't read as a port and a key.
    pub fn is_reachable(&self, name: TunnelNameRef<'_>, zone: &Zone) -> bool {
        let host = zone.host_of(name);
        zone.can_hold(name) && self.zone(&host).is_none() && !self.is_parent(&host)
    }

    /// Whether a tenant's domain may be registered beside these zones: it is none of them, nor in or above one.
    pub fn can_serve(&self, domain: CustomDomainRef<'_>) -> bool {
        matches!(self.classify_domain(domain.as_str()), Destination::Custom { .. })
    }

    fn classify_domain<'a>(&'a self, domain: &'a str) -> Destination<'a> {
        match domain.split_once('.') {
            Some((label, rest)) => self.classify_labels(label, rest, || domain, false),
            None => self.classify_single(domain),
        }
    }

    fn classify_single<'a>(&'a self, domain: &'a str) -> Destination<'a> {
        self.zone(domain).map_or(Destination::Foreign, |zone| Destination::Zone { zone })
    }

    #[inline]
    fn classify_labels<'a>(
        &'a self,
        label: &'a str,
        rest: &'a str,
        domain: impl Fn() -> &'a str,
        is_plain: bool,
    ) -> Destination<'a> {
        let outer = self.zone(rest);
        match outer {
            Some(zone) if !self.nested => in_zone(label, zone, is_plain).unwrap_or(Destination::Foreign),
            Some(_) | None => self.classify_outside(label, outer, rest, domain(), is_plain),
        }
    }

    fn classify_outside<'a>(
        &'a self,
        label: &'a str,
        outer: Option<&'a Zone>,
        rest: &'a str,
        domain: &'a str,
        is_plain: bool,
    ) -> Destination<'a> {
        // The whole host first: a zone may lie in another.
        if let Some(zone) = self.zone(domain) {
            return Destination::Zone { zone };
        }
        if let Some(zone) = outer {
            return in_zone(label, zone, is_plain).unwrap_or(Destination::Foreign);
        }
        if self.is_parent(domain) || self.is_inside(rest) || ends_in_number(domain) {
            return Destination::Foreign;
        }
        CustomDomainRef::of_host(domain, is_plain)
            .map_or(Destination::Foreign, |domain| Destination::Custom { domain })
    }

    /// Whether `domain`, itself no zone, lies in one.
    fn is_inside(&self, domain: &str) -> bool {
        if self.zones.len() <= FEW {
            return self.zones.iter().any(|zone| is_below(domain, zone.as_str()));
        }
        ancestors(domain).any(|outer| self.zone(outer).is_some())
    }

    fn is_parent(&self, domain: &str) -> bool {
        self.parents.binary_search_by(|parent| (**parent).cmp(domain)).is_ok()
    }
}

/// What a host names. Whether a tunnel or a custom domain of that name exists is for the route table to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a gateway decides about each of them; there is no sixth kind")]
pub enum Destination<'a> {
    /// `{name}.{zone}`.
    TunnelByName {
        /// The zone.
        zone: &'a Zone,
        /// The name, by the rules valid.
        name: TunnelNameRef<'a>,
    },
    /// `{port}-{key}.{zone}`, in a zone that has such hosts.
    TunnelByKey {
        /// The zone.
        zone: &'a Zone,
        /// The port behind the agent, 1–65535.
        port: u16,
        /// The key, not yet opened.
        key: KeyLabelRef<'a>,
    },
    /// The zone itself, where a gateway has its own site.
    Zone {
        /// The zone.
        zone: &'a Zone,
    },
    /// Neither in a zone nor above one: perhaps a domain that a tenant brought along.
    Custom {
        /// The domain.
        domain: CustomDomainRef<'a>,
    },
    /// Certainly nothing of ours: an address, a single label, something in a zone that can't be a tunnel (two labels, an
    /// underscore, `xn--`), or a domain above a zone. The answer is the one for a name that doesn't exist (case R-03).
    Foreign,
}

/// Why zones don't go together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZonesError {
    /// The same domain twice.
    #[error("the zone {zone} is given twice")]
    Twice {
        /// The domain.
        zone: Box<str>,
    },
}

/// What the first label means in a zone; `None` if it can be neither name nor port and key.
#[inline]
fn in_zone<'a>(label: &'a str, zone: &'a Zone, is_plain: bool) -> Option<Destination<'a>> {
    if zone.has_port_keys()
        && let Some(prefix) = PortPrefix::of(label)
    {
        return Some(Destination::TunnelByKey {
            zone,
            port: prefix.port()?,
            key: prefix.key_of_host(is_plain)?,
        });
    }
    TunnelNameRef::of_host(label, is_plain).map(|name| Destination::TunnelByName { zone, name })
}

/// Up to how many zones are compared one by one.
const FEW: usize = 4;

fn is_below(domain: &str, zone: &str) -> bool {
    domain.strip_suffix(zone).is_some_and(|inner| inner.ends_with('.'))
}

/// The domains above `domain`, the nearest first.
fn ancestors(domain: &str) -> impl Iterator<Item = &str> {
    core::iter::successors(Some(domain), |inner| inner.split_once('.').map(|(_, outer)| outer)).skip(1)
}

#[cfg(test)]
mod tests;
