//! One session with the gateway, from the dial until visitors are served.

use super::choose::{Chooser, Turn};
use super::config::{Config, Link};
use super::course::Course;
use super::dial::Dialled;
use super::domain::Domain;
use super::report::Event;
use super::serve::Server;
use super::shift::{Attempt, Renewal, Shift, work};
use super::status::{Doing, StatusFile};
use super::tunnel;
use super::vault::Vault;
use crate::random;
use adit_errors::{Code, Envelope, Refusal};
use adit_mux::flow::Flows;
use adit_mux::{Carrier, Session, Stream};
use adit_wire_proto::agent::Options;
use adit_wire_proto::control::{
    Claim, Generation, Notice, Offer, Registered, Request, Settings, TunnelStatus,
};
use adit_wire_proto::credential::{ChannelBinding, Credential};
use adit_wire_proto::drive::{AgentControl, ConnectError, RequestError};
use adit_wire_proto::{CloseCode, StreamHead};
use bytes::Bytes;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long running visits may go on after the agent was asked to stop.
pub(super) const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// How often `agent status` is told how dials go.
const WATCHED: Duration = Duration::from_secs(1);

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

impl End {
    /// Somebody else has the tunnel now.
    pub(super) fn superseded() -> Self {
        Self::Refused(superseded())
    }

    /// The same in words.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Asked => "the agent was asked to stop".to_owned(),
            Self::Drained => "the gateway drains".to_owned(),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Lost { reason, .. } => reason.clone(),
        }
    }
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

/// What is the same from session to session.
pub(super) struct Agent<'a> {
    config: &'a Config,
    domain: Option<&'a Arc<Domain>>,
    report: &'a Report,
    status: StatusFile,
    /// The tunnel's name, once it has one: what was made up by the gateway is asked for from then on.
    name: Mutex<Option<String>>,
    /// Of our newest registration: the next one takes its place, and that of nobody with whom we share the tunnel.
    resume_token: Mutex<Bytes>,
}

impl<'a> Agent<'a> {
    pub(super) fn new(config: &'a Config, domain: Option<&'a Arc<Domain>>, report: &'a Report) -> Self {
        let status = StatusFile::new(&config.link.state);
        let name = Mutex::new(config.tunnel.name().map(str::to_owned));
        Self { config, domain, report, status, name, resume_token: Mutex::default() }
    }

    pub(super) fn report(&self, event: Event) {
        (self.report)(event);
    }

    /// Notes for `agent status` how things are.
    pub(super) fn note(&self, chooser: &Chooser, doing: Doing) {
        self.status.note(chooser, doing, self.name().clone());
    }

    /// Rests until the next session is to be tried, for `why` there is none. Whether the agent goes on.
    pub(super) async fn rest(
        &self,
        chooser: &mut Chooser,
        why: (Duration, String),
        stop: &CancellationToken,
    ) -> bool {
        let name = self.name().clone();
        self.status.rest(chooser, name, why, stop).await
    }

    /// Makes a session beside the one that serves.
    pub(super) async fn attempt(&self, secret: Secret, carrier: Carrier, dialled: Dialled) -> Attempt {
        let session = dialled.session.clone();
        let mut generation = None;
        let moved = match self.begin(&secret, carrier, dialled, &mut generation).await {
            Ok((shift, _)) => Ok(shift),
            Err(end) => Err(close(&session, end)),
        };
        Attempt { carrier, generation, moved }
    }

    /// From the hello until the tunnel leads here. `generation` is set once it does, whatever comes of it then.
    async fn begin(
        &self,
        secret: &Secret,
        carrier: Carrier,
        dialled: Dialled,
        generation: &mut Option<Generation>,
    ) -> Result<(Shift, Event), End> {
        let Self { config, domain, report, .. } = self;
        let Dialled { session, incoming, binding } = dialled;
        let (mut control, settings) = hello(secret, binding, &session, config.terms.share_load).await?;
        self.report(Event::Connected { session: settings.session });
        let mut wanted = tunnel::wanted(config);
        if let Some(name) = self.name().clone() {
            wanted.claim = Claim::Name(name);
        }
        wanted.resume_token.clone_from(&self.resume_token());
        let registered = control.register(wanted).await?;
        *generation = Some(registered.generation);
        self.resume_token().clone_from(&registered.resume_token);
        *self.name() = Some(registered.name.clone());
        let vault = vault(config, &mut control, &registered, report).await?;
        if let Some(token) = tunnel::token(&registered) {
            self.report(token);
        }
        let serving = tunnel::serving(config, &registered);
        let (flows, delivery) = Flows::new(session.clone());
        tokio::spawn(delivery);
        let server = Server::new(config, flows, &registered, vault.clone(), domain.cloned());
        let renewal = Renewal::new(vault, registered);
        let course = Course::new(session, incoming, control);
        Ok((Shift { carrier, course, server, renewal }, serving))
    }

