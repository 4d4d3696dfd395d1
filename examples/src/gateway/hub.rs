//! What all tasks of the gateway share: the zone, the routes, and how a stream to an agent is opened.

use super::WEBHOOKS;
use super::arrival::Proxies;
use super::bodies::BodyRoom;
use super::leased::Paces;
use super::life::Life;
use super::lookup::Lookup;
use super::receivers::Receivers;
use super::revocations::Revocations;
use adit_errors::{Code, Refusal};
use adit_mux::flow::Flows;
use adit_mux::{Session, Stream};
use adit_naming::keys::KeyRing;
use adit_naming::{Destination, Host, TunnelName, Zone, Zones};
use adit_router::{
    Decision, Detector, Dispatch, InFlight, Pace, Policy, Presence, Record, RouteKey, RouteTable, Tunnel,
    Visibility, Visit,
};
use adit_tls_modes::{ChallengeBoard, Edge, ServerName, SniffRoom};
use adit_wire_proto::control::{Generation, Notice, RegistrationId};
use adit_wire_proto::credential::CredentialId;
use adit_wire_proto::{Protocol, StreamHead, StreamHeadBuilder};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an agent may take to let a stream open; it waits only while the agent holds back stream credit.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// How long a session may take to give a sign of life whose agent has moved to another one. With what the agent takes to
/// notice and to dial, it is within the five seconds that a visitor may lose.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// One agent's registration of one tunnel: how visitors reach it, and how its control task is told of changes.
#[derive(Debug)]
pub(super) struct Link {
    /// The agent's session.
    pub(super) session: Session,
    /// The UDP flows in that session.
    pub(super) flows: Flows,
    /// The registration's number in stream heads.
    pub(super) registration: RegistrationId,
    /// How fast all tunnels of its credential together may be, if there is a bound.
    pub(super) pace: Option<Arc<Pace>>,
    /// Whose agents it shares the tunnel with, if it shares it.
    pub(super) shares_as: Option<CredentialId>,
    /// What the agent presents when it comes again in the place of this registration.
    pub(super) resume_token: Bytes,
    /// The agent's control task.
    pub(super) notices: mpsc::Sender<Notice>,
    /// Cancelled when the agent has moved to another session, and is silent on this one.
    pub(super) forsaken: CancellationToken,
}

impl Link {
    /// The agent has moved to another session: who waits for an answer on this one is told unless it gives a sign of life.
    pub(super) fn check_on(&self) {
        let (session, forsaken) = (self.session.clone(), self.forsaken.clone());
        tokio::spawn(async move {
            // Streams hear of the session's end by themselves.
            if timeout(SIGN_OF_LIFE, session.ping()).await.is_err() {
                tracing::debug!("an agent left a session that is silent");
                forsaken.cancel();
            }
        });
    }
}

/// What the gateway keeps with each tunnel.
#[derive(Clone)]
pub(super) struct Facts {
    /// What its streams carry; of an `auto` tunnel each something else.
    pub(super) protocol: Protocol,
    /// How fast it may be, if its terms say so.
    pub(super) paces: Option<Arc<Paces>>,
    /// Whether its terms say something about requests, which only who reads them can hold to.
    pub(super) rules_requests: bool,
    /// Whether visitors may come by a host of the form `{port}-{key}`.
    pub(super) has_key: bool,
    /// Its life so far.
    pub(super) record: Arc<Record>,
    /// To which agents it is visible.
    pub(super) visibility: Arc<Visibility>,
    /// On what terms visitors get in.
    pub(super) policy: Arc<Policy>,
    /// What all versions of its entry share.
    pub(super) life: Arc<Life>,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Facts {
    /// Decides about a visit to the tunnel with these facts.
    pub(super) fn decide(tunnel: &Tunnel<Link, Self>, visit: &Visit<'_>) -> Decision {
        let Self { policy, record, life, .. } = tunnel.facts();
        // A machine that HTTP may wake sleeps when its agent is away.
        let is_asleep = tunnel.agents().is_empty() && policy.wakes_on_http();
        let presence = if is_asleep { Presence::Asleep } else { Presence::Awake };
        policy.decide(record, presence, visit, life.moment())
    }
}

/// A piece of work on an agent, counted as its load for as long as it lives.
pub(super) type Work = InFlight<Link>;

/// Everything shared.
pub(super) struct Hub {
    /// The zone in which tunnels get their hosts.
    pub(super) zone: Zone,
    /// The same, for telling hosts apart.
    pub(super) zones: Zones,
    /// Opens the keys in hosts.
    pub(super) ring: KeyRing,
    /// Where names and ports lead.
    pub(super) routes: RouteTable<Link, Facts>,
    /// How visitors find out.
    pub(super) lookup: Lookup,
    /// Ends TLS for the zone.
    pub(super) edge: Edge,
    /// Answers for certificate authorities that look at our ports.
    pub(super) board: ChallengeBoard,
    /// Certificates of agents that were taken back.
    pub(super) revocations: Revocations,
    /// Where hosts go that want a public certificate, if there is an authority for that.
    pub(super) wishes: Option<mpsc::Sender<ServerName>>,
    /// Where visitors come in.
    pub(super) public: Public,
    /// Through whom they come, if not by themselves.
    pub(super) proxies: Proxies,
    /// Bounds what those hold together who have not said hello.
    pub(super) hellos: SniffRoom,
    /// How long an agent may take to say its first word to a visitor whose TLS is passed through (T-55).
    pub(super) answer_deadline: Duration,
    /// Tells what visitors of `auto` ports speak.
    pub(super) detector: Detector,
    /// Bounds what bodies hold together that are read whole.
    pub(super) bodies: BodyRoom,
    /// Where third parties post webhooks.
    pub(super) receivers: Arc<Receivers>,
    /// Cancelled once the gateway is asked to stop.
    pub(super) draining: CancellationToken,
    /// Visits and agents' sessions under way.
    pub(super) visits: TaskTracker,
}

/// The public side, as it stands in addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Public {
    /// Of HTTP.
    pub(super) http_port: u16,
    /// Of HTTPS.
    pub(super) https_port: u16,
    /// Of TCP and UDP tunnels.
    pub(super) tcp_address: IpAddr,
}

