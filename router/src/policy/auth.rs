//! Who a visitor is: by a token in a field of our own, by name and password, by a share, or nobody in particular.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::{BasicUsers, Finding, PolicyError, SecretDigest};

/// The field in which visitors of an authenticated tunnel present their token: `Bearer {token}`. `Authorization` is the
/// upstream's.
pub const PRIVATE_AUTHORIZATION: HeaderName = HeaderName::from_static("x-adit-authorization");

/// The same field under the name that Runloop's clients use.
pub const RUNLOOP_AUTHORIZATION: HeaderName = HeaderName::from_static("x-runloop-tunnel-authorization");

/// Who may visit a tunnel. Each of the modes but [`Open`](Self::Open) also lets in who has a share.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum AuthMode {
    /// Everybody. Shares mean nothing here.
    #[default]
    Open,
    /// Who presents one of these tokens: at most [`MAX_TOKENS`](Self::MAX_TOKENS), the newest first.
    Authenticated(Vec<SecretDigest>),
    /// Who gives a name and a password.
    Basic(BasicUsers),
    /// Who has a share, and nobody else: to all others the tunnel looks like one that never was.
    Shares,
}

impl AuthMode {
    /// The most tokens of one tunnel: all are compared at each request.
    pub const MAX_TOKENS: usize = 8;

    /// The mode with one token; for a rotation, two.
    ///
    /// # Errors
    /// [`PolicyError::TooManyTokens`] with none, or more than [`MAX_TOKENS`](Self::MAX_TOKENS).
    pub fn authenticated(tokens: impl IntoIterator<Item = SecretDigest>) -> Result<Self, PolicyError> {
        let tokens: Vec<_> = tokens.into_iter().take(Self::MAX_TOKENS + 1).collect();
        match tokens.len() {
            1..=Self::MAX_TOKENS => Ok(Self::Authenticated(tokens)),
            _ => Err(PolicyError::TooManyTokens { max_tokens: Self::MAX_TOKENS }),
        }
    }

    /// The mode's name, as the APIs spell it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Authenticated(_) => "authenticated",
            Self::Basic(_) => "basic",
            Self::Shares => "shares",
        }
    }
}

/// What was presented, as far as a mode looks at it.
#[derive(Debug)]
pub(super) enum Presented {
    Nothing,
    /// The secret that was presented is known; it is told by its digest.
    Known(SecretDigest),
    Wrong,
    /// More than one, of which each reader might take another.
    Doubled,
}

/// Looks for the token of an authenticated tunnel. Not in the query, not in a cookie: those end up in logs (case A-08).
pub(super) fn token(headers: &HeaderMap, tokens: &[SecretDigest]) -> Presented {
    let ours = headers.get_all(PRIVATE_AUTHORIZATION);
    let mut fields = ours.iter().chain(headers.get_all(RUNLOOP_AUTHORIZATION));
    let Some(field) = fields.next() else { return Presented::Nothing };
    if fields.next().is_some() {
        return Presented::Doubled;
    }
    match credential(field.as_bytes(), b"bearer").filter(|token| is_token(token)).map(SecretDigest::of) {
        Some(digest) if digest.is_among(tokens) => Presented::Known(digest),
        Some(_) | None => Presented::Wrong,
    }
}

/// Looks for a name and a password.
pub(super) fn user(headers: &HeaderMap, users: &BasicUsers) -> Presented {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Presented::Nothing };
    if fields.next().is_some() {
        return Presented::Doubled;
    }
    match credential(field.as_bytes(), b"basic").and_then(|pair| users.find(pair)) {
        Some(digest) => Presented::Known(digest),
        None => Presented::Wrong,
    }
}

/// Whether `Authorization` stands there twice: then the upstream might read another one than whoever stands between.
pub(super) fn is_doubled(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().nth(1).is_some()
}

/// What follows the scheme, in whatever capitals, and one space (RFC 9110 §11.4).
fn credential<'a>(field: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = field.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| rest.strip_prefix(b" "))?
}

/// The `token68` of RFC 9110 §11.2, of at most [`MAX_TOKEN_BYTES`].
fn is_token(token: &[u8]) -> bool {
    let is_in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.iter().all(is_in_token)
}

/// The finding for a mode in which somebody is known.
pub(super) fn known_by(mode: &AuthMode) -> Finding {
    match mode {
        AuthMode::Open => Finding::OpenToAll,
        AuthMode::Authenticated(_) => Finding::TokenKnown,
        AuthMode::Basic(_) => Finding::PasswordKnown,
        AuthMode::Shares => Finding::ShareHolds,
    }
}

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 512;
