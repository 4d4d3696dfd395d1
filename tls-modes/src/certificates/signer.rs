use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use crate::certificates::ApprovedRequest;

/// Whoever turns an approved request into a certificate: a local authority, or a public one by ACME, which is why the
/// answer may take its time.
pub trait Signer: Send + Sync {
    /// Signs, or says why not.
    fn sign<'a>(&'a self, request: &'a ApprovedRequest, issuance: Issuance) -> SignFuture<'a>;
}

/// What [`Signer::sign`] gives: independent of any runtime.
pub type SignFuture<'a> = Pin<Box<dyn Future<Output = Result<IssuedCertificate, SignError>> + Send + 'a>>;

/// The circumstances of one issuance.
///
/// A signer that can't choose them, as ACME, takes them as wishes.
#[derive(Clone, Copy, Debug)]
pub struct Issuance {
    now: SystemTime,
    serial: [u8; SERIAL_BYTES],
    lifetime: Duration,
    backdate: Duration,
}

impl Issuance {
    /// For 90 days from `now`, and valid from 5 minutes before it, for clocks that are slow.
    ///
    /// `random` becomes the serial number: 16 fresh random bytes for each certificate, 127 bits of which are used
    /// (RFC 5280 §4.1.2.2 asks for a positive number; unpredictable ones also protect a weak digest).
    pub fn new(now: SystemTime, random: [u8; 16]) -> Self {
        let mut serial = random;
        if let Some(first) = serial.first_mut() {
            // Positive, and never with a leading zero, so that all serials have the same length.
            *first = *first & 0x7f | 0x40;
        }
        Self { now, serial, lifetime: DEFAULT_LIFETIME, backdate: DEFAULT_BACKDATE }
    }

    /// Sets for how long the certificate is valid, counted from now. Default 90 days. Cut to the issuer's own end.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets how far before now the certificate becomes valid. Default 5 minutes, at most 1 hour.
    #[must_use]
    pub fn backdate(mut self, backdate: Duration) -> Self {
        self.backdate = backdate.min(MAX_BACKDATE);
        self
    }

    /// The time of signing.
    pub const fn now(&self) -> SystemTime {
        self.now
    }

    /// The serial number, big-endian, positive.
    pub const fn serial(&self) -> &[u8; SERIAL_BYTES] {
        &self.serial
    }

    /// First and last moment of validity, before any cut to the issuer's.
    ///
    /// # Errors
    /// [`SignError::Clock`] if a moment is beyond what `SystemTime` can say.
    pub fn validity(&self) -> Result<(SystemTime, SystemTime), SignError> {
        let not_before = self.now.checked_sub(self.backdate).ok_or(SignError::Clock)?;
        let not_after = self.now.checked_add(self.lifetime).ok_or(SignError::Clock)?;
        Ok((not_before, not_after))
    }
}

/// A certificate with the chain that leads to its authority.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedCertificate {
    /// The certificate first, then what a peer needs to reach an authority that it trusts.
    pub chain: Vec<CertificateDer<'static>>,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
}

impl IssuedCertificate {
    /// For signers of one's own.
    pub const fn new(
        chain: Vec<CertificateDer<'static>>,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Self {
        Self { chain, not_before, not_after }
    }
}

/// Why nothing was signed. Unlike a [`CsrError`](crate::CsrError) this is not the requester's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The clock stands before the start or behind the end of the authority's own certificate, or is beyond counting.
    #[error("the clock is outside the validity of the certificate authority")]
    Clock,
    /// Signing failed; ask again later.
    #[error("signing failed: {source}")]
    #[non_exhaustive]
    Failed {
        /// What the signer said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl SignError {
    /// Wraps the failure of a signer.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { source: source.into() }
    }
}

const SERIAL_BYTES: usize = 16;
const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3_600);
const DEFAULT_BACKDATE: Duration = Duration::from_secs(5 * 60);
const MAX_BACKDATE: Duration = Duration::from_secs(3_600);
