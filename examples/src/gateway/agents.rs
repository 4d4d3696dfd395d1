//! One agent's session, from the handshake to its end.

use super::doors::{Arrived, Caller};
use super::hub::Hub;
use super::issuer;
use super::keyring::SessionSecret;
use super::reach;
use super::registrar::{Applicant, Grant, Registrar};
use super::signing::SigningOffice;
use super::tokens::{Presented, Tokens};
use crate::{BoxError, random};
use adit_errors::{Code, Refusal};
use adit_mux::flow::Flows;
use adit_mux::{Incoming, Session, Stream};
use adit_tls_modes::{ServerName, SniffRoom};
use adit_wire_proto::control::{
    Answer, CertificateChain, CommandError, ControlError, Drain, Notice, Offer, RegistrationId, Request,
    RequestNumber, Settings,
};
use adit_wire_proto::credential::{CredentialId, failure_delay};
use adit_wire_proto::drive::{DriveError, GatewayControl};
use adit_wire_proto::gateway::{Event, Options};
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// From being accepted until the credential was checked (W-17).
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long an agent may take to read what was said last.
const LINGER: Duration = Duration::from_secs(5);

/// How long visits may go on whose agent's credential was revoked: streams end within five seconds.
const REVOKED_LINGER: Duration = Duration::from_secs(2);

/// Notices that wait for one agent; more are dropped, and the session's own timers find out why it doesn't read.
const MAX_WAITING_NOTICES: usize = 64;

/// Addresses whose failed proofs are remembered; beyond it all are forgotten, which costs an attacker one more table.
const MAX_REMEMBERED_FAILURES: usize = 10_000;

/// What agents are let in with, and what they are told.
pub(super) struct Gatekeeper {
    pub(super) hub: Arc<Hub>,
    pub(super) registrar: Arc<Registrar>,
    pub(super) office: Arc<SigningOffice>,
    /// None where agents come by plain TCP.
    pub(super) acceptor: Option<TlsAcceptor>,
    /// By what agents ask for the gateway where visitors ask for tunnels.
    pub(super) own_name: ServerName,
    /// Bounds those who have not shown a credential.
    pub(super) waiting: SniffRoom,
    /// How many of them make a crowd.
    pub(super) crowd: usize,
    pub(super) tokens: Arc<Tokens>,
    /// Failed proofs by address; at most [`MAX_REMEMBERED_FAILURES`].
    pub(super) failures: Mutex<HashMap<IpAddr, u32>>,
    /// How long agents may finish what is open when the gateway stops.
    pub(super) drain: Duration,
}

impl Gatekeeper {
    /// Serves one agent, from its first word to its last.
    pub(super) async fn run(&self, arrived: Arrived) -> Result<(), BoxError> {
        let (session, mut incoming, caller) = arrived.into_parts();
        let mut ends = None;
        let begun = tokio::select! {
            begun = timeout(HANDSHAKE_DEADLINE, control_stream(&mut incoming)) => begun,
            () = caller.shed() => Ok(Err(End::crowded())),
        };
        let served = match begun {
            Ok(Ok(stream)) => self.admit(stream, caller, &session, incoming, &mut ends).await,
            Ok(Err(end)) => Err(end),
            Err(_) => Err(End::new(CloseCode::TIMEOUT, "no control stream in time")),
        };
        let (mut code, is_polite) =
            served.as_ref().map_or_else(|end| (end.code, end.is_polite), |()| (CloseCode::DRAINING, true));
        if is_polite {
            // What was said last, a refusal perhaps, is to arrive, and running visits may come to their end.
            session.drain(code, "");
            let ends = ends.unwrap_or_else(|| Instant::now() + LINGER);
            if timeout_at(ends, session.closed()).await.is_err() && served.is_ok() {
                code = CloseCode::SHUTDOWN;
            }
        }
        session.close(code, "");
        Ok(served?)
    }

