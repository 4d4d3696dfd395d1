//! A service that speaks HTTP/3, and a visitor who does. Between them nobody ends QUIC.

use crate::{BoxError, provider};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h3::client::SendRequest;
use h3::server::RequestStream;
use h3_quinn::{BidiStream, OpenStreams};
use http::{Method, Request, Response, StatusCode};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

/// HTTP/3 (RFC 9114 §3.1).
const ALPN: &[u8] = b"h3";

/// The longest body that either side takes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Serves `host` on `socket`, with the certificate and key in `file`: greets on GET, and gives back what is POSTed.
pub(crate) fn serve(socket: UdpSocket, host: &str, file: &Path) -> Result<(), BoxError> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?));
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
    let host: Arc<str> = host.into();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let host = Arc::clone(&host);
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await
                    && let Err(error) = serve_connection(connection, host).await
                {
                    tracing::debug!(%error, "an HTTP/3 connection failed");
                }
            });
        }
    });
    Ok(())
}

async fn serve_connection(connection: Connection, host: Arc<str>) -> Result<(), BoxError> {
    let mut connection =
        h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(connection)).await?;
    while let Some(resolver) = connection.accept().await? {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let answered = async {
                let (request, stream) = resolver.resolve_request().await?;
                answer(&request, stream, &host).await
            };
            if let Err(error) = answered.await {
                tracing::debug!(%error, "an HTTP/3 request failed");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: &Request<()>,
    mut stream: RequestStream<BidiStream<Bytes>, Bytes>,
    host: &str,
) -> Result<(), BoxError> {
    // Who ends TLS compares: nobody before could read for whom the request is (E-10).
    let is_ours = request.uri().host().is_some_and(|asked| asked.eq_ignore_ascii_case(host));
    let (status, body) = match *request.method() {
        _ if !is_ours => (StatusCode::MISDIRECTED_REQUEST, Bytes::new()),
        Method::GET => (StatusCode::OK, Bytes::from(format!("hello {}\n", request.uri().path()))),
        Method::POST => {
            let mut body = BytesMut::new();
            while let Some(chunk) = stream.recv_data().await? {
                take(&mut body, chunk)?;
            }
            (StatusCode::OK, body.freeze())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
    };
    stream.send_response(Response::builder().status(status).body(())?).await?;
    stream.send_data(body).await?;
    Ok(stream.finish().await?)
}

/// A visitor's connection to one host.
pub(crate) struct Visitor {
    endpoint: Endpoint,
    connection: Connection,
    requests: SendRequest<OpenStreams, Bytes>,
}

impl Visitor {
    /// Connects to `host` at `address`, with `anchor` as the only trusted authority.
    pub(crate) async fn connect(
        address: SocketAddr,
        host: &str,
        anchor: &CertificateDer<'static>,
    ) -> Result<Self, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone())?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?));
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let connection = endpoint.connect_with(config, address, host)?.await?;
        let transport = h3_quinn::Connection::new(connection.clone());
        let (mut driver, requests) = h3::client::new(transport).await?;
        tokio::spawn(async move {
            let end = poll_fn(|task| driver.poll_close(task)).await;
            tracing::debug!(%end, "a visitor's HTTP/3 connection ended");
        });
        Ok(Self { endpoint, connection, requests })
    }

    /// One request with its whole answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<(StatusCode, Bytes), BoxError> {
        let (head, body) = request.into_parts();
        let mut stream = self.requests.send_request(Request::from_parts(head, ())).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        stream.finish().await?;
        let response = stream.recv_response().await?;
        let mut body = BytesMut::new();
        while let Some(chunk) = stream.recv_data().await? {
            take(&mut body, chunk)?;
        }
        Ok((response.status(), body.freeze()))
    }

    /// The certificate that the service showed.
    pub(crate) fn certificate(&self) -> Result<CertificateDer<'static>, BoxError> {
        let identity = self.connection.peer_identity().ok_or("no certificate")?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no chain")?;
        Ok(chain.first().cloned().ok_or("an empty chain")?)
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        drop(self.requests);
        self.connection.close(0_u32.into(), b"");
        self.endpoint.wait_idle().await;
    }
}

fn take(body: &mut BytesMut, chunk: impl Buf) -> Result<(), BoxError> {
    if body.len() + chunk.remaining() > MAX_BODY {
        return Err("the body is too long".into());
    }
    body.put(chunk);
    Ok(())
}
