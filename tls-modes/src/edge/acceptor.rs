use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{PeerMisbehaved, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::edge::ResumptionScope;
use crate::edge::names::Names;
use crate::io::refuse;
use crate::{AlertDescription, NamePattern, ServerCertificate, ServerName};

/// Ends TLS for many names, each with its own certificate, under a wildcard, or not at all.
///
/// Certificates are swapped while serving: a handshake sees the names as they were when it started, the next one as
/// they are. Looking one up takes no lock. TLS 1.2 and 1.3 are served, ALPN is `h2` and `http/1.1` unless set
/// otherwise, early data is never taken, and renegotiation, compression and weak ciphers do not exist in rustls.
///
/// ```text
///   ClientHello --> choose_mode: Edge(name) --> Edge::accept(io, name, scope) --> TlsStream
///                                                     |
///                          install / remove ==> names (one pointer)
/// ```
pub struct Edge {
    template: ServerConfigTemplate,
    names: ArcSwap<Names<Host>>,
    next_client_rule: AtomicU64,
}

impl Edge {
    /// Starts building an edge that uses the cryptography of `provider`.
    pub fn builder(provider: Arc<CryptoProvider>) -> EdgeBuilder {
        EdgeBuilder {
            template: ServerConfigTemplate {
                provider,
                alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
                tickets: None,
            },
        }
    }

    /// Serves the names of `pattern` from now on, in place of whatever was served under exactly that pattern.
    ///
    /// Copies the table of names (a pointer and a name each), about 50 ns for each name.
    ///
    /// # Errors
    /// [`EdgeInstallError`]; what was served before goes on being served.
    pub fn install(&self, pattern: &NamePattern, host: EdgeHost) -> Result<(), EdgeInstallError> {
        self.install_all([(pattern.clone(), host)])
    }

    /// Does the same for many patterns in one step: a handshake sees all of them or none.
    ///
    /// # Errors
    /// [`EdgeInstallError`] of the first that fails; none is installed then.
    pub fn install_all(
        &self,
        hosts: impl IntoIterator<Item = (NamePattern, EdgeHost)>,
    ) -> Result<(), EdgeInstallError> {
        let current = self.names.load();
        let mut new = Vec::new();
        for (pattern, host) in hosts {
            let client_rule = self.client_rule(current.get(&pattern), host.verifier.as_ref());
            let host = Arc::new(self.template.host(&pattern, host, client_rule)?);
            new.push((pattern, host));
        }
        self.names.rcu(|names| {
            let mut names = Names::clone(names);
            for (pattern, host) in &new {
                names.insert(pattern, Arc::clone(host));
            }
            names
        });
        Ok(())
    }

    /// Serves the pattern no longer. New handshakes get the alert for unknown names; connections made live on until
    /// the caller closes them.
    pub fn remove(&self, pattern: &NamePattern) {
        self.names.rcu(|names| {
            let mut names = Names::clone(names);
            names.remove(pattern);
            names
        });
    }

    /// Whether some pattern is for this name.
    pub fn serves(&self, name: &ServerName) -> bool {
        self.names.load().find(name).is_some()
    }

    /// The certificate that is served under exactly this pattern.
    pub fn certificate(&self, pattern: &NamePattern) -> Option<ServerCertificate> {
        self.names.load().get(pattern).map(|host| host.certificate.clone())
    }

    /// The configuration for one connection to `name`, or `None` if no pattern is for it: then the answer is
    /// [`AlertDescription::UNRECOGNIZED_NAME`].
    ///
    /// It answers for this name only and resumes within `scope` only. Ask for each connection anew.
    pub fn server_config(&self, name: &ServerName, scope: &ResumptionScope) -> Option<Arc<ServerConfig>> {
        let names = self.names.load();
        let host = names.find(name)?;
        let mut config = host.config.clone();
        config.cert_resolver =
            Arc::new(OneName { name: name.clone(), certified: host.certificate.certified_key() });
        if let Some(tickets) = &self.template.tickets {
            config.ticketer = scope.tickets(tickets, name.as_str(), host.client_rule);
        }
        Some(Arc::new(config))
    }

    /// Ends TLS on `io`, which must replay the ClientHello that asked for `name`.
    ///
    /// Put a deadline around it. A name that nobody serves gets its alert before the error comes back.
    ///
    /// # Errors
    /// [`EdgeAcceptError`]; the connection is of no more use.
    pub async fn accept<IO>(
        &self,
        mut io: IO,
        name: &ServerName,
        scope: &ResumptionScope,
    ) -> Result<TlsStream<IO>, EdgeAcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(config) = self.server_config(name, scope) else {
            refuse(&mut io, Some(AlertDescription::UNRECOGNIZED_NAME))
                .await
                .map_err(|source| EdgeAcceptError::Handshake { source })?;
            return Err(EdgeAcceptError::UnknownName {});
        };
        match TlsAcceptor::from(config).accept(io).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((source, mut io)) => {
                if changes_name_on_retry(&source) {
                    // rustls closes without a word here; the connection fails either way, so does this answer.
                    let _ = refuse(&mut io, Some(AlertDescription::ILLEGAL_PARAMETER)).await;
                }
                Err(EdgeAcceptError::Handshake { source })
            }
        }
    }

    /// The patterns whose certificate ends before `moment`, with its end: what to renew, or to raise an alarm about.
    pub fn expiring_before(&self, moment: SystemTime) -> Vec<(NamePattern, SystemTime)> {
        let names = self.names.load();
        names
            .values()
            .map(|host| (&host.pattern, host.certificate.not_after()))
            .filter(|(_, not_after)| *not_after < moment)
            .map(|(pattern, not_after)| (pattern.clone(), not_after))
            .collect()
    }

    /// A number for the rule by which clients show certificates: the same only while the very same verifier stays, so
    /// that no session made under one rule is resumed under another.
    fn client_rule(&self, before: Option<&Arc<Host>>, verifier: Option<&Arc<dyn ClientCertVerifier>>) -> u64 {
        let Some(verifier) = verifier else {
            return NO_CLIENT_RULE;
        };
        let before = before.and_then(|host| Some((host.verifier.as_ref()?, host.client_rule)));
        match before {
            Some((same, rule)) if Arc::ptr_eq(same, verifier) => rule,
            _ => self.next_client_rule.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

/// The settings of an [`Edge`].
#[derive(Debug)]
pub struct EdgeBuilder {
    template: ServerConfigTemplate,
}

impl EdgeBuilder {
    /// Sets the application protocols, best first. Default `h2`, `http/1.1`; with none ALPN is not answered at all.
    #[must_use]
    pub fn alpn<'a>(mut self, protocols: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.template.alpn = protocols.into_iter().map(<[u8]>::to_vec).collect();
        self
    }

    /// Lets sessions be resumed by tickets, sealed by `tickets`, for example `rustls::crypto::ring::Ticketer::new()`.
    /// Default: no resumption.
    ///
    /// Nothing is kept in memory for it, so that no tenant can crowd out the sessions of another.
    #[must_use]
    pub fn resumption(mut self, tickets: Arc<dyn ProducesTickets>) -> Self {
        self.template.tickets = Some(tickets);
        self
    }

    /// An edge that serves no name yet.
    pub fn build(self) -> Edge {
        Edge {
            template: self.template,
            names: ArcSwap::from_pointee(Names::default()),
            next_client_rule: AtomicU64::new(NO_CLIENT_RULE + 1),
        }
    }
}

/// What is served under a pattern.
#[derive(Clone, Debug)]
pub struct EdgeHost {
    certificate: ServerCertificate,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl EdgeHost {
    /// Serves with `certificate`, and asks clients for none.
    pub const fn new(certificate: ServerCertificate) -> Self {
        Self { certificate, verifier: None }
    }

    /// Has clients show certificates that satisfy `verifier` (mutual TLS).
    ///
    /// Give the same `Arc` again when only the server's certificate is renewed; another one ends the resumption of
    /// sessions made before.
    #[must_use]
    pub fn client_verifier(mut self, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        self.verifier = Some(verifier);
        self
    }
}

/// Why a host is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeInstallError {
    /// The certificate is not good for all names of the pattern.
    #[error("the certificate does not cover {pattern}")]
    #[non_exhaustive]
    NotCovered {
        /// The pattern.
        pattern: NamePattern,
    },
    /// The crypto provider has neither TLS 1.2 nor 1.3 to offer.
    #[error("the crypto provider is of no use: {source}")]
    #[non_exhaustive]
    Provider {
        /// What rustls said.
        source: rustls::Error,
    },
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeAcceptError {
    /// Nobody is served under the name; the alert has been sent.
    #[error("nobody is served under this name")]
    #[non_exhaustive]
    UnknownName {},
    /// The handshake failed; rustls has sent its alert.
    #[error("the TLS handshake failed: {source}")]
    #[non_exhaustive]
    Handshake {
        /// What rustls or the stream said.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Host {
    pattern: NamePattern,
    certificate: ServerCertificate,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    client_rule: u64,
    config: ServerConfig,
}

#[derive(Debug)]
struct ServerConfigTemplate {
    provider: Arc<CryptoProvider>,
    alpn: Vec<Vec<u8>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl ServerConfigTemplate {
    fn host(
        &self,
        pattern: &NamePattern,
        host: EdgeHost,
        client_rule: u64,
    ) -> Result<Host, EdgeInstallError> {
        let EdgeHost { certificate, verifier } = host;
        if !certificate.covers(pattern) {
            return Err(EdgeInstallError::NotCovered { pattern: pattern.clone() });
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| EdgeInstallError::Provider { source })?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(NoName {}));
        config.alpn_protocols = self.alpn.clone();
        // Sessions live in tickets alone, whose scope is checked; rustls' memory of sessions would not check it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Host { pattern: pattern.clone(), certificate, verifier, client_rule, config })
    }
}

/// Answers for the name that the connection was sniffed to ask for, and for no other, whatever rustls reads.
#[derive(Debug)]
struct OneName {
    name: ServerName,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_same = hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(self.name.as_str()));
        is_same.then(|| Arc::clone(&self.certified))
    }
}

/// Stands in a configuration until its connection is known.
#[derive(Debug)]
struct NoName {}

impl ResolvesServerCert for NoName {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Whether the second hello, after a HelloRetryRequest, asks for another host than the first (RFC 8446 §4.1.2).
fn changes_name_on_retry(error: &io::Error) -> bool {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(refusal, Some(rustls::Error::PeerMisbehaved(PeerMisbehaved::ServerNameDifferedOnRetry)))
}

/// For hosts that ask clients for no certificate.
const NO_CLIENT_RULE: u64 = 0;
