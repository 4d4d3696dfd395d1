//! The gateway: listeners, and what happens between them.
//!
//! ```text
//!  http, https ─► proxy ─► hub ─► an agent's session       doors ─► agents ─► registrar ─► hub
//!  tcp, udp ─────────────► hub ─┘                          state: authority; keyring: credential
//! ```

mod admin;
mod agents;
mod api;
mod arrival;
mod auto;
mod bodies;
mod certifier;
mod clock;
mod config;
mod doors;
mod edge;
mod expect;
mod failover;
mod http;
mod https;
mod hub;
mod issuer;
mod journal;
mod kept;
mod keyring;
mod leased;
mod life;
mod lookup;
mod meter;
mod minted;
mod own;
mod promise;
mod proxy;
mod quic;
mod quic_agents;
mod reach;
mod receivers;
mod registrar;
mod repeat;
mod reply;
mod revocations;
mod shelf;
mod signing;
mod state;
mod stick;
mod tcp;
mod terms;
mod tokens;
mod udp;
mod udp_socket;
mod visit;

pub use clock::Clock;
pub use config::{Config, Flags};
pub use life::WakeHook;

use crate::carriers::udp_socket;
use crate::{BoxError, provider, random};
use adit_naming::ownership::OwnerId;
use adit_naming::{Host, HostSource, Zone, Zones};
use adit_router::{Moment, RouteTable};
use adit_tls_modes::{
    AcmeSigner, CertificateSerial, CertificateStore, ChallengeBoard, Issuance, KeyGenerator, LocalCa,
    PrivateKey, RevocationReason, RoomLimits, ServerCertificate, ServerName, Signer, SniffRoom,
    TrustedSources,
};
use adit_wire_proto::credential::StoredCredential;
use agents::Gatekeeper;
use api::Api;
use bodies::BodyRoom;
use certifier::Certifier;
use doors::OwnTls;
use edge::Certificates;
use hub::{Hub, Public};
use issuer::Issuer;
use keyring::Keyring;
use lookup::Lookup;
use minted::Minted;
use own::REVOCATIONS_PATH;
use quic_agents::QuicAgents;
use receivers::Receivers;
use registrar::Registrar;
use revocations::Revocations;
use rustls::pki_types::CertificateDer;
use shelf::Shelf;
use signing::SigningOffice;
use state::State;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokens::Tokens;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use udp_socket::SharedSocket;

/// How long a listener rests when the system has no socket left to give (F-16).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Now, by both clocks.
fn moment() -> Moment {
    Moment::new(Instant::now(), SystemTime::now())
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Ends times to live and graces, until the gateway drains.
async fn tick(hub: Arc<Hub>, registrar: Arc<Registrar>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = every.tick() => {
                registrar.tick();
                // What fails is logged, and tried again.
                let _ = registrar.save_aside().await;
            }
            () = hub.draining.cancelled() => return,
        }
    }
}

/// The label below the zone at which third parties post webhooks; no tunnel can have it.
const WEBHOOKS: &str = "webhooks";

/// A running gateway.
pub struct Gateway {
    hub: Arc<Hub>,
    registrar: Arc<Registrar>,
    config: Config,
    addresses: Addresses,
    /// What goes on until the last agent has left.
    last: Vec<AbortHandle>,
    certificates: Arc<Certificates>,
    renewal: AbortHandle,
    server_name: String,
    anchor_pem: String,
    fresh_secret: Option<String>,
    fresh_admin_token: Option<String>,
}

