//! A domain of the tenant's own, certified from here: the gateway passes the authority's challenge through like any other
//! visitor, and sees no key.

use crate::acme::{Authority, certificate_of, order};
use crate::{BoxError, provider, random};
use adit_tls_modes::{
    AcmeError, AcmeNext, AcmeSigner, CertificateStore, ChallengeBoard, ChallengeKind, ClientHello,
    KeyGenerator, LiveCertificate, PrivateKey, ServerCertificate, ServerName, renew_at, retry_after,
};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// The domain and its authority, as the command line has them.
#[derive(Clone, Debug, Default, Args)]
pub struct OwnDomain {
    /// A domain of your own that the gateway leads to this tunnel, whose TLS the agent ends.
    #[arg(long, global = true, requires = "acme_directory")]
    pub domain: Option<String>,
    /// The directory of the authority with ACME that certifies it.
    #[arg(long, global = true)]
    pub acme_directory: Option<String>,
    /// Where that authority may write to, such as `mailto:ops@vault.example`.
    #[arg(long, global = true)]
    pub acme_contact: Option<String>,
    /// The roots by which its own HTTPS is trusted, as PEM. [default: those of the system]
    #[arg(long, global = true)]
    pub acme_roots: Option<PathBuf>,
    /// You have read that authority's terms of service and agree.
    #[arg(long, global = true)]
    pub acme_agree_to_terms: bool,
}

/// What the domain is served with.
pub(super) struct Domain {
    name: ServerName,
    authority: Authority,
    folder: PathBuf,
    board: ChallengeBoard,
    /// From the first certificate on.
    live: OnceLock<(Arc<LiveCertificate>, TlsAcceptor)>,
}

/// How a visitor of the agent is met.
pub(super) enum Met {
    /// By the tunnel's certificate.
    Tunnel,
    /// By the domain's.
    Domain(TlsAcceptor),
    /// It is an authority; it leaves after the handshake.
    Challenge(TlsAcceptor),
}

impl Domain {
    /// The domain of the command line, if there is one.
    ///
    /// # Errors
    /// A name that is none.
    pub(super) fn of(flags: &OwnDomain, folder: &Path) -> Result<Option<Arc<Self>>, BoxError> {
        let (Some(domain), Some(directory)) = (&flags.domain, &flags.acme_directory) else {
            return Ok(None);
        };
        let authority = Authority {
            directory: directory.clone(),
            contact: flags.acme_contact.clone(),
            roots: flags.acme_roots.clone(),
            agrees_to_terms: flags.acme_agree_to_terms,
        };
        Ok(Some(Arc::new(Self {
            name: domain.parse()?,
            authority,
            folder: folder.to_path_buf(),
            board: ChallengeBoard::default(),
            live: OnceLock::new(),
        })))
    }

    /// Who is to end this visitor's TLS.
    pub(super) fn meet(&self, hello: &ClientHello) -> Met {
        if let Some(config) = self.board.tls_config(SystemTime::now(), hello) {
            return Met::Challenge(TlsAcceptor::from(config));
        }
        match self.live.get() {
            Some((_, acceptor)) if hello.server_name() == Some(&self.name) => Met::Domain(acceptor.clone()),
            _ => Met::Tunnel,
        }
    }

    /// Gets a certificate and keeps it fresh, for as long as it is polled. `changed` is called after each new one.
    pub(super) async fn keep(self: Arc<Self>, changed: impl Fn(&ServerName) + Send + Sync) {
        let mut failures = 0;
        loop {
            let wait = match self.certify().await {
                Ok(certificate) => {
                    failures = 0;
                    let due = renew_at(certificate.not_before(), certificate.not_after(), random_share());
                    self.serve(certificate);
                    changed(&self.name);
                    due.duration_since(SystemTime::now()).unwrap_or_else(|_| retry_after(1, random_share()))
                }
                Err(error) => {
                    failures += 1;
                    let next = error.downcast_ref::<AcmeError>().map(AcmeError::next);
                    tracing::warn!(%error, ?next, "the domain was not certified; trying again later");
                    match next {
                        Some(AcmeNext::RetryAfter { wait }) => wait,
                        // The tunnel may not be public yet.
                        Some(AcmeNext::CheckNames) if failures < EARLY_FAILURES => EARLY_RETRY,
                        _ => retry_after(failures, random_share()),
                    }
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn certify(&self) -> Result<ServerCertificate, BoxError> {
        let store = CertificateStore::open(&self.folder)?;
        let stored = store.load(self.name.as_str(), &provider())?;
        if let Some(certificate) = stored.as_ref().and_then(certificate_of)
            && renew_at(certificate.not_before(), certificate.not_after(), 0) > SystemTime::now()
        {
            return Ok(certificate);
        }
        let key = match stored {
            Some(stored) => stored.key,
            None => PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider())?,
        };
        let (account, transport) = self.authority.open(&self.folder).await?;
        let board = self.board.clone();
        let signer = AcmeSigner::builder(account, transport, board, KeyGenerator::AWS_LC_RS, provider())
            .challenge(ChallengeKind::TlsAlpn01)
            .build();
        order(&signer, &store, &self.name, &key).await
    }

    fn serve(&self, certificate: ServerCertificate) {
        if let Some((live, _)) = self.live.get() {
            return live.replace(certificate);
        }
        let live = LiveCertificate::new(certificate);
        match live.server_config(provider(), &super::vault::ALPN) {
            Ok(config) => {
                // Set once, here.
                let _ = self.live.set((live, TlsAcceptor::from(config)));
            }
            Err(error) => tracing::error!(%error, "the domain can't be served"),
        }
    }
}

fn random_share() -> u32 {
    u32::from_be_bytes(random::octets())
}

/// How often an order is tried again quickly after the start.
const EARLY_FAILURES: u32 = 5;
const EARLY_RETRY: Duration = Duration::from_secs(2);