impl Hub {
    /// The tunnel that `host` names.
    pub(super) fn find(&self, host: &Host) -> Option<Arc<Tunnel<Link, Facts>>> {
        let destination = self.zones.classify(host);
        let is_by_key = matches!(destination, Destination::TunnelByKey { .. });
        let tunnel = self.look_up(RouteKey::of(destination, |key| self.ring.open(key).ok())?)?;
        // By its id a tunnel is found that visitors have no host for.
        (!is_by_key || tunnel.facts().has_key).then_some(tunnel)
    }

    /// The port behind the agent that `host` names, if it is one of the form `{port}-{key}`.
    pub(super) fn port_of(&self, host: &Host) -> Option<u16> {
        match self.zones.classify(host) {
            Destination::TunnelByKey { port, .. } => Some(port),
            Destination::TunnelByName { .. }
            | Destination::Zone { .. }
            | Destination::Custom { .. }
            | Destination::Foreign => None,
        }
    }

    /// The tunnel that `key` leads to, for visitors: by this thread's own reader.
    pub(super) fn look_up(&self, key: RouteKey<'_>) -> Option<Arc<Tunnel<Link, Facts>>> {
        self.lookup.find(&self.routes, key)
    }

    /// Whether `host` is the one at which webhooks are received.
    pub(super) fn is_for_webhooks(&self, host: &Host) -> bool {
        let name = host.domain().and_then(|domain| domain.strip_suffix(self.zone.as_str()));
        name.and_then(|name| name.strip_suffix('.')) == Some(WEBHOOKS)
    }

    /// Has the host of a tunnel, whose TLS is ended here, certified by the public authority, if there is one.
    pub(super) fn wish_certificate(&self, name: &TunnelName) {
        let host = self.zone.host_of(name.borrowed());
        if let (Some(wishes), Ok(host)) = (&self.wishes, host.parse()) {
            // A wish that finds no room is made again with the next registration.
            let _ = wishes.try_send(host);
        }
    }

    /// Where visitors reach a tunnel, the best address first.
    pub(super) fn addresses(&self, protocol: Protocol, name: &TunnelName, port: Option<u16>) -> Vec<String> {
        let host = self.zone.host_of(name.borrowed());
        let Public { http_port, https_port, tcp_address } = self.public;
        let scheme = if protocol == Protocol::UDP { "udp" } else { "tcp" };
        let by_port = port.map(|port| format!("{scheme}://{}", SocketAddr::new(tcp_address, port)));
        let by_host = match protocol {
            Protocol::TCP | Protocol::UDP => Vec::new(),
            Protocol::HTTPS => vec![format!("https://{host}:{https_port}")],
            _ => vec![format!("http://{host}:{http_port}"), format!("https://{host}:{https_port}")],
        };
        by_port.into_iter().chain(by_host).collect()
    }

    /// Opens a stream to an agent of the tunnel that `find` gives, the one that `dispatch` chooses, trying another one if
    /// the first has just gone. Called again, it asks one that it hasn't asked.
    ///
    /// `describe` adds to the stream head who is visiting. With a `protocol`, the stream carries something else than the
    /// tunnel's streams do otherwise.
    ///
    /// # Errors
    /// A refusal for the visitor: no such tunnel, no agent, or none that opens a stream in time.
    pub(super) async fn open(
        &self,
        dispatch: &mut Dispatch,
        protocol: Option<Protocol>,
        find: impl Fn(&Self) -> Option<Arc<Tunnel<Link, Facts>>>,
        describe: impl Fn(StreamHeadBuilder) -> StreamHeadBuilder,
    ) -> Result<(Stream, Work), Refusal> {
        loop {
            let tunnel = find(self).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
            if let Some(refusal) = tunnel.facts().record.visitor_refusal(SystemTime::now()) {
                return Err(refusal);
            }
            let agent = dispatch.next(&tunnel).ok_or_else(|| Refusal::from(Code::TUNNEL_OFFLINE))?;
            // Between look-up and here the agent may have been replaced: then the next look-up finds its successor.
            let Ok(work) = agent.begin() else { continue };
            let generation = Generation::new(agent.generation().number()).ok_or_else(Refusal::internal)?;
            let link = work.handle();
            let protocol = match (protocol, tunnel.facts().protocol) {
                (Some(protocol), _) => protocol,
                // Nobody has looked at what it is.
                (None, Protocol::AUTO) => Protocol::TCP,
                (None, protocol) => protocol,
            };
            let head = StreamHead::builder(protocol).registration(link.registration, generation);
            let head = describe(head).build().map_err(|_| Refusal::internal())?;
            match timeout(OPEN_DEADLINE, link.session.open(head.encode())).await {
                Ok(Ok(stream)) => return Ok((stream, work)),
                Ok(Err(error)) => tracing::debug!(%error, "an agent opened no stream"),
                Err(_) => return Err(Refusal::from(Code::AGENT_TIMEOUT)),
            }
        }
    }
}
