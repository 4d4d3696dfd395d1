//! Ours on the native carrier by its own types, without the enum of carriers that applications see.

use std::io;
use std::sync::Arc;

use adit_mux::direct::{Incoming, Session};
use adit_mux::{Builder, Role};
use bytes::Bytes;
use tokio::io::join;

use super::adit::{ADIT, limits};
use super::{Acceptor, BoxStream, Contestant, Later, Opener, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const DIRECT: Contestant = Contestant {
    name: "adit-direct",
    about: "adit-mux by the native carrier's own types; compare with adit",
    quick: false,
    connect: |network| Box::pin(connect(network)),
    ..ADIT
};

struct Dialler(Session);

struct Listener {
    incoming: Incoming,
    _session: Session,
}

async fn connect(network: Arc<Network>) -> io::Result<super::Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let (session, _) = start(Builder::new(Role::Dialler).config(limits()), near)?;
    let opener = Arc::new(Dialler(session));
    let (session, incoming) = start(Builder::new(Role::Listener).config(limits()), far)?;
    Ok(super::Session { opener, acceptor: Box::new(Listener { incoming, _session: session }) })
}

fn start(builder: Builder, carrier: Carrier) -> io::Result<(Session, Incoming)> {
    let (session, incoming, driver) = match carrier {
        Carrier::Tcp(socket) => {
            let (reader, writer) = socket.into_split();
            builder.build_split(reader, writer)
        }
        Carrier::Tls(_) | Carrier::Link(_) => builder.build(carrier),
    };
    tokio::spawn(driver);
    session.into_direct().zip(incoming.into_direct()).ok_or_else(ended)
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (send, receive) = self.0.open(Bytes::new()).await.map_err(io::Error::other)?;
            Ok(boxed(join(receive, send)))
        })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let incoming =
                std::future::poll_fn(|cx| self.incoming.poll_accept(cx)).await.ok_or_else(ended)?;
            let (send, receive) = incoming.accept();
            Ok(boxed(join(receive, send)))
        })
    }
}