    /// What only the first registration of a session without a forerunner does.
    async fn open(&self, keys: &mut Keys, shift: &mut Shift, serving: Event) -> Result<(), End> {
        if self.config.terms.pause {
            let (registration, status) = (shift.renewal.registration(), TunnelStatus::PAUSED);
            shift.course.control.request(Request::SetStatus { registration, status }).await?;
        }
        self.report(serving);
        keys.rotate(&mut shift.course.control, self.report).await
    }

    fn name(&self) -> MutexGuard<'_, Option<String>> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resume_token(&self) -> MutexGuard<'_, Bytes> {
        self.resume_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, registers, and serves visitors until the session ends or drains.
pub(super) async fn run(
    agent: &Agent<'_>,
    keys: &mut Keys,
    chooser: &mut Chooser,
    stop: &CancellationToken,
) -> End {
    agent.report(Event::Connecting { gateway: agent.config.link.gateway.clone() });
    chooser.begin();
    loop {
        let (carrier, dialled) =
            match connected(chooser, stop, |chooser| agent.note(chooser, Doing::Dialling)).await {
                Ok(connected) => connected,
                Err(end) => return end,
            };
        chooser.event().into_iter().for_each(|event| agent.report(event));
        agent.note(chooser, Doing::Registering);
        let session = dialled.session.clone();
        let begun = tokio::select! {
            begun = first(agent, keys, carrier, dialled) => begun,
            () = stop.cancelled() => Err(End::Asked),
        };
        match begun {
            Ok(shift) => {
                chooser.ready(carrier);
                agent.status.succeed();
                let secret = keys.secret.clone();
                return work(agent, &secret, chooser, shift, stop).await;
            }
            Err(end) => {
                if let Some(end) = next_carrier(chooser, carrier, close(&session, end)) {
                    return end;
                }
            }
        }
    }
}

/// Waits for a connection by whichever carrier gives one, and shows meanwhile to `note` how things are.
pub(super) async fn connected(
    chooser: &mut Chooser,
    stop: &CancellationToken,
    note: impl Fn(&Chooser),
) -> Result<(Carrier, Dialled), End> {
    loop {
        note(chooser);
        tokio::select! {
            turn = chooser.next() => return match turn {
                Turn::Connected(carrier, dialled) => Ok((carrier, dialled)),
                Turn::Failed(reason) => Err(failed(&reason, CloseCode::NONE)),
            },
            () = sleep(WATCHED) => {}
            () = stop.cancelled() => {
                chooser.abandon();
                return Err(End::Asked);
            }
        }
    }
}

/// What is to be done when a connection became no session: nothing more than to go on by the next carrier, or to end.
pub(super) fn next_carrier(chooser: &mut Chooser, carrier: Carrier, end: End) -> Option<End> {
    match end {
        end @ End::Lost { .. } => {
            chooser.lost(carrier, &end.reason());
            None
        }
        end => {
            chooser.abandon();
            Some(end)
        }
    }
}

async fn first(agent: &Agent<'_>, keys: &mut Keys, carrier: Carrier, dialled: Dialled) -> Result<Shift, End> {
    let secret = keys.secret.clone();
    let (mut shift, serving) = agent.begin(&secret, carrier, dialled, &mut None).await?;
    agent.open(keys, &mut shift, serving).await?;
    Ok(shift)
}

/// Proves on a connection who we are, for a session that serves nothing.
pub(super) async fn enter(dialled: Dialled, secret: &Secret) -> Result<(Course, Settings), End> {
    let Dialled { session, incoming, binding } = dialled;
    match hello(secret, binding, &session, false).await {
        Ok((control, settings)) => Ok((Course::new(session, incoming, control), settings)),
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

async fn hello(
    secret: &Secret,
    binding: ChannelBinding,
    session: &Session,
    share_load: bool,
) -> Result<(AgentControl<Stream>, Settings), End> {
    let stream = session
        .open(StreamHead::control().encode())
        .await
        .map_err(|error| failed(&error, CloseCode::NONE))?;
    let mut offer = Offer::new(concat!("adit-agent/", env!("CARGO_PKG_VERSION")), random::octets());
    offer.features.extend(share_load.then(|| Offer::SHARE_LOAD.to_owned()));
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

/// Reads the control stream to its end, or to the end of what it may say: nothing unread keeps the session open.
pub(super) async fn hear_out(mut control: AgentControl<Stream>) {
    while control.next_event().await.is_ok() {}
}

/// The end of the agent, if this notice means it.
pub(super) fn terminal(notice: Notice) -> Option<Envelope> {
    match notice {
        Notice::Terminate { reason } => Some(reason),
        Notice::Superseded { .. } => Some(superseded()),
        _ => None,
    }
}

fn superseded() -> Envelope {
    Refusal::from(Code::SUPERSEDED).with_request_id(random::request_id())
}

pub(super) fn lost(reason: &dyn Display, code: CloseCode) -> End {
    End::Lost { reason: reason.to_string(), was_serving: true, code }
}

/// Before visitors were served.
fn failed(reason: &dyn Display, code: CloseCode) -> End {
    End::Lost { reason: reason.to_string(), was_serving: false, code }
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
