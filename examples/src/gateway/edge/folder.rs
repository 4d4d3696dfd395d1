//! The folder with an operator's own certificates, as it was read last.

use crate::{BoxError, provider};
use adit_tls_modes::{NamePattern, ServerCertificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder of `.pem` files, each a chain with its key.
pub(super) struct Folder {
    path: PathBuf,
    /// What is served, by the file that it came from. Of two files for the same name the last by name counts.
    served: BTreeMap<PathBuf, ServerCertificate>,
}

/// What the folder holds now: of a file that is no good, what it held before.
pub(super) struct Read(BTreeMap<PathBuf, ServerCertificate>);

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, served: BTreeMap::new() }
    }

    /// Reads all files. If there is no telling which there are, all stays as it was.
    pub(super) fn read(&self) -> Read {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(folder = %self.path.display(), %error, "certificates can't be read");
                return Read(self.served.clone());
            }
        };
        let read = files.into_iter().filter_map(|file| match read(&file) {
            Ok(certificate) => Some((file, certificate)),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "a certificate is left out");
                self.served.get(&file).cloned().map(|before| (file, before))
            }
        });
        Read(read.collect())
    }

    /// Notes that `read` is served now, but for names in `own`. Returns what was served before and is in no file any more.
    pub(super) fn replace(
        &mut self,
        read: Read,
        own: &[NamePattern],
    ) -> Vec<(NamePattern, ServerCertificate)> {
        let now: HashSet<_> = read.certificates(own).into_iter().map(|(pattern, _)| pattern).collect();
        let before = Read(std::mem::replace(&mut self.served, read.0));
        before.certificates(own).into_iter().filter(|(pattern, _)| !now.contains(pattern)).collect()
    }

    fn files(&self) -> Result<Vec<PathBuf>, std::io::Error> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|end| end == "pem") {
                files.push(file);
            }
        }
        files.sort();
        Ok(files)
    }
}

impl Read {
    /// Each certificate under each of its names, but for those in `own`.
    pub(super) fn certificates(&self, own: &[NamePattern]) -> Vec<(NamePattern, ServerCertificate)> {
        let all = self.0.values().flat_map(|certificate| {
            certificate.names().iter().map(|pattern| (pattern.clone(), certificate.clone()))
        });
        all.filter(|(pattern, _)| !own.contains(pattern)).collect()
    }
}

fn read(file: &Path) -> Result<ServerCertificate, BoxError> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file)?;
    Ok(ServerCertificate::new(chain, key, &provider(), SystemTime::now())?)
}
