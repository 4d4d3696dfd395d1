//! The certificates with which the gateway ends TLS: made or read at the start, renewed while serving, swapped without a
//! pause.

mod folder;

use super::hub::Hub;
use super::own_certificate;
use crate::{BoxError, provider};
use adit_tls_modes::{Edge, EdgeHost, LocalCa, NamePattern, ServerName};
use folder::Folder;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How often it is looked whether a certificate is about to expire.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// How long before its end a certificate is renewed: a third of the life of ours.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Where the edge's certificates come from.
pub(super) struct Certificates {
    authority: Arc<LocalCa>,
    zone: ServerName,
    /// Files of an operator's own, each a chain with its key.
    folder: Option<Mutex<Folder>>,
    /// Whose visitors have to show a certificate, and by what it is judged. Kept, since sessions are resumed only under
    /// the very rule that they were made under.
    clients: Vec<(ServerName, Arc<dyn ClientCertVerifier>)>,
}

impl Certificates {
    /// Certificates by `authority` for the zone, by files for the names in `folder`; `clients` are names of tunnels, each
    /// with the file of the authority by which its visitors have to be certified.
    ///
    /// # Errors
    /// A name that is none, or an authority that can't be read.
    pub(super) fn new(
        authority: Arc<LocalCa>,
        zone: &str,
        folder: Option<PathBuf>,
        clients: &[(String, PathBuf)],
    ) -> Result<Self, BoxError> {
        let clients = clients.iter().map(|(name, file)| {
            let host = format!("{name}.{zone}").parse()?;
            let verifier = verifier(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok::<_, BoxError>((host, verifier))
        });
        let clients = clients.collect::<Result<_, _>>()?;
        let folder = folder.map(|path| Mutex::new(Folder::new(path)));
        Ok(Self { authority, zone: zone.parse()?, folder, clients })
    }

    /// An edge that serves with them, and resumes sessions by tickets.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub(super) fn edge(&self) -> Result<Edge, BoxError> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let edge = Edge::builder(provider()).resumption(tickets).build();
        self.renew(&edge)?;
        Ok(edge)
    }

    /// Makes the gateway's own certificates anew, reads the files again, and serves with all of them from now on.
    ///
    /// A file that is no good is left out, and what was served for its names before stays (E-06). Of a file that is no
    /// longer there, nothing stays: its names are served as if it had never been.
    ///
    /// # Errors
    /// What the authority didn't sign; nothing has changed then.
    pub(super) fn renew(&self, edge: &Edge) -> Result<(), BoxError> {
        let wildcard = own_certificate(&self.authority, &self.zone, true)?;
        let mut hosts = vec![(NamePattern::wildcard(self.zone.clone()), EdgeHost::new(wildcard))];
        for (name, verifier) in &self.clients {
            let host = EdgeHost::new(own_certificate(&self.authority, name, false)?);
            hosts.push((NamePattern::exact(name.clone()), host.client_verifier(Arc::clone(verifier))));
        }
        let Some(folder) = &self.folder else { return Ok(edge.install_all(hosts)?) };
        let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
        let read = folder.read();
        // A name whose visitors have to show certificates goes on asking for them.
        let own: Vec<_> = hosts.iter().map(|(pattern, _)| pattern.clone()).collect();
        for (pattern, certificate) in read.certificates(&own) {
            hosts.push((pattern, EdgeHost::new(certificate)));
        }
        edge.install_all(hosts)?;
        for (pattern, certificate) in folder.replace(read, &own) {
            // Whoever has put another in its place meanwhile keeps it.
            if edge.certificate(&pattern).is_some_and(|served| served.chain() == certificate.chain()) {
                edge.remove(&pattern);
            }
        }
        Ok(())
    }

    /// Renews what is about to expire, for as long as the gateway runs.
    pub(super) async fn keep_fresh(self: Arc<Self>, hub: Arc<Hub>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let expiring = hub.edge.expiring_before(SystemTime::now() + RENEW_BEFORE);
            for (pattern, until) in &expiring {
                tracing::debug!(%pattern, ?until, "a certificate of the edge is about to expire");
            }
            if !expiring.is_empty() {
                tracing::warn!(count = expiring.len(), "certificates of the edge are about to expire");
            }
            if !expiring.is_empty()
                && let Err(error) = self.renew(&hub.edge)
            {
                tracing::error!(%error, "the edge's certificates were not renewed");
            }
        }
    }
}

/// Takes certificates by which `file` tells who signs those of visitors.
fn verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, BoxError> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(file)? {
        roots.add(anchor?)?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
}
