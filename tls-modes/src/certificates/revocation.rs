use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::ReasonCode;

/// The certificates that an authority takes back before their time: a value that the caller keeps, which
/// [`LocalCa::sign_revocations`](crate::LocalCa::sign_revocations) turns into a list for clients (a CRL, RFC 5280 §5).
///
/// ```text
///   revoke(serial, reason) --> RevocationList --- sign_revocations ---> CRL: serve it, and keep it
///                                    ^                                   |
///                                    '---------- from_crl --------------'  at the next start
/// ```
///
/// The last CRL is all there is to keep. Entries stay until their certificate has expired for certain, so that the list
/// is as long as what was revoked within the longest lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// At most `max_entries`.
    entries: BTreeMap<CertificateSerial, Revoked>,
    max_entries: usize,
    /// Of the last CRL that was signed; they count from 1.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Revoked {
    at: SystemTime,
    reason: RevocationReason,
}

impl RevocationList {
    /// An empty list for at most `max_entries` certificates: each takes about 100 bytes here and 45 in the CRL.
    pub const fn new(max_entries: usize) -> Self {
        Self { entries: BTreeMap::new(), max_entries, number: 0 }
    }

    /// Reads a list back from the CRL that was signed last.
    ///
    /// Its signature is not looked at: keep it as you keep the authority's key, for whoever could change one could
    /// change the other.
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn from_crl(crl: &[u8], max_entries: usize) -> Result<Self, RevocationError> {
        let (rest, crl) =
            CertificateRevocationList::from_der(crl).map_err(|_| RevocationError::Unreadable)?;
        let number = crl
            .crl_number()
            .and_then(|number| u64::try_from(number).ok())
            .ok_or(RevocationError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RevocationError::Unreadable);
        }
        let mut list = Self { entries: BTreeMap::new(), max_entries, number };
        for revoked in crl.iter_revoked_certificates() {
            let (serial, entry) = read_entry(revoked).ok_or(RevocationError::Unreadable)?;
            list.insert(serial, entry)?;
        }
        Ok(list)
    }

    /// Revokes a certificate. One that is revoked already keeps its first reason and time.
    ///
    /// # Errors
    /// [`RevocationError::Full`]; nothing has changed then.
    pub fn revoke(
        &mut self,
        serial: CertificateSerial,
        reason: RevocationReason,
        now: SystemTime,
    ) -> Result<(), RevocationError> {
        self.insert(serial, Revoked { at: now, reason })
    }

    /// Whether, and why, a certificate is revoked.
    pub fn reason(&self, serial: &CertificateSerial) -> Option<RevocationReason> {
        self.entries.get(serial).map(|revoked| revoked.reason)
    }

    /// Forgets what was revoked more than `longest_lifetime` before `now`: all those certificates have expired, if none
    /// was issued for longer. Sign a CRL after each revocation, so that every entry stands on one (RFC 5280 §3.3).
    pub fn forget_expired(&mut self, now: SystemTime, longest_lifetime: Duration) {
        self.entries.retain(|_, revoked| {
            now.duration_since(revoked.at).map_or(true, |passed| passed <= longest_lifetime)
        });
    }

    /// How many certificates are revoked.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the last CRL that was signed, 0 before the first.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What the next CRL says.
    pub(super) fn params(
        &self,
        this_update: SystemTime,
        next_update: SystemTime,
        issuer_key_id: Vec<u8>,
    ) -> Option<CertificateRevocationListParams> {
        let revoked = |(serial, revoked): (&CertificateSerial, &Revoked)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: revoked.at.into(),
            reason_code: Some(revoked.reason.for_rcgen()),
            invalidity_date: None,
        };
        Some(CertificateRevocationListParams {
            this_update: this_update.into(),
            next_update: next_update.into(),
            crl_number: self.number.checked_add(1)?.into(),
            issuing_distribution_point: None,
            revoked_certs: self.entries.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::PreSpecified(issuer_key_id),
        })
    }

    pub(super) const fn count_up(&mut self) {
        self.number = self.number.saturating_add(1);
    }

    fn insert(&mut self, serial: CertificateSerial, revoked: Revoked) -> Result<(), RevocationError> {
        if self.entries.len() >= self.max_entries && !self.entries.contains_key(&serial) {
            return Err(RevocationError::Full);
        }
        self.entries.entry(serial).or_insert(revoked);
        Ok(())
    }
}

/// Why a list was not changed or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The list holds as many certificates as it may.
    #[error("the revocation list is full")]
    Full,
    /// The text is no CRL of ours.
    #[error("the revocation list can't be read")]
    Unreadable,
}

