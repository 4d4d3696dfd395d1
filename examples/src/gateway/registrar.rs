//! What an agent may ask for once it is let in: a tunnel, and changes to it.

mod certificates;
mod details;
mod holder;
mod owner;
mod ports;
mod saving;
mod sharing;
mod tunnel;

use super::hub::{Hub, Link};
use super::journal::Journal;
use super::promise::Promise;
use super::shelf::Shelf;
use super::terms::PolicyDocument;
use super::tokens::Tokens;
use super::{Config, reach};
use crate::{BoxError, random};
use adit_errors::{Code, Refusal};
use adit_mux::Session;
use adit_mux::flow::Flows;
use adit_naming::ownership::{Claim, MemoryStore, OwnerId, OwnershipRules, Registry};
use adit_naming::{NameRules, NameStyle, Timestamp, TunnelName};
use adit_router::{Agent, Attached, Changes, Command, Policy, PortLease, Record, RouteKey, State, TunnelId};
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{
    self, Generation, Notice, Register, Registered, RegistrationId, TlsMode, TunnelStatus, Visibility,
};
use adit_wire_proto::credential::CredentialId;
use bytes::Bytes;
use ports::{Leased, Ports};
use saving::Saving;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunnel::Tunnel;

/// How many ports are tried for a tunnel that takes any, before it is told that there is none.
const MAX_PORT_ATTEMPTS: u32 = 32;

/// Grants tunnels.
pub(super) struct Registrar {
    hub: Arc<Hub>,
    tokens: Arc<Tokens>,
    /// Whose all names are: one organisation has this gateway.
    owner: OwnerId,
    rules: NameRules,
    config: Config,
    journal: Journal,
    saving: Saving,
    books: Mutex<Books>,
}

/// What has been granted.
struct Books {
    names: Registry<MemoryStore>,
    ports: Ports,
    /// Tunnels by name: as many as there are owned names, and one credential owns them all here.
    tunnels: HashMap<TunnelName, Tunnel>,
    next_registration: RegistrationId,
}

/// One granted registration, as its session remembers it.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) tunnel: TunnelId,
    pub(super) name: TunnelName,
    pub(super) generation: adit_router::Generation,
    lease: Option<PortLease>,
}

/// A tunnel's place in the books.
struct Entered {
    id: TunnelId,
    is_private: bool,
    is_kept_private: bool,
}

/// What is asked for beside the name.
struct Wish {
    protocol: Protocol,
    port: Option<u16>,
    is_private: bool,
    document: Option<PolicyDocument>,
    details: Changes,
    /// The resume token of the registration that the agent had before; empty if it had none.
    before: Bytes,
}

/// Who asks.
pub(super) struct Applicant<'a> {
    pub(super) credential: CredentialId,
    pub(super) address: SocketAddr,
    pub(super) session: &'a Session,
    /// Whether its registrations stand beside others of the same credential's (SPEC, 9.8).
    pub(super) shares_load: bool,
    pub(super) flows: &'a Flows,
    pub(super) notices: &'a mpsc::Sender<Notice>,
}

impl Registrar {
    /// With the tunnels that were there before.
    ///
    /// # Errors
    /// What can't be read or understood of them, for the person who starts the gateway.
    pub(super) fn start(
        hub: Arc<Hub>,
        tokens: Arc<Tokens>,
        owner: OwnerId,
        config: Config,
    ) -> Result<Self, BoxError> {
        let (shelf, before) = Shelf::open(&config.state, saving::FOLDER)?;
        let books = Books {
            names: Registry::new(MemoryStore::new(), OwnershipRules::default()),
            ports: Ports::new(&config),
            tunnels: HashMap::new(),
            next_registration: RegistrationId::FIRST,
        };
        let (rules, journal) = (NameRules::default(), Journal::new(config.clock.clone()));
        let (saving, books) = (Saving::new(shelf), Mutex::new(books));
        let registrar = Self { hub, tokens, owner, rules, config, journal, saving, books };
        registrar.restore(before)?;
        Ok(registrar)
    }

