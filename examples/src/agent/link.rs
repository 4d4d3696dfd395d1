//! One session with the gateway, from the dial to its end.

use super::config::{Config, Link};
use super::report::Event;
use super::serve::Server;
use super::tunnel;
use super::vault::Vault;
use crate::{ALPN, BoxError, provider, random};
use adit_errors::{Code, Envelope, Refusal};
use adit_mux::{Builder, Incoming, Role, Session, Stream};
use adit_wire_proto::agent::Options;
use adit_wire_proto::control::{Notice, Offer, Registered, Settings};
use adit_wire_proto::credential::{ChannelBinding, Credential};
use adit_wire_proto::drive::{AgentControl, AgentEvent, ConnectError, RequestError};
use adit_wire_proto::{CloseCode, StreamHead};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long TCP and TLS may take together.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// How long running visits may go on after the agent was asked to stop.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// For certificates that there aren't: far enough away, and near enough for the clock's arithmetic.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Where events go.
pub(super) type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// Why a session is over.
pub(super) enum End {
    /// We were asked to stop.
    Asked,
    /// The gateway drains: come back at once.
    Drained,
    /// The gateway said no.
    Refused(Envelope),
    /// Anything else.
    Lost { reason: String, was_serving: bool },
}

/// The connect secret: shown to nobody, wiped when dropped.
#[derive(Clone, Debug)]
pub struct Secret(Credential);

impl Secret {
    /// Reads ADIT_SECRET, or else the file that the command line names.
    ///
    /// # Errors
    /// A sentence for the person who started the agent.
    pub fn load(link: &Link) -> Result<Self, String> {
        let text = match (std::env::var("ADIT_SECRET"), &link.secret_file) {
            (Ok(text), _) => text,
            (Err(_), Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
            }
            (Err(_), None) => {
                return Err(
                    "no connect secret: set ADIT_SECRET to what the gateway printed, or name a file with \
                            --secret-file"
                        .to_owned(),
                );
            }
        };
        text.parse()
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Self).map_err(|_| "the connect secret is damaged: copy it again".to_owned())
    }
}

/// Connects, registers, and serves visitors until the session ends.
pub(super) async fn run(config: &Config, secret: &Secret, stop: &CancellationToken, report: &Report) -> End {
    report(Event::Connecting { gateway: config.link.gateway.clone() });
    let lost = |error: BoxError| End::Lost { reason: error.to_string(), was_serving: false };
    let io = match dial(&config.link).await {
        Ok(io) => io,
        Err(error) => return lost(error),
    };
    let binding = match exporter(&io) {
        Ok(exporter) => ChannelBinding::tls_exporter(exporter),
        Err(error) => return lost(error),
    };
    let (session, incoming, driver) = Builder::new(Role::Dialler).build(io);
    // The driver ends with the session, and the session with this function.
    tokio::spawn(driver);
    let end = tokio::select! {
        end = speak(config, secret, binding, &session, incoming, report) => end,
        () = stop.cancelled() => End::Asked,
    };
    session.close(CloseCode::NONE, "");
    end
}

async fn dial(link: &Link) -> Result<TlsStream<TcpStream>, BoxError> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(&link.ca)? {
        roots.add(anchor?)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(link.server_name.clone())?;
    let connect = async {
        let socket = TcpStream::connect(&link.gateway).await?;
        socket.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    };
    let io =
        timeout(DIAL_DEADLINE, connect).await.map_err(|_| "the gateway did not answer within 10 s")??;
    // A server that doesn't speak our protocol gets no credential (W-27).
    if io.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err("what answers there is no Adit gateway".into());
    }
    Ok(io)
}

/// What ties the credential's proof to this very connection (RFC 9266).
fn exporter(io: &TlsStream<TcpStream>) -> Result<[u8; 32], BoxError> {
    Ok(io.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))?)
}

