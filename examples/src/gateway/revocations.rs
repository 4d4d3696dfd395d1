//! Certificates of agents that are taken back, kept as the list that clients read.

use crate::{BoxError, files};
use adit_tls_modes::{CertificateSerial, LocalCa, RevocationList, RevocationReason};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How long a list is good for; it is signed anew at half of it.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// Certificates that can be revoked at a time: a list of 4.5 MB.
const MAX_REVOKED: usize = 100_000;

/// The list, and its last signed form.
pub(super) struct Revocations {
    authority: Arc<LocalCa>,
    path: PathBuf,
    /// The longest that a certificate of an agent lives: as long an entry stays.
    longest_lifetime: Duration,
    books: Mutex<Books>,
}

struct Books {
    list: RevocationList,
    signed: Option<(Bytes, SystemTime)>,
}

impl Revocations {
    /// Reads the list in `folder` back, if there is one.
    ///
    /// # Errors
    /// A list that can't be read: without it, revoked certificates would be good again.
    pub(super) fn open(
        folder: &Path,
        authority: Arc<LocalCa>,
        longest_lifetime: Duration,
    ) -> Result<Self, BoxError> {
        let path = folder.join("authority.crl");
        let list = match path.exists() {
            true => RevocationList::from_crl(&std::fs::read(&path)?, MAX_REVOKED)?,
            false => RevocationList::new(MAX_REVOKED),
        };
        Ok(Self { authority, path, longest_lifetime, books: Mutex::new(Books { list, signed: None }) })
    }

    /// Takes a certificate back, and keeps the new list.
    ///
    /// # Errors
    /// A full list, or a file that can't be written; then no list is served until it can be.
    pub(super) fn revoke(&self, serial: CertificateSerial, reason: RevocationReason) -> Result<(), BoxError> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.list.revoke(serial, reason, SystemTime::now())?;
        // The one that was signed before would say that the certificate is good.
        books.signed = None;
        self.sign(&mut books).map(drop)
    }

    /// Whether a certificate was taken back.
    pub(super) fn is_revoked(&self, serial: &CertificateSerial) -> bool {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.list.reason(serial).is_some()
    }

    /// The list as it is served.
    ///
    /// # Errors
    /// An authority that has expired, or a file that can't be written.
    pub(super) fn current(&self) -> Result<Bytes, BoxError> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((crl, at)) = &books.signed
            && SystemTime::now().duration_since(*at).is_ok_and(|age| age < LIFETIME / 2)
        {
            return Ok(crl.clone());
        }
        self.sign(&mut books)
    }

    fn sign(&self, books: &mut Books) -> Result<Bytes, BoxError> {
        let now = SystemTime::now();
        books.list.forget_expired(now, self.longest_lifetime);
        let crl = self.authority.sign_revocations(&mut books.list, now, LIFETIME)?;
        let crl = Bytes::copy_from_slice(&crl);
        files::replace_private(&self.path, &crl)?;
        books.signed = Some((crl.clone(), now));
        Ok(crl)
    }
}