    /// What happened to tunnels.
    pub(super) const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Grants a tunnel, or says why not.
    ///
    /// # Errors
    /// The refusal for the agent. The name may be its owner's all the same: that is no reason to take it away again.
    pub(super) async fn register(
        self: &Arc<Self>,
        applicant: &Applicant<'_>,
        wanted: &Register,
    ) -> Result<(Registered, Grant), Refusal> {
        let protocol = protocol(wanted)?;
        let ttl = self.tokens.time_to_live(applicant.credential, wanted.ttl)?;
        let document = PolicyDocument::of_registration(wanted);
        if let Some(document) = &document {
            // What can't be built is refused before anything is changed.
            document.build(&Policy::new())?;
        }
        let details = details::of_registration(wanted)?;
        let name = self.claim(&wanted.claim)?.into_name();
        let entered = self.enter(&name, applicant.credential, protocol, ttl)?;
        let is_private = match wanted.visibility {
            Visibility::PUBLIC if entered.is_kept_private => {
                return Err(Refusal::new(Code::FORBIDDEN, "its owner made this tunnel private"));
            }
            Visibility::PUBLIC => false,
            Visibility::PRIVATE => true,
            // What nobody speaks of stays as it is.
            _ => entered.is_private,
        };
        let promise = Promise::of(&self.tokens, applicant.credential, entered.id)?;
        let before = wanted.resume_token.clone();
        let wish = Wish { protocol, port: wanted.port, is_private, document, details, before };
        let opened = self.open(applicant, name, wish, &promise).await?;
        // Who can't be remembered is served all the same, and tried again; the log says so.
        let _ = self.save_aside().await;
        Ok(opened)
    }

    /// Opens the port, if the tunnel is to have one, and makes the tunnel lead to the applicant.
    async fn open(
        &self,
        applicant: &Applicant<'_>,
        name: TunnelName,
        wish: Wish,
        promise: &Promise<'_>,
    ) -> Result<(Registered, Grant), Refusal> {
        let wants_any = wish.port.is_none_or(|port| port == 0);
        let mut attempts = if wants_any { MAX_PORT_ATTEMPTS } else { 1 };
        loop {
            let Some(mut leased) = self.lease(applicant, &name, &wish)? else {
                return self.attach(applicant, name, None, wish, promise);
            };
            match self.listen(&mut leased).await {
                Ok(()) => return self.attach(applicant, name, Some(leased), wish, promise),
                Err(refusal) if attempts <= 1 => return Err(refusal),
                // Another program has that one; whoever takes any port gets the next.
                Err(_) => attempts -= 1,
            }
        }
    }

    /// Pauses a tunnel, or lets visitors in again.
    ///
    /// # Errors
    /// The refusal for the agent; nothing has changed then.
    pub(super) fn set_status(&self, grant: &Grant, status: TunnelStatus) -> Result<TunnelStatus, Refusal> {
        let command = match status {
            TunnelStatus::ACTIVE => Command::Resume,
            TunnelStatus::PAUSED => Command::Pause,
            _ => return Err(Refusal::new(Code::VALIDATION_FAILED, "a tunnel can be paused or active")),
        };
        let event = if command == Command::Pause { "tunnel.paused" } else { "tunnel.resumed" };
        let status = self.change(grant, |record| {
            record.apply(command, self.config.clock.now()).map(drop).map_err(|e| Refusal::from(&e))
        })?;
        self.journal.note(event, grant.name.as_str());
        Ok(status)
    }

    /// The registration's agent is gone. The tunnel stays: a lost connection deletes nothing.
    pub(super) fn disconnect(&self, grant: &Grant, error: Option<&str>) {
        let mut books = self.books();
        let Books { tunnels, ports, .. } = &mut *books;
        let tunnel = tunnels.get_mut(&grant.name);
        let entry = self.hub.routes.find(RouteKey::id(grant.tunnel));
        let mut agents = entry.iter().flat_map(|entry| entry.agents());
        if let Some(tunnel) =
            tunnel.as_ref().filter(|_| agents.all(|agent| agent.generation() == grant.generation))
        {
            // First: a visitor who finds no agent is to find a machine that can be woken.
            tunnel.life.handle_suspended();
        }
        let was_attached = self.hub.routes.detach(grant.tunnel, grant.generation).is_some();
        let Some(tunnel) = tunnel else { return };
        if was_attached {
            tunnel.connection.lose_agent(SystemTime::now(), error);
            self.journal.note("tunnel.disconnected", grant.name.as_str());
        }
        let is_served = tunnel.connection.is_connected();
        // The newest lease is the port's, and those who share the tunnel share it.
        let newest = tunnel.port.as_ref().map(|port| &port.lease);
        let lease = match (&grant.lease, newest) {
            (Some(ours), Some(newest)) if ours.port() == newest.port() => (!is_served).then_some(newest),
            (ours, _) => ours.as_ref(),
        };
        if let (Some(lease), Some(ports)) = (lease, ports.of(tunnel.protocol)) {
            ports.disconnect(lease, Instant::now());
        }
    }

