//! The limits: a TCP connection for each stream, bare or under TLS.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Acceptor, BoxStream, Contestant, Later, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const RAW: Contestant = Contestant {
    name: "raw",
    about: "a TCP connection for each stream",
    max_streams: 4_000,
    on_any_carrier: true,
    quick: true,
    connect: |network| Box::pin(async { Ok(connect(network, Security::Plain)) }),
};

pub(crate) const TLS: Contestant = Contestant {
    name: "tls",
    about: "rustls 0.23 (ring) over a TCP connection for each stream",
    max_streams: 2_000,
    on_any_carrier: false,
    quick: true,
    connect: |network| Box::pin(async { Ok(connect(network, Security::Tls)) }),
};

struct Sockets {
    network: Arc<Network>,
    security: Security,
    far_ends: mpsc::UnboundedSender<Carrier>,
}

struct FarEnds(mpsc::UnboundedReceiver<Carrier>);

fn connect(network: Arc<Network>, security: Security) -> Session {
    let (far_ends, accepted) = mpsc::unbounded_channel();
    let opener = Arc::new(Sockets { network, security, far_ends });
    Session { opener, acceptor: Box::new(FarEnds(accepted)) }
}

impl Opener for Sockets {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (near, far) = self.network.pair(self.security).await?;
            self.far_ends.send(far).map_err(|_| ended())?;
            Ok(boxed(near))
        })
    }
}

impl Acceptor for FarEnds {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(self.0.recv().await.ok_or_else(ended)?)) })
    }
}

impl Stream for Carrier {}
