//! What the owner of tunnels may do, whether or not an agent is connected.

use super::super::reach::ReachDocument;
use super::super::seconds;
use super::super::terms::PolicyDocument;
use super::{Books, Registrar, Tunnel, details, now, status_notice};
use crate::random;
use adit_errors::{Code, Refusal};
use adit_naming::ownership::OwnerId;
use adit_naming::{Description, ShareName, TunnelName};
use adit_router::{
    AuthMode, Command, Event, NewShare, Share, ShareId, ShareKey, State, Status, TunnelId, VisitorToken,
};
use adit_wire_proto::Protocol;
use adit_wire_proto::control::Claim;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tunnel as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct TunnelView {
    id: String,
    name: String,
    protocol: &'static str,
    tls_mode: &'static str,
    status: &'static str,
    is_connected: bool,
    /// What its agent's session travels on.
    carrier: Option<String>,
    connected_since: Option<u64>,
    /// Where its newest agent came from.
    last_address: Option<String>,
    last_error: Option<String>,
    is_idle: bool,
    display_name: Option<String>,
    description: Option<String>,
    metadata: Option<Map<String, Value>>,
    create_time: u64,
    expires: Option<u64>,
    public_addresses: Vec<String>,
    /// For `{port}-{key}.{zone}`, where the port is one behind the agent; `null` if the tunnel has no such hosts.
    tunnel_key: Option<String>,
    policy: PolicyDocument,
    auth_mode: &'static str,
    visibility: &'static str,
    reach: ReachDocument,
    /// Shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
}

/// A tunnel's idle clock as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct ActivityView {
    is_idle: bool,
    /// Until it is, if nobody comes; `null` while a stream is open that counts as use.
    idle_in_ms: Option<u64>,
    http_keep_alive: bool,
    wake_on_http: bool,
}

/// The body of `POST /tunnels`. The seeds call the name `subdomain` too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct NewTunnel {
    #[serde(alias = "subdomain")]
    name: Option<String>,
    protocol: Option<String>,
    ttl_seconds: Option<u64>,
    /// `public` (the default), or `private`: for other agents only.
    visibility: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    policy: Option<PolicyDocument>,
}

/// The body of `POST /tunnels/{id}/shares`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct ShareRequest {
    name: String,
    description: Option<String>,
    expires_in: Option<String>,
    #[serde(default)]
    allowed_methods: Vec<String>,
    rate_limit: Option<u32>,
}

/// A share as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct ShareView {
    id: String,
    name: String,
    description: Option<String>,
    expires_in: &'static str,
    expires: Option<u64>,
    allowed_methods: Vec<String>,
    rate_limit: Option<u32>,
    /// Shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_url: Option<String>,
}

impl Registrar {
    /// Reserves a tunnel before any agent has asked for it.
    pub(in super::super) fn create(&self, new: &NewTunnel) -> Result<TunnelView, Refusal> {
        let protocol = protocol(new.protocol.as_deref())?;
        let claim = new.name.clone().map_or(Claim::Assigned, Claim::Name);
        let is_private = is_private(new.visibility.as_deref())?;
        let said = details::details(
            new.display_name.as_deref().map(Some),
            new.description.as_deref().map(Some),
            new.metadata.as_ref().map(Some),
        )?;
        let built = new.policy.as_ref().map(|document| document.build(&Default::default())).transpose()?;
        let ttl = new.ttl_seconds.map(time_to_live).transpose()?;
        // Taken in one step: of two who create at once, one is refused.
        let name = self.claim_new(&claim)?.into_name();
        let mut books = self.books();
        let mut tunnel = self.new_tunnel(&name, self.owner, protocol, ttl);
        (tunnel.is_private, tunnel.is_kept_private) = (is_private, is_private);
        let mut token = None;
        if let (Some(document), Some(built)) = (&new.policy, built) {
            token = tunnel.set_owners_policy(document.clone(), built);
        }
        let updated = tunnel.record.update(said).map_err(|error| Refusal::from(&error));
        if let Err(refusal) = updated.and_then(|_| self.publish(&tunnel)) {
            give_back(&mut books, &name, self.owner);
            return Err(refusal);
        }
        let view = self.view(&tunnel, token);
        books.tunnels.insert(name, tunnel);
        Ok(view)
    }

