//! One credential: its file, its rotation, and until when a session may go on that was opened with
//! an older secret (SPEC 7.4).

use crate::{BoxError, files, random};
use adit_errors::{Code, Refusal};
use adit_mux::Stream;
use adit_wire_proto::control::RotatedSecret;
use adit_wire_proto::credential::{
    Credential, CredentialId, CredentialKind, StoredCredential, Verifier, WrongCredential,
};
use adit_wire_proto::drive::GatewayControl;
use adit_wire_proto::gateway::Authorised;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// The longest overlap that an agent gets, whatever it asks for.
const MAX_OVERLAP: Duration = Duration::from_secs(86_400);

/// One credential, and where it is kept.
pub(super) struct Keyring {
    file: PathBuf,
    /// Held while a change is being saved: one at a time.
    saving: Mutex<()>,
    present: watch::Sender<Secrets>,
}

/// What is good now.
#[derive(Debug)]
struct Secrets {
    record: Arc<StoredCredential>,
    /// Of the present secret; the one before has one less.
    serial: u64,
}

/// The secret that a session was opened with.
pub(super) struct SessionSecret {
    keyring: Arc<Keyring>,
    secrets: watch::Receiver<Secrets>,
    serial: u64,
}

impl Keyring {
    /// Keeps `record` in `file`.
    pub(super) fn kept(file: PathBuf, record: StoredCredential) -> Self {
        let present = watch::Sender::new(Secrets { record: Arc::new(record), serial: 1 });
        Self { file, saving: Mutex::new(()), present }
    }

    /// The public part.
    pub(super) fn id(&self) -> CredentialId {
        self.present.borrow().record.id()
    }

    /// What is good now.
    pub(super) fn record(&self) -> Arc<StoredCredential> {
        Arc::clone(&self.present.borrow().record)
    }

    /// Makes a new secret; the present one stays good for `overlap`. It is saved before anybody hears it, which blocks.
    ///
    /// # Errors
    /// The refusal for whoever asked, if the credential was revoked or couldn't be saved; then nothing has changed.
    pub(super) fn rotate(&self, overlap: Duration) -> Result<Credential, Refusal> {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = StoredCredential::clone(&self.record());
        if record.is_revoked() {
            return Err(Refusal::new(Code::CONFLICT, "the credential was revoked: mint another one"));
        }
        let credential = Credential::from_random(record.id().kind(), record.id().nonce(), random::octets());
        record.rotate(credential.verifier(), overlap, SystemTime::now());
        self.save(&record)?;
        tracing::info!(credential = %record.id(), overlap = overlap.as_secs(), "the secret was rotated");
        self.present.send_modify(|present| {
            present.record = Arc::new(record);
            present.serial += 1;
        });
        Ok(credential)
    }

    /// Ends the credential for good: at once, and then in its file, which blocks.
    ///
    /// # Errors
    /// It couldn't be saved: it is revoked until the gateway starts again, and is to be revoked again before that.
    pub(super) fn revoke(&self) -> Result<(), Refusal> {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = StoredCredential::clone(&self.record());
        record.revoke();
        let saved = self.save(&record);
        self.present.send_modify(|present| present.record = Arc::new(record));
        saved
    }

    fn save(&self, record: &StoredCredential) -> Result<(), Refusal> {
        files::replace_private(&self.file, text(record).as_bytes()).map_err(|error| {
            tracing::error!(kind = ?error.kind(), "a change of a credential could not be saved");
            Refusal::internal()
        })
    }
}

impl SessionSecret {
    /// For a session that begins.
    pub(super) fn of(keyring: &Arc<Keyring>) -> Self {
        Self { keyring: Arc::clone(keyring), secrets: keyring.present.subscribe(), serial: 0 }
    }

    /// Checks the agent's proof, and remembers which secret it was made with.
    pub(super) fn check(&mut self, control: &GatewayControl<Stream>) -> Result<Authorised, WrongCredential> {
        let secrets = self.secrets.borrow_and_update();
        let authorised = control.check(secrets.record.candidates(SystemTime::now()))?;
        self.serial = secrets.serial - u64::from(authorised.used_previous_secret());
        Ok(authorised)
    }

    /// Whose credential it is.
    pub(super) fn id(&self) -> CredentialId {
        self.keyring.id()
    }

    /// Makes a new secret for the agent of this session, whom the answer tells; the old one stays good for `overlap`, a
    /// day at most.
    ///
    /// # Errors
    /// The refusal for the agent; nothing has changed.
    pub(super) async fn rotate(&mut self, overlap: Duration) -> Result<RotatedSecret, Refusal> {
        let (keyring, overlap) = (Arc::clone(&self.keyring), overlap.min(MAX_OVERLAP));
        let rotated = tokio::task::spawn_blocking(move || keyring.rotate(overlap)).await;
        let credential = rotated.map_err(|_| Refusal::internal())??;
        self.secrets.mark_unchanged();
        Ok(RotatedSecret::new(credential, overlap))
    }

