//! The agent's own key and certificate, for tunnels whose TLS only the agent ends. The key never leaves the folder.

use crate::{BoxError, provider, random};
use adit_mux::Stream;
use adit_tls_modes::{
    CertificateRequest, CertificateStore, KeyGenerator, LiveCertificate, PrivateKey, ServerCertificate,
    ServerName, renew_at,
};
use adit_wire_proto::control::{CertificateChain, Registered};
use adit_wire_proto::drive::AgentControl;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// What visitors may speak inside TLS; the local service gets HTTP/1.1 in clear text.
pub(super) const ALPN: [&[u8]; 1] = [b"http/1.1"];

/// After a renewal that failed.
const RETRY: Duration = Duration::from_secs(60);

/// A key with a certificate that may be replaced while it serves.
pub(super) struct Vault {
    store: CertificateStore,
    tunnel: String,
    key: PrivateKey,
    live: Arc<LiveCertificate>,
    acceptor: TlsAcceptor,
}

impl Vault {
    /// Takes key and certificate from `folder`, or makes a key there and has it certified over the control stream.
    ///
    /// # Errors
    /// What can't be read or written, or the gateway's refusal.
    pub(super) async fn open(
        folder: &Path,
        control: &mut AgentControl<Stream>,
        registered: &Registered,
    ) -> Result<Self, BoxError> {
        let store = CertificateStore::open(folder)?;
        let tunnel = registered.name.clone();
        let key = match store.load(&tunnel, &provider())? {
            Some(stored) => stored.key,
            None => PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider())?,
        };
        let certificate = certify(&store, &key, control, registered).await?;
        let live = LiveCertificate::new(certificate);
        let acceptor = TlsAcceptor::from(live.server_config(provider(), &ALPN)?);
        Ok(Self { store, tunnel, key, live, acceptor })
    }

    /// Ends visitors' TLS.
    pub(super) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Has the same key certified anew; connections made keep the certificate that they saw.
    ///
    /// # Errors
    /// As [`open`](Self::open); the certificate before goes on being served.
    pub(super) async fn renew(
        &self,
        control: &mut AgentControl<Stream>,
        registered: &Registered,
    ) -> Result<(), BoxError> {
        self.live.replace(certify(&self.store, &self.key, control, registered).await?);
        tracing::info!(tunnel = %self.tunnel, "renewed the certificate");
        Ok(())
    }

    /// How long until the certificate is to be renewed: about two thirds of its life.
    pub(super) fn due_in(&self) -> Duration {
        let current = self.live.current();
        let [a, b, c, d] = random::octets();
        let due = renew_at(current.not_before(), current.not_after(), u32::from_be_bytes([a, b, c, d]));
        due.duration_since(SystemTime::now()).unwrap_or(RETRY)
    }

    /// How long to wait after a renewal that failed.
    pub(super) const fn retry_in() -> Duration {
        RETRY
    }
}

/// Where the certificate of the tunnel `name` is kept, with its key, below an agent's folder.
pub fn certificate_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pem"))
}

async fn certify(
    store: &CertificateStore,
    key: &PrivateKey,
    control: &mut AgentControl<Stream>,
    registered: &Registered,
) -> Result<ServerCertificate, BoxError> {
    let names: Result<Vec<ServerName>, _> =
        registered.certificate.names.iter().map(|name| name.parse()).collect();
    let request = CertificateRequest::new(&names?, key)?;
    let chain = control.sign_csr(registered.registration, request.der().to_vec()).await?;
    let chain = certificates(&chain);
    store.save(&registered.name, key, &chain)?;
    Ok(ServerCertificate::new(chain, key.to_der(), &provider(), SystemTime::now())?)
}

fn certificates(chain: &CertificateChain) -> Vec<CertificateDer<'static>> {
    chain.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect()
}