    async fn admit(
        &self,
        stream: Stream,
        caller: Caller,
        session: &Session,
        mut incoming: Incoming,
        ends: &mut Option<Instant>,
    ) -> Result<(), End> {
        let address = caller.address;
        let mut control = GatewayControl::accept(stream, Options::new(caller.binding, random::octets()));
        let offer = tokio::select! {
            offer = control.hello() => offer.map_err(End::from),
            end = refuse_streams(&mut incoming) => return Err(end),
            () = caller.shed() => return Err(End::crowded()),
        };
        let offer = match offer {
            Ok(offer) => offer,
            Err(end) => {
                // By QUIC a stream that is dropped takes along what was not read yet.
                if end.is_polite {
                    let _ = timeout(LINGER, control.finish()).await;
                }
                return Err(end);
            }
        };
        // An unknown id and a wrong secret take the same path (W-18): nothing is compared against no candidates.
        let known = offer.credential.and_then(|id| self.tokens.find(id));
        let mut secret = known.as_ref().map(|known| SessionSecret::of(&known.keyring));
        let checked = match &mut secret {
            Some(secret) => secret.check(&control),
            None => control.check([None, None]),
        };
        let (Ok(authorised), Some(secret), Some(Presented { revoked, .. })) = (checked, secret, &known)
        else {
            let pause = failure_delay(self.count_failure(address.ip()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                end = refuse_streams(&mut incoming) => return Err(end),
            }
            let refusal = Refusal::new(Code::AUTH_FAILED, "the connect secret was not accepted");
            control.refuse(refusal.with_request_id(random::request_id())).await?;
            return Err(End::new(CloseCode::AUTH_FAILED, "the credential was not accepted"));
        };
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&address.ip());
        caller.enter();
        let mut settings = Settings::new(format!("{:016x}", random::number()));
        settings.zones = vec![self.hub.zone.as_str().to_owned()];
        settings.features =
            offer.features.iter().filter(|name| *name == Offer::SHARE_LOAD).take(1).cloned().collect();
        let shares_load = !settings.features.is_empty();
        let carrier = session.capabilities().carrier();
        tracing::info!(session = %settings.session, %carrier, software = ?offer.software, "an agent is connected");
        tokio::select! {
            biased;
            end = refuse_streams(&mut incoming) => return Err(end),
            welcomed = control.welcome(&authorised, settings) => welcomed?,
        }
        let (notices, waiting) = mpsc::channel(MAX_WAITING_NOTICES);
        let (flows, delivery) = Flows::new(session.clone());
        tokio::spawn(delivery);
        let mut desk = Desk {
            keeper: self,
            credential: secret.id(),
            address,
            session,
            shares_load,
            flows,
            notices,
            grants: HashMap::new(),
            secret,
            ends: None,
        };
        let served = desk.serve(control, incoming, waiting, revoked).await;
        // Who went with a word has closed its tunnels before.
        desk.close(served.as_ref().err().map(ToString::to_string).as_deref());
        *ends = desk.ends;
        served
    }

    fn count_failure(&self, address: IpAddr) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_REMEMBERED_FAILURES {
            failures.clear();
        }
        let count = failures.entry(address).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

/// The first stream of every session; anything else first is refused, and ends it (W-14).
async fn control_stream(incoming: &mut Incoming) -> Result<Stream, End> {
    let ended = || End::new(CloseCode::NONE, "the session ended before it began");
    let stream = incoming.accept().await.ok_or_else(ended)?;
    let code = match StreamHead::decode(stream.head().clone()) {
        Ok(head) if head.protocol() == Protocol::CONTROL => return Ok(stream.accept()),
        Ok(_) => CloseCode::REFUSED,
        Err(error) => error.close_code(),
    };
    stream.refuse(code);
    Err(End::new(CloseCode::UNEXPECTED, "the first stream is no control stream"))
}

/// Refuses whatever stream comes; before the welcome there is none but the control stream (SPEC 6 rule 1). One that waited would
/// have a window of octets wait with it.
async fn refuse_streams(incoming: &mut Incoming) -> End {
    while let Some(stream) = incoming.accept().await {
        stream.refuse(CloseCode::REFUSED);
    }
    End::new(CloseCode::NONE, "the session ended before it began")
}

/// A session that did not end as it should.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct End {
    /// What the agent is told in the CLOSE.
    code: CloseCode,
    /// Whether something was said before that is to be read first.
    is_polite: bool,
    what: String,
}

