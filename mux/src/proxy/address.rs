//! Proxies and targets, as people write them.

use super::error::{ProxyUrlError, TargetError};
use data_encoding::BASE64;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use zeroize::Zeroizing;

/// An HTTP proxy: `[http://][user[:password]@]host[:port]`, as curl takes it; port 1080 if there is none.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    /// What stands behind `Basic`.
    credentials: Option<Zeroizing<String>>,
}

impl Proxy {
    /// Its name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is given a name and a password.
    pub const fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn credentials(&self) -> Option<&str> {
        self.credentials.as_ref().map(|credentials| credentials.as_str())
    }
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let rest = match text.trim().split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(ProxyUrlError::UnsupportedScheme),
            None => text.trim(),
        };
        // A password may hold a slash or an at sign, though it shouldn't: so from the end.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let place = place.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split_port(place).ok_or(ProxyUrlError::Host)?;
        let host = host_of(host).ok_or(ProxyUrlError::Host)?;
        let port = match port {
            Some(port) => port_of(port).ok_or(ProxyUrlError::Port)?,
            None => DEFAULT_PORT,
        };
        let credentials = user.map(basic).transpose()?;
        Ok(Self { host, port, credentials })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_credentials", &self.has_credentials())
            .finish()
    }
}

/// Where a connection is to lead. Printed as CONNECT has it: `host:port`, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In lower case, without brackets and without the root's dot.
    host: String,
    port: u16,
}

impl Target {
    /// `host` is a name or an address, with or without brackets.
    ///
    /// # Errors
    /// [`TargetError`] if it is neither: nothing may slip into a request.
    pub fn new(host: &str, port: u16) -> Result<Self, TargetError> {
        let host = host_of(host).ok_or(TargetError::Host)?;
        if port == 0 {
            return Err(TargetError::Port);
        }
        Ok(Self { host, port })
    }

    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// `host:port`.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = split_port(text).ok_or(TargetError::Host)?;
        Self::new(host, port.and_then(port_of).ok_or(TargetError::Port)?)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// curl's.
const DEFAULT_PORT: u16 = 1080;

/// RFC 1035 §2.3.4, without the root's octets.
const MAX_HOST_OCTETS: usize = 253;

/// Host and port, if there is one; `None` if brackets don't match.
pub(super) fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let is_bare = rest.is_empty();
        return Some((host, if is_bare { None } else { Some(rest.strip_prefix(':')?) }));
    }
    match place.split_once(':') {
        // More than one colon without brackets: an IPv6 address alone.
        Some((_, rest)) if rest.contains(':') => Some((place, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

pub(super) fn port_of(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

fn host_of(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(address).to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = !name.is_empty()
        && name.len() <= MAX_HOST_OCTETS
        && name.split('.').all(|label| !label.is_empty())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'));
    is_name.then(|| name.to_ascii_lowercase())
}

/// `user[:password]`, with escapes, as RFC 7617 has them sent.
fn basic(user: &str) -> Result<Zeroizing<String>, ProxyUrlError> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let name = unescaped(name)?;
    if name.contains(&b':') {
        return Err(ProxyUrlError::Credentials);
    }
    let mut pair = Zeroizing::new(name.to_vec());
    pair.push(b':');
    pair.extend_from_slice(&unescaped(password)?);
    if pair.iter().any(u8::is_ascii_control) {
        return Err(ProxyUrlError::Credentials);
    }
    Ok(Zeroizing::new(BASE64.encode(&pair)))
}

fn unescaped(text: &str) -> Result<Zeroizing<Vec<u8>>, ProxyUrlError> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
                let (high, low) = (digit(), digit());
                high.zip(low).map(|(high, low)| high << 4 | low).ok_or(ProxyUrlError::Credentials)?
            }
            octet => octet,
        };
        out.push(octet);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_as_curl_reads_it() {
        let rows = [
            ("http://proxy.example:3128", "proxy.example", 3128, None),
            ("HTTP://Proxy.Example:3128/", "proxy.example", 3128, None),
            ("proxy.example", "proxy.example", 1080, None),
            (" 192.0.2.1:8080 ", "192.0.2.1", 8080, None),
            ("http://[2001:db8::1]:8080", "2001:db8::1", 8080, None),
            ("http://me:pass@proxy.example:1", "proxy.example", 1, Some("me:pass")),
            ("me@proxy.example:1", "proxy.example", 1, Some("me:")),
            ("http://me:p%40s%2Fs%3a@proxy.example:1", "proxy.example", 1, Some("me:p@s/s:")),
            ("http://me:p@ss/word@proxy.example:1", "proxy.example", 1, Some("me:p@ss/word")),
        ];
        for (text, host, port, credentials) in rows {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!((proxy.host(), proxy.port()), (host, port), "{text}");
            assert_eq!(
                proxy.credentials(),
                credentials.map(|pair| BASE64.encode(pair.as_bytes())).as_deref()
            );
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_not_quoted() {
        let rows = [
            ("socks5://canary@proxy.example:1080", ProxyUrlError::UnsupportedScheme),
            ("https://canary@proxy.example", ProxyUrlError::UnsupportedScheme),
            ("http://canary@", ProxyUrlError::Host),
            ("http://canary@a b:1", ProxyUrlError::Host),
            ("http://canary@[::1:1", ProxyUrlError::Host),
            ("http://canary@proxy.example:", ProxyUrlError::Port),
            ("http://canary@proxy.example:0", ProxyUrlError::Port),
            ("http://canary@proxy.example:+80", ProxyUrlError::Port),
            ("http://canary@proxy.example:65536", ProxyUrlError::Port),
            ("http://canary%0d%0a@proxy.example", ProxyUrlError::Credentials),
            ("http://can%3aary@proxy.example", ProxyUrlError::Credentials),
            ("http://canary%zz@proxy.example", ProxyUrlError::Credentials),
            ("http://canary%4@proxy.example", ProxyUrlError::Credentials),
        ];
        for (text, expected) in rows {
            let error = text.parse::<Proxy>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn w29_a_proxys_password_is_not_debugged() {
        let proxy: Proxy = "http://me:canary@proxy.example:3128".parse().unwrap();
        let shown = format!("{proxy:?}");
        let encoded = BASE64.encode(b"me:canary");
        assert!(!shown.contains("canary") && !shown.contains(&encoded), "{shown}");
    }

    #[test]
    fn nothing_slips_into_a_request_with_a_target() {
        for (text, shown) in [
            ("gateway.example:443", "gateway.example:443"),
            ("Gateway.Example.:443", "gateway.example:443"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        for wrong in
            ["", ":1", "a", "a:", "a:0", "a..b:1", "a b:1", "a\r\nx:1", "a/b:1", "é:1", "[::1]", "[::1]x:1"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong:?}");
        }
        assert!(Target::new(&"a".repeat(254), 1).is_err());
        assert!(Target::new("a", 0).is_err());
    }
}