    fn claim(&self, wanted: &control::Claim) -> Result<Claim, Refusal> {
        if let control::Claim::Name(text) = wanted {
            let name = self.rules.admit(text).map_err(|error| Refusal::from(&error))?;
            if let Ok(claim) = self.books().names.prove(name.borrowed(), self.owner, now()) {
                return Ok(claim);
            }
        }
        self.claim_new(wanted)
    }

    /// A name that nobody has, not even its owner.
    fn claim_new(&self, wanted: &control::Claim) -> Result<Claim, Refusal> {
        let (mut books, owner) = (self.books(), self.owner);
        match wanted {
            control::Claim::Assigned => books
                .names
                .claim_generated(&self.rules, NameStyle::default(), owner, now(), random::wide)
                .map_err(|_| Refusal::internal()),
            control::Claim::Name(text) => {
                let name = self.rules.admit(text).map_err(|error| Refusal::from(&error))?;
                let claim = books.names.claim(name.borrowed(), owner, now());
                claim.map_err(|error| Refusal::from(&error))
            }
            _ => Err(Refusal::new(Code::UNSUPPORTED_FEATURE, "this gateway gives names, not keys")),
        }
    }

    /// Enters the tunnel into the books, if it isn't there.
    fn enter(
        &self,
        name: &TunnelName,
        credential: CredentialId,
        protocol: Protocol,
        ttl: Option<Duration>,
    ) -> Result<Entered, Refusal> {
        let (mut books, owner) = (self.books(), reach::owner_of(credential));
        let tunnel =
            books.tunnels.entry(name.clone()).or_insert_with(|| self.new_tunnel(name, owner, protocol, ttl));
        self.check_holder(tunnel, credential)?;
        if tunnel.protocol != protocol {
            // A tunnel is what its name and its way of ending TLS say; what carried TLS through can't be ended here.
            return Err(Refusal::new(Code::CONFLICT, "this name belongs to a tunnel of another kind"));
        }
        let (is_private, is_kept_private) = (tunnel.is_private, tunnel.is_kept_private);
        Ok(Entered { id: tunnel.record.id(), is_private, is_kept_private })
    }

    /// Makes the tunnel lead to the applicant; whoever served it before is told to stop for good, unless they share it.
    fn attach(
        &self,
        applicant: &Applicant<'_>,
        name: TunnelName,
        leased: Option<Leased<'_>>,
        wish: Wish,
        promise: &Promise<'_>,
    ) -> Result<(Registered, Grant), Refusal> {
        let mut books = self.books();
        let registration = books.next_registration;
        books.next_registration = registration.next().ok_or_else(Refusal::internal)?;
        let Books { tunnels, ports, .. } = &mut *books;
        let tunnel = tunnels.get_mut(&name).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        // Asked again: meanwhile another one may have come first to a tunnel that was nobody's.
        self.check_holder(tunnel, applicant.credential)?;
        let place = self.place(applicant, tunnel.record.id(), &wish.before)?;
        let asked = wish.document.map(|asked| asked.over(&tunnel.document, &tunnel.owners_document));
        let terms = match asked.transpose()? {
            Some(document) => Some((document.clone(), document.rebuild(&tunnel.policy)?)),
            None => None,
        };
        let mut record = tunnel.record.clone();
        record.update(wish.details).map_err(|error| Refusal::from(&error))?;
        if leased.as_ref().is_some_and(|leased| !leased.is_open(tunnel)) {
            return Err(Refusal::new(Code::CONFLICT, "another registration closed this port meanwhile"));
        }
        // The last that may fail: whoever is refused has changed nothing, and whoever served the tunnel goes on.
        promise.keep()?;
        tunnel.record = record;
        tunnel.is_private = wish.is_private;
        self.hold(tunnel, applicant.credential);
        let taken_back = tunnel.port.take_if(|_| wish.is_private);
        if let (Some(port), Some(ports)) = (taken_back, ports.of(tunnel.protocol)) {
            ports.release(tunnel.record.id(), port.lease.port());
        }
        let lease = leased.map(|leased| leased.settle(tunnel));
        let token = terms.and_then(|(document, built)| tunnel.set_policy(document, built));
        tunnel.connection.receive_agent(
            SystemTime::now(),
            applicant.address,
            applicant.session.capabilities().carrier().name(),
        );
        let life = Arc::clone(&tunnel.life);
        let resume_token = Bytes::copy_from_slice(&random::wide().to_be_bytes());
        let link = Link {
            session: applicant.session.clone(),
            flows: applicant.flows.clone(),
            registration,
            pace: self.tokens.pace(applicant.credential),
            shares_as: applicant.shares_load.then_some(applicant.credential),
            resume_token: resume_token.clone(),
            notices: applicant.notices.clone(),
            forsaken: CancellationToken::new(),
        };
        let (id, protocol, state) = (tunnel.record.id(), tunnel.protocol, tunnel.record.state());
        let Attached { agent, replaced, .. } = self.hub.routes.update(|update| {
            update
                .publish(id, tunnel.keys(&self.config.custom_domains), tunnel.facts())
                .map_err(|_| Refusal::internal())?;
            let before = place.instead_of.and_then(|before| update.drain(id, before));
            let mut attached = update.attach(id, place.join, link).map_err(|_| Refusal::internal())?;
            attached.replaced.extend(before);
            Ok::<_, Refusal>(attached)
        })?;
        self.saving.mark(id);
        for _ in &replaced {
            tunnel.connection.lose_agent(SystemTime::now(), None);
        }
        drop(books);
        self.journal.note("tunnel.connected", name.as_str());
        life.signal();
        life.handle_awake();
        let generation = agent.generation();
        let on_wire = Generation::new(generation.number()).ok_or_else(Refusal::internal)?;
        supersede(&replaced, on_wire);
        let mut registered = Registered::new(registration, on_wire, name.as_str());
        registered.tunnel = id.to_string();
        registered.resume_token = resume_token;
        if !wish.is_private {
            registered.addresses = self.hub.addresses(protocol, &name, lease.as_ref().map(PortLease::port));
        }
        registered.status = status(state);
        registered.visitor_token =
            token.and_then(|token| control::VisitorToken::new(token.reveal().to_owned()));
        if matches!(protocol, Protocol::HTTP | Protocol::AUTO) && !wish.is_private {
            self.hub.wish_certificate(&name);
        }
        if protocol == Protocol::HTTPS {
            // Also after a reconnect: the agent may have lost what it was given.
            registered.certificate.awaited = true;
            registered.certificate.names = vec![self.hub.zone.host_of(name.borrowed())];
        }
        Ok((registered, Grant { tunnel: id, name, generation, lease }))
    }

