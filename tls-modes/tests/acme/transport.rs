//! How the tests reach an authority.

use std::error::Error;
use std::sync::Arc;

use adit_tls_modes::rustls::pki_types::{CertificateDer, ServerName as PeerName};
use adit_tls_modes::rustls::{ClientConfig, RootCertStore};
use adit_tls_modes::{AcmeExchange, AcmeTransport};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::provider;

/// HTTP/1.1 over TLS, a connection for each exchange.
pub(crate) struct Https {
    config: Arc<ClientConfig>,
}

impl Https {
    /// Trusts `root` alone.
    pub(crate) fn trusting(root: &CertificateDer<'static>) -> Arc<dyn AcmeTransport> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(Self { config: Arc::new(config) })
    }
}

impl AcmeTransport for Https {
    fn send(&self, request: Request<Bytes>) -> AcmeExchange {
        Box::pin(exchange(Arc::clone(&self.config), request))
    }
}

async fn exchange(
    config: Arc<ClientConfig>,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let authority = request.uri().authority().ok_or("no authority")?.clone();
    let address = (authority.host(), authority.port_u16().unwrap_or(443));
    let socket = TcpStream::connect(address).await?;
    let name = PeerName::try_from(authority.host().to_owned())?;
    let tls = TlsConnector::from(config).connect(name, socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    tokio::spawn(connection);
    request.headers_mut().insert(header::HOST, authority.as_str().parse()?);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    let (parts, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}
