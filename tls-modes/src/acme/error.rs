use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use crate::acme::{BoardError, ChallengeKind};

/// Why a certificate authority gave no certificate. Nothing changed here; [`next`](Self::next) says what to do.
///
/// The authority's own words are left out: they may hold names and addresses that logs should not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// No answer came back.
    #[error("the certificate authority can't be reached: {source}")]
    #[non_exhaustive]
    Transport {
        /// What the transport said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The authority refused, with an error document (RFC 8555 §6.7) or with a status of its server.
    #[error("the certificate authority refused: {problem}")]
    #[non_exhaustive]
    Refused {
        /// What kind of refusal it is.
        problem: AcmeProblem,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// The authority looked for the answer to a challenge and did not find it: the name does not lead to this gateway,
    /// or not yet, or somebody on the way refused.
    #[error("the certificate authority did not find the answer to a challenge: {problem}")]
    #[non_exhaustive]
    ChallengeFailed {
        /// What it met.
        problem: AcmeProblem,
    },
    /// The authority does not offer the kind of challenge that is set.
    #[error("the certificate authority offers no {kind} challenge")]
    #[non_exhaustive]
    NoChallenge {
        /// The kind.
        kind: ChallengeKind,
    },
    /// The answer to the challenge was not posted.
    #[error("{source}")]
    #[non_exhaustive]
    Board {
        /// Why.
        source: BoardError,
    },
    /// The authority took longer than we wait.
    #[error("the certificate authority did not finish in time")]
    #[non_exhaustive]
    TimedOut {},
    /// The authority's answer is not what RFC 8555 says.
    #[error("the certificate authority gave a malformed answer")]
    #[non_exhaustive]
    Malformed {},
    /// The authority asked about a name that was not ordered, or certified another key, other names or no time at all.
    #[error("the certificate authority did not certify what was ordered")]
    #[non_exhaustive]
    Unordered {},
    /// The account's key can't be read or can't sign.
    #[error("the key of the account is of no use")]
    #[non_exhaustive]
    AccountKey {},
}

impl AcmeError {
    /// What to do next.
    pub fn next(&self) -> AcmeNext {
        match self {
            Self::Refused { retry_after: Some(wait), .. } => AcmeNext::RetryAfter { wait: *wait },
            Self::Refused { problem, .. } => problem.next(),
            Self::ChallengeFailed { .. } => AcmeNext::CheckNames,
            Self::Transport { .. } | Self::TimedOut {} | Self::Malformed {} => AcmeNext::RetryLater,
            Self::Board { source: BoardError::Busy | BoardError::Full | BoardError::Certificate } => {
                AcmeNext::RetryLater
            }
            Self::Board { source: BoardError::Token } => AcmeNext::RetryLater,
            Self::NoChallenge { .. } | Self::Unordered {} => AcmeNext::ChangeOrder,
            Self::AccountKey {} => AcmeNext::CheckAccount,
        }
    }
}

/// What to do about an [`AcmeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcmeNext {
    /// Order again after the wait that the authority asked for.
    RetryAfter {
        /// The wait, counted from now.
        wait: Duration,
    },
    /// Order again with backoff; [`retry_after`](crate::retry_after) has one.
    RetryLater,
    /// Look at DNS, CAA records, firewalls and the ports of the gateway; then order again, with backoff, since failed
    /// validations are counted.
    CheckNames,
    /// Look at the account: its key, the terms of service, an external account that is asked for.
    CheckAccount,
    /// The same order will be refused again: order other names, another key, another kind of challenge.
    ChangeOrder,
}

/// A kind of refusal (RFC 8555 §6.7): the last part of `urn:ietf:params:acme:error:…`, or what stands for it where an
/// authority gave none. Kinds that are not listed here are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeProblem(Cow<'static, str>);

