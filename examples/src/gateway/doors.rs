//! How agents come in: by which carrier, and how many at once before they have shown a credential.
//!
//! ```text
//!  agents' port ─────────────────► TLS ─► ALPN ─► native, h2, WebSocket ─┐
//!  HTTPS port ─► asked for us? ──► TLS ─┘                                ├─► a session, and its binding
//!  QUIC port ──► asked for us? ──► quinn ────────────────────────────────┘
//! ```

use super::agents::Gatekeeper;
use crate::carriers::{binding, of_alpn, of_first_octets, quic_binding};
use crate::{BoxError, provider};
use adit_mux::carrier::{h2, quic, websocket};
use adit_mux::{Builder, Carrier, Config, Driver, Incoming, Role, Session};
use adit_tls_modes::{ClientHello, RoomLimits, ServerCertificate, SniffSeat};
use adit_wire_proto::credential::ChannelBinding;
use quinn::VarInt;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// From being accepted until the session can begin.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(10);

/// Agents that have not shown a credential yet: so many of one address, or IPv6 network, and so many in all.
pub(super) const WAITING: RoomLimits = RoomLimits::new().max_per_source(256).max_seats(4_096);

/// Of these, how many make a crowd.
pub(super) const CROWD: usize = 1_024;

/// An agent's connection, of which nothing is known but where it comes from.
pub(super) struct Arrived {
    session: Session,
    incoming: Incoming,
    /// What a proof on it is bound to.
    binding: ChannelBinding,
    address: SocketAddr,
    /// Its place among those that wait; left once the credential was accepted.
    seat: SniffSeat,
    /// QUIC grants more streams then.
    quic: Option<quinn::Connection>,
}

impl Arrived {
    fn new(
        (session, incoming, driver): (Session, Incoming, Driver),
        binding: ChannelBinding,
        address: SocketAddr,
        seat: SniffSeat,
    ) -> Self {
        // The driver ends with the session.
        tokio::spawn(driver);
        Self { session, incoming, binding, address, seat, quic: None }
    }
}

impl Arrived {
    /// The session's parts, and who it is that comes.
    pub(super) fn into_parts(self) -> (Session, Incoming, Caller) {
        let Self { session, incoming, binding, address, seat, quic } = self;
        (session, incoming, Caller { binding, address, seat, quic })
    }
}

/// Who has not shown a credential yet.
pub(super) struct Caller {
    pub(super) binding: ChannelBinding,
    pub(super) address: SocketAddr,
    seat: SniffSeat,
    quic: Option<quinn::Connection>,
}

impl Caller {
    /// Waits until it has to make room for others; forever, usually.
    pub(super) async fn shed(&self) {
        self.seat.shed().await;
    }

    /// Takes the agent out of those that wait: its credential was accepted.
    pub(super) fn enter(self) {
        if let Some(connection) = self.quic {
            connection.set_max_concurrent_bi_streams(VarInt::from_u32(GRANTED_STREAMS));
        }
    }
}

impl Gatekeeper {
    /// Whether a ClientHello at the visitors' door is an agent's: it asks for the gateway itself, whose name no tunnel can
    /// have, to speak one of the carriers.
    pub(super) fn is_asked_for(&self, hello: &ClientHello) -> bool {
        let is_ours = |name: &[u8]| of_alpn(Some(name)).is_some();
        hello.server_name() == Some(&self.own_name) && hello.alpn().iter().any(is_ours)
    }

