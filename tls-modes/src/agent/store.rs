use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::keys::{PrivateKey, PrivateKeyError, write_pem};

/// A folder of the agent's own that keeps private keys with their certificates, one file for each tunnel.
///
/// Key and chain stand in one file, which is replaced as a whole: after a crash there is the old pair or the new one,
/// never a mixture. On Unix the folder is made with mode 0700 and each file with mode 0600. A file that others may read
/// is not used, nor is any in a folder that others may write to: they could put files of theirs there.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    folder: PathBuf,
}

impl CertificateStore {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        private_folder().create(&folder).map_err(StoreError::from)?;
        Ok(Self { folder })
    }

    /// Reads what is kept for `tunnel`, or `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError`]; a file that can't be used is left where it is.
    pub fn load(
        &self,
        tunnel: &str,
        provider: &CryptoProvider,
    ) -> Result<Option<StoredCertificate>, StoreError> {
        let path = self.path(tunnel)?;
        self.check_folder()?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(source.into()),
        };
        check_private(&file)?;
        let mut pem = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut pem)?;
        let key = PrivateKey::from_pem(&pem, provider).map_err(|source| StoreError::Key { source })?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .map(|certificate| certificate.map(CertificateDer::into_owned))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| StoreError::Chain {})?;
        if chain.is_empty() { Err(StoreError::Chain {}) } else { Ok(Some(StoredCertificate { key, chain })) }
    }

    /// Keeps a key and its chain for `tunnel`, in place of what was kept before.
    ///
    /// # Errors
    /// [`StoreError`]; what was kept before is still there then.
    pub fn save(
        &self,
        tunnel: &str,
        key: &PrivateKey,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), StoreError> {
        let path = self.path(tunnel)?;
        self.check_folder()?;
        let unfinished = path.with_extension("pem.new");
        // A leftover of a crash may have been made by another; a new file gets our mode from its first byte on.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let mut file = private_file().open(&unfinished)?;
        file.write_all(key.to_pem().as_bytes())?;
        for certificate in chain {
            file.write_all(write_pem("CERTIFICATE", certificate).as_bytes())?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        Ok(())
    }

    /// Forgets what is kept for `tunnel`. Nothing kept is fine as well.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, tunnel: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.path(tunnel)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[cfg(unix)]
    fn check_folder(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::PermissionsExt;

        match fs::metadata(&self.folder) {
            Ok(folder) if folder.permissions().mode() & 0o022 != 0 => Err(StoreError::FolderOpenToOthers {}),
            Ok(_) => Ok(()),
            // Then nothing is kept there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(unix))]
    const fn check_folder(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Tunnel ids come from the gateway: none may name a file outside the folder.
    fn path(&self, tunnel: &str) -> Result<PathBuf, StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_safe = (1..=MAX_ID_BYTES).contains(&tunnel.len())
            && !tunnel.starts_with('.')
            && tunnel.bytes().all(is_plain);
        if is_safe { Ok(self.folder.join(format!("{tunnel}.pem"))) } else { Err(StoreError::TunnelId {}) }
    }
}

/// A key with the chain of its certificate, as kept.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredCertificate {
    /// The private key.
    pub key: PrivateKey,
    /// The chain, the agent's certificate first; at least that one.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why nothing was loaded or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The id is not made of 1 to 200 letters, digits, hyphens, underscores and dots, or starts with a dot.
    #[error("the tunnel id cannot be the name of a file")]
    #[non_exhaustive]
    TunnelId {},
    /// The file can be read or written by others: the key in it may be theirs by now. Remove it and request anew.
    #[error("the file with the private key is open to other users; remove it")]
    #[non_exhaustive]
    OpenToOthers {},
    /// The folder can be written to by others. Take that from them (`chmod go-w`), and look what they have put there.
    #[error("the folder of the certificate store can be written to by other users")]
    #[non_exhaustive]
    FolderOpenToOthers {},
    /// The file holds no key that can be used.
    #[error("the private key in the store: {source}")]
    #[non_exhaustive]
    Key {
        /// Why.
        source: PrivateKeyError,
    },
    /// The file holds no certificate, or a damaged one.
    #[error("there is no readable certificate in the store")]
    #[non_exhaustive]
    Chain {},
    /// The file system refused.
    #[error("the certificate store: {source}")]
    #[non_exhaustive]
    Io {
        /// What it said.
        source: io::Error,
    },
}

impl From<io::Error> for StoreError {
    fn from(source: io::Error) -> Self {
        Self::Io { source }
    }
}

fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn check_private(file: &File) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(StoreError::OpenToOthers {}) }
}

#[cfg(not(unix))]
fn check_private(_file: &File) -> Result<(), StoreError> {
    Ok(())
}

/// A key and a chain of ten have under 20,000.
const MAX_FILE_BYTES: u64 = 262_144;
const MAX_ID_BYTES: usize = 200;