    pub(in super::super) fn list(&self) -> Vec<TunnelView> {
        let books = self.books();
        let mut views: Vec<_> = books.tunnels.values().map(|tunnel| self.view(tunnel, None)).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    pub(in super::super) fn get(&self, id: &str) -> Result<TunnelView, Refusal> {
        self.with(id, |registrar, tunnel| Ok(registrar.view(tunnel, None)))
    }

    /// When a tunnel counts as idle.
    pub(in super::super) fn activity(&self, id: &str) -> Result<ActivityView, Refusal> {
        self.with(id, |_, tunnel| {
            let idle_in = tunnel.life.idle_in();
            Ok(ActivityView {
                is_idle: idle_in.is_some_and(|time| time.is_zero()),
                idle_in_ms: idle_in.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                http_keep_alive: tunnel.document.http_keep_alive.unwrap_or(true),
                wake_on_http: tunnel.policy.wakes_on_http(),
            })
        })
    }

    /// Pauses, resumes, deletes, restores, or ends the grace of a delete.
    pub(in super::super) fn command(&self, id: &str, command: Command) -> Result<TunnelView, Refusal> {
        let mut books = self.books();
        let Books { tunnels, names, .. } = &mut *books;
        let tunnel = find(tunnels, id)?;
        let mut record = tunnel.record.clone();
        let event = record.apply(command, self.config.clock.now()).map_err(|error| Refusal::from(&error))?;
        let name = record.name().borrowed();
        let conflict = || Refusal::from(Code::CONFLICT);
        // The name first: if somebody else has it by now, nothing has changed.
        match event {
            Some(Event::DeletePending) => {
                let claim = names.prove(name, self.owner, now()).map_err(|_| conflict())?;
                names.release(claim, now()).map_err(|_| conflict())?;
            }
            Some(Event::Restored) => {
                names.restore(name, self.owner, now()).map_err(|_| conflict())?;
            }
            Some(Event::Deleted) => drop(names.force(name)),
            _ => {}
        }
        tunnel.record = record;
        let view = self.view(tunnel, None);
        self.settle(tunnel)?;
        if tunnel.record.state() == State::Deleted {
            let name = tunnel.record.name().clone();
            self.forget(&mut books, &name);
        }
        Ok(view)
    }

    /// Puts another policy in the place of the one there is. Streams that it no longer lets in end.
    pub(in super::super) fn set_policy(
        &self,
        id: &str,
        document: PolicyDocument,
    ) -> Result<TunnelView, Refusal> {
        self.with(id, |registrar, tunnel| {
            let built = document.build(&tunnel.policy)?;
            let token = tunnel.set_owners_policy(document, built);
            registrar.settle(tunnel)?;
            Ok(registrar.view(tunnel, token))
        })
    }

    /// Says to whose agents a tunnel is visible beside its owner's. Streams of those to whom it no longer is end.
    pub(in super::super) fn set_reach(&self, id: &str, reach: ReachDocument) -> Result<TunnelView, Refusal> {
        self.with(id, |registrar, tunnel| {
            tunnel.visibility = Arc::new(reach.build(tunnel.owner, &registrar.tokens)?);
            tunnel.reach = reach;
            registrar.settle(tunnel)?;
            Ok(registrar.view(tunnel, None))
        })
    }

    /// Makes a new token for visitors; the old one is good no longer.
    pub(in super::super) fn rotate_token(&self, id: &str) -> Result<TunnelView, Refusal> {
        self.with(id, |registrar, tunnel| {
            if !matches!(tunnel.policy.auth_mode(), AuthMode::Authenticated(_)) {
                return Err(Refusal::new(Code::CONFLICT, "the tunnel asks for no token"));
            }
            let token = VisitorToken::from_random(random::octets());
            let mode = AuthMode::authenticated([token.digest()]).map_err(|error| Refusal::from(&error))?;
            tunnel.policy = Arc::new(adit_router::Policy::clone(&tunnel.policy).auth(mode));
            registrar.settle(tunnel)?;
            Ok(registrar.view(tunnel, Some(token)))
        })
    }

    pub(in super::super) fn share(&self, id: &str, request: &ShareRequest) -> Result<ShareView, Refusal> {
        let terms = request.terms()?;
        let key = ShareKey::from_random(random::wide());
        self.with(id, |registrar, tunnel| {
            let is_read = matches!(tunnel.protocol, Protocol::HTTP | Protocol::AUTO);
            let address = registrar.addresses(tunnel).into_iter().find(|address| address.starts_with("http"));
            let address = address.filter(|_| is_read).ok_or_else(|| {
                Refusal::new(
                    Code::CONFLICT,
                    "a share is a link, and the gateway reads no request of this tunnel's",
                )
            })?;
            let share = Arc::new(Share::new(&key, terms, tunnel.life.moment()));
            let mut shares = tunnel.policy.all_shares().clone();
            shares.add(Arc::clone(&share), tunnel.life.moment()).map_err(|error| Refusal::from(&error))?;
            tunnel.policy = Arc::new(adit_router::Policy::clone(&tunnel.policy).shares(shares));
            registrar.settle(tunnel)?;
            let url = format!("{address}{}{}", adit_router::SHARE_PATH, key.reveal().as_str());
            Ok(ShareView { share_url: Some(url), ..ShareView::of(&share) })
        })
    }

    pub(in super::super) fn shares(&self, id: &str) -> Result<Vec<ShareView>, Refusal> {
        self.with(id, |_, tunnel| {
            let shares = tunnel.policy.all_shares().iter();
            let now = tunnel.life.moment();
            Ok(shares.filter(|share| !share.is_over(now)).map(|share| ShareView::of(share)).collect())
        })
    }

    /// Revokes a share. Streams that rest on it end.
    pub(in super::super) fn revoke_share(&self, id: &str, share: &str) -> Result<ShareView, Refusal> {
        let share: ShareId = share.parse().map_err(|_| Refusal::from(Code::NOT_FOUND))?;
        self.with(id, |registrar, tunnel| {
            let mut shares = tunnel.policy.all_shares().clone();
            let revoked = shares.revoke(share).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
            tunnel.policy = Arc::new(adit_router::Policy::clone(&tunnel.policy).shares(shares));
            registrar.settle(tunnel)?;
            Ok(ShareView::of(&revoked))
        })
    }

    /// Time has passed: times to live and graces end, and budgets of bytes begin anew with the month.
    pub(in super::super) fn tick(&self) {
        let mut books = self.books();
        let due = self.config.clock.now();
        let mut gone = Vec::new();
        let Books { tunnels, names, ports, .. } = &mut *books;
        ports.handle_timeout(Instant::now());
        for (name, tunnel) in tunnels.iter_mut() {
            if let Some(bytes) = tunnel.policy.byte_budget() {
                bytes.turn(due);
                if std::mem::replace(&mut tunnel.bytes_seen, bytes.spent()) != bytes.spent() {
                    self.saving.mark(tunnel.record.id());
                }
            }
            if tunnel.record.next_tick().is_none_or(|at| at > due) {
                continue;
            }
            let Ok(Some(event)) = tunnel.record.apply(Command::Tick, due) else { continue };
            let told = if event == Event::Expired { "tunnel.expired" } else { "tunnel.deleted" };
            self.journal.note_end(told, name.as_str());
            if event == Event::Expired
                && let Ok(claim) = names.prove(name.borrowed(), self.owner, now())
            {
                // The name has its grace like any other; a failure leaves it with its owner, which harms nobody.
                let _ = names.release(claim, now());
            }
            // What can't be published now is withdrawn with the next tick's try.
            let _ = self.settle(tunnel);
            if tunnel.record.state() == State::Deleted {
                gone.push(name.clone());
            }
        }
        for name in gone {
            self.forget(&mut books, &name);
        }
    }

    /// Shows a change to visitors who come, to streams that run, and to the agents.
    pub(super) fn settle(&self, tunnel: &Tunnel) -> Result<(), Refusal> {
        self.publish(tunnel)?;
        tunnel.life.signal();
        self.tell_agents(tunnel);
        Ok(())
    }

    pub(super) fn publish(&self, tunnel: &Tunnel) -> Result<(), Refusal> {
        let id = tunnel.record.id();
        self.saving.mark(id);
        self.hub
            .routes
            .publish(id, tunnel.keys(&self.config.custom_domains), tunnel.facts())
            .map_err(|_| Refusal::internal())
    }

    fn tell_agents(&self, tunnel: &Tunnel) {
        let Some(entry) = self.hub.routes.find(adit_router::RouteKey::id(tunnel.record.id())) else { return };
        for agent in entry.agents() {
            let link = agent.handle();
            // An agent that doesn't take its notices is cut off when its session stalls.
            let _ = link.notices.try_send(status_notice(link.registration, tunnel.record.state()));
        }
    }

    fn forget(&self, books: &mut Books, name: &TunnelName) {
        let Some(tunnel) = books.tunnels.remove(name) else { return };
        let id = tunnel.record.id();
        self.saving.mark(id);
        if let Some(ports) = books.ports.of(tunnel.protocol) {
            ports.release_all(id);
        }
        self.hub.routes.withdraw(id);
        tunnel.life.signal();
        self.tokens.close(id);
    }

    pub(super) fn with<T>(
        &self,
        id: &str,
        act: impl FnOnce(&Self, &mut Tunnel) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut books = self.books();
        act(self, find(&mut books.tunnels, id)?)
    }

    fn addresses(&self, tunnel: &Tunnel) -> Vec<String> {
        if tunnel.is_private {
            return Vec::new();
        }
        let port = tunnel.port.as_ref().map(|port| port.lease.port());
        self.hub.addresses(tunnel.protocol, tunnel.record.name(), port)
    }

    pub(super) fn view(&self, tunnel: &Tunnel, token: Option<VisitorToken>) -> TunnelView {
        let record = &tunnel.record;
        TunnelView {
            id: record.id().to_string(),
            name: record.name().as_str().to_owned(),
            protocol: protocol_name(tunnel.protocol),
            tls_mode: if tunnel.protocol == Protocol::HTTPS { "passthrough" } else { "edge" },
            status: Status::of(record.state(), &tunnel.connection).as_str(),
            is_connected: tunnel.connection.is_connected(),
            carrier: tunnel.connection.carrier().map(str::to_owned),
            connected_since: tunnel
                .connection
                .since()
                .filter(|_| tunnel.connection.is_connected())
                .map(seconds),
            last_address: tunnel.connection.last_address().map(|address| address.to_string()),
            last_error: tunnel.connection.last_error().map(str::to_owned),
            is_idle: tunnel.life.is_idle(),
            display_name: record.display_name().map(|text| text.as_str().to_owned()),
            description: record.description().map(|text| text.as_str().to_owned()),
            metadata: record.metadata().and_then(|text| serde_json::from_str(text).ok()),
            create_time: seconds(record.created()),
            expires: record.expires().map(seconds),
            public_addresses: self.addresses(tunnel),
            tunnel_key: tunnel.has_key().then(|| self.hub.ring.seal(record.id()).to_string()),
            policy: tunnel.document.clone(),
            auth_mode: tunnel.policy.auth_mode().as_str(),
            visibility: if tunnel.is_private { "private" } else { "public" },
            reach: tunnel.reach.clone(),
            auth_token: token.map(|token| token.reveal().to_owned()),
        }
    }
}

impl ShareRequest {
    fn terms(&self) -> Result<NewShare, Refusal> {
        let refused = |error| Refusal::from(&error);
        let text = |_| Refusal::new(Code::VALIDATION_FAILED, "a share has a name of 1 to 100 characters");
        let mut terms = NewShare::new(ShareName::parse(&self.name).map_err(text)?);
        if let Some(description) = &self.description {
            terms = terms.description(Description::parse(description).map_err(text)?);
        }
        if let Some(expiry) = &self.expires_in {
            terms = terms.expiry(expiry.parse().map_err(refused)?);
        }
        if let Some(requests) = self.rate_limit {
            terms = terms.requests_per_minute(requests).map_err(refused)?;
        }
        self.allowed_methods
            .iter()
            .try_fold(terms, |terms, method| terms.allow_method(method))
            .map_err(refused)
    }
}

impl ShareView {
    fn of(share: &Share) -> Self {
        Self {
            id: share.id().to_string(),
            name: share.name().as_str().to_owned(),
            description: share.description().map(|description| description.as_str().to_owned()),
            expires_in: share.expiry().as_str(),
            expires: share.expires().map(seconds),
            allowed_methods: share.methods().iter().map(ToString::to_string).collect(),
            rate_limit: share.rate().map(|rate| rate.requests_per_minute()),
            share_url: None,
        }
    }
}

/// Frees a name that was taken for a tunnel which there won't be. If it can't be, it stays with its owner.
fn give_back(books: &mut Books, name: &TunnelName, owner: OwnerId) {
    let claim = books.names.prove(name.borrowed(), owner, now());
    if claim.is_ok_and(|claim| books.names.release(claim, now()).is_ok()) {
        let _ = books.names.force(name.borrowed());
    }
}

/// How long a tunnel lives whose owner says so.
fn time_to_live(seconds: u64) -> Result<Duration, Refusal> {
    let ttl = Duration::from_secs(seconds);
    if ttl <= MAX_TIME_TO_LIVE {
        return Ok(ttl);
    }
    Err(Refusal::new(
        Code::TTL_TOO_LONG,
        "a tunnel with an end lives ten years at most; leave ttl_seconds out for one without",
    ))
}

/// The longest time to live: ten years.
const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// By number or by name.
fn find<'a>(
    tunnels: &'a mut std::collections::HashMap<TunnelName, Tunnel>,
    id: &str,
) -> Result<&'a mut Tunnel, Refusal> {
    let is_it = |tunnel: &Tunnel| {
        tunnel.record.name().as_str() == id || TunnelId::to_string(&tunnel.record.id()) == id
    };
    tunnels.values_mut().find(|tunnel| is_it(tunnel)).ok_or_else(|| Refusal::from(Code::NOT_FOUND))
}

pub(super) fn protocol(name: Option<&str>) -> Result<Protocol, Refusal> {
    match name {
        None | Some("http") => Ok(Protocol::HTTP),
        Some("auto") => Ok(Protocol::AUTO),
        Some("https") => Ok(Protocol::HTTPS),
        Some("tcp") => Ok(Protocol::TCP),
        Some("udp") => Ok(Protocol::UDP),
        Some(_) => Err(Refusal::new(Code::VALIDATION_FAILED, "protocol is auto, http, https, tcp or udp")),
    }
}

fn is_private(visibility: Option<&str>) -> Result<bool, Refusal> {
    match visibility {
        None | Some("public") => Ok(false),
        Some("private") => Ok(true),
        Some(_) => Err(Refusal::new(Code::VALIDATION_FAILED, "visibility is public or private")),
    }
}

pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HTTPS => "https",
        Protocol::TCP => "tcp",
        Protocol::AUTO => "auto",
        Protocol::UDP => "udp",
        _ => "http",
    }
}
