//! A service that speaks QUIC, and a visitor who does.

use crate::{BoxError, provider};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

/// What HTTP/3 is called; nothing of it is spoken here but QUIC.
const ALPN: &[u8] = b"h3";

/// The most that is echoed on one stream.
const MAX_ECHO: usize = 4 * 1024 * 1024;

/// Echoes every stream on `socket`, with the certificate and key in `file`.
pub(crate) fn serve_echo(socket: UdpSocket, file: &Path) -> Result<(), BoxError> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?));
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    echo(&connection).await;
                }
            });
        }
    });
    Ok(())
}

async fn echo(connection: &Connection) {
    while let Ok((mut sender, mut receiver)) = connection.accept_bi().await {
        let Ok(sent) = receiver.read_to_end(MAX_ECHO).await else { return };
        if sender.write_all(&sent).await.is_err() {
            return;
        }
        // It has been finished, or the visitor is gone.
        let _ = sender.finish();
    }
}

/// A visitor's connection to `host` at `address`, with `anchor` as the only trusted authority.
pub(crate) async fn connect(
    address: SocketAddr,
    host: &str,
    anchor: &CertificateDer<'static>,
) -> Result<(Endpoint, Connection), BoxError> {
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
    Ok((endpoint, connection))
}

/// The certificate that the other side showed.
pub(crate) fn certificate(connection: &Connection) -> Result<CertificateDer<'static>, BoxError> {
    let identity = connection.peer_identity().ok_or("no certificate")?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no chain")?;
    Ok(chain.first().cloned().ok_or("an empty chain")?)
}

/// Sends `octets` on a stream of their own and returns what comes back.
pub(crate) async fn exchange(connection: &Connection, octets: &[u8]) -> Result<Vec<u8>, BoxError> {
    let (mut sender, mut receiver) = connection.open_bi().await?;
    let send = async {
        sender.write_all(octets).await?;
        sender.finish()?;
        Ok::<_, BoxError>(())
    };
    let (sent, received) = tokio::join!(send, receiver.read_to_end(MAX_ECHO));
    sent?;
    Ok(received?)
}
