//! The authority's own HTTPS, and the looks that it takes at gateways.

use super::desk::{Asked, Desk, Reply};
use super::{ValidationPorts, validate};
use crate::{BoxError, provider};
use adit_tls_modes::PrivateKey;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where to look, once that is known.
type Ports = Arc<Mutex<Option<ValidationPorts>>>;

/// The most that is read of a request, in octets.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Ends TLS with the authority's own certificate.
pub(super) fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKey,
) -> Result<TlsAcceptor, BoxError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key.to_der())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers clients for as long as it is polled.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    desk: Arc<Mutex<Desk>>,
    ports: Ports,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, desk, ports) = (acceptor.clone(), Arc::clone(&desk), Arc::clone(&ports));
        tokio::spawn(async move {
            if let Err(error) = connection(socket, acceptor, desk, ports).await {
                tracing::debug!(%error, "a client's connection failed");
            }
        });
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    desk: Arc<Mutex<Desk>>,
    ports: Ports,
) -> Result<(), BoxError> {
    let tls = acceptor.accept(socket).await?;
    let service = service_fn(move |request| answer(Arc::clone(&desk), Arc::clone(&ports), request));
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await?;
    Ok(())
}

async fn answer(
    desk: Arc<Mutex<Desk>>,
    ports: Ports,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await?.to_bytes();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: &parts.method,
        path: parts.uri.path(),
        content_type: content_type.unwrap_or_default(),
        body: &body,
    };
    let mut reply = lock(&desk).answer(SystemTime::now(), &asked);
    if let Some(validation) = reply.validation.take() {
        tokio::spawn(async move {
            let ports = *lock(&ports);
            let outcome = match ports {
                Some(ports) => validate::look(&validation, ports).await,
                None => Err("connection"),
            };
            lock(&desk).validated(validation.authorization, outcome);
        });
    }
    response(reply)
}

fn response(reply: Reply) -> Result<Response<Full<Bytes>>, BoxError> {
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert("replay-nonce", HeaderValue::try_from(reply.nonce)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(location) = reply.location {
        headers.insert(header::LOCATION, HeaderValue::try_from(location)?);
    }
    if let Some(seconds) = reply.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can panic half-way through a change.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