/// Where the listeners are.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    agents: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    quic: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Gateway {
    /// Opens the state and the listeners, and serves in the background until [`stop`](Self::stop).
    ///
    /// # Errors
    /// A zone that is none, state that can't be read or written, ports that are taken.
    pub async fn start(config: Config) -> Result<Self, BoxError> {
        let zone = Zone::parse(&config.zone)?;
        let state = State::open(&config.state)?;
        let server_name = format!("gateway.{}", config.zone);
        let listeners = Listeners::bind(&config).await?;
        let addresses = listeners.addresses()?;
        let revoked = format!("http://{}:{}{REVOCATIONS_PATH}", config.zone, addresses.http.port());
        let authority = Arc::new(state.authority.revocations_at(&revoked));
        let board = ChallengeBoard::default();
        let public_signer = public_signer(&config, &board).await?;
        let (wishes, wished) = mpsc::channel(certifier::MAX_WISHES);
        let certificates = Arc::new(Certificates::new(
            Arc::clone(&authority),
            &config.zone,
            config.certificates.clone(),
            &config.client_ca,
        )?);
        let webhooks = format!("http://{WEBHOOKS}.{}:{}", config.zone, addresses.http.port());
        let receivers = Arc::new(Receivers::open(webhooks, &config.state)?);
        let hub = Arc::new(Hub {
            zones: Zones::new([zone.clone()])?,
            zone,
            ring: state.ring,
            routes: RouteTable::new(),
            lookup: Lookup::new(),
            edge: certificates.edge()?,
            board,
            revocations: Revocations::open(
                &config.state,
                Arc::clone(&authority),
                config.certificate_lifetime,
            )?,
            wishes: public_signer.is_some().then_some(wishes),
            public: Public {
                http_port: addresses.http.port(),
                https_port: addresses.https.port(),
                tcp_address: config.tcp_address,
            },
            proxies: (!config.proxy_from.is_empty()).then(|| TrustedSources::new(config.proxy_from.clone())),
            hellos: SniffRoom::new(RoomLimits::new()),
            answer_deadline: config.answer_deadline,
            detector: config.detector.clone(),
            bodies: BodyRoom::new(config.max_body_bytes),
            receivers: Arc::clone(&receivers),
            draining: CancellationToken::new(),
            visits: TaskTracker::new(),
        });
        let signer: Arc<dyn Signer> = match &public_signer {
            Some(signer) => Arc::<AcmeSigner>::clone(signer),
            None => Arc::<LocalCa>::clone(&authority),
        };
        let owner = OwnerId::from_u128(u128::from(state.credential.id().nonce()));
        let first = Keyring::kept(keyring::path(&config.state), state.credential);
        let (minted, all) = Minted::open(&config.state)?;
        let (price, clock) = (config.tunnel_price, config.clock.clone());
        let accounts = Shelf::open(&config.state, tokens::ACCOUNTS)?;
        let tokens = Arc::new(Tokens::new(first, minted, all, accounts, price, clock)?);
        let registrar =
            Arc::new(Registrar::start(Arc::clone(&hub), Arc::clone(&tokens), owner, config.clone())?);
        let issuer = Issuer::new(signer, authority.key_fingerprint(), config.certificate_lifetime);
        let is_local = public_signer.is_none();
        let office = Arc::new(SigningOffice::new(Arc::clone(&hub), Arc::clone(&registrar), issuer, is_local));
        let own_tls = OwnTls::new(own_certificate(&authority, &server_name.parse()?, false)?);
        let keeper = Arc::new(Gatekeeper {
            hub: Arc::clone(&hub),
            registrar,
            office: Arc::clone(&office),
            acceptor: acceptor(&config, &own_tls)?,
            own_name: server_name.parse()?,
            waiting: SniffRoom::new(config.waiting_agents),
            crowd: config.waiting_crowd,
            tokens: Arc::clone(&tokens),
            failures: Mutex::new(HashMap::new()),
            drain: config.drain,
        });
        if let Some(signer) = public_signer {
            let store = CertificateStore::open(config.state.join("edge"))?;
            let certifier = Certifier { hub: Arc::clone(&hub), signer, store, wishes: wished };
            tokio::spawn(certifier.run());
        }
        let api = Api::new(Arc::clone(&keeper.registrar), office, tokens, receivers, state.admin);
        let last = listeners.serve(&hub, &keeper, &own_tls, Arc::new(api))?;
        tokio::spawn(tick(Arc::clone(&hub), Arc::clone(&keeper.registrar)));
        let renewal = tokio::spawn(Arc::clone(&certificates).keep_fresh(Arc::clone(&hub))).abort_handle();
        let anchor_pem = authority.certificate_pem();
        Ok(Self {
            hub,
            registrar: Arc::clone(&keeper.registrar),
            config,
            addresses,
            last,
            certificates,
            renewal,
            server_name,
            anchor_pem,
            fresh_secret: state.fresh_secret,
            fresh_admin_token: state.fresh_admin_token,
        })
    }

    /// The connect secret, if this was the first start: it is shown this once.
    pub fn fresh_secret(&self) -> Option<&str> {
        self.fresh_secret.as_deref()
    }

    /// The owner's token for the admin API, if this was the first start: it is shown this once.
    pub fn fresh_admin_token(&self) -> Option<&str> {
        self.fresh_admin_token.as_deref()
    }

    /// The domain under which tunnels get their hosts.
    pub fn zone(&self) -> &str {
        self.hub.zone.as_str()
    }

    /// The name in the certificate that agents see.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The development authority's certificate.
    pub fn anchor_pem(&self) -> &str {
        &self.anchor_pem
    }

    /// The file with the development authority's certificate.
    pub fn anchor_path(&self) -> PathBuf {
        state::anchor_path(&self.config.state)
    }

    /// Where agents connect.
    pub const fn agent_address(&self) -> SocketAddr {
        self.addresses.agents
    }

    /// Where visitors connect by HTTP.
    pub const fn http_address(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where visitors connect by HTTPS.
    pub const fn https_address(&self) -> SocketAddr {
        self.addresses.https
    }

    /// Where visitors connect by QUIC, if anywhere.
    pub const fn quic_address(&self) -> Option<SocketAddr> {
        self.addresses.quic
    }

    /// Where `/health`, `/ready` and the admin API are answered.
    pub const fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Serves the edge with certificates made anew, and with those that are in the folder now. No connection notices but
    /// by the certificate that it sees.
    ///
    /// # Errors
    /// What the authority didn't sign; then what was served before stays.
    pub fn renew_certificates(&self) -> Result<(), BoxError> {
        self.certificates.renew(&self.hub.edge)
    }

    /// Takes a certificate back that the development authority signed for an agent; clients that read the list at
    /// `http://{zone}/authority.crl` refuse it from then on.
    ///
    /// # Errors
    /// A certificate that can't be read, a full list, a list that can't be written.
    pub fn revoke(&self, certificate: &CertificateDer<'_>, reason: RevocationReason) -> Result<(), BoxError> {
        let serial = CertificateSerial::of(certificate).ok_or("the certificate can't be read")?;
        self.hub.revocations.revoke(serial, reason)
    }

    /// Drains: tells agents to reconnect elsewhere, takes no new visitors, and waits for the running visits and for the
    /// agents to leave, but not longer than `patience`. Returns how many were still there then.
    pub async fn stop(self, patience: Duration) -> usize {
        self.hub.draining.cancel();
        self.hub.visits.close();
        // Either way the gateway ends; what is still running then is counted and cut off.
        let _ = tokio::time::timeout(patience, self.hub.visits.wait()).await;
        // What has moved since the clock ticked last.
        self.registrar.tick();
        if self.registrar.save_aside().await.is_err() {
            tracing::error!("what changed last is not saved");
        }
        self.last.iter().for_each(AbortHandle::abort);
        self.renewal.abort();
        self.hub.visits.len()
    }
}

