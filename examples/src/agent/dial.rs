//! From the gateway's address to a session that is about to begin, by each of the carriers.

use super::config::Link;
use super::outward::connect_tcp;
use crate::carriers::{alpn, binding, quic_binding};
use crate::{BoxError, provider};
use adit_mux::carrier::select::Failure;
use adit_mux::carrier::websocket::{self, HandshakeError};
use adit_mux::carrier::{h2, quic};
use adit_mux::{Builder, Carrier, Config, Incoming, Role, Session};
use adit_wire_proto::credential::ChannelBinding;
use quinn::ConnectionError;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take until the session's first frame can be sent.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// In front of a gateway's address: plain TCP, for tests on one machine.
pub(super) const PLAIN: &str = "tcp://";

/// How long the other side of a QUIC connection may take to learn why it ended.
const QUIC_LINGER: Duration = Duration::from_secs(2);

/// A connection to the gateway: nothing was said on it yet.
pub(super) struct Dialled {
    pub(super) session: Session,
    pub(super) incoming: Incoming,
    /// What a proof on it is bound to.
    pub(super) binding: ChannelBinding,
}

/// Why there is no connection: a sentence for the person who started the agent, and a class for choosing.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct DialError {
    sentence: String,
    class: Failure,
}

impl DialError {
    pub(super) const fn class(&self) -> Failure {
        self.class
    }
}

impl From<BoxError> for DialError {
    fn from(error: BoxError) -> Self {
        Self { sentence: error.to_string(), class: class(&*error) }
    }
}

/// Connects by `carrier`, and takes what answers for the gateway only if its certificate and protocol are right.
///
/// # Errors
/// See [`DialError`].
pub(super) async fn dial(link: &Link, carrier: Carrier) -> Result<Dialled, DialError> {
    match timeout(DIAL_DEADLINE, connect(link, carrier)).await {
        Ok(dialled) => Ok(dialled?),
        Err(_) => Err(DialError {
            sentence: "the gateway did not answer within 10 s".to_owned(),
            class: Failure::NoAnswer,
        }),
    }
}

/// What answers is no gateway of ours.
#[derive(Debug, thiserror::Error)]
#[error("what answers there is no Adit gateway")]
struct NoGateway;

fn class(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Failure {
    if error.is::<NoGateway>() {
        Failure::OtherProtocol
    } else if let Some(error) = error.downcast_ref::<io::Error>() {
        class_of_io(error)
    } else if let Some(error) = error.downcast_ref::<ConnectionError>() {
        class_of_quic(error)
    } else if let Some(error) = error.downcast_ref::<HandshakeError>() {
        match error {
            HandshakeError::Refused { .. } => Failure::Refused,
            HandshakeError::Io { source } => class_of_io(source),
            _ => Failure::OtherProtocol,
        }
    } else {
        Failure::Unreachable
    }
}

fn class_of_io(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => Failure::Untrusted,
        (Some(_), _) => Failure::OtherProtocol,
        (None, io::ErrorKind::TimedOut) => Failure::NoAnswer,
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => Failure::Refused,
        (None, _) => Failure::Unreachable,
    }
}

fn class_of_quic(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::TimedOut => Failure::NoAnswer,
        // A certificate that isn't good is an alert of ours, 42 to 48 (RFC 9001 §4.8, RFC 8446 §6).
        ConnectionError::TransportError(error) if (0x12a..=0x130).contains(&u64::from(error.code)) => {
            Failure::Untrusted
        }
        ConnectionError::VersionMismatch | ConnectionError::TransportError(_) => Failure::OtherProtocol,
        _ => Failure::Refused,
    }
}

async fn connect(link: &Link, carrier: Carrier) -> Result<Dialled, BoxError> {
    if let Some(address) = link.gateway.strip_prefix(PLAIN) {
        return over_octets(link, plain(address).await?, carrier, ChannelBinding::NONE).await;
    }
    if carrier == Carrier::Quic {
        return over_quic(link).await;
    }
    let io = tls(link, carrier).await?;
    let binding = binding(io.get_ref().1)?;
    over_octets(link, io, carrier, binding).await
}

/// A session on a connection of octets.
async fn over_octets<Io>(
    link: &Link,
    io: Io,
    carrier: Carrier,
    binding: ChannelBinding,
) -> Result<Dialled, BoxError>
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (session, incoming, driver) = match carrier {
        Carrier::Native => Builder::new(Role::Dialler).build(io),
        Carrier::Http2 => h2::start(Role::Dialler, io, &Config::default()),
        Carrier::WebSocket => {
            let io = websocket::connect(io, &format!("wss://{}/", link.server_name)).await?;
            let (reader, writer) = io.split_with(tokio::io::split);
            Builder::new(Role::Dialler).carrier(Carrier::WebSocket).build_split(reader, writer)
        }
        other => return Err(format!("{other} is no carrier for a connection of octets").into()),
    };
    // The driver ends with the session.
    tokio::spawn(driver);
    Ok(Dialled { session, incoming, binding })
}

async fn over_quic(link: &Link) -> Result<Dialled, BoxError> {
    let config = Config::default();
    let tls = QuicClientConfig::try_from(tls_config(link, Carrier::Quic)?)?;
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(quic::transport(&config)));
    let address = link.carriers.quic_gateway.as_ref().unwrap_or(&link.gateway);
    let addresses = tokio::net::lookup_host(address).await?;
    let (endpoint, connection) = super::quic::connect(addresses, &client, &link.server_name).await?;
    let binding = quic_binding(&connection)?;
    let (session, incoming, driver) = quic::start(connection, &config);
    tokio::spawn(async move {
        driver.await;
        // The gateway notices by itself, if it doesn't hear us.
        let _ = timeout(QUIC_LINGER, endpoint.wait_idle()).await;
    });
    Ok(Dialled { session, incoming, binding })
}

/// The TCP connection under everything but QUIC.
async fn tcp(address: &str) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A connection without TLS: nothing proves who answers, so only this very machine may.
async fn plain(address: &str) -> Result<TcpStream, BoxError> {
    let socket = tcp(address).await?;
    if !socket.peer_addr()?.ip().is_loopback() {
        return Err(
            "tcp:// is for tests on this machine: leave it out, and the gateway is reached by TLS".into()
        );
    }
    Ok(socket)
}

/// TLS over TCP, for a carrier that runs on it.
///
/// # Errors
/// A sentence for the person who started the agent.
pub(crate) async fn tls(link: &Link, carrier: Carrier) -> Result<TlsStream<TcpStream>, BoxError> {
    let config = tls_config(link, carrier)?;
    let name = ServerName::try_from(link.server_name.clone())?;
    let socket = connect_tcp(&link.gateway, DIAL_DEADLINE).await?;
    let io = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    // A server that doesn't speak our protocol gets no credential (W-27).
    if io.get_ref().1.alpn_protocol() != alpn(carrier) {
        return Err(NoGateway.into());
    }
    Ok(io)
}

/// By what the gateway is known, and what is asked of it. The same on every carrier: TLS 1.3, no early data.
fn tls_config(link: &Link, carrier: Carrier) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(&link.ca)? {
        roots.add(anchor?)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn(carrier).ok_or("this agent doesn't know that carrier")?.to_vec()];
    Ok(config)
}
