//! The public part of a credential.

use std::fmt;
use std::str::FromStr;

use super::CredentialError;

/// What a credential is for; its prefix says it, so that leak scanners find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CredentialKind {
    /// `adk_`: a capability token. It lets an agent register whatever its grant allows.
    CapabilityToken,
    /// `ads_`: the connect secret of one tunnel.
    ConnectSecret,
}

impl CredentialKind {
    /// The four characters in front.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::CapabilityToken => "adk_",
            Self::ConnectSecret => "ads_",
        }
    }
}

/// The public part of a credential: prefix and 16 hex digits, as `adk_0123456789abcdef`. It may stand in logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId {
    kind: CredentialKind,
    nonce: u64,
}

impl CredentialId {
    /// The length of an id as text, in octets.
    pub const TEXT_BYTES: usize = 20;

    /// The id with these 64 bits, which are to be random.
    pub const fn new(kind: CredentialKind, nonce: u64) -> Self {
        Self { kind, nonce }
    }

    /// What the credential is for.
    pub const fn kind(self) -> CredentialKind {
        self.kind
    }

    /// The public nonce: the number that the 16 hex digits show.
    pub const fn nonce(self) -> u64 {
        self.nonce
    }
}

impl FromStr for CredentialId {
    type Err = CredentialError;

    /// Reads the one way in which an id is written: a known prefix, then exactly 16 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let (kind, digits) = if let Some(digits) = text.strip_prefix("adk_") {
            (CredentialKind::CapabilityToken, digits)
        } else if let Some(digits) = text.strip_prefix("ads_") {
            (CredentialKind::ConnectSecret, digits)
        } else {
            return Err(CredentialError::Prefix);
        };
        let lower_hex = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        if digits.len() != 16 || !digits.bytes().all(lower_hex) {
            return Err(CredentialError::Form);
        }
        let nonce = u64::from_str_radix(digits, 16).map_err(|_| CredentialError::Form)?;
        Ok(Self { kind, nonce })
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", self.kind.prefix(), self.nonce)
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