impl End {
    fn new(code: CloseCode, what: impl Into<String>) -> Self {
        Self { code, is_polite: true, what: what.into() }
    }

    /// Too many others came since.
    fn crowded() -> Self {
        Self { is_polite: false, ..Self::new(CloseCode::ENHANCE_CALM, "gave way to later ones") }
    }
}

impl From<DriveError> for End {
    fn from(error: DriveError) -> Self {
        // Only what is wrong with a hello is explained; every other broken rule ends the session at once.
        let is_polite = !matches!(
            &error,
            DriveError::Control { source } if !matches!(source, ControlError::Version | ControlError::Proof)
        );
        Self { code: error.close_code(), is_polite, what: error.to_string() }
    }
}

impl From<CommandError> for End {
    fn from(error: CommandError) -> Self {
        DriveError::from(error).into()
    }
}

/// Where one agent's requests are answered.
struct Desk<'a> {
    keeper: &'a Gatekeeper,
    credential: CredentialId,
    address: SocketAddr,
    session: &'a Session,
    shares_load: bool,
    flows: Flows,
    notices: mpsc::Sender<Notice>,
    /// What this session was granted; bounded by the control machine's limit of registrations.
    grants: HashMap<RegistrationId, Grant>,
    /// The secret that the session was opened with.
    secret: SessionSecret,
    /// When running visits are cut off, once the session drains.
    ends: Option<Instant>,
}

