//! The rows about certificates: by ACME from a test authority, for the edge, for an agent's request, for a domain of its
//! owner's; and renewal while serving.

use super::table::Moved;
use super::visitor::{self, exchange, get, text};
use super::world::start_agent;
use super::{rows, upstream};
use crate::BoxError;
use crate::acme::Authority;
use crate::agent::{Local, OwnDomain, Tunnel};
use crate::gateway::{self, Gateway};
use crate::test_authority::{TestAuthority, ValidationPorts};
use adit_naming::{CustomDomain, TunnelName};
use adit_tls_modes::ChallengeKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::client::TlsStream;

type Outcome = Result<Moved, BoxError>;

/// How long the development authority certifies for here, so that renewal is seen.
const LIFETIME: Duration = Duration::from_secs(9);

/// The domain that the tunnel's owner has brought along.
const DOMAIN: &str = "vault.example";

/// An agent and a gateway of their own, and who certifies them.
struct Setting {
    gateway: Gateway,
    authority: TestAuthority,
    public_root: CertificateDer<'static>,
    own_root: CertificateDer<'static>,
    folder: PathBuf,
    agents: Vec<Runtime>,
}

/// A host whose TLS the gateway ends, certified by HTTP-01.
pub(super) async fn edge_by_http_01(folder: &Path) -> Outcome {
    let mut setting = Setting::start(&folder.join("acme-edge"), Some(ChallengeKind::Http01)).await?;
    let upstream = upstream().await?;
    let tunnel = Tunnel::Http { upstream: upstream.into(), name: Some("my-app".to_owned()) };
    setting.agent(tunnel, Local::default()).await?;
    let host = format!("my-app.{}", setting.gateway.zone());
    let outcome = setting.fetch(&host, &setting.public_root).await;
    setting.stop().await;
    outcome
}

/// The request of an agent that ends TLS itself, certified by TLS-ALPN-01, which the gateway answers for it.
pub(super) async fn request_by_tls_alpn_01(folder: &Path) -> Outcome {
    let mut setting = Setting::start(&folder.join("acme-request"), Some(ChallengeKind::TlsAlpn01)).await?;
    let upstream = upstream().await?;
    let tunnel = Tunnel::Tls { upstream: upstream.into(), name: Some("my-vault".to_owned()) };
    setting.agent(tunnel, Local::default()).await?;
    let host = format!("my-vault.{}", setting.gateway.zone());
    let outcome = setting.fetch(&host, &setting.public_root).await;
    setting.stop().await;
    outcome
}

/// A domain of the owner's, certified by the agent itself: the authority's challenge is passed through to it.
pub(super) async fn own_domain(folder: &Path) -> Outcome {
    let mut setting = Setting::start(&folder.join("acme-domain"), None).await?;
    let domain = OwnDomain {
        domain: Some(DOMAIN.to_owned()),
        acme_directory: Some(setting.authority.directory().to_owned()),
        acme_roots: Some(setting.root_file()),
        acme_agree_to_terms: true,
        ..OwnDomain::default()
    };
    let upstream = upstream().await?;
    let tunnel = Tunnel::Tls { upstream: upstream.into(), name: Some("my-vault".to_owned()) };
    setting.agent(tunnel, Local { domain, ..Local::default() }).await?;
    let outcome = setting.fetch(DOMAIN, &setting.public_root).await;
    setting.stop().await;
    outcome
}

/// A certificate with a short life, renewed by the agent while visitors come.
pub(super) async fn renewal(folder: &Path) -> Outcome {
    let mut setting = Setting::start(&folder.join("renewal"), None).await?;
    let upstream = upstream().await?;
    let tunnel = Tunnel::Tls { upstream: upstream.into(), name: Some("my-vault".to_owned()) };
    setting.agent(tunnel, Local::default()).await?;
    let host = format!("my-vault.{}", setting.gateway.zone());
    let first = seen(&setting.visit(&host, &setting.own_root).await?)?;
    let mut total = 0;
    loop {
        let tls = setting.visit(&host, &setting.own_root).await?;
        let is_new = seen(&tls)? != first;
        total += text(exchange(tls, get(&host, "/")?).await?).await?.len();
        if is_new {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    setting.stop().await;
    Ok(rows::moved(total))
}

impl Setting {
    /// A gateway with a test authority beside it; with a `challenge`, that certifies in place of the gateway's own.
    async fn start(folder: &Path, challenge: Option<ChallengeKind>) -> Result<Self, BoxError> {
        let authority = TestAuthority::start().await?;
        std::fs::create_dir_all(folder)?;
        let roots = folder.join("test-root.pem");
        std::fs::write(&roots, authority.root_pem())?;
        let mut config = gateway::Config::on_loopback(folder.join("gateway"), (35_000, 35_999));
        config.custom_domains = vec![(CustomDomain::parse(DOMAIN)?, TunnelName::parse("my-vault")?)];
        config.certificate_lifetime = LIFETIME;
        config.acme = challenge.map(|challenge| {
            let authority = Authority {
                directory: authority.directory().to_owned(),
                contact: None,
                roots: Some(roots),
                agrees_to_terms: true,
            };
            (authority, challenge)
        });
        let gateway = Gateway::start(config).await?;
        let (http, https) = (gateway.http_address(), gateway.https_address());
        authority.look_at(ValidationPorts { http, https });
        Ok(Self {
            public_root: CertificateDer::from_pem_slice(authority.root_pem().as_bytes())?,
            own_root: CertificateDer::from_pem_slice(gateway.anchor_pem().as_bytes())?,
            gateway,
            authority,
            folder: folder.to_path_buf(),
            agents: Vec::new(),
        })
    }

    fn root_file(&self) -> PathBuf {
        self.folder.join("test-root.pem")
    }

    async fn agent(&mut self, tunnel: Tunnel, local: Local) -> Result<(), BoxError> {
        let (runtime, _) = start_agent(&self.gateway, &self.folder.join("agent"), tunnel, local).await?;
        self.agents.push(runtime);
        Ok(())
    }

    async fn visit(
        &self,
        host: &str,
        root: &CertificateDer<'static>,
    ) -> Result<TlsStream<TcpStream>, BoxError> {
        visitor::tls(visitor::connect(self.gateway.https_address()).await?, host, root).await
    }

    /// What the upstream says to a visitor who trusts `root` alone, as soon as the certificate is there.
    async fn fetch(&self, host: &str, root: &CertificateDer<'static>) -> Outcome {
        let tls = loop {
            match self.visit(host, root).await {
                Ok(tls) => break tls,
                // The row's own deadline ends it.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let body = text(exchange(tls, get(host, "/")?).await?).await?;
        if body.starts_with("hello") { Ok(rows::moved(body.len())) } else { Err("no greeting".into()) }
    }

    async fn stop(self) {
        for runtime in self.agents {
            runtime.shutdown_background();
        }
        self.gateway.stop(Duration::from_secs(1)).await;
    }
}

async fn upstream() -> Result<std::net::SocketAddr, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(upstream::serve_http(listener));
    Ok(address)
}

fn seen(tls: &TlsStream<TcpStream>) -> Result<CertificateDer<'static>, BoxError> {
    let certificates = tls.get_ref().1.peer_certificates();
    certificates.and_then(<[_]>::first).cloned().ok_or_else(|| "no certificate".into())
}
