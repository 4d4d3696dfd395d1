//! `async_smux`: no credit for streams, one lock around the session.

use std::io;
use std::sync::Arc;

use async_smux::{MuxAcceptor, MuxBuilder, MuxConnector, MuxStream};

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const ASYNC_SMUX: Contestant = Contestant {
    name: "async-smux",
    about: "async_smux 0.4; no windows",
    max_streams: MANY,
    on_any_carrier: true,
    quick: true,
    connect: |network| Box::pin(connect(network)),
};

struct Dialler {
    connector: MuxConnector<Carrier>,
    _acceptor: MuxAcceptor<Carrier>,
}

struct Listener {
    acceptor: MuxAcceptor<Carrier>,
    _connector: MuxConnector<Carrier>,
}

async fn connect(network: Arc<Network>) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let (connector, acceptor, worker) = MuxBuilder::client().with_connection(near).build();
    tokio::spawn(worker);
    let opener = Arc::new(Dialler { connector, _acceptor: acceptor });
    let (connector, acceptor, worker) = MuxBuilder::server().with_connection(far).build();
    tokio::spawn(worker);
    Ok(Session { opener, acceptor: Box::new(Listener { acceptor, _connector: connector }) })
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(self.connector.connect().map_err(io::Error::other)?)) })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(self.acceptor.accept().await.ok_or_else(ended)?)) })
    }
}

impl Stream for MuxStream<Carrier> {}
