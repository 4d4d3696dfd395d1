//! A visitor: plain clients that know nothing of Adit.

use super::clients::Identity;
use crate::BoxError;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One HTTP/1.1 exchange on `io`; the connection lives as long as the answer's body.
pub(crate) async fn exchange<Io, B>(io: Io, request: Request<B>) -> Result<Response<Incoming>, BoxError>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// A GET without a body.
pub(crate) fn get(host: &str, path: &str) -> Result<Request<Empty<Bytes>>, BoxError> {
    Ok(Request::get(path).header(http::header::HOST, host).body(Empty::new())?)
}

/// The answer's whole body; for small ones.
pub(crate) async fn text(response: Response<Incoming>) -> Result<String, BoxError> {
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

/// A connection over TLS to `host` at `address`, with `anchor` as the only trusted authority.
pub(crate) async fn tls<Io>(
    io: Io,
    host: &str,
    anchor: &CertificateDer<'static>,
) -> Result<TlsStream<Io>, BoxError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    tls_as(io, host, anchor, None).await
}

/// The same by a visitor who shows a certificate, if there is one.
pub(crate) async fn tls_as<Io>(
    io: Io,
    host: &str,
    anchor: &CertificateDer<'static>,
    identity: Option<Identity>,
) -> Result<TlsStream<Io>, BoxError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone())?;
    let config = ClientConfig::builder_with_provider(crate::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, io).await?)
}

/// A TCP connection without Nagle's delay.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, BoxError> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A socket that writes its first octets one at a time, each as a segment of its own.
pub(crate) struct Drip {
    socket: TcpStream,
    left: usize,
}

impl Drip {
    /// Drips the first `octets` that are written.
    pub(crate) const fn new(socket: TcpStream, octets: usize) -> Self {
        Self { socket, left: octets }
    }
}

impl AsyncWrite for Drip {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let end = if self.left > 0 { data.len().min(1) } else { data.len() };
        let written = std::task::ready!(Pin::new(&mut self.socket).poll_write(cx, &data[..end]))?;
        self.left = self.left.saturating_sub(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Drip {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}
