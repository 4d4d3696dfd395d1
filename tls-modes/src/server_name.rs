use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A host name as a ClientHello may carry it (RFC 6066 §3): 1 to 253 octets, labels of 1 to 63 letters, digits,
/// hyphens and underscores, no hyphen at the edge of a label, no trailing dot, and a last label that is no number.
///
/// Compares and prints in lower case; [`raw`](Self::raw) has the bytes as sent. Being well formed says nothing about
/// who owns the name: whether it lies in a zone, and whose it is, is for the router to say.
///
/// ```
/// use adit_tls_modes::ServerName;
///
/// let name: ServerName = "My-App.Tunnel.Example".parse()?;
/// assert_eq!(name.as_str(), "my-app.tunnel.example");
/// assert_eq!(name.raw(), b"My-App.Tunnel.Example");
/// # Ok::<(), adit_tls_modes::ServerNameError>(())
/// ```
#[derive(Clone)]
pub struct ServerName {
    name: Box<str>,
    /// Only where it differs from `name`, which is rare.
    raw: Option<Box<str>>,
}

impl ServerName {
    /// Checks the bytes of a `host_name` entry.
    ///
    /// # Errors
    /// [`ServerNameError`] says which rule is broken. [`ServerNameError::IpLiteral`] is the one that a server should
    /// treat as if no name had been sent (RFC 6066 §3 forbids literals, but real clients send them).
    pub fn from_wire(host_name: &[u8]) -> Result<Self, ServerNameError> {
        if host_name.len() > MAX_NAME_BYTES {
            return Err(ServerNameError::TooLong { bytes: host_name.len() });
        }
        let Ok(text) = str::from_utf8(host_name) else {
            return Err(ServerNameError::ForbiddenByte);
        };
        if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
            return Err(ServerNameError::IpLiteral);
        }
        check_labels(text)?;
        Ok(Self::from_checked(text))
    }

    /// The name in lower case, ASCII, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The bytes as the client sent them.
    pub fn raw(&self) -> &[u8] {
        self.raw.as_ref().unwrap_or(&self.name).as_bytes()
    }

    /// Whether an HTTP authority names this host: equal without regard to case, after a port and one trailing dot
    /// of the authority are taken off.
    ///
    /// A request whose `Host` or `:authority` is not covered by the connection's server name must be answered 421
    /// (RFC 9110 §15.5.20) on that stream and forwarded nowhere, or a certificate for one tenant opens another.
    ///
    /// ```
    /// # use adit_tls_modes::ServerName;
    /// let name: ServerName = "a.tunnel.example".parse()?;
    /// assert!(name.covers_authority("A.Tunnel.Example:443"));
    /// assert!(!name.covers_authority("b.tunnel.example"));
    /// # Ok::<(), adit_tls_modes::ServerNameError>(())
    /// ```
    pub fn covers_authority(&self, authority: &str) -> bool {
        let host = match authority.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return false,
            None => authority,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case(&self.name)
    }

    fn from_checked(text: &str) -> Self {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Self { name: text.to_ascii_lowercase().into(), raw: Some(text.into()) }
        } else {
            Self { name: text.into(), raw: None }
        }
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_wire(text.as_bytes())
    }
}

impl PartialEq for ServerName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ServerName {}

impl std::hash::Hash for ServerName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why bytes are no [`ServerName`]. Nothing is kept of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerNameError {
    /// More than 253 octets (RFC 1035 §2.3.4).
    #[error("a name of {bytes} bytes is longer than 253")]
    TooLong {
        /// How many octets were given.
        bytes: usize,
    },
    /// A label of zero octets: an empty name, two dots in a row, or a dot at either end.
    #[error("a label of the name is empty")]
    EmptyLabel,
    /// A label of more than 63 octets.
    #[error("a label of {bytes} bytes is longer than 63")]
    LabelTooLong {
        /// How many octets the label has.
        bytes: usize,
    },
    /// An octet that is no letter, digit, hyphen, underscore or dot.
    #[error("the name holds a byte that no host name may hold")]
    ForbiddenByte,
    /// A hyphen at the start or the end of a label.
    #[error("a label of the name starts or ends with a hyphen")]
    EdgeHyphen,
    /// The last label is a decimal or hexadecimal number: some parsers would read an address here.
    #[error("the last label of the name is a number")]
    NumericEnd,
    /// An IPv4 or IPv6 address in its usual form.
    #[error("the name is an IP address")]
    IpLiteral,
}

fn check_labels(name: &str) -> Result<(), ServerNameError> {
    let mut last = "";
    for label in name.split('.') {
        check_label(label.as_bytes())?;
        last = label;
    }
    if is_number(last) { Err(ServerNameError::NumericEnd) } else { Ok(()) }
}

fn check_label(label: &[u8]) -> Result<(), ServerNameError> {
    let [first, .., last] = label else {
        return match label {
            [] => Err(ServerNameError::EmptyLabel),
            [b'-'] => Err(ServerNameError::EdgeHyphen),
            _ => check_bytes(label),
        };
    };
    check_bytes(label)?;
    if label.len() > MAX_LABEL_BYTES {
        return Err(ServerNameError::LabelTooLong { bytes: label.len() });
    }
    if *first == b'-' || *last == b'-' {
        return Err(ServerNameError::EdgeHyphen);
    }
    Ok(())
}

fn check_bytes(label: &[u8]) -> Result<(), ServerNameError> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if label.iter().all(is_allowed) { Ok(()) } else { Err(ServerNameError::ForbiddenByte) }
}

/// Whether `inet_aton` and its kin could take the label for part of an address (WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// RFC 1035 §2.3.4, without the root label and its length byte.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_may_not_be() {
        use ServerNameError as E;
        for (name, expected) in [
            ("", E::EmptyLabel),
            (".", E::EmptyLabel),
            ("a.", E::EmptyLabel),
            ("a..b", E::EmptyLabel),
            ("-", E::EdgeHyphen),
            ("-a.example", E::EdgeHyphen),
            ("a-.example", E::EdgeHyphen),
            ("*.example", E::ForbiddenByte),
            ("a b", E::ForbiddenByte),
            ("1.2.3.4", E::IpLiteral),
            ("::1", E::IpLiteral),
            ("127.1", E::NumericEnd),
            ("0x7f.0x1", E::NumericEnd),
            ("2130706433", E::NumericEnd),
            ("256.1.1.1", E::NumericEnd),
        ] {
            assert_eq!(name.parse::<ServerName>().unwrap_err(), expected, "{name:?}");
        }
    }

    #[test]
    fn hex_prefix_alone_is_a_number_and_longer_labels_are_not() {
        assert!("a.0x".parse::<ServerName>().is_err());
        assert!("a.0xyz".parse::<ServerName>().is_ok());
        assert!("4ever.example".parse::<ServerName>().is_ok());
    }

    #[test]
    fn authority_with_a_broken_port_is_not_covered() {
        let name: ServerName = "a.example".parse().unwrap();
        for authority in
            ["a.example:", "a.example:99999", "a.example:4 3", "a.example:443:1", "a.example..", "[::1]:443"]
        {
            assert!(!name.covers_authority(authority), "{authority}");
        }
        assert!(name.covers_authority("a.example."));
        assert!(name.covers_authority("a.example.:80"));
    }
}