    /// Changes a record, and shows the change to visitors who come from now on.
    fn change(
        &self,
        grant: &Grant,
        change: impl FnOnce(&mut Record) -> Result<(), Refusal>,
    ) -> Result<TunnelStatus, Refusal> {
        let mut books = self.books();
        let tunnel = books.tunnels.get_mut(&grant.name).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        change(&mut tunnel.record)?;
        let published =
            self.hub.routes.publish(grant.tunnel, tunnel.keys(&self.config.custom_domains), tunnel.facts());
        published.map_err(|_| Refusal::internal())?;
        self.saving.mark(grant.tunnel);
        Ok(status(tunnel.record.state()))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who served a tunnel before that a newer agent has it.
fn supersede(replaced: &[Arc<Agent<Link>>], generation: Generation) {
    for before in replaced {
        let before = before.handle();
        let superseded = Notice::Superseded { registration: before.registration, generation };
        // An agent that doesn't take its notices is cut off when its session stalls.
        let _ = before.notices.try_send(superseded);
        before.check_on();
    }
}

/// Tells an agent what state its tunnel is in now.
fn status_notice(registration: RegistrationId, state: State) -> Notice {
    Notice::Status { registration, status: status(state), reason: None }
}

/// What this gateway carries.
fn protocol(wanted: &Register) -> Result<Protocol, Refusal> {
    match (wanted.protocol, wanted.tls_mode) {
        (Protocol::HTTP, TlsMode::UNSPECIFIED | TlsMode::EDGE) => Ok(Protocol::HTTP),
        (Protocol::AUTO, TlsMode::UNSPECIFIED) => Ok(Protocol::AUTO),
        (Protocol::HTTPS, TlsMode::UNSPECIFIED | TlsMode::PASSTHROUGH) => Ok(Protocol::HTTPS),
        (Protocol::TCP, TlsMode::UNSPECIFIED | TlsMode::NONE) => Ok(Protocol::TCP),
        (Protocol::UDP, TlsMode::UNSPECIFIED | TlsMode::NONE) => Ok(Protocol::UDP),
        _ => Err(Refusal::new(
            Code::UNSUPPORTED_FEATURE,
            "this gateway carries http with TLS at the edge, https passed through, tcp, udp, and auto",
        )),
    }
}

const fn status(state: State) -> TunnelStatus {
    match state {
        State::AwaitingCert => TunnelStatus::AWAITING_CERT,
        State::Active => TunnelStatus::ACTIVE,
        State::Paused => TunnelStatus::PAUSED,
        State::DeletePending { .. } => TunnelStatus::DELETE_PENDING,
        State::Deleted => TunnelStatus::DELETED,
    }
}

fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_unix(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