async fn speak(
    config: &Config,
    secret: &Secret,
    binding: ChannelBinding,
    session: &Session,
    incoming: Incoming,
    report: &Report,
) -> End {
    let (mut control, settings) = match hello(secret, binding, session).await {
        Ok(welcomed) => welcomed,
        Err(end) => return end,
    };
    report(Event::Connected { session: settings.session.clone() });
    let registered = match control.register(tunnel::wanted(&config.tunnel)).await {
        Ok(registered) => registered,
        Err(error) => return End::from(error),
    };
    let vault = match vault(config, &mut control, &registered, report).await {
        Ok(vault) => vault,
        Err(error) => return error,
    };
    report(tunnel::serving(config, &registered));
    serve(session, incoming, control, config, &registered, vault).await
}

async fn hello(
    secret: &Secret,
    binding: ChannelBinding,
    session: &Session,
) -> Result<(AgentControl<Stream>, Settings), End> {
    let lost = |reason: String| End::Lost { reason, was_serving: false };
    let stream =
        session.open(StreamHead::control().encode()).await.map_err(|error| lost(error.to_string()))?;
    let offer = Offer::new(concat!("adit-agent/", env!("CARGO_PKG_VERSION")), random::octets());
    let options = Options::new(offer).with_credential(secret.0.clone(), binding);
    AgentControl::connect(stream, options).await.map_err(|error| match error {
        ConnectError::Refused { refusal } => End::Refused(*refusal),
        error => lost(error.to_string()),
    })
}

/// The key and certificate, if this agent is the one who ends TLS.
async fn vault(
    config: &Config,
    control: &mut AgentControl<Stream>,
    registered: &Registered,
    report: &Report,
) -> Result<Option<Arc<Vault>>, End> {
    if !registered.certificate.awaited {
        return Ok(None);
    }
    match Vault::open(&config.link.state, control, registered).await {
        Ok(vault) => {
            report(Event::CertificateIssued { names: registered.certificate.names.clone() });
            Ok(Some(Arc::new(vault)))
        }
        Err(error) => match error.downcast::<RequestError>() {
            Ok(error) => Err(End::from(*error)),
            Err(error) => Err(End::Lost { reason: error.to_string(), was_serving: false }),
        },
    }
}

async fn serve(
    session: &Session,
    mut incoming: Incoming,
    mut control: AgentControl<Stream>,
    config: &Config,
    registered: &Registered,
    vault: Option<Arc<Vault>>,
) -> End {
    let server = Server::new(config.tunnel.upstream().clone(), registered, vault.clone());
    let mut due = Instant::now() + vault.as_ref().map_or(NEVER, |vault| vault.due_in());
    loop {
        tokio::select! {
            stream = incoming.accept() => match stream {
                Some(stream) => drop(tokio::spawn(server.clone().visit(stream))),
                None => return lost(session).await,
            },
            event = control.next_event() => match event {
                Ok(AgentEvent::Noticed(notice)) => {
                    if let Some(end) = noticed(notice) {
                        return finish(session, end).await;
                    }
                }
                Ok(_) => {}
                Err(error) => return End::Lost { reason: error.to_string(), was_serving: true },
            },
            () = sleep_until(due), if vault.is_some() => {
                let Some(vault) = &vault else { continue };
                due = Instant::now() + match vault.renew(&mut control, registered).await {
                    Ok(()) => vault.due_in(),
                    Err(error) => {
                        tracing::warn!(%error, "the certificate was not renewed; trying again later");
                        Vault::retry_in()
                    }
                };
            }
        }
    }
}

/// What a notice means for the session, if it means its end.
fn noticed(notice: Notice) -> Option<End> {
    match notice {
        Notice::Drain(_) => Some(End::Drained),
        Notice::Terminate { reason } => Some(End::Refused(reason)),
        Notice::Superseded { .. } => {
            Some(End::Refused(Refusal::from(Code::SUPERSEDED).with_request_id(random::request_id())))
        }
        _ => None,
    }
}

/// Lets running visits come to their end, up to a bound.
async fn finish(session: &Session, end: End) -> End {
    session.drain(CloseCode::DRAINING, "");
    // Either way the session is closed next.
    let _ = timeout(LEAVE_DEADLINE, session.closed()).await;
    end
}

async fn lost(session: &Session) -> End {
    End::Lost { reason: session.closed().await.to_string(), was_serving: true }
}

impl From<RequestError> for End {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused { refusal } => Self::Refused(*refusal),
            error => Self::Lost { reason: error.to_string(), was_serving: false },
        }
    }
}