/// Bound, but not served yet.
struct Listeners {
    agents: TcpListener,
    http: TcpListener,
    https: TcpListener,
    quic: Option<UdpSocket>,
    quic_unproven: usize,
    admin: TcpListener,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, BoxError> {
        Ok(Self {
            agents: listen(config.agents).await?,
            http: listen(config.http).await?,
            https: listen(config.https).await?,
            quic: match config.quic {
                Some(address) => Some(UdpSocket::from_std(udp_socket(address)?)?),
                None => None,
            },
            quic_unproven: config.quic_unproven,
            admin: listen(config.admin).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses, BoxError> {
        Ok(Addresses {
            agents: self.agents.local_addr()?,
            http: self.http.local_addr()?,
            https: self.https.local_addr()?,
            quic: self.quic.as_ref().map(UdpSocket::local_addr).transpose()?,
            admin: self.admin.local_addr()?,
        })
    }

    /// Starts serving; what comes back ends the last of it.
    fn serve(
        self,
        hub: &Arc<Hub>,
        keeper: &Arc<Gatekeeper>,
        own_tls: &OwnTls,
        api: Arc<Api>,
    ) -> Result<Vec<AbortHandle>, BoxError> {
        let mut last = Vec::new();
        if let Some(socket) = self.quic {
            let socket = Arc::new(SharedSocket::new(socket)?);
            let agents = QuicAgents::start(keeper, Arc::clone(&socket), own_tls.quic()?)?;
            let own = Host::parse(keeper.own_name.as_str().as_bytes(), HostSource::Sni)?;
            last.push(
                tokio::spawn(quic::serve(Arc::clone(hub), agents, own, socket, self.quic_unproven))
                    .abort_handle(),
            );
        }
        let (doors, keeper) = (Arc::clone(keeper), Arc::clone(keeper));
        let agents = move |_, socket, address| Arc::clone(&keeper).serve(socket, address);
        let https = move |hub, socket, address| https::serve(hub, Arc::clone(&doors), socket, address);
        tokio::spawn(take_visits(Arc::clone(hub), self.agents, agents));
        tokio::spawn(take_visits(Arc::clone(hub), self.http, http::serve_plain));
        tokio::spawn(take_visits(Arc::clone(hub), self.https, https));
        last.push(tokio::spawn(admin::serve(self.admin, api, hub.draining.clone())).abort_handle());
        Ok(last)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BoxError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address} can't be listened on: {error}").into())
}

/// Takes visitors, or agents, until the gateway drains, and counts those that are being served.
async fn take_visits<S, F>(hub: Arc<Hub>, listener: TcpListener, serve: S)
where
    S: Fn(Arc<Hub>, TcpStream, SocketAddr) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (draining, visits) = (hub.draining.clone(), hub.visits.clone());
    let accepting = accept(listener, move |socket, address| {
        visits.track_future(serve(Arc::clone(&hub), socket, address))
    });
    tokio::select! {
        () = accepting => {}
        () = draining.cancelled() => {}
    }
}

/// The most connections of one listener that are served at once.
const MAX_CONNECTIONS: usize = 16_384;

/// Gives every connection to a task of its own. Running out of sockets is survived by waiting for some to be freed.
async fn accept<S, F>(listener: TcpListener, serve: S)
where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Who finds no room waits where the system keeps those whom nobody has taken.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, address)) => {
                // Without it answers come later, not wrong.
                let _ = socket.set_nodelay(true);
                let serving = serve(socket, address);
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What agents are met with: TLS, or nothing where a test wants to be below it.
fn acceptor(config: &Config, own_tls: &OwnTls) -> Result<Option<TlsAcceptor>, BoxError> {
    if !config.plain_agents {
        return own_tls.acceptor().map(Some);
    }
    if !config.agents.ip().is_loopback() {
        return Err("plain-agents is for tests: let agents connect to 127.0.0.1, or leave TLS on".into());
    }
    Ok(None)
}

/// Orders by ACME, if the settings name an authority.
async fn public_signer(config: &Config, board: &ChallengeBoard) -> Result<Option<Arc<AcmeSigner>>, BoxError> {
    let Some((authority, challenge)) = &config.acme else {
        return Ok(None);
    };
    let (account, transport) = authority.open(&config.state).await?;
    let board = board.clone();
    let signer = AcmeSigner::builder(account, transport, board, KeyGenerator::AWS_LC_RS, provider());
    Ok(Some(Arc::new(signer.challenge(*challenge).build())))
}

/// What a listener for agents needs: who it is, and whom it lets in.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) credential: StoredCredential,
    /// The connect secret, if the folder is new.
    pub(crate) fresh_secret: Option<String>,
}

/// Opens `folder`, or fills it, as a gateway does, with a certificate for `server_name`.
pub(crate) fn identity(folder: &Path, server_name: &str) -> Result<Identity, BoxError> {
    let State { authority, credential, fresh_secret, .. } = State::open(folder)?;
    let own_tls = OwnTls::new(own_certificate(&authority, &server_name.parse()?, false)?);
    Ok(Identity { acceptor: own_tls.acceptor()?, credential, fresh_secret })
}

/// A fresh key, certified for `name`, and with `wildcard` for all names right below it.
fn own_certificate(
    authority: &LocalCa,
    name: &ServerName,
    wildcard: bool,
) -> Result<ServerCertificate, BoxError> {
    let now = SystemTime::now();
    let key = PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider())?;
    let issuance = Issuance::new(now, random::octets());
    let issued = authority.issue_own(std::slice::from_ref(name), wildcard, &key, issuance)?;
    Ok(ServerCertificate::new(issued.chain, key.to_der(), &provider(), now)?)
}