/// The number that tells the certificates of one authority apart: positive, big-endian, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSerial(Box<[u8]>);

impl CertificateSerial {
    /// The serial number of a certificate, or `None` if that can't be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Self::from_bytes(certificate.raw_serial())
    }

    /// A number of at most 20 bytes (RFC 5280 §4.1.2.2) with or without leading zeros, but not zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(zeros..)?;
        (1..=MAX_SERIAL_BYTES).contains(&digits.len()).then(|| Self(digits.into()))
    }

    /// The number.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a certificate is revoked (RFC 5280 §5.3.1). Those of the standard that concern other things than the certificate
/// of a server are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationReason {
    /// No reason is told.
    Unspecified,
    /// The private key is known to others, or may be.
    KeyCompromise,
    /// The names are another's now.
    AffiliationChanged,
    /// Another certificate stands in its place.
    Superseded,
    /// The tunnel is gone.
    CessationOfOperation,
    /// The tenant may no longer have it.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    const fn for_rcgen(self) -> rcgen::RevocationReason {
        match self {
            Self::Unspecified => rcgen::RevocationReason::Unspecified,
            Self::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            Self::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
            Self::Superseded => rcgen::RevocationReason::Superseded,
            Self::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }
    }

    /// What this list would not have written is as good as no reason.
    fn of(code: ReasonCode) -> Self {
        match code {
            ReasonCode::KeyCompromise => Self::KeyCompromise,
            ReasonCode::AffiliationChanged => Self::AffiliationChanged,
            ReasonCode::Superseded => Self::Superseded,
            ReasonCode::CessationOfOperation => Self::CessationOfOperation,
            ReasonCode::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
            _ => Self::Unspecified,
        }
    }
}

fn read_entry(revoked: &RevokedCertificate<'_>) -> Option<(CertificateSerial, Revoked)> {
    let serial = CertificateSerial::from_bytes(revoked.raw_serial())?;
    let at = OffsetDateTime::from_unix_timestamp(revoked.revocation_date.timestamp()).ok()?;
    let reason =
        revoked.reason_code().map_or(RevocationReason::Unspecified, |(_, code)| RevocationReason::of(code));
    Some((serial, Revoked { at: at.into(), reason }))
}

const MAX_SERIAL_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn serial(number: u8) -> CertificateSerial {
        CertificateSerial::from_bytes(&[0, number]).unwrap()
    }

    #[test]
    fn a_list_is_bounded_and_keeps_the_first_reason() {
        let mut list = RevocationList::new(2);
        assert_eq!(list.revoke(serial(1), RevocationReason::KeyCompromise, at(1)), Ok(()));
        assert_eq!(list.revoke(serial(1), RevocationReason::Superseded, at(2)), Ok(()));
        assert_eq!(list.revoke(serial(2), RevocationReason::Superseded, at(2)), Ok(()));
        let full = list.revoke(serial(3), RevocationReason::Superseded, at(2));
        assert_eq!(full, Err(RevocationError::Full));
        assert_eq!(list.revoke(serial(1), RevocationReason::Superseded, at(3)), Ok(()));
        assert_eq!(list.reason(&serial(1)), Some(RevocationReason::KeyCompromise));
        assert_eq!((list.reason(&serial(3)), list.len()), (None, 2));
    }

    #[test]
    fn entries_go_when_their_certificates_have_expired_for_certain() {
        let mut list = RevocationList::new(10);
        list.revoke(serial(1), RevocationReason::Superseded, at(100)).unwrap();
        list.revoke(serial(2), RevocationReason::Superseded, at(150)).unwrap();
        list.forget_expired(at(200), Duration::from_secs(100));
        assert_eq!(list.len(), 2);
        list.forget_expired(at(201), Duration::from_secs(100));
        assert_eq!((list.len(), list.reason(&serial(1))), (1, None));
        list.forget_expired(at(0), Duration::from_secs(100));
        assert_eq!(list.len(), 1, "a clock that went back forgets nothing");
    }

    #[test]
    fn serials_are_positive_and_have_no_leading_zeros() {
        assert_eq!(CertificateSerial::from_bytes(&[0, 0x80]).unwrap().as_bytes(), [0x80]);
        assert_eq!(CertificateSerial::from_bytes(&[]), None);
        assert_eq!(CertificateSerial::from_bytes(&[0, 0]), None);
        assert_eq!(CertificateSerial::from_bytes(&[1; 21]), None);
        assert_eq!(format!("{:?}", serial(10)), "0a");
    }
}
