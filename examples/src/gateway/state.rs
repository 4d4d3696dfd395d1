//! What survives a restart, in one folder: the development authority and the verifier of the connect secret.

use super::keyring;
use crate::{BoxError, files, provider, random};
use adit_naming::keys::{KeyRing, RingKey};
use adit_router::SecretDigest;
use adit_tls_modes::{KeyGenerator, LocalCa, NewCa};
use adit_wire_proto::credential::StoredCredential;
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
    /// Seals the keys in hosts of the form `{port}-{key}`.
    pub(super) ring: KeyRing,
}

impl State {
    /// Opens `folder`, and fills it if it is new.
    ///
    /// # Errors
    /// What can't be read, written or understood, with the file's name: it is for the person who starts the gateway.
    pub(super) fn open(folder: &Path) -> Result<Self, BoxError> {
        files::private_folder(folder)?;
        let authority = authority(folder)?;
        let (credential, fresh_secret) = keyring::open(folder)?;
        let (admin, fresh_admin_token) = admin(folder)?;
        let ring = ring(folder)?;
        Ok(Self { authority, credential, fresh_secret, admin, fresh_admin_token, ring })
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

/// The secret of the keys in hosts: with another one all of them lead nowhere.
fn ring(folder: &Path) -> Result<KeyRing, BoxError> {
    let path = folder.join("host-keys");
    if !path.exists() {
        files::write_private(&path, format!("{}\n", HEXLOWER.encode(&random::octets::<32>())).as_bytes())?;
    }
    let secret = HEXLOWER.decode(std::fs::read_to_string(path)?.trim_end().as_bytes())?;
    let secret = secret.as_slice().try_into().map_err(|_| "the file `host-keys` is damaged")?;
    Ok(KeyRing::new(RingKey::new(0, secret)?))
}
