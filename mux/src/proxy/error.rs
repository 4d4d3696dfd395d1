//! What may be wrong, without a word of what was secret.

use std::io;
use std::time::Duration;

/// Why an address is no proxy's. The address isn't quoted: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// A proxy of another kind, such as SOCKS.
    #[error("only http:// proxies are supported")]
    UnsupportedScheme,
    /// No host, or one that is none.
    #[error("the proxy's host is missing or not a host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the proxy's port is not a port")]
    Port,
    /// A name or password with a colon in the name, a control character, or an escape that is none.
    #[error("the proxy's user name or password can't be sent")]
    Credentials,
}

/// Which variable holds an address that is no proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {source}")]
#[non_exhaustive]
pub struct SettingsError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub source: ProxyUrlError,
}

/// Why something can't be asked of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither an IP address nor a name of letters, digits, hyphens, underscores and dots, of 253 octets at most.
    #[error("not a host name and not an address")]
    Host,
    /// Port 0, or none.
    #[error("not a port")]
    Port,
}

/// Why a proxy doesn't lead to the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// 407: the proxy wants a name and password, or doesn't take these. Trying again changes nothing: fix the settings.
    #[error("the proxy asks for {}", if *.had_credentials { "other credentials" } else { "credentials" })]
    AuthenticationRequired {
        /// Whether some were sent.
        had_credentials: bool,
    },
    /// The proxy answered, and doesn't lead there. 5xx may be different later.
    #[error("the proxy refused with status {status}")]
    Refused {
        /// The HTTP status: 403 by its rules, 502 or 504 if it can't reach the target.
        status: u16,
    },
    /// What answers is no HTTP proxy.
    #[error("what answers there is no HTTP proxy")]
    NotHttp,
    /// The head of the proxy's answer is too long.
    #[error("the proxy's answer has a head of over {limit} octets")]
    HeadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The proxy closed the connection before it had answered.
    #[error("the proxy closed the connection without an answer")]
    Closed,
    /// The proxy took too long.
    #[error("the proxy did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection to the proxy failed: {}", source.kind())]
    Io {
        /// What the operating system says.
        #[from]
        source: io::Error,
    },
}
