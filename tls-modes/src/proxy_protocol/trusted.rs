use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The networks whose word is taken for where a connection comes from. None by default: whoever may say so freely can be
/// anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedSources {
    networks: Box<[SourceNetwork]>,
}

impl TrustedSources {
    /// Trusts these networks, and no other.
    ///
    /// ```
    /// use adit_tls_modes::TrustedSources;
    ///
    /// let trusted = TrustedSources::new(["10.1.0.0/16".parse()?, "fd00::/8".parse()?]);
    /// assert!(trusted.contains("10.1.2.3".parse()?));
    /// assert!(!trusted.contains("192.0.2.1".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(networks: impl IntoIterator<Item = SourceNetwork>) -> Self {
        Self { networks: networks.into_iter().collect() }
    }

    /// Whether `source` lies in one of the networks. Looks at each of them.
    pub fn contains(&self, source: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(source))
    }
}

/// A network of addresses, written as `192.0.2.0/24`; a single address stands for itself.
///
/// IPv4 addresses in the IPv6 form `::ffff:192.0.2.1` count as IPv4, since sockets for both report them so.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceNetwork {
    /// Never an IPv4 address in IPv6 form. Invariant: zero from `prefix_bits` on.
    address: IpAddr,
    /// 0 to 32, or 0 to 128.
    prefix_bits: u8,
}

impl SourceNetwork {
    /// The network of the addresses that begin like `address`, for `prefix_bits` bits.
    ///
    /// # Errors
    /// [`SourceNetworkError`] if there are not so many bits, or if others of them are set: that is a slip of the pen, and
    /// nobody knows where.
    pub fn new(address: IpAddr, prefix_bits: u8) -> Result<Self, SourceNetworkError> {
        let (address, prefix_bits) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) => {
                (mapped, prefix_bits.saturating_sub(MAPPED_PREFIX_BITS))
            }
            (_, address) => (address, prefix_bits),
        };
        if prefix_bits > width(address) {
            return Err(SourceNetworkError::PrefixTooLong { prefix_bits, limit_bits: width(address) });
        }
        if masked(address, prefix_bits) != address {
            return Err(SourceNetworkError::HostBits { prefix_bits });
        }
        Ok(Self { address, prefix_bits })
    }

    /// Whether `source` lies in this network.
    pub fn contains(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        width(source) == width(self.address) && masked(source, self.prefix_bits) == self.address
    }
}

impl From<IpAddr> for SourceNetwork {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix_bits: width(address) }
    }
}

impl FromStr for SourceNetwork {
    type Err = SourceNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((address, prefix_bits)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| SourceNetworkError::NotANetwork);
        };
        let is_number = prefix_bits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_bits = prefix_bits.parse().ok().filter(|_| is_number);
        let address = address.parse().ok();
        let (address, prefix_bits) = address.zip(prefix_bits).ok_or(SourceNetworkError::NotANetwork)?;
        Self::new(address, prefix_bits)
    }
}

impl fmt::Debug for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Why something is no [`SourceNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceNetworkError {
    /// Neither an address nor an address, a slash and a number.
    #[error("neither an IP address nor a network such as 192.0.2.0/24")]
    NotANetwork,
    /// A longer prefix than addresses have bits.
    #[error("a prefix of {prefix_bits} bits is longer than an address of {limit_bits}")]
    PrefixTooLong {
        /// The prefix.
        prefix_bits: u8,
        /// 32 or 128.
        limit_bits: u8,
    },
    /// The address has bits set behind the prefix.
    #[error("the address has bits set behind the prefix of {prefix_bits} bits")]
    HostBits {
        /// The prefix.
        prefix_bits: u8,
    },
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    let host_bits = u32::from(width(address).saturating_sub(prefix_bits));
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
    }
}

/// `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> SourceNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::192.0.2.1"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "fe80::1", "1.2.3.4"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.0"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn slips_of_the_pen_are_refused() {
        use SourceNetworkError as E;
        for (text, error) in [
            ("", E::NotANetwork),
            ("10.0.0.0/", E::NotANetwork),
            ("10.0.0.0/+8", E::NotANetwork),
            ("10.0.0.0/8/8", E::NotANetwork),
            ("10.0.0/8", E::NotANetwork),
            ("10.0.0.0/256", E::NotANetwork),
            ("10.0.0.0/33", E::PrefixTooLong { prefix_bits: 33, limit_bits: 32 }),
            ("::/129", E::PrefixTooLong { prefix_bits: 129, limit_bits: 128 }),
            ("10.0.0.1/8", E::HostBits { prefix_bits: 8 }),
            ("fd00::1/8", E::HostBits { prefix_bits: 8 }),
        ] {
            assert_eq!(text.parse::<SourceNetwork>(), Err(error), "{text}");
        }
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
    }
}
