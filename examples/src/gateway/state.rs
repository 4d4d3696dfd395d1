//! What survives a restart, in one folder: the development authority and the verifier of the connect secret.

use crate::{BoxError, files, provider, random};
use adit_router::SecretDigest;
use adit_tls_modes::{KeyGenerator, LocalCa, NewCa};
use adit_wire_proto::credential::{Credential, CredentialId, CredentialKind, StoredCredential, Verifier};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The gateway's folder, opened.
pub(super) struct State {
    /// Signs the gateway's own certificates and those of agents.
    pub(super) authority: LocalCa,
    /// The one credential of this gateway.
    pub(super) credential: StoredCredential,
    /// The connect secret, on the first start only: it is kept nowhere.
    pub(super) fresh_secret: Option<String>,
    /// Of the owner's token for the admin API.
    pub(super) admin: SecretDigest,
    /// That token, on the first start only.
    pub(super) fresh_admin_token: Option<String>,
}

impl State {
    /// Opens `folder`, and fills it if it is new.
    ///
    /// # Errors
    /// What can't be read, written or understood, with the file's name: it is for the person who starts the gateway.
    pub(super) fn open(folder: &Path) -> Result<Self, BoxError> {
        files::private_folder(folder)?;
        let authority = authority(folder)?;
        let (credential, fresh_secret) = credential(folder)?;
        let (admin, fresh_admin_token) = admin(folder)?;
        Ok(Self { authority, credential, fresh_secret, admin, fresh_admin_token })
    }
}

/// The authority's certificate, for agents and for curl.
pub(super) fn anchor_path(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

fn authority(folder: &Path) -> Result<LocalCa, BoxError> {
    let (certificate, key) = (anchor_path(folder), folder.join("ca-key.pem"));
    if certificate.exists() {
        return Ok(LocalCa::from_pem(&std::fs::read(certificate)?, &std::fs::read(key)?, &provider())?);
    }
    let new = NewCa::new("Adit development authority", SystemTime::now(), random::octets());
    let authority = LocalCa::generate(KeyGenerator::AWS_LC_RS, &provider(), new)?;
    files::write_private(&key, authority.private_key_pem().as_bytes())?;
    std::fs::write(certificate, authority.certificate_pem())?;
    Ok(authority)
}

/// The credential's public id and its verifier, a line each: enough to check a proof, not to make one.
fn credential(folder: &Path) -> Result<(StoredCredential, Option<String>), BoxError> {
    let path = folder.join("credential");
    if path.exists() {
        return Ok((stored(&std::fs::read_to_string(path)?)?, None));
    }
    let nonce = u64::from_be_bytes(random::octets());
    let credential = Credential::from_random(CredentialKind::ConnectSecret, nonce, random::octets());
    let verifier = credential.verifier();
    let text = format!("{}\n{}\n", credential.id(), HEXLOWER.encode(&verifier.to_octets()));
    files::write_private(&path, text.as_bytes())?;
    let secret = credential.reveal().to_string();
    Ok((StoredCredential::new(credential.id(), verifier), Some(secret)))
}

/// The digest of the owner's token: enough to know it by, not to present it.
fn admin(folder: &Path) -> Result<(SecretDigest, Option<String>), BoxError> {
    let path = folder.join("admin");
    if path.exists() {
        let octets = HEXLOWER.decode(std::fs::read_to_string(path)?.trim_end().as_bytes())?;
        let octets = octets.as_slice().try_into().map_err(|_| "the file `admin` is damaged")?;
        return Ok((SecretDigest::from_bytes(octets), None));
    }
    let token = format!("ada_{}", BASE64URL_NOPAD.encode(&random::octets::<32>()));
    let digest = SecretDigest::of(token.as_bytes());
    files::write_private(&path, format!("{}\n", HEXLOWER.encode(&digest.to_bytes())).as_bytes())?;
    Ok((digest, Some(token)))
}

fn stored(text: &str) -> Result<StoredCredential, BoxError> {
    let (id, verifier) = text.trim_end().split_once('\n').ok_or("the file `credential` is damaged")?;
    let octets = HEXLOWER.decode(verifier.as_bytes())?;
    let octets = octets.as_slice().try_into().map_err(|_| "the file `credential` is damaged")?;
    Ok(StoredCredential::new(id.parse::<CredentialId>()?, Verifier::from_octets(octets)))
}