    /// Waits for a rotation that this session has not heard of. Cancel-safe.
    pub(super) async fn rotated(&mut self) {
        if self.secrets.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// How long this secret is good still; `None` as long as no other is in its place.
    pub(super) fn left(&self) -> Option<Duration> {
        let secrets = self.secrets.borrow();
        match secrets.serial - self.serial {
            0 => None,
            1 => {
                let until = secrets.record.previous().map(|(_, until)| until);
                let left = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
                Some(left.unwrap_or_default())
            }
            _ => Some(Duration::ZERO),
        }
    }
}

/// Reads the credential of `folder`, or makes one; then its secret is the second.
///
/// # Errors
/// A file that can't be read, written or understood.
pub(super) fn open(folder: &Path) -> Result<(StoredCredential, Option<String>), BoxError> {
    let path = path(folder);
    if path.exists() {
        return Ok((stored(&std::fs::read_to_string(path)?)?, None));
    }
    let nonce = u64::from_be_bytes(random::octets());
    let credential = Credential::from_random(CredentialKind::ConnectSecret, nonce, random::octets());
    let record = StoredCredential::new(credential.id(), credential.verifier());
    files::write_private(&path, text(&record).as_bytes())?;
    Ok((record, Some(credential.reveal().to_string())))
}

/// Where the gateway's first credential is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("credential")
}

/// A line each: the public id, the verifier, while secrets overlap the one before with its end in Unix seconds, and
/// `revoked` if it is. Enough to check a proof, not to make one.
pub(super) fn text(record: &StoredCredential) -> String {
    let mut text = format!("{}\n{}\n", record.id(), HEXLOWER.encode(&record.current().to_octets()));
    if let Some((previous, until)) = record.previous() {
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        text += &format!("{} {until}\n", HEXLOWER.encode(&previous.to_octets()));
    }
    if record.is_revoked() {
        text += REVOKED;
        text.push('\n');
    }
    text
}

const REVOKED: &str = "revoked";

/// What [`text`] wrote.
pub(super) fn stored(text: &str) -> Result<StoredCredential, BoxError> {
    let mut lines = text.lines();
    let (Some(id), Some(current)) = (lines.next(), lines.next()) else { return Err(damaged()) };
    let mut record = StoredCredential::new(id.parse::<CredentialId>()?, verifier(current)?);
    let Some(line) = lines.next() else { return Ok(record) };
    if line == REVOKED {
        record.revoke();
        return Ok(record);
    }
    let (previous, until) = line.split_once(' ').ok_or_else(damaged)?;
    let until =
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until.parse()?)).ok_or_else(damaged)?;
    Ok(record.with_previous(verifier(previous)?, until))
}

fn verifier(hexadecimal: &str) -> Result<Verifier, BoxError> {
    let octets = HEXLOWER.decode(hexadecimal.as_bytes())?;
    Ok(Verifier::from_octets(octets.as_slice().try_into().map_err(|_| damaged())?))
}

fn damaged() -> BoxError {
    "the file `credential` is damaged".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> StoredCredential {
        let credential = Credential::from_random(CredentialKind::ConnectSecret, 1, [1; 32]);
        StoredCredential::new(credential.id(), credential.verifier())
    }

    fn good(record: &StoredCredential, now: SystemTime) -> Vec<[u8; 64]> {
        record.candidates(now).into_iter().flatten().map(Verifier::to_octets).collect()
    }

    #[test]
    fn w21_a_restart_forgets_neither_the_new_secret_nor_how_long_the_old_one_is_good() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut before = record();
        assert_eq!(good(&stored(&text(&before)).unwrap(), start), good(&before, start));
        let fresh = Credential::from_random(CredentialKind::ConnectSecret, 1, [2; 32]);
        before.rotate(fresh.verifier(), Duration::from_secs(10), start);
        let after = stored(&text(&before)).unwrap();
        for (at, count) in [(9, 2), (10, 1)] {
            let now = start + Duration::from_secs(at);
            assert_eq!(good(&after, now), good(&before, now));
            assert_eq!(good(&after, now).len(), count);
        }
    }

    #[test]
    fn a_restart_forgets_no_revocation() {
        let start = SystemTime::UNIX_EPOCH;
        let mut before = record();
        let fresh = Credential::from_random(CredentialKind::ConnectSecret, 1, [2; 32]);
        before.rotate(fresh.verifier(), Duration::from_secs(10), start);
        before.revoke();
        let after = stored(&text(&before)).unwrap();
        assert!(after.is_revoked() && good(&after, start).is_empty());
        assert_eq!(text(&after), text(&before));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = text(&record());
        for damaged in ["", "x", &whole[..40], &format!("{whole}00\n"), &format!("{whole}00 1\n")] {
            assert!(stored(damaged).is_err(), "{damaged}");
        }
    }
}
