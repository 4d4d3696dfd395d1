//! How gateway and agent reach a certificate authority by ACME, and where they keep their account with it.

use crate::{BoxError, files, provider};
use adit_tls_modes::{
    AcmeAccount, AcmeExchange, AcmeSigner, AcmeTransport, AuthorisedNames, CertificateRequest,
    CertificateStore, CsrCheck, NewAcmeAccount, PrivateKey, ServerCertificate, StoredCertificate,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one exchange with an authority may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The most that is read of an answer, in octets.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Where Debian and its like keep the authorities that everybody trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A certificate authority, and how to deal with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The URL of its directory.
    pub directory: String,
    /// Where it may write to, such as `mailto:ops@gateway.example`.
    pub contact: Option<String>,
    /// The roots by which its own HTTPS is trusted, as PEM; those of the system if left out.
    pub roots: Option<PathBuf>,
    /// Whether the operator has read its terms of service and agrees.
    pub agrees_to_terms: bool,
}

impl Authority {
    /// A connection to the authority, and the account that is kept in `folder`; a new one if there is none yet.
    ///
    /// # Errors
    /// Roots or an account that can't be read, or the authority's refusal.
    pub(crate) async fn open(
        &self,
        folder: &Path,
    ) -> Result<(AcmeAccount, Arc<dyn AcmeTransport>), BoxError> {
        let roots = self.roots.as_deref().unwrap_or_else(|| Path::new(SYSTEM_ROOTS));
        let transport: Arc<dyn AcmeTransport> = Arc::new(Https::trusting(roots)?);
        files::private_folder(folder)?;
        // An account is one authority's: another directory gets another file.
        let digest = Sha256::digest(&self.directory);
        let name = HEXLOWER.encode(digest.first_chunk::<8>().map_or(&[][..], |octets| octets));
        let path = folder.join(format!("acme-{name}.json"));
        if path.exists() {
            return Ok((AcmeAccount::from_json(&std::fs::read_to_string(path)?)?, transport));
        }
        let mut new = NewAcmeAccount::new(&self.directory).agree_to_terms(self.agrees_to_terms);
        if let Some(contact) = &self.contact {
            new = new.contact(contact);
        }
        let account = AcmeAccount::create(&transport, &new, SystemTime::now()).await?;
        files::write_private(&path, account.to_json().as_bytes())?;
        Ok((account, transport))
    }
}

/// The certificate that `stored` has, if it is good.
pub(crate) fn certificate_of(stored: &StoredCertificate) -> Option<ServerCertificate> {
    ServerCertificate::new(stored.chain.clone(), stored.key.to_der(), &provider(), SystemTime::now()).ok()
}

/// Has `name` certified for `key`, and keeps both in `store`.
///
/// # Errors
/// The authority's refusal, or a store that can't be written.
pub(crate) async fn order(
    signer: &AcmeSigner,
    store: &CertificateStore,
    name: &adit_tls_modes::ServerName,
    key: &PrivateKey,
) -> Result<ServerCertificate, BoxError> {
    let names = [name.clone()];
    let request = CertificateRequest::new(&names, key)?;
    let request = CsrCheck::new(provider()).check_der(request.der(), &AuthorisedNames::new(names)?)?;
    let issued = signer.order(&request, SystemTime::now()).await?;
    store.save(name.as_str(), key, &issued.chain)?;
    Ok(ServerCertificate::new(issued.chain, key.to_der(), &provider(), SystemTime::now())?)
}

/// HTTP/1.1 over TLS, a connection for each exchange: there are ten of them in an order.
struct Https {
    config: Arc<ClientConfig>,
}

impl Https {
    fn trusting(roots: &Path) -> Result<Self, BoxError> {
        let mut store = RootCertStore::empty();
        let pem = std::fs::read(roots).map_err(|error| format!("{}: {error}", roots.display()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            store.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }
}

impl AcmeTransport for Https {
    fn send(&self, request: Request<Bytes>) -> AcmeExchange {
        let config = Arc::clone(&self.config);
        Box::pin(async move { tokio::time::timeout(DEADLINE, exchange(config, request)).await? })
    }
}

async fn exchange(config: Arc<ClientConfig>, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
    let (mut parts, body) = request.into_parts();
    if parts.uri.scheme_str() != Some("https") {
        return Err("an authority is asked by https only".into());
    }
    let authority = parts.uri.authority().ok_or("the URL has no host")?.clone();
    let socket = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(443))).await?;
    let name = ServerName::try_from(authority.host().to_owned())?;
    let tls = TlsConnector::from(config).connect(name, socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    tokio::spawn(connection);
    parts.headers.insert(header::HOST, authority.as_str().parse()?);
    parts.uri = Uri::try_from(parts.uri.path_and_query().map_or("/", |path| path.as_str()))?;
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes()))
}
