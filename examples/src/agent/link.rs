//! One session with the gateway, from the dial to its end.

use super::config::{Config, Link};
use super::dial::{Dialled, dial};
use super::domain::Domain;
use super::report::Event;
use super::serve::Server;
use super::tunnel;
use super::vault::Vault;
use crate::{BoxError, random};
use adit_errors::{Code, Envelope, Refusal};
use adit_mux::flow::Flows;
use adit_mux::{Carrier, Incoming, Session, Stream};
use adit_wire_proto::agent::Options;
use adit_wire_proto::control::{Notice, Offer, Registered, Request, Settings, TunnelStatus};
use adit_wire_proto::credential::{ChannelBinding, Credential};
use adit_wire_proto::drive::{AgentControl, AgentEvent, ConnectError, RequestError};
use adit_wire_proto::{CloseCode, StreamHead};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long running visits may go on after the agent was asked to stop.
pub(super) const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

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
    /// Anything else; `code` is what the gateway is told, if it still listens.
    Lost { reason: String, was_serving: bool, code: CloseCode },
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

    /// The credential itself.
    pub(crate) fn into_credential(self) -> Credential {
        self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Self).map_err(|_| "the connect secret is damaged: copy it again".to_owned())
    }
}

/// What the agent proves who it is with, from session to session.
pub(super) struct Keys {
    secret: Secret,
    /// The overlap of the rotation that is to be asked for still.
    rotation: Option<Duration>,
}

impl Keys {
    /// Begins with `secret`, and rotates it if `link` says so.
    pub(super) fn new(secret: Secret, link: &Link) -> Self {
        Self { secret, rotation: link.rotate_secret.map(Duration::from_secs) }
    }

    /// Asks for a new secret once, if at all. The new one is told before the old one is let go.
    async fn rotate(&mut self, control: &mut AgentControl<Stream>, report: &Report) -> Result<(), End> {
        if let Some(overlap) = self.rotation {
            let rotated = control.rotate_secret(overlap).await?;
            report(Event::rotated(&rotated));
            (self.secret, self.rotation) = (Secret(rotated.credential), None);
        }
        Ok(())
    }
}

/// Connects, registers, and serves visitors until the session ends or drains.
pub(super) async fn run(
    config: &Config,
    domain: Option<&Arc<Domain>>,
    keys: &mut Keys,
    stop: &CancellationToken,
    report: &Report,
) -> End {
    report(Event::Connecting { gateway: config.link.gateway.clone() });
    let lost = |error: BoxError| failed(&*error, CloseCode::NONE);
    let carrier = config.link.carriers.order.first().copied().unwrap_or(Carrier::Native);
    let Dialled { session, incoming, binding } = match dial(&config.link, carrier).await {
        Ok(dialled) => dialled,
        Err(error) => return lost(error),
    };
    let (shift, renewal) = tokio::select! {
        begun = begin(config, domain, keys, binding, session.clone(), incoming, report) => match begun {
            Ok(begun) => begun,
            Err(end) => return close(&session, end),
        },
        () = stop.cancelled() => return close(&session, End::Asked),
    };
    shift.work(renewal, stop, report).await
}

/// A session of an agent that serves nothing.
pub(super) struct Entered {
    pub(super) session: Session,
    pub(super) incoming: Incoming,
    pub(super) control: AgentControl<Stream>,
    pub(super) settings: Settings,
}

/// Connects, and proves who we are.
pub(super) async fn enter(link: &Link, secret: &Secret) -> Result<Entered, End> {
    let carrier = link.carriers.order.first().copied().unwrap_or(Carrier::Native);
    let dialled = dial(link, carrier).await.map_err(|error| failed(&*error, CloseCode::NONE))?;
    let Dialled { session, incoming, binding } = dialled;
    match hello(secret, binding, &session).await {
        Ok((control, settings)) => Ok(Entered { session, incoming, control, settings }),
        Err(end) => Err(close(&session, end)),
    }
}

/// Nothing runs that could be cut off. A gateway that broke a rule is told which.
pub(super) fn close(session: &Session, end: End) -> End {
    let code = match &end {
        End::Lost { code, .. } => *code,
        End::Asked | End::Drained | End::Refused(_) => CloseCode::NONE,
    };
    session.close(code, "");
    end
}

/// From the hello until the tunnel is public.
async fn begin(
    config: &Config,
    domain: Option<&Arc<Domain>>,
    keys: &mut Keys,
    binding: ChannelBinding,
    session: Session,
    incoming: Incoming,
    report: &Report,
) -> Result<(Shift, Renewal), End> {
    let (mut control, settings) = hello(&keys.secret, binding, &session).await?;
    report(Event::Connected { session: settings.session });
    let registered = control.register(tunnel::wanted(config)).await?;
    let vault = vault(config, &mut control, &registered, report).await?;
    // What awaits a certificate can't be paused.
    if config.terms.pause {
        let (registration, status) = (registered.registration, TunnelStatus::PAUSED);
        control.request(Request::SetStatus { registration, status }).await?;
    }
    if let Some(token) = tunnel::token(&registered) {
        report(token);
    }
    report(tunnel::serving(config, &registered));
    keys.rotate(&mut control, report).await?;
    let (flows, delivery) = Flows::new(session.clone());
    tokio::spawn(delivery);
    let server = Server::new(config, flows, &registered, vault.clone(), domain.cloned());
    Ok((Shift { session, incoming, control, server }, Renewal::new(vault, registered)))
}

