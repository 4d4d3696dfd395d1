//! Credentials that were minted, in a folder of their own: two files each, closed to others, neither of which has the
//! secret. Who reads them can check a proof, and make none.

use super::keyring::{self, Keyring};
use crate::{BoxError, files};
use adit_wire_proto::credential::{CredentialId, StoredCredential};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What a credential was minted with, as far as it isn't cryptography.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) expires: Option<u64>,
    pub(super) bandwidth: Option<u64>,
    pub(super) tunnel_quota: Option<usize>,
    pub(super) monthly_budget_usd_cents: Option<u64>,
    /// How long its tunnels live at most.
    #[serde(default)]
    pub(super) max_tunnel_ttl_seconds: Option<u64>,
    /// It mints others, and opens no tunnels.
    #[serde(default)]
    pub(super) is_master: bool,
    /// The number of the master key that minted it; the owner did if there is none.
    #[serde(default)]
    pub(super) minted_by: Option<u64>,
}

impl Terms {
    /// The same record, good until the terms end.
    pub(super) fn bound(&self, record: StoredCredential) -> StoredCredential {
        let end = self.expires.map(Duration::from_secs);
        record.valid_between(None, end.and_then(|end| SystemTime::UNIX_EPOCH.checked_add(end)))
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Minted {
    folder: PathBuf,
}

impl Minted {
    /// Opens the folder in that of the gateway's state, and reads what is there.
    ///
    /// # Errors
    /// What can't be read or understood, with the file's name: it is for the person who starts the gateway.
    pub(super) fn open(state: &Path) -> Result<(Self, Vec<(Keyring, Terms)>), BoxError> {
        let folder = state.join("tokens");
        files::private_folder(&folder)?;
        let mut all = Vec::new();
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            // Terms whose credential isn't there were written just before a crash: nobody was told of it.
            if path.extension().is_some_and(|end| end == CREDENTIAL) {
                paths.push((path.metadata()?.modified()?, path));
            }
        }
        // In the order in which they were written last: of those that were revoked, that is when.
        paths.sort();
        for (_, path) in paths {
            all.push(read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        Ok((Self { folder }, all))
    }

    /// Writes a new credential down, before anybody hears of it.
    ///
    /// # Errors
    /// Those of the file system; there is no such credential then.
    pub(super) fn add(&self, record: StoredCredential, terms: &Terms) -> io::Result<Keyring> {
        let id = record.id();
        files::write_private(&self.path(id, TERMS), &json(terms)?)?;
        let file = self.path(id, CREDENTIAL);
        files::write_private(&file, keyring::text(&record).as_bytes())?;
        Ok(Keyring::kept(file, record))
    }

    /// The terms of a credential that is kept elsewhere, if they were changed.
    ///
    /// # Errors
    /// A file that can't be read or understood.
    pub(super) fn terms_of(&self, id: CredentialId) -> Result<Option<Terms>, BoxError> {
        let path = self.path(id, TERMS);
        Ok(if path.exists() { Some(serde_json::from_slice(&std::fs::read(path)?)?) } else { None })
    }

    /// Puts other terms in the place of those that there are.
    ///
    /// # Errors
    /// Those of the file system; the old ones stay then.
    pub(super) fn set_terms(&self, id: CredentialId, terms: &Terms) -> io::Result<()> {
        files::replace_private(&self.path(id, TERMS), &json(terms)?)
    }

    /// Whether this credential is kept here.
    pub(super) fn has(&self, id: CredentialId) -> bool {
        self.path(id, CREDENTIAL).exists()
    }

    /// Forgets a credential that is good no more.
    ///
    /// # Errors
    /// Those of the file system; it stays then, as it was.
    pub(super) fn remove(&self, id: CredentialId) -> io::Result<()> {
        std::fs::remove_file(self.path(id, CREDENTIAL))?;
        // Terms without a credential mean nothing.
        let _ = std::fs::remove_file(self.path(id, TERMS));
        Ok(())
    }

    fn path(&self, id: CredentialId, kind: &str) -> PathBuf {
        self.folder.join(format!("{:016x}.{kind}", id.nonce()))
    }
}

const CREDENTIAL: &str = "credential";
const TERMS: &str = "json";

fn read(path: &Path) -> Result<(Keyring, Terms), BoxError> {
    let terms: Terms = serde_json::from_slice(&std::fs::read(path.with_extension(TERMS))?)?;
    let record = terms.bound(keyring::stored(&std::fs::read_to_string(path)?)?);
    Ok((Keyring::kept(path.to_owned(), record), terms))
}

fn json(terms: &Terms) -> io::Result<Vec<u8>> {
    serde_json::to_vec(terms).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire_proto::credential::{Credential, CredentialKind};

    #[test]
    fn what_was_minted_is_read_again_with_its_terms_and_its_end() {
        let state = std::env::temp_dir().join(format!("adit-minted-{}", std::process::id()));
        let credential = Credential::from_random(CredentialKind::CapabilityToken, 7, [7; 32]);
        let now = SystemTime::now();
        let end = now + Duration::from_secs(3600);
        let terms = Terms {
            name: "ci".to_owned(),
            expires: Some(super::super::seconds(end)),
            bandwidth: Some(8000),
            tunnel_quota: Some(2),
            monthly_budget_usd_cents: Some(0),
            max_tunnel_ttl_seconds: None,
            is_master: false,
            minted_by: None,
        };
        let record = terms.bound(StoredCredential::new(credential.id(), credential.verifier()));
        let (minted, none) = Minted::open(&state).unwrap();
        assert!(none.is_empty());
        minted.add(record, &terms).unwrap();
        minted.set_terms(credential.id(), &Terms { monthly_budget_usd_cents: None, ..terms }).unwrap();
        // What a crash between the two files leaves.
        std::fs::write(state.join("tokens/0000000000000008.json"), "{").unwrap();
        let (_, all) = Minted::open(&state).unwrap();
        let [(keyring, read)] = all.as_slice() else { panic!("{} credentials", all.len()) };
        assert_eq!((read.name.as_str(), read.bandwidth, read.tunnel_quota), ("ci", Some(8000), Some(2)));
        assert_eq!(read.monthly_budget_usd_cents, None);
        let is_good = |at: SystemTime| keyring.record().candidates(at)[0].is_some();
        let leeway = StoredCredential::LEEWAY + Duration::from_secs(1);
        assert!(is_good(now) && !is_good(end + leeway));
        keyring.revoke().unwrap();
        let (_, all) = Minted::open(&state).unwrap();
        assert!(all[0].0.record().is_revoked());
        assert!(minted.has(credential.id()) && minted.remove(credential.id()).is_ok());
        assert!(!minted.has(credential.id()) && Minted::open(&state).unwrap().1.is_empty());
        assert!(minted.remove(credential.id()).is_err(), "nothing is there");
        std::fs::write(state.join("tokens/0000000000000007.credential"), "x").unwrap();
        assert!(Minted::open(&state).is_err_and(|error| error.to_string().contains("0000000000000007")));
        std::fs::remove_dir_all(&state).unwrap();
    }
}
