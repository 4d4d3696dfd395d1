//! Links for outsiders: who has one gets in, on its terms, until it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use adit_naming::{Description, ShareName};
use data_encoding::HEXLOWER;
use http::Method;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::limit::Limiter;
use super::{Moment, PolicyError, Rate};

/// The part of a share's link that nobody can guess: 128 random bits, written as 32 small hexadecimal digits. Shown once,
/// never kept.
#[derive(Clone)]
pub struct ShareKey(Zeroizing<[u8; 16]>);

impl ShareKey {
    /// The key of these random bits; they must come from a cryptographic source.
    #[must_use]
    pub fn from_random(random: u128) -> Self {
        Self(Zeroizing::new(random.to_be_bytes()))
    }

    /// Reads a key in its one spelling.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 16]);
        let length = (text.len() == 32).then(|| HEXLOWER.decode_mut(text, &mut *key).ok())??;
        (length == 16).then_some(Self(key))
    }

    /// The text, to show it to its owner this once.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&*self.0))
    }

    fn id(&self) -> ShareId {
        let digest = Sha256::new().chain_update(b"adit share").chain_update(*self.0).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        ShareId(u128::from_be_bytes(id))
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareKey(redacted)")
    }
}

/// A share's number, for lists and for revoking: half the digest of its key, from which nobody gets the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(u128);

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ShareId {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_id.then(|| u128::from_str_radix(text, 16).ok());
        id.flatten().map(Self).ok_or(PolicyError::ShareId {})
    }
}

/// How long a share lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ShareExpiry {
    /// `1h`.
    Hour,
    /// `24h`: the default.
    #[default]
    Day,
    /// `7d`.
    Week,
    /// `30d`.
    Month,
    /// `never`: until it is revoked.
    Never,
}

impl ShareExpiry {
    /// The word, as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Never => "never",
        }
    }

    fn duration(self) -> Option<Duration> {
        let hours = match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
            Self::Never => return None,
        };
        Some(Duration::from_secs(hours * 3600))
    }
}

impl FromStr for ShareExpiry {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let all = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Never];
        all.into_iter().find(|expiry| expiry.as_str() == text).ok_or(PolicyError::ShareExpiry {})
    }
}

/// What to create a share with.
#[derive(Clone, Debug)]
pub struct NewShare {
    name: ShareName,
    description: Option<Description>,
    expiry: ShareExpiry,
    methods: Vec<Method>,
    rate: Option<Rate>,
}

impl NewShare {
    /// The highest rate of a share, in requests a minute.
    pub const MAX_PER_MINUTE: u32 = 1000;
    /// The most methods that can be listed.
    pub const MAX_METHODS: usize = 16;

    /// A share for 24 hours, for all methods, without a rate of its own.
    #[must_use]
    pub fn new(name: ShareName) -> Self {
        Self { name, description: None, expiry: ShareExpiry::default(), methods: Vec::new(), rate: None }
    }

    /// What its owner says about it.
    #[must_use]
    pub fn description(self, description: Description) -> Self {
        Self { description: Some(description), ..self }
    }

    /// How long it lives; 24 hours unless set.
    #[must_use]
    pub fn expiry(self, expiry: ShareExpiry) -> Self {
        Self { expiry, ..self }
    }

    /// Lets this method through, and with GET also HEAD; all are let through unless one is named. Exactly as spelled:
    /// methods are case-sensitive (RFC 9110 §9.1).
    ///
    /// # Errors
    /// [`PolicyError::Method`] for what is no method, or one too many.
    pub fn allow_method(mut self, method: &str) -> Result<Self, PolicyError> {
        allow_method(&mut self.methods, method)?;
        Ok(self)
    }

    /// Requests a minute, 1 to 1,000; without a limit of its own unless set.
    ///
    /// # Errors
    /// [`PolicyError::Rate`].
    pub fn requests_per_minute(self, requests: u32) -> Result<Self, PolicyError> {
        Ok(Self { rate: Some(Rate::within(requests, Self::MAX_PER_MINUTE)?), ..self })
    }
}

/// Adds a method to a list of those that may be used.
pub(super) fn allow_method(methods: &mut Vec<Method>, method: &str) -> Result<(), PolicyError> {
    let refused = PolicyError::Method { max_methods: NewShare::MAX_METHODS };
    // In small letters it would be another method than the one that is meant, and let nobody in.
    let is_method =
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match method.parse() {
        Ok(method) if is_method && methods.len() < NewShare::MAX_METHODS => methods.push(method),
        _ => return Err(refused),
    }
    Ok(())
}

