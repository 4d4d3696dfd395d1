use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{NamePattern, ServerCertificate, ServerName};

/// The certificate that an agent serves with at the moment. Replacing it is one pointer: handshakes under way and
/// connections made keep the old one, every later handshake sees the new one, and none fails in between.
///
/// A name that the certificate does not cover gets no answer but an alert: a gateway that sends visitors of another
/// tunnel here learns nothing.
pub struct LiveCertificate {
    current: ArcSwap<ServerCertificate>,
}

impl LiveCertificate {
    /// Starts with `certificate`.
    pub fn new(certificate: ServerCertificate) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(certificate) })
    }

    /// Serves with `certificate` from now on.
    pub fn replace(&self, certificate: ServerCertificate) {
        self.current.store(Arc::new(certificate));
    }

    /// The certificate served with now.
    pub fn current(&self) -> Arc<ServerCertificate> {
        self.current.load_full()
    }

    /// A configuration for ending TLS at the agent: TLS 1.2 and 1.3 as `provider` has them, `alpn` in order of
    /// preference, no early data, no resumption.
    ///
    /// # Errors
    /// Those of rustls, if the provider supports neither version.
    pub fn server_config(
        self: &Arc<Self>,
        provider: Arc<CryptoProvider>,
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name: ServerName = hello.server_name()?.parse().ok()?;
        let current = self.current.load();
        current.covers(&NamePattern::exact(name)).then(|| current.certified_key())
    }
}

impl fmt::Debug for LiveCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveCertificate").field(&self.current.load()).finish()
    }
}
