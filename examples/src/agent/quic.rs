//! A QUIC connection to the gateway, by the address of its that answers first.

use crate::BoxError;
use crate::carriers::udp_socket;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an address may go without an answer until the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses of a host are tried.
const MOST_ADDRESSES: usize = 8;

/// Connects to `name` at one of `addresses`, in their order: one that is silent holds the others up for a moment only.
///
/// # Errors
/// What went wrong with the address that failed last.
pub(super) async fn connect(
    addresses: impl IntoIterator<Item = SocketAddr>,
    client: &ClientConfig,
    name: &str,
) -> Result<(Endpoint, Connection), BoxError> {
    let mut attempts = JoinSet::new();
    let mut pause = Duration::ZERO;
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        let (client, name) = (client.clone(), name.to_owned());
        attempts.spawn(async move {
            sleep(pause).await;
            attempt(address, client, &name).await
        });
        pause += STAGGER;
    }
    let mut last = BoxError::from("the gateway's host has no address");
    // Those that are still under way end with the set.
    while let Some(attempt) = attempts.join_next().await {
        match attempt? {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn attempt(
    address: SocketAddr,
    client: ClientConfig,
    name: &str,
) -> Result<(Endpoint, Connection), BoxError> {
    let any: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (socket, runtime) = (udp_socket((any, 0).into())?, Arc::new(TokioRuntime));
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
    let connection = endpoint.connect_with(client, address, name)?.await?;
    Ok((endpoint, connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;
    use quinn::ServerConfig;
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use rustls::RootCertStore;
    use rustls::pki_types::PrivateKeyDer;
    use std::net::UdpSocket;

    fn configs() -> (ServerConfig, ClientConfig) {
        let identity = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(identity.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        (server, ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap())))
    }

    #[tokio::test]
    async fn m27_an_address_that_does_not_answer_hides_no_other_address() {
        let (server, client) = configs();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let silent = UdpSocket::bind(any).unwrap();
        let server = Endpoint::server(server, any).unwrap();
        let addresses = [silent.local_addr().unwrap(), server.local_addr().unwrap()];
        let accept = async { server.accept().await.unwrap().await.unwrap() };
        let (connected, _accepted) = tokio::join!(connect(addresses, &client, "gateway.test"), accept);
        assert_eq!(connected.unwrap().1.remote_address(), addresses[1]);
        assert!(connect([], &client, "gateway.test").await.is_err());
    }
}