    /// Whether so many wait that addresses may be forged: then QUIC's clients are asked to prove theirs.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.len() > self.crowd
    }

    /// Serves one agent that has just connected to the agents' port.
    pub(super) async fn serve(self: Arc<Self>, socket: TcpStream, address: SocketAddr) {
        let arrived = match &self.acceptor {
            Some(_) => self.arrive_by_tls(socket, address).await,
            None => self.arrive_in_plain(socket, address).await,
        };
        self.receive(arrived).await;
    }

    /// Serves one that came through the visitors' door: it asked there for the gateway itself.
    pub(super) async fn serve_io<Io>(self: Arc<Self>, io: Io, address: SocketAddr)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let arrived = self.arrive_by_tls(io, address).await;
        self.receive(arrived).await;
    }

    /// Serves one that came by QUIC.
    pub(super) async fn serve_quic(self: Arc<Self>, incoming: quinn::Incoming) {
        let arrived = self.arrive_by_quic(incoming).await;
        self.receive(arrived).await;
    }

    async fn receive(&self, arrived: Result<Arrived, BoxError>) {
        let served = match arrived {
            Ok(arrived) => self.run(arrived).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an agent's session failed");
        }
    }

    async fn arrive_by_tls<Io>(&self, io: Io, address: SocketAddr) -> Result<Arrived, BoxError>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let acceptor = self.acceptor.as_ref().ok_or("agents come by plain TCP here")?;
        let seat = self.waiting.enter(address.ip())?;
        let secure = async {
            let io = acceptor.accept(io).await?;
            let tls = io.get_ref().1;
            let carrier = of_alpn(tls.alpn_protocol()).ok_or("the peer does not speak this protocol")?;
            let binding = binding(tls)?;
            Ok((begin(carrier, io).await?, binding))
        };
        let (begun, binding) = in_time(&seat, secure).await?;
        Ok(Arrived::new(begun, binding, address, seat))
    }

    /// Below TLS the first octets tell, for tests.
    async fn arrive_in_plain(&self, socket: TcpStream, address: SocketAddr) -> Result<Arrived, BoxError> {
        let seat = self.waiting.enter(address.ip())?;
        socket.set_nodelay(true)?;
        let look = async {
            // Who comes by HTTP speaks first. A native agent may await our HELLO, which is due at once (SPEC 3.3).
            let carrier = timeout(SILENCE, carrier_of(&socket)).await.unwrap_or(Ok(Carrier::Native))?;
            begin(carrier, socket).await
        };
        let begun = in_time(&seat, look).await?;
        Ok(Arrived::new(begun, ChannelBinding::NONE, address, seat))
    }

    async fn arrive_by_quic(&self, incoming: quinn::Incoming) -> Result<Arrived, BoxError> {
        let address = incoming.remote_address();
        let seat = match self.waiting.enter(address.ip()) {
            Ok(seat) => seat,
            Err(error) => {
                incoming.refuse();
                return Err(error.into());
            }
        };
        let connecting = incoming.accept()?;
        let connection = in_time(&seat, async { Ok(connecting.await?) }).await?;
        let binding = quic_binding(&connection)?;
        let begun = quic::start(connection.clone(), &Config::default());
        let mut arrived = Arrived::new(begun, binding, address, seat);
        arrived.quic = Some(connection);
        Ok(arrived)
    }
}

/// Gives up what takes too long, or has to make room for others.
async fn in_time<R>(
    seat: &SniffSeat,
    arriving: impl Future<Output = Result<R, BoxError>>,
) -> Result<R, BoxError> {
    tokio::select! {
        arrived = timeout(ARRIVAL_DEADLINE, arriving) => arrived?,
        () = seat.shed() => Err("gave way to later ones".into()),
    }
}

/// What comes on a connection below TLS, as soon as its first octets tell.
async fn carrier_of(socket: &TcpStream) -> Result<Carrier, BoxError> {
    let mut first = [0; 12];
    loop {
        let length = socket.peek(&mut first).await?;
        let octets = first.get(..length).unwrap_or_default();
        match of_first_octets(octets) {
            Some(carrier) => return Ok(carrier),
            None if octets.is_empty() => return Err("the connection ended before it began".into()),
            // The rest of them is under way; what was seen once is seen at once again.
            None => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn begin<Io>(carrier: Carrier, io: Io) -> Result<(Session, Incoming, Driver), BoxError>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Ok(match carrier {
        Carrier::Http2 => h2::start(Role::Listener, io, &Config::default()),
        Carrier::WebSocket => {
            let io = websocket::accept(io).await?;
            let (reader, writer) = io.split_with(tokio::io::split);
            Builder::new(Role::Listener).carrier(Carrier::WebSocket).build_split(reader, writer)
        }
        _ => Builder::new(Role::Listener).build(io),
    })
}

/// How long a peer below TLS may be silent before it is taken for a native agent that waits.
const SILENCE: Duration = Duration::from_millis(500);

/// How long the rest of a first frame may take until it is looked for again.
const PAUSE: Duration = Duration::from_millis(5);

/// How the gateway meets agents: by its own name, with TLS 1.3 and no early data, whatever the carrier.
pub(super) struct OwnTls {
    certificate: ServerCertificate,
}

impl OwnTls {
    pub(super) const fn new(certificate: ServerCertificate) -> Self {
        Self { certificate }
    }

    /// Over TCP.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, BoxError> {
        let carriers = [Carrier::Native, Carrier::Http2, Carrier::WebSocket];
        Ok(TlsAcceptor::from(Arc::new(self.config(&carriers)?)))
    }

    /// Over UDP. Whoever has not shown a credential gets one stream, which is the control stream, and so one window.
    pub(super) fn quic(&self) -> Result<quinn::ServerConfig, BoxError> {
        let crypto = QuicServerConfig::try_from(self.config(&[Carrier::Quic])?)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = quic::transport(&Config::default());
        transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }

    fn config(&self, carriers: &[Carrier]) -> Result<ServerConfig, BoxError> {
        let key = rustls::sign::SingleCertAndKey::from(self.certificate.certified_key());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(key));
        let names = carriers.iter().filter_map(|carrier| crate::carriers::alpn(*carrier));
        config.alpn_protocols = names.map(<[u8]>::to_vec).collect();
        Ok(config)
    }
}

/// Streams that an agent may have open by QUIC, once it is let in: each may make the gateway hold a window.
const GRANTED_STREAMS: u32 = 256;