/// Whether a list lets a method through; an empty one lets all through. HEAD may be used where GET may.
pub(super) fn is_allowed(methods: &[Method], method: &Method) -> bool {
    let counts_as = if *method == Method::HEAD { &Method::GET } else { method };
    methods.is_empty() || methods.contains(method) || methods.contains(counts_as)
}

/// A share, and what it has let in. Its terms never change.
#[derive(Debug)]
pub struct Share {
    id: ShareId,
    terms: NewShare,
    created: SystemTime,
    /// By the clock that only goes forward, and by the other one.
    end: Option<(Option<Instant>, SystemTime)>,
    /// Set once it was seen ended: no clock brings it back.
    is_over: AtomicBool,
    limiter: Option<Limiter>,
}

impl Share {
    /// A share that begins now, known by its key.
    #[must_use]
    pub fn new(key: &ShareKey, terms: NewShare, now: Moment) -> Self {
        let end = terms
            .expiry
            .duration()
            .and_then(|life| Some((now.instant().checked_add(life), now.system().checked_add(life)?)));
        let limiter = terms.rate.map(Limiter::new);
        Self { id: key.id(), terms, created: now.system(), end, is_over: AtomicBool::new(false), limiter }
    }

    /// A share that was kept elsewhere since `created`, and that ends when it would have ended.
    #[must_use]
    pub fn restored(id: ShareId, terms: NewShare, created: SystemTime, now: Moment) -> Self {
        let end = terms.expiry.duration().and_then(|life| {
            let end = created.checked_add(life)?;
            let left = end.duration_since(now.system()).unwrap_or_default();
            Some((now.instant().checked_add(left.min(life)), end))
        });
        let limiter = terms.rate.map(Limiter::new);
        Self { id, terms, created, end, is_over: AtomicBool::new(false), limiter }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShareId {
        self.id
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &ShareName {
        &self.terms.name
    }

    /// What its owner says about it.
    #[must_use]
    pub fn description(&self) -> Option<&Description> {
        self.terms.description.as_ref()
    }

    /// How long it lives.
    #[must_use]
    pub fn expiry(&self) -> ShareExpiry {
        self.terms.expiry
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// When it ends, by the clock that people set.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.end.map(|(_, end)| end)
    }

    /// The methods it lets through; empty for all.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.terms.methods
    }

    /// Requests a minute.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.terms.rate
    }

    /// Whether it has ended. Once it has, it stays so, whatever the clocks do (case A-10).
    #[must_use]
    pub fn is_over(&self, now: Moment) -> bool {
        let is_past = self.end.is_some_and(|(instant, system)| {
            now.system() >= system || instant.is_some_and(|instant| now.instant() >= instant)
        });
        if is_past {
            self.is_over.store(true, Ordering::Relaxed);
        }
        is_past || self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.end.and_then(|(instant, _)| instant)
    }

    pub(super) fn limiter(&self) -> Option<&Limiter> {
        self.limiter.as_ref()
    }
}

/// The shares of one tunnel, by the digests of their keys. A share of another tunnel is not among them, and so is no
/// other than one that never was (case A-16).
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// At most [`MAX_SHARES`](Self::MAX_SHARES).
    shares: BTreeMap<ShareId, Arc<Share>>,
}

impl Shares {
    /// The most shares a tunnel can have.
    pub const MAX_SHARES: usize = 1000;

    /// No shares.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a share. Those that have ended make room.
    ///
    /// # Errors
    /// [`PolicyError::TooManyShares`].
    pub fn add(&mut self, share: Arc<Share>, now: Moment) -> Result<(), PolicyError> {
        self.shares.retain(|_, share| !share.is_over(now));
        if self.shares.len() >= Self::MAX_SHARES {
            return Err(PolicyError::TooManyShares { max_shares: Self::MAX_SHARES });
        }
        self.shares.insert(share.id(), share);
        Ok(())
    }

    /// Revokes a share: from the next version of the policy on nobody gets in by it, and who is in is put out.
    pub fn revoke(&mut self, id: ShareId) -> Option<Arc<Share>> {
        self.shares.remove(&id)
    }

    /// All shares, ended ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Share>> {
        self.shares.values()
    }

    /// The share with this key that has not ended.
    pub(super) fn find(&self, key: &ShareKey, now: Moment) -> Option<&Arc<Share>> {
        self.get(key.id(), now)
    }

    pub(super) fn get(&self, id: ShareId, now: Moment) -> Option<&Arc<Share>> {
        self.shares.get(&id).filter(|share| !share.is_over(now))
    }
}
