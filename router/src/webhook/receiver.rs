//! A receiver: deliveries in, a verdict about each out.

use std::time::{Duration, SystemTime};

use adit_errors::{Code, Refusal};
use http::HeaderMap;

use super::memory::Memory;
use super::signature::{SecretError, Validator, WebhookSecret};

/// A webhook receiver of one tenant: what it knows to judge deliveries. Storing them is the caller's.
///
/// A delivery whose signature doesn't hold is no error: it is taken, marked as such, and answered 202 like a good one, so
/// that whoever probes learns nothing. But at most 60 a minute are taken, and they are never remembered, so that they push
/// out nothing.
#[derive(Clone, Debug)]
pub struct Receiver {
    validator: Validator,
    /// One, or two while one replaces the other.
    secrets: Vec<WebhookSecret>,
    /// Deliveries with a good signature; at most [`Receiver::MAX_REMEMBERED`].
    memory: Memory,
    invalid: Minute,
}

impl Receiver {
    /// The largest body: 25 MiB, as much as GitHub sends.
    pub const MAX_BODY_BYTES: usize = 25 * 1024 * 1024;

    /// How many good deliveries are remembered to know a second one by.
    pub const MAX_REMEMBERED: usize = 10_000;

    /// Deliveries without a good signature that are taken in a minute.
    pub const MAX_INVALID_PER_MINUTE: u32 = 60;

    /// A receiver with one secret.
    #[must_use]
    pub fn new(validator: Validator, secret: WebhookSecret) -> Self {
        Self {
            validator,
            secrets: vec![secret],
            memory: Memory::new(Self::MAX_REMEMBERED),
            invalid: Minute::default(),
        }
    }

    /// A receiver that takes nothing: judge deliveries to receivers that don't exist with it, and answer 404. That takes
    /// the same work as a real one, so that time doesn't tell which exist (case G-23).
    ///
    /// # Errors
    /// [`SecretError`] as for any secret; give random bytes.
    pub fn decoy(random_secret: [u8; 32]) -> Result<Self, SecretError> {
        WebhookSecret::new(random_secret).map(|secret| Self::new(Validator::Github, secret))
    }

    /// Takes `secret` beside the newest one; an older one is no longer good. For rotations.
    pub fn rotate(&mut self, secret: WebhookSecret) {
        self.secrets.truncate(1);
        self.secrets.insert(0, secret);
    }

    /// Ends a rotation: only the newest secret is good.
    pub fn finish_rotation(&mut self) {
        self.secrets.truncate(1);
    }

    /// Judges a delivery. `body` are the bytes after transfer decoding and before content decoding, as they were signed
    /// (case G-10).
    ///
    /// # Errors
    /// [`WebhookError`]: don't store it, answer as the refusal says.
    pub fn receive(
        &mut self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Received, WebhookError> {
        if body.len() > Self::MAX_BODY_BYTES {
            return Err(WebhookError::TooLarge { max_bytes: Self::MAX_BODY_BYTES });
        }
        if !self.validator.is_valid(&self.secrets, headers, body, now) {
            self.invalid.count(now)?;
            return Ok(Received { is_signature_valid: false, is_duplicate: false });
        }
        let id = self.validator.delivery_id(headers);
        let is_duplicate = id.is_some_and(|id| self.memory.is_known(id));
        Ok(Received { is_signature_valid: true, is_duplicate })
    }
}

/// A delivery to store, answered 202.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Whether the signature holds. If not, nothing in the body may be trusted.
    pub is_signature_valid: bool,
    /// Whether the same delivery came before.
    pub is_duplicate: bool,
}

/// A delivery that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The body is too large (413).
    #[error("a delivery has at most {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Too many deliveries without a good signature (429).
    #[error("too many deliveries; try again in {} s", .retry_after.as_secs().max(1))]
    RateLimited {
        /// When the next one is taken.
        retry_after: Duration,
    },
}

impl From<&WebhookError> for Refusal {
    fn from(error: &WebhookError) -> Self {
        match error {
            WebhookError::TooLarge { .. } => Self::new(Code::PAYLOAD_TOO_LARGE, error.to_string()),
            WebhookError::RateLimited { retry_after } => {
                Self::new(Code::RATE_LIMITED, error.to_string()).with_retry_after(*retry_after)
            }
        }
    }
}

/// Counts in windows of a minute. A clock that steps back begins a new one.
#[derive(Clone, Debug, Default)]
struct Minute {
    since: Option<SystemTime>,
    count: u32,
}

impl Minute {
    fn count(&mut self, now: SystemTime) -> Result<(), WebhookError> {
        let elapsed = self.since.and_then(|since| now.duration_since(since).ok());
        match elapsed.filter(|elapsed| *elapsed < MINUTE) {
            Some(elapsed) if self.count >= Receiver::MAX_INVALID_PER_MINUTE => {
                return Err(WebhookError::RateLimited { retry_after: MINUTE.saturating_sub(elapsed) });
            }
            Some(_) => self.count += 1,
            None => *self = Self { since: Some(now), count: 1 },
        }
        Ok(())
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