impl Desk<'_> {
    async fn serve(
        &mut self,
        mut control: GatewayControl<Stream>,
        mut incoming: Incoming,
        mut waiting: mpsc::Receiver<Notice>,
        revoked: &CancellationToken,
    ) -> Result<(), End> {
        let draining = self.keeper.hub.draining.clone();
        let mut is_draining = false;
        loop {
            let secret_ends = self.secret.left().map(|left| Instant::now() + left);
            tokio::select! {
                event = control.next_event() => match event {
                    Ok(Event::Requested { number, request }) => self.answer(&mut control, number, request).await?,
                    Ok(Event::Leaving { deadline }) => {
                        self.ends = Some(Instant::now() + deadline.min(self.keeper.drain));
                        self.close(None);
                    }
                    Ok(_) => {}
                    Err(DriveError::Closed {}) => return Ok(()),
                    Err(error) => return Err(error.into()),
                },
                Some(notice) = waiting.recv() => control.notify(notice)?,
                stream = incoming.accept() => match stream {
                    Some(stream) => {
                        let hub = &self.keeper.hub;
                        let served = reach::serve(Arc::clone(hub), reach::viewer(self.credential), stream);
                        tokio::spawn(hub.visits.track_future(served));
                    }
                    None => {
                        let end = self.session.closed().await;
                        return Err(End::new(end.close_code(), end.to_string()));
                    }
                },
                () = revoked.cancelled() => {
                    let refusal = Refusal::new(Code::AUTH_FAILED, "the credential was revoked");
                    control.notify(Notice::Terminate { reason: refusal.with_request_id(random::request_id()) })?;
                    self.close(None);
                    self.ends = Some(Instant::now() + REVOKED_LINGER);
                    return Err(End::new(CloseCode::AUTH_FAILED, "the credential was revoked"));
                }
                () = self.secret.rotated() => if let Some(old_valid) = self.secret.left() {
                    control.notify(Notice::SecretRotated { old_valid })?;
                },
                // Whoever opened a session with a secret that is good no more ends it like everybody else (W-21).
                () = sleep_until(secret_ends.unwrap_or_else(Instant::now)), if secret_ends.is_some() && !is_draining => {
                    is_draining = true;
                    self.drain(&mut control)?;
                }
                () = draining.cancelled(), if !is_draining => {
                    is_draining = true;
                    self.drain(&mut control)?;
                }
            }
        }
    }

    /// Tells the agent to come again, and gives it time for what is open.
    fn drain(&mut self, control: &mut GatewayControl<Stream>) -> Result<(), End> {
        self.ends = Some(Instant::now() + self.keeper.drain);
        control.notify(Notice::Drain(Drain::new(self.keeper.drain)))?;
        self.session.drain(CloseCode::DRAINING, "");
        Ok(())
    }

    async fn answer(
        &mut self,
        control: &mut GatewayControl<Stream>,
        number: RequestNumber,
        request: Request,
    ) -> Result<(), End> {
        match self.decide(request).await {
            Ok(answer) => control.answer(number, answer)?,
            Err(refusal) => {
                let refusal = refusal.with_request_id(random::request_id());
                tracing::info!(code = %refusal.code(), request = %refusal.request_id(), "refused an agent's request");
                control.refuse_request(number, refusal)?;
            }
        }
        Ok(())
    }

    async fn decide(&mut self, request: Request) -> Result<Answer, Refusal> {
        let registrar = &self.keeper.registrar;
        match request {
            Request::Register(wanted) => {
                let applicant = Applicant {
                    credential: self.credential,
                    address: self.address,
                    session: self.session,
                    shares_load: self.shares_load,
                    flows: &self.flows,
                    notices: &self.notices,
                };
                let (registered, grant) = registrar.register(&applicant, &wanted).await?;
                tracing::info!(tunnel = %grant.tunnel, generation = registered.generation.as_u64(), "registered");
                self.grants.insert(registered.registration, grant);
                Ok(Answer::Registered(Box::new(registered)))
            }
            Request::Unregister { registration } => {
                let grant =
                    self.grants.remove(&registration).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
                registrar.disconnect(&grant, None);
                Ok(Answer::Unregistered { registration })
            }
            Request::Renew { registration, .. } => {
                self.granted(registration)?;
                // Registrations here live as long as their session.
                Ok(Answer::Renewed { registration, ttl: None })
            }
            Request::SignCsr { registration, csr } => {
                self.sign(registration, &csr).await.map(Answer::Certificate)
            }
            Request::SetStatus { registration, status } => {
                let status = registrar.set_status(self.granted(registration)?, status)?;
                registrar.save_aside().await?;
                Ok(Answer::Status { registration, status })
            }
            Request::RotateSecret { overlap } => {
                let rotated = self.secret.rotate(overlap).await?;
                Ok(Answer::RotatedSecret(rotated))
            }
            _ => Err(Refusal::new(Code::UNSUPPORTED_FEATURE, "this gateway doesn't do that")),
        }
    }

    async fn sign(&self, registration: RegistrationId, csr: &[u8]) -> Result<CertificateChain, Refusal> {
        let grant = self.granted(registration)?;
        if self.keeper.registrar.signable(&grant.name)? != grant.tunnel {
            // Another tunnel has the name by now.
            return Err(Refusal::from(Code::NOT_FOUND));
        }
        let issued = self.keeper.office.sign(&grant.name, issuer::Request::Der(csr)).await?;
        let life = issued.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let chain = issued.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect();
        Ok(CertificateChain::new(registration, chain, life, life / 3 * 2))
    }

    fn granted(&self, registration: RegistrationId) -> Result<&Grant, Refusal> {
        self.grants.get(&registration).ok_or_else(|| Refusal::from(Code::NOT_FOUND))
    }

    /// Takes the agent out of the routes. Its tunnels stay: a lost connection deletes nothing.
    /// Their owner is told the `error`, if one ended the session.
    fn close(&mut self, error: Option<&str>) {
        for (_, grant) in self.grants.drain() {
            self.keeper.registrar.disconnect(&grant, error);
        }
    }
}