async fn hello(
    secret: &Secret,
    binding: ChannelBinding,
    session: &Session,
) -> Result<(AgentControl<Stream>, Settings), End> {
    let stream = session
        .open(StreamHead::control().encode())
        .await
        .map_err(|error| failed(&error, CloseCode::NONE))?;
    let offer = Offer::new(concat!("adit-agent/", env!("CARGO_PKG_VERSION")), random::octets());
    let options = Options::new(offer).with_credential(secret.0.clone(), binding);
    AgentControl::connect(stream, options).await.map_err(|error| match error {
        ConnectError::Refused { refusal } => End::Refused(*refusal),
        ConnectError::Failed(error) => failed(&error, error.close_code()),
        error => failed(&error, CloseCode::NONE),
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
            Err(error) => Err(failed(&*error, CloseCode::NONE)),
        },
    }
}

/// A session while visitors are served on it.
struct Shift {
    session: Session,
    incoming: Incoming,
    control: AgentControl<Stream>,
    server: Server,
}

impl Shift {
    async fn work(mut self, mut renewal: Renewal, stop: &CancellationToken, report: &Report) -> End {
        loop {
            tokio::select! {
                stream = self.incoming.accept() => match stream {
                    Some(stream) => drop(tokio::spawn(self.server.clone().visit(stream))),
                    None => return lost(&self.session.closed().await, CloseCode::NONE),
                },
                event = self.control.next_event() => match event {
                    Ok(AgentEvent::Noticed(Notice::Drain(drain))) => {
                        report(Event::Draining);
                        // What runs here goes on while the next session begins: no visitor waits for either.
                        tokio::spawn(self.finish(drain.deadline));
                        return End::Drained;
                    }
                    Ok(AgentEvent::Noticed(Notice::SecretRotated { old_valid })) => {
                        report(Event::replaced(old_valid));
                    }
                    Ok(AgentEvent::Noticed(notice)) => if let Some(refusal) = terminal(notice) {
                        self.finish(LEAVE_DEADLINE).await;
                        return End::Refused(refusal);
                    },
                    Ok(_) => {}
                    Err(error) => return close(&self.session, lost(&error, error.close_code())),
                },
                () = renewal.due() => renewal.renew(&mut self.control).await,
                () = stop.cancelled() => {
                    if let Err(error) = self.control.leave(LEAVE_DEADLINE).await {
                        tracing::debug!(%error, "the gateway was not told that we go");
                    }
                    self.finish(LEAVE_DEADLINE).await;
                    return End::Asked;
                }
            }
        }
    }

    /// Serves what the gateway opened before it knew that we go, and lets running visits come to their end.
    async fn finish(self, deadline: Duration) {
        let Self { session, mut incoming, mut control, server } = self;
        let serve = async {
            if let Err(error) = control.finish().await {
                tracing::debug!(%error, "the control stream ended early");
            }
            session.drain(CloseCode::DRAINING, "");
            tokio::spawn(hear_out(control));
            while let Some(stream) = incoming.accept().await {
                tokio::spawn(server.clone().visit(stream));
            }
            session.closed().await
        };
        // Past the deadline they are cut off; the gateway would do the same.
        let code = match timeout(deadline, serve).await {
            Ok(_) => CloseCode::DRAINING,
            Err(_) => CloseCode::SHUTDOWN,
        };
        session.close(code, "");
    }
}

/// Reads the control stream to its end, or to the end of what it may say: nothing unread keeps the session open.
pub(super) async fn hear_out(mut control: AgentControl<Stream>) {
    while control.next_event().await.is_ok() {}
}

/// The end of the agent, if this notice means it.
pub(super) fn terminal(notice: Notice) -> Option<Envelope> {
    match notice {
        Notice::Terminate { reason } => Some(reason),
        Notice::Superseded { .. } => {
            Some(Refusal::from(Code::SUPERSEDED).with_request_id(random::request_id()))
        }
        _ => None,
    }
}

pub(super) fn lost(reason: &dyn Display, code: CloseCode) -> End {
    End::Lost { reason: reason.to_string(), was_serving: true, code }
}

/// Before visitors were served.
fn failed(reason: &dyn Display, code: CloseCode) -> End {
    End::Lost { reason: reason.to_string(), was_serving: false, code }
}

/// When the certificate is to be renewed, if there is one.
struct Renewal {
    vault: Option<Arc<Vault>>,
    registered: Registered,
    due: Instant,
}

impl Renewal {
    fn new(vault: Option<Arc<Vault>>, registered: Registered) -> Self {
        let due = Instant::now() + vault.as_ref().map_or(NEVER, |vault| vault.due_in());
        Self { vault, registered, due }
    }

    async fn due(&self) {
        sleep_until(self.due).await;
    }

    async fn renew(&mut self, control: &mut AgentControl<Stream>) {
        let next = match &self.vault {
            None => NEVER,
            Some(vault) => match vault.renew(control, &self.registered).await {
                Ok(()) => vault.due_in(),
                Err(error) => {
                    tracing::warn!(%error, "the certificate was not renewed; trying again later");
                    Vault::retry_in()
                }
            },
        };
        self.due = Instant::now() + next;
    }
}

impl From<RequestError> for End {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused { refusal } => Self::Refused(*refusal),
            RequestError::Failed(error) => failed(&error, error.close_code()),
            error => failed(&error, CloseCode::NONE),
        }
    }
}