impl AcmeProblem {
    /// Too many requests; the answer says when to come again.
    pub const RATE_LIMITED: Self = Self(Cow::Borrowed("rateLimited"));
    /// The account may not do this.
    pub const UNAUTHORIZED: Self = Self(Cow::Borrowed("unauthorized"));
    /// The nonce was refused, also the fresh ones after it.
    pub const BAD_NONCE: Self = Self(Cow::Borrowed("badNonce"));
    /// The request was refused for what is in it.
    pub const BAD_CSR: Self = Self(Cow::Borrowed("badCSR"));
    /// The key is not certified.
    pub const BAD_PUBLIC_KEY: Self = Self(Cow::Borrowed("badPublicKey"));
    /// The name is not certified.
    pub const REJECTED_IDENTIFIER: Self = Self(Cow::Borrowed("rejectedIdentifier"));
    /// Names of this kind are not certified.
    pub const UNSUPPORTED_IDENTIFIER: Self = Self(Cow::Borrowed("unsupportedIdentifier"));
    /// The account does not exist, or no longer.
    pub const ACCOUNT_DOES_NOT_EXIST: Self = Self(Cow::Borrowed("accountDoesNotExist"));
    /// The account has to be tied to one that exists elsewhere.
    pub const EXTERNAL_ACCOUNT_REQUIRED: Self = Self(Cow::Borrowed("externalAccountRequired"));
    /// The terms of service have to be agreed to.
    pub const USER_ACTION_REQUIRED: Self = Self(Cow::Borrowed("userActionRequired"));
    /// The contact is of a form that is not taken.
    pub const INVALID_CONTACT: Self = Self(Cow::Borrowed("invalidContact"));
    /// CAA records forbid it.
    pub const CAA: Self = Self(Cow::Borrowed("caa"));
    /// The name does not resolve.
    pub const DNS: Self = Self(Cow::Borrowed("dns"));
    /// The server of the name can't be reached.
    pub const CONNECTION: Self = Self(Cow::Borrowed("connection"));
    /// The server of the name gave another answer.
    pub const INCORRECT_RESPONSE: Self = Self(Cow::Borrowed("incorrectResponse"));
    /// The server of the name failed in TLS.
    pub const TLS: Self = Self(Cow::Borrowed("tls"));
    /// The authority's own fault.
    pub const SERVER_INTERNAL: Self = Self(Cow::Borrowed("serverInternal"));
    /// The order came to nothing, and the authority does not say why. Not of RFC 8555.
    pub const INVALID_ORDER: Self = Self(Cow::Borrowed("invalidOrder"));

    /// The kind, at most 64 letters, digits and hyphens.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of_type(text: Option<&str>) -> Self {
        let kind = text.and_then(|text| text.strip_prefix("urn:ietf:params:acme:error:")).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if (1..=MAX_KIND_BYTES).contains(&kind.len()) && kind.bytes().all(is_plain) {
            Self(Cow::Owned(kind.into()))
        } else {
            Self::SERVER_INTERNAL
        }
    }

    fn next(&self) -> AcmeNext {
        let is_one_of = |kinds: &[Self]| kinds.contains(self);
        if is_one_of(&[Self::CAA, Self::DNS, Self::CONNECTION, Self::INCORRECT_RESPONSE, Self::TLS]) {
            AcmeNext::CheckNames
        } else if is_one_of(&[
            Self::UNAUTHORIZED,
            Self::ACCOUNT_DOES_NOT_EXIST,
            Self::EXTERNAL_ACCOUNT_REQUIRED,
            Self::USER_ACTION_REQUIRED,
            Self::INVALID_CONTACT,
        ]) {
            AcmeNext::CheckAccount
        } else if is_one_of(&[
            Self::BAD_CSR,
            Self::BAD_PUBLIC_KEY,
            Self::REJECTED_IDENTIFIER,
            Self::UNSUPPORTED_IDENTIFIER,
        ]) {
            AcmeNext::ChangeOrder
        } else {
            AcmeNext::RetryLater
        }
    }
}

impl std::fmt::Display for AcmeProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

const MAX_KIND_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_kept_if_they_are_plain() {
        let kind = |text| AcmeProblem::of_type(Some(text));
        assert_eq!(kind("urn:ietf:params:acme:error:rateLimited"), AcmeProblem::RATE_LIMITED);
        assert_eq!(kind("urn:ietf:params:acme:error:newKind").as_str(), "newKind");
        let long = format!("urn:ietf:params:acme:error:{}", "x".repeat(65));
        for odd in ["about:blank", "urn:ietf:params:acme:error:", "urn:ietf:params:acme:error:a\nb", &long] {
            assert_eq!(kind(odd), AcmeProblem::SERVER_INTERNAL);
        }
        assert_eq!(AcmeProblem::of_type(None), AcmeProblem::SERVER_INTERNAL);
    }

    #[test]
    fn every_kind_has_a_next_step() {
        for (problem, next) in [
            (AcmeProblem::RATE_LIMITED, AcmeNext::RetryLater),
            (AcmeProblem::BAD_NONCE, AcmeNext::RetryLater),
            (AcmeProblem::SERVER_INTERNAL, AcmeNext::RetryLater),
            (AcmeProblem::CAA, AcmeNext::CheckNames),
            (AcmeProblem::UNAUTHORIZED, AcmeNext::CheckAccount),
            (AcmeProblem::USER_ACTION_REQUIRED, AcmeNext::CheckAccount),
            (AcmeProblem::BAD_CSR, AcmeNext::ChangeOrder),
            (AcmeProblem::REJECTED_IDENTIFIER, AcmeNext::ChangeOrder),
        ] {
            assert_eq!(AcmeError::Refused { problem, retry_after: None }.next(), next);
        }
        let wait = Duration::from_secs(60);
        let limited = AcmeError::Refused { problem: AcmeProblem::RATE_LIMITED, retry_after: Some(wait) };
        assert_eq!(limited.next(), AcmeNext::RetryAfter { wait });
        assert_eq!(AcmeError::Board { source: BoardError::Busy }.next(), AcmeNext::RetryLater);
    }
}
