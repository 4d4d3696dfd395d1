//! Two ends of a session on any carrier.

use adit_mux::{Builder, Config, Driver, Incoming, Role, Session, SessionEnd, Stream};
use tokio::io::duplex;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Native,
    #[cfg(feature = "websocket")]
    WebSocket,
    #[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
    Quic,
    #[cfg(feature = "h2")]
    H2,
}

/// One end of a session.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) incoming: Incoming,
    pub(crate) driver: JoinHandle<SessionEnd>,
    /// What has to live as long as the session.
    #[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) endpoint: Option<quinn::Endpoint>,
}

/// The dialler's end, which an agent has, and the listener's, which a gateway has.
pub(crate) struct Pair {
    pub(crate) agent: End,
    pub(crate) gateway: End,
}

impl End {
    pub(crate) fn new((session, incoming, driver): (Session, Incoming, Driver)) -> Self {
        Self {
            session,
            incoming,
            driver: tokio::spawn(driver),
            #[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
            endpoint: None,
        }
    }

    /// The next stream of the peer, taken up.
    pub(crate) async fn accept(&mut self) -> Stream {
        self.incoming.accept().await.unwrap().accept()
    }
}

impl Pair {
    pub(crate) async fn new(on: On) -> Self {
        Self::with(on, Config::default()).await
    }

    pub(crate) async fn with(on: On, config: Config) -> Self {
        let (near, far) = duplex(256 * 1024);
        let build = |role| Builder::new(role).config(config.clone());
        match on {
            On::Native => Self {
                agent: End::new(build(Role::Dialler).build(near)),
                gateway: End::new(build(Role::Listener).build(far)),
            },
            #[cfg(feature = "websocket")]
            On::WebSocket => {
                use adit_mux::Carrier;
                use adit_mux::carrier::websocket::{accept, connect};
                let (near, far) = tokio::join!(connect(near, "wss://gateway.test/"), accept(far));
                let build = |role| build(role).carrier(Carrier::WebSocket);
                Self {
                    agent: End::new(build(Role::Dialler).build(near.unwrap())),
                    gateway: End::new(build(Role::Listener).build(far.unwrap())),
                }
            }
            #[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
            On::Quic => crate::quic::pair(&config).await,
            #[cfg(feature = "h2")]
            On::H2 => {
                use adit_mux::carrier::h2::start;
                Self {
                    agent: End::new(start(Role::Dialler, near, &config)),
                    gateway: End::new(start(Role::Listener, far, &config)),
                }
            }
        }
    }

    /// A stream that the gateway opens: its end and the agent's.
    pub(crate) async fn stream(&mut self) -> (Stream, Stream) {
        let ours = self.gateway.session.open("head").await.unwrap();
        (ours, self.agent.accept().await)
    }
}
