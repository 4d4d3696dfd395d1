//! Whose signature a delivery bears: the three schemes, each exactly as its vendor documents it.

use std::fmt;
use std::time::{Duration, SystemTime};

use adit_errors::{Code, Refusal};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use sha2::Sha256;
use subtle::Choice;
use zeroize::Zeroizing;

use crate::compare;

/// How a vendor signs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validator {
    /// `X-Hub-Signature-256: sha256=<hex>` over the body.
    Github,
    /// `X-Slack-Signature: v0=<hex>` over `v0:<timestamp>:<body>`, with `X-Slack-Request-Timestamp` at most 300 s off.
    Slack,
    /// The tag alone in a header of the vendor's own, over the body.
    GenericHmacSha256 {
        /// The header.
        header: HeaderName,
        /// How the tag is written.
        encoding: SignatureEncoding,
    },
}

impl Validator {
    /// The validator that the API names; `header` and `encoding` are for `generic_hmac_sha256`.
    ///
    /// # Errors
    /// [`ValidatorError`]: names that are not wired, `dodo` among them, and a generic one without a usable header.
    pub fn parse(name: &str, header: Option<&str>, encoding: Option<&str>) -> Result<Self, ValidatorError> {
        match name {
            "github" => Ok(Self::Github),
            "slack" => Ok(Self::Slack),
            "generic_hmac_sha256" => Ok(Self::GenericHmacSha256 {
                header: header.and_then(|name| name.parse().ok()).ok_or(ValidatorError::Header {})?,
                encoding: match encoding {
                    None | Some("hex") => SignatureEncoding::Hex,
                    Some("base64") => SignatureEncoding::Base64,
                    Some(_) => return Err(ValidatorError::Encoding {}),
                },
            }),
            _ => Err(ValidatorError::Unknown {}),
        }
    }

    /// Whether the delivery is signed with one of the secrets. Whatever is wrong with it, the same work is done: one tag
    /// for each secret, compared in full (case G-22).
    pub(super) fn is_valid(
        &self,
        secrets: &[WebhookSecret],
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> bool {
        let claimed = self.claimed_tag(headers);
        let prefix = self.signed_prefix(headers);
        let is_fresh = self.is_fresh(headers, now);
        let is_equal = secrets.iter().fold(Choice::from(0), |is_equal, secret| {
            is_equal | compare::is_equal(&secret.tag(&prefix, body), &claimed.unwrap_or_default())
        });
        bool::from(is_equal) & claimed.is_some() & is_fresh
    }

    /// What tells this delivery from all others of the sender, if it has that.
    pub(super) fn delivery_id<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        match self {
            Self::Github => single(headers, &X_GITHUB_DELIVERY),
            // Time and body are under the signature.
            Self::Slack => single(headers, &X_SLACK_SIGNATURE),
            Self::GenericHmacSha256 { .. } => None,
        }
    }

    fn claimed_tag(&self, headers: &HeaderMap) -> Option<[u8; TAG]> {
        match self {
            Self::Github => hex_tag(single(headers, &X_HUB_SIGNATURE_256)?.strip_prefix(b"sha256=")?),
            Self::Slack => hex_tag(single(headers, &X_SLACK_SIGNATURE)?.strip_prefix(b"v0=")?),
            Self::GenericHmacSha256 { header, encoding } => match encoding {
                SignatureEncoding::Hex => hex_tag(single(headers, header)?),
                SignatureEncoding::Base64 => base64_tag(single(headers, header)?),
            },
        }
    }

    /// What is signed before the body.
    fn signed_prefix(&self, headers: &HeaderMap) -> Vec<u8> {
        match self {
            Self::Github | Self::GenericHmacSha256 { .. } => Vec::new(),
            Self::Slack => {
                let timestamp = single(headers, &X_SLACK_REQUEST_TIMESTAMP).unwrap_or_default();
                let timestamp = timestamp.get(..MAX_DIGITS).unwrap_or(timestamp);
                [b"v0:", timestamp, b":"].concat()
            }
        }
    }

    fn is_fresh(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        match self {
            Self::Github | Self::GenericHmacSha256 { .. } => true,
            Self::Slack => {
                single(headers, &X_SLACK_REQUEST_TIMESTAMP).and_then(seconds).is_some_and(|signed| {
                    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    now.as_secs().abs_diff(signed) <= SLACK_WINDOW.as_secs()
                })
            }
        }
    }
}

/// How a generic signature is written. Both are read strictly: one spelling of a tag, but capitals in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureEncoding {
    /// 64 hexadecimal digits.
    Hex,
    /// The standard alphabet with padding (RFC 4648 §4).
    Base64,
}

/// A secret shared with a vendor: never shown, wiped when dropped.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Box<[u8]>>);

impl WebhookSecret {
    /// Takes a secret of 1 to 1,024 bytes.
    ///
    /// # Errors
    /// [`SecretError`] for any other length: with an empty one everybody can sign.
    pub fn new(secret: impl Into<Box<[u8]>>) -> Result<Self, SecretError> {
        let secret = Zeroizing::new(secret.into());
        match secret.len() {
            1..=MAX_SECRET_BYTES => Ok(Self(secret)),
            length => Err(SecretError::Length { length }),
        }
    }

    fn tag(&self, prefix: &[u8], body: &[u8]) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(prefix);
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

/// A secret that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Empty or too long.
    #[error("a webhook secret has 1 to 1024 bytes, not {length}")]
    Length {
        /// Bytes given.
        length: usize,
    },
}

/// A validator that can't be provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidatorError {
    /// The name is not that of a validator which is wired.
    #[error("the validators are github, slack and generic_hmac_sha256")]
    Unknown {},
    /// The generic validator needs the name of a header.
    #[error("generic_hmac_sha256 needs a signature_header that is a header's name")]
    Header {},
    /// The generic validator knows two encodings.
    #[error("signature_encoding is hex or base64")]
    Encoding {},
}

impl From<&SecretError> for Refusal {
    fn from(error: &SecretError) -> Self {
        Self::new(Code::VALIDATION_FAILED, error.to_string())
    }
}

impl From<&ValidatorError> for Refusal {
    fn from(error: &ValidatorError) -> Self {
        Self::new(Code::VALIDATION_FAILED, error.to_string())
    }
}

/// The value of a field that stands there once. Of two, each reader might take another.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn hex_tag(text: &[u8]) -> Option<[u8; TAG]> {
    (text.len() == TAG * 2).then(|| HEXLOWER_PERMISSIVE.decode(text).ok())??.try_into().ok()
}

fn base64_tag(text: &[u8]) -> Option<[u8; TAG]> {
    (text.len() == BASE64.encode_len(TAG)).then(|| BASE64.decode(text).ok())??.try_into().ok()
}

fn seconds(text: &[u8]) -> Option<u64> {
    let is_number = (1..=MAX_DIGITS).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

const X_HUB_SIGNATURE_256: HeaderName = HeaderName::from_static("x-hub-signature-256");
const X_GITHUB_DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
const X_SLACK_SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
const X_SLACK_REQUEST_TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
/// How far Slack's time may be off, either way, by its documentation.
const SLACK_WINDOW: Duration = Duration::from_secs(300);
/// Digits of a timestamp; 10 are enough until the year 2286.
const MAX_DIGITS: usize = 12;
const MAX_SECRET_BYTES: usize = 1024;
/// Bytes of an HMAC-SHA256.
const TAG: usize = 32;
