//! `muxado`: a channel for each stream, a flush for each frame.

use std::io;
use std::sync::Arc;

use muxado::{Accept, MuxadoAccept, MuxadoOpen, OpenClose, Session as _, SessionBuilder};

use super::{Acceptor, BoxStream, Contestant, Later, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Network, Security};

pub(crate) const DEFAULT: Contestant = Contestant {
    name: "muxado",
    about: "muxado 0.5; windows of 256 KiB, 20,000 streams",
    max_streams: STREAMS,
    on_any_carrier: true,
    quick: false,
    connect: |network| Box::pin(connect(network, 256 * 1024)),
};

pub(crate) const LARGE: Contestant = Contestant {
    name: "muxado-large",
    about: "muxado 0.5; windows of 16 MiB, 20,000 streams",
    connect: |network| Box::pin(connect(network, 16 * 1024 * 1024)),
    ..DEFAULT
};

struct Dialler {
    open: MuxadoOpen,
    _accept: AcceptKept,
}

/// Keeps the session's accepting half alive; it isn't `Sync`.
type AcceptKept = std::sync::Mutex<MuxadoAccept>;

struct Listener {
    accept: MuxadoAccept,
    _open: MuxadoOpen,
}

async fn connect(network: Arc<Network>, window: usize) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let near = SessionBuilder::new(near).client().window_size(window).stream_limit(STREAMS).start();
    let far = SessionBuilder::new(far).server().window_size(window).stream_limit(STREAMS).start();
    let (open, accept) = near.split();
    let opener = Arc::new(Dialler { open, _accept: AcceptKept::new(accept) });
    let (open, accept) = far.split();
    Ok(Session { opener, acceptor: Box::new(Listener { accept, _open: open }) })
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        let mut open = self.open.clone();
        Box::pin(async move { Ok(boxed(open.open().await.map_err(io::Error::other)?)) })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(self.accept.accept().await.ok_or_else(ended)?)) })
    }
}

impl Stream for muxado::Stream {}

const STREAMS: usize = 20_000;
