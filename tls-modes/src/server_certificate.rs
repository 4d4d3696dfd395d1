use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::{ServerName, ServerNameError};

/// A certificate chain with its key, checked: they belong together, and the certificate is valid now. What names it
/// has is read from the certificate.
///
/// ```text
///   chain + key --- new(now) ---> ServerCertificate ---> Edge::install, LiveCertificate::replace
///                      |
///                      '--------> CertificateError: whatever was installed before stays
/// ```
#[derive(Clone)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    names: Box<[NamePattern]>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl ServerCertificate {
    /// Puts a chain, the server's certificate first, and its private key together.
    ///
    /// # Errors
    /// [`CertificateError`]; nothing has changed then.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::Unreadable)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::Unreadable)?;
        let (not_before, not_after) = validity(&leaf).ok_or(CertificateError::Unreadable)?;
        let names = dns_names(&leaf);
        if now < not_before {
            return Err(CertificateError::NotYetValid { not_before });
        }
        if now > not_after {
            return Err(CertificateError::Expired { not_after });
        }
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|_| CertificateError::Key)?;
        Ok(Self { certified: Arc::new(certified), names, not_before, not_after })
    }

    /// Whether the certificate is good for all names of the pattern.
    pub fn covers(&self, pattern: &NamePattern) -> bool {
        self.names.iter().any(|name| name.covers(pattern))
    }

    /// The DNS names in the certificate; those of other forms are left out.
    pub fn names(&self) -> &[NamePattern] {
        &self.names
    }

    /// First moment of validity.
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Last moment of validity.
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The chain, the server's certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The chain and the key in the form that rustls takes.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why a certificate can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none in the chain, or it can't be parsed.
    #[error("the chain does not start with a readable certificate")]
    Unreadable,
    /// It has expired: renew it, or look at the clock.
    #[error("the certificate has expired")]
    #[non_exhaustive]
    Expired {
        /// When.
        not_after: SystemTime,
    },
    /// It is not valid yet: wait, or look at the clock.
    #[error("the certificate is not valid yet")]
    #[non_exhaustive]
    NotYetValid {
        /// From when on it is.
        not_before: SystemTime,
    },
    /// The key is that of another certificate, or of a kind that the provider can't use.
    #[error("the private key does not belong to the certificate or cannot be used")]
    Key,
}

/// One host, or all hosts one label below another: `app.example` or `*.example`.
///
/// ```
/// use adit_tls_modes::NamePattern;
///
/// let pattern: NamePattern = "*.tunnel.example".parse()?;
/// assert!(pattern.matches(&"a.tunnel.example".parse()?));
/// assert!(!pattern.matches(&"a.b.tunnel.example".parse()?));
/// assert!(!pattern.matches(&"tunnel.example".parse()?));
/// # Ok::<(), adit_tls_modes::ServerNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NamePattern {
    is_wildcard: bool,
    /// The host, or what comes after `*.`.
    name: ServerName,
}

impl NamePattern {
    /// Exactly one host.
    pub const fn exact(name: ServerName) -> Self {
        Self { is_wildcard: false, name }
    }

    /// All hosts with exactly one label in front of `base`.
    pub const fn wildcard(base: ServerName) -> Self {
        Self { is_wildcard: true, name: base }
    }

    /// Whether the pattern is for this host (RFC 6125 §6.4.3: the wildcard is one whole label).
    pub fn matches(&self, name: &ServerName) -> bool {
        if self.is_wildcard {
            name.as_str().split_once('.').is_some_and(|(_, base)| base == self.name.as_str())
        } else {
            *name == self.name
        }
    }

    /// Whether this is a wildcard.
    pub const fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// The host, or the base of the wildcard.
    pub const fn name(&self) -> &ServerName {
        &self.name
    }

    fn covers(&self, other: &Self) -> bool {
        self == other || (!other.is_wildcard && self.matches(&other.name))
    }
}

impl FromStr for NamePattern {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("*.") {
            Some(base) => base.parse().map(Self::wildcard),
            None => text.parse().map(Self::exact),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.is_wildcard { "*." } else { "" };
        write!(f, "{wildcard}{}", self.name)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Option<(SystemTime, SystemTime)> {
    let validity = certificate.validity();
    Some((system_time(validity.not_before.timestamp())?, system_time(validity.not_after.timestamp())?))
}

fn system_time(unix_seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(unix_seconds.unsigned_abs());
    if unix_seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Box<[NamePattern]> {
    let Ok(Some(san)) = certificate.subject_alternative_name() else {
        return Box::default();
    };
    let dns_name = |name: &GeneralName<'_>| {
        let GeneralName::DNSName(name) = name else {
            return None;
        };
        name.parse().ok()
    };
    san.value.general_names.iter().filter_map(dns_name).collect()
}
