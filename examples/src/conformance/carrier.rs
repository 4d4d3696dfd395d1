//! Connections to the one under test: TLS, or plain TCP for implementations that want to be tested below it.

use crate::BoxError;
use crate::agent::{self, Link};
use crate::carriers::{NATIVE, binding};
use crate::gateway;
use crate::io::Io;
use adit_wire_proto::credential::{ChannelBinding, StoredCredential};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The name in the certificate that the program shows to agents.
const SERVER_NAME: &str = "gateway.adit.localhost";

/// How long TLS may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// A fresh connection, and what a proof on it is bound to.
pub struct Carrier {
    pub(super) io: Box<dyn Io>,
    pub(super) binding: ChannelBinding,
}

/// Connects to a gateway under test.
#[derive(Clone, Debug)]
pub struct Dialler {
    link: Link,
    is_plain: bool,
}

impl Dialler {
    /// Over TLS, verified as an agent does.
    pub const fn tls(link: Link) -> Self {
        Self { link, is_plain: false }
    }

    /// Over plain TCP; of `link` only the address counts.
    pub const fn plain(link: Link) -> Self {
        Self { link, is_plain: true }
    }

    pub(super) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// A fresh connection.
    ///
    /// # Errors
    /// What TCP or TLS failed with.
    pub async fn connect(&self) -> Result<Carrier, BoxError> {
        if self.is_plain {
            let socket = timeout(HANDSHAKE_DEADLINE, TcpStream::connect(&self.link.gateway)).await??;
            return plain(socket);
        }
        let io = timeout(HANDSHAKE_DEADLINE, agent::tls(&self.link, adit_mux::Carrier::Native)).await??;
        let binding = binding(io.get_ref().1)?;
        Ok(Carrier { io: Box::new(io), binding })
    }
}

/// Waits for an agent under test.
pub struct Listener {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    credential: StoredCredential,
    fresh_secret: Option<String>,
}

impl Listener {
    /// Over TLS, with a development authority that is made in `folder`, or plain.
    ///
    /// # Errors
    /// A folder that can't be read or written, an address that can't be listened on.
    pub async fn bind(address: SocketAddr, folder: &Path, is_plain: bool) -> Result<Self, BoxError> {
        let identity = gateway::identity(folder, SERVER_NAME)?;
        let acceptor = (!is_plain).then_some(identity.acceptor);
        let listener = TcpListener::bind(address).await?;
        let (credential, fresh_secret) = (identity.credential, identity.fresh_secret);
        Ok(Self { listener, acceptor, credential, fresh_secret })
    }

    /// Where the agent is to connect.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> Result<SocketAddr, BoxError> {
        Ok(self.listener.local_addr()?)
    }

    /// The name that the agent is to verify.
    pub const fn server_name(&self) -> &'static str {
        SERVER_NAME
    }

    /// The connect secret for the agent, if its folder is new: it is shown this once.
    pub fn fresh_secret(&self) -> Option<&str> {
        self.fresh_secret.as_deref()
    }

    pub(super) const fn is_plain(&self) -> bool {
        self.acceptor.is_none()
    }

    pub(super) const fn credential(&self) -> &StoredCredential {
        &self.credential
    }

    /// The next connection of the agent. One that is given up during the handshake is passed over.
    ///
    /// # Errors
    /// What TCP failed with, or another ALPN than ours.
    pub async fn accept(&self) -> Result<Carrier, BoxError> {
        loop {
            let (socket, _) = self.listener.accept().await?;
            let Some(acceptor) = &self.acceptor else { return plain(socket) };
            socket.set_nodelay(true)?;
            match timeout(HANDSHAKE_DEADLINE, acceptor.accept(socket)).await? {
                Ok(io) => return secured(io),
                Err(error) => eprintln!("a connection was given up: {error}"),
            }
        }
    }
}

fn secured(io: TlsStream<TcpStream>) -> Result<Carrier, BoxError> {
    let session = io.get_ref().1;
    if session.alpn_protocol() != Some(NATIVE) {
        return Err("the agent did not ask for the protocol `adit/1`".into());
    }
    let binding = binding(session)?;
    Ok(Carrier { io: Box::new(io), binding })
}

fn plain(socket: TcpStream) -> Result<Carrier, BoxError> {
    socket.set_nodelay(true)?;
    Ok(Carrier { io: Box::new(socket), binding: ChannelBinding::NONE })
}
